"""What a dataset is protected from: a recipe, or versions of libraries, that would make other particles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from picotome.configs.loading import load_recipe, parse_recipe
from picotome.configs.schema import Recipe
from picotome.datasets.identity import JUDGES, versions
from picotome.datasets.manifest import Entry
from picotome.datasets.plan import SPLITS, n_particles
from picotome.datasets.store import read_provenance

DATA_SECTIONS = (
    *("seed", "volume", "optics", "acquisition", "reconstruction", "ideal", "storage", "substrate"),
    *("training_set", "engine", "specimens", "n_held_out"),
)
"""The sections of a recipe that its pairs depend on."""

COUNTS = frozenset({"training_set.n_train", "training_set.n_validation", "training_set.online", "n_held_out"})
"""Knobs that say how many particles there are: none of them is changed by there being more."""

_LONGEST_VALUE = 60


def refuse_another_recipe(
    folder: Path, recipe: Recipe, *, sections: Sequence[str] = DATA_SECTIONS, may_grow: Set[str] = COUNTS
) -> None:
    """Protect what a folder holds from a recipe that would make something else.

    Parameters
    ----------
    sections
        Of a recipe, that what is in the folder depends on.
    may_grow
        Of `COUNTS`, those that may ask for more particles than before; to ask for fewer is always refused.

    Raises
    ------
    ValueError
        If the folder's ``recipe.yaml`` differs; the message names each key with its old and new value.
    """
    if not (folder / "recipe.yaml").is_file():
        return
    try:
        before = load_recipe(str(folder / "recipe.yaml"))
    except ValueError as error:
        raise ValueError(
            f"{folder} holds the recipe of another version of picotome, or a damaged one: use another "
            f"--out, such as {another_folder(folder)}\n{error}"
        ) from error
    changed = _changes(before, recipe, sections=sections, may_grow=may_grow)
    if changed:
        raise ValueError(_refusal(folder, "another recipe", changed))


def refuse_another_maker(folder: Path, entry: Entry, recipe: Recipe, *, identity: str) -> None:
    """Protect a finished particle from a run that would make another in its place.

    Its file is not opened where the list says that it is what the run would make, or that there is none.

    Raises
    ------
    ValueError
        If it was made from another recipe, by other versions of the libraries, or from another file of atoms.
    """
    path = folder / entry.file
    if entry.status != "done" or entry.identity == identity or not path.is_file():
        return
    try:
        provenance = read_provenance(path)
        before = parse_recipe(provenance["recipe"], str(path))
    except (ValueError, KeyError):
        # Damaged: it is made anew.
        return
    if provenance.get("identity") == identity:
        return
    changed = _changes(before, recipe, sections=DATA_SECTIONS, may_grow=COUNTS)
    now = versions(JUDGES)
    changed |= {k: (v, now[k]) for k, v in provenance["versions"].items() if v != now.get(k, v)}
    if changed:
        raise ValueError(_refusal(folder, "another recipe or other versions", changed))
    raise ValueError(
        f"{path} has other contents than the same recipe gives now: a file of atoms that it names has "
        f"changed, or picotome itself; use another --out, such as {another_folder(folder)}"
    )


def another_folder(folder: Path) -> Path:
    """Offer a folder that is not there yet."""
    number = 2
    while (offer := folder.with_name(f"{folder.name}_{number}")).exists():
        number += 1
    return offer


def _refusal(folder: Path, what: str, changed: Mapping[str, tuple[Any, Any]]) -> str:
    rows = "".join(f"\n  {key}: {_short(old)} -> {_short(new)}" for key, (old, new) in changed.items())
    return (
        f"{folder} was made with {what}:{rows}\nuse another --out, such as {another_folder(folder)}, or go "
        f"on with what it was made with ({folder / 'recipe.yaml'}; more particles may be asked for)"
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _changes(
    before: Recipe, now: Recipe, *, sections: Sequence[str], may_grow: Set[str]
) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, as ``--set`` takes them, with the old and the new value."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    changed = {k: pair for name in sections for k, pair in _differences(old[name], new[name], name)}
    shrinks = any(n_particles(now, split) < n_particles(before, split) for split in SPLITS)
    return {key: pair for key, pair in changed.items() if shrinks or key not in may_grow}


def _differences(old: Any, new: Any, key: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _is_nested([*old, *new]):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        for part in {**old, **new}:
            yield from _differences(old.get(part), new.get(part), f"{key}.{part}")
    elif old != new:
        yield key, (old, new)


def _is_nested(values: Sequence[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)
