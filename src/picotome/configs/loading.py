"""Load a recipe: a preset by name or a YAML file, then ``--set key=value`` overrides."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from picotome.configs.schema import Recipe


def preset_names() -> list[str]:
    """Return the names of the recipes that come with picotome."""
    folder = resources.files("picotome.configs") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load and check a recipe.

    Parameters
    ----------
    name_or_path
        Name of a preset (`preset_names`) or path of a YAML file.
    overrides
        ``key.key=value`` strings; the value is YAML, and the entries of a list are numbered from 0:
        ``specimens.0.n_atoms=300``.

    Raises
    ------
    FileNotFoundError
        If there is neither such a preset nor such a file.
    ValueError
        If the text is not YAML, or a key, unit or value is not allowed; the message names each.
    """
    if name_or_path in preset_names():
        text = (resources.files("picotome.configs") / "presets" / f"{name_or_path}.yaml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no recipe {name_or_path!r}: found neither such a file nor such a preset; "
                f"presets are {', '.join(preset_names())}"
            )
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text file; a recipe is YAML") from error
    data = _parse_yaml(text, name_or_path)
    if not isinstance(data, dict):
        raise ValueError(
            f"{name_or_path} holds {type(data).__name__}; a recipe is a mapping of keys to values"
        )
    # What YAML repeats by an alias is one object: a change of one place must not reach the other.
    data = _unshared(data)
    for override in overrides:
        _apply(data, override)
    return parse_recipe(data, name_or_path)


def parse_recipe(data: dict[str, Any], source: str) -> Recipe:
    """Check a mapping against the schema and name every key that is wrong."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{source} is not a valid recipe:\n" + _explain(error)) from error


def recipe_to_yaml(recipe: Recipe) -> str:
    """Return the whole resolved recipe, defaults included, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not plain YAML: {error}") from error


def _unshared(value: Any) -> Any:
    """Copy nested dicts and lists, each time that they occur."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ValueError(f"--set takes key=value; found {override!r}, for example optics.convergence_mrad=25")
    *parents, last = key.split(".")
    node: dict[str, Any] | list[Any] = data
    for number, parent in enumerate(parents):
        if isinstance(node, list):
            child = node[_entry(node, parent, override)]
        else:
            child = node.get(parent)
            if child is None:
                if (*parents, last)[number + 1].isdigit():
                    raise ValueError(f"--set {override}: the recipe lists no {parent}; give the whole list")
                child = node[parent] = {}
        if not isinstance(child, dict | list):
            raise ValueError(f"--set {override}: {parent!r} is not a section; give the whole value instead")
        node = child
    found = _parse_yaml(value, f"--set {override}")
    if isinstance(node, list):
        node[_entry(node, last, override)] = found
    else:
        node[last] = found


def _entry(entries: list[Any], key: str, override: str) -> int:
    """Index of an entry of a list that a key of --set names."""
    if not key.isdigit() or int(key) >= len(entries):
        raise ValueError(
            f"--set {override}: {key!r} is no entry of a list of {len(entries)}; "
            + (f"allowed is 0 to {len(entries) - 1}" if entries else "give the whole list")
        )
    return int(key)


def _explain(error: ValidationError) -> str:
    lines = []
    found = error.errors()
    for item in found:
        # A wrong entry is not counted, and its list then lacks one: the line of the entry says it all.
        is_told = any(
            len(o["loc"]) > len(item["loc"]) and o["loc"][: len(item["loc"])] == item["loc"] for o in found
        )
        if item["type"] == "too_short" and is_told:
            continue
        key = ".".join(str(part) for part in item["loc"]) or "(recipe)"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key; see docs/recipe.md for all keys, each with its unit"
            lines.append(f"  {key}: {message}")
        elif item["type"] in {"value_error", "missing"} or isinstance(item["input"], dict):
            lines.append(f"  {key}: {message}")
        else:
            lines.append(f"  {key}: found {item['input']!r}; {message}")
    return "\n".join(lines)
