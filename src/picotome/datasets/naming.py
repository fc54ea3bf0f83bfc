"""What a particle of a dataset is called: by what determines it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from picotome.configs.schema import Recipe
from picotome.configs.specimens import source_file
from picotome.datasets.identity import JUDGES, identity, knobs, versions
from picotome.datasets.plan import Split, particle_plan, particle_simulation
from picotome.datasets.series import series_identity
from picotome.datasets.store import IDENTITY_FORMAT

# Of the hash in a name: two of a million particles share one by a chance of 3e-8.
_NAME_DIGITS = 16
# Raised where the same knobs give another tomogram. Simulations do not depend on it, and stay what they are.
_RECONSTRUCTION_VERSION = 2


def pair_path(folder: Path, split: Split, index: int, *, identity: str) -> Path:
    """Where the file of a particle is in a dataset: another recipe's particle has another name."""
    return folder / split / f"particle_{index:06d}_{identity[:_NAME_DIGITS]}.h5"


def find_pair(folder: Path, split: Split, index: int, *, identity: str) -> Path | None:
    """Find the file of a particle, also where an older picotome put it; None where there is none."""
    path = pair_path(folder, split, index, identity=identity)
    # Names once held the index alone.
    older = folder / split / f"{index:06d}.h5"
    return next((place for place in (path, older) if place.is_file()), None)


def pair_identity(recipe: Recipe, split: Split, index: int) -> str:
    """Hash of everything that determines a pair."""
    return identities_of(recipe)(split, index)


def identities_of(recipe: Recipe) -> Callable[[Split, int], str]:
    """Give a function that hashes many pairs of one recipe: what they share is prepared once."""
    shared: dict[str, Any] = {
        "seed": recipe.seed,
        "volume": knobs(recipe.volume),
        "optics": knobs(recipe.optics),
        "reconstruction": {**knobs(recipe.reconstruction), "version": _RECONSTRUCTION_VERSION},
        "ideal": knobs(recipe.ideal),
        "versions": versions(JUDGES),
        "format": IDENTITY_FORMAT,
    }
    if recipe.substrate is not None:
        shared["substrate"] = knobs(recipe.substrate)
    if knobs(recipe.storage):
        shared["storage"] = knobs(recipe.storage)
    refined = recipe.training_set.refined
    # The recipe's own entries; a specimen is known by what it is, and they live as long as the recipe.
    parts: dict[int, dict[str, Any]] = {}
    for config in (*recipe.specimens, *recipe.training_set.specimens):
        parts[id(config)] = {"specimen": knobs(config)}
        source = source_file(config)
        if source is not None and source.is_file():
            parts[id(config)]["file"] = hashlib.sha256(source.read_bytes()).hexdigest()
    acquisitions = {id(a): knobs(a) for a in (recipe.acquisition, recipe.training_set.acquisition) if a}

    def pair(split: Split, index: int) -> str:
        config, engine, acquisition = particle_plan(recipe, split, index)
        drawn = acquisitions.get(id(acquisition))
        simulation = particle_simulation(recipe, split, index)
        return identity(
            {
                **shared,
                **parts[id(config)],
                "split": split,
                "index": index,
                "engine": engine,
                "acquisition": knobs(acquisition) if drawn is None else drawn,
                **({} if simulation is None else {"simulation": series_identity(simulation)}),
                **({} if refined is None or split == "held_out" else {"refined": knobs(refined)}),
            }
        )

    return pair
