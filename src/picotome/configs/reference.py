"""The reference of all knobs, as Markdown, made from the schema itself."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from picotome.configs.schema import Recipe

_HEAD = """# The recipe: every knob

A recipe is a YAML file; `--set key.key=value` changes one knob. Unknown keys are refused. A range is
`[low, high]`; one number means that value exactly. `picotome show recipe.yaml` prints a recipe with all
defaults.
"""


def recipe_reference() -> str:
    """Return docs/recipe.md."""
    lines = [_HEAD, "## Top level\n", *_table(Recipe)]
    for title, section in _sections(Recipe, ""):
        lines += [f"\n## {title}\n", f"{inspect.cleandoc(section.__doc__ or '')}\n", *_table(section)]
    return "\n".join(lines) + "\n"


def _sections(model: type[BaseModel], prefix: str) -> list[tuple[str, type[BaseModel]]]:
    found: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        for part in _models(info.annotation):
            kind = part.model_fields.get("kind")
            title = f"{prefix}{name}" + (f" (kind: {get_args(kind.annotation)[0]})" if kind else "")
            if all(part is not known for _, known in found):
                found += [(f"`{title}`", part), *_sections(part, f"{prefix}{name}.")]
    unique: dict[type[BaseModel], str] = {}
    for title, part in found:
        unique.setdefault(part, title)
    return [(title, part) for part, title in unique.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    return [model for part in get_args(annotation) for model in _models(part)]


def _table(model: type[BaseModel]) -> list[str]:
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        if not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
            rows.append(f"| `{name}` | {_default(info)} | {_allowed(info)} | {info.description or ''} |")
    return rows


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "(required)"
    value = info.default
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(f"one `{part.kind}`" for part in value)
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True).splitlines()[0]}`"


def _allowed(info: FieldInfo) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
    # Where a knob may be null, its limits are those of the other choice.
    nullable = [item for part in get_args(info.annotation) for item in getattr(part, "__metadata__", ())]
    limits = [
        f"{sign} {getattr(item, name):g}"
        for item in [*info.metadata, *nullable]
        for name, sign in words.items()
        if hasattr(item, name)
    ]
    if get_origin(info.annotation) is not None and not limits:
        choices = [part for part in get_args(info.annotation) if isinstance(part, str)]
        limits = [f"`{choice}`" for choice in choices]
    return ", ".join(limits)


if __name__ == "__main__":
    import sys

    sys.stdout.write(recipe_reference())
