"""What a dataset is protected from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from picotome.configs.loading import load_recipe
from picotome.configs.schema import Recipe


def refuse_another_recipe(folder: Path, recipe: Recipe, *, sections: Sequence[str]) -> None:
    """Protect what a folder holds from a recipe that would overwrite it.

    Raises
    ------
    ValueError
        If the folder's ``recipe.yaml`` differs in one of the sections; the message names the keys.
    """
    if not (folder / "recipe.yaml").is_file():
        return
    try:
        before = load_recipe(str(folder / "recipe.yaml")).model_dump(mode="json")
    except ValueError as error:
        raise ValueError(
            f"{folder} holds the recipe of another version of picotome, or a damaged one: use another "
            f"--out, such as {_another(folder)}\n{error}"
        ) from error
    now = recipe.model_dump(mode="json")
    changed = [key for section in sections for key in _changed(before[section], now[section], section)]
    if changed:
        raise ValueError(
            f"{folder} was made with another recipe ({', '.join(changed)} differ); use another --out, "
            f"such as {_another(folder)}, or remove the folder"
        )


def _another(folder: Path) -> Path:
    """Offer a folder that is not there yet."""
    number = 2
    while (offer := folder.with_name(f"{folder.name}_{number}")).exists():
        number += 1
    return offer


def _changed(before: Any, now: Any, key: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [found for part in now for found in _changed(before.get(part), now[part], f"{key}.{part}")]
    return [] if before == now else [key]
