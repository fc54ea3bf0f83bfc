"""What a dataset's card says in numbers, from the manifest and the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from picotome.configs.schema import Recipe
from picotome.datasets.manifest import Entry, read_manifest
from picotome.datasets.plan import SPLITS, Split, particle_plan
from picotome.datasets.store import open_checked, read_provenance

# Files that are opened; a dataset of 10,000 should have its card in seconds.
_MOST_READ = 200


@dataclass(frozen=True)
class SplitNumbers:
    """What one split holds.

    Attributes
    ----------
    n_done, n_failed
        Particles.
    kinds
        Particles of each kind of specimen and engine, such as ``wulff (linear)``.
    n_atoms
        (n_done,) of each particle.
    size_bytes
        Of all files.
    """

    n_done: int
    n_failed: int
    kinds: Mapping[str, int]
    n_atoms: Sequence[int]
    size_bytes: int


@dataclass(frozen=True)
class DatasetNumbers:
    """What a dataset holds.

    Attributes
    ----------
    splits
        By name, those that have particles.
    n_read
        Files that the numbers below are from, evenly spread over the dataset.
    elements
        Share of the atoms of each element.
    dose_e_per_A2
        (n_read,) of each particle; NaN where there is no noise.
    tilt_max_deg
        (n_read,) largest tilt of each particle, of either sign.
    n_tilts
        (n_read,) images of each particle.
    made
        When the first and the last of all files were written.
    versions
        Of the packages that the files read name; several where they differ.
    """

    splits: Mapping[Split, SplitNumbers]
    n_read: int
    elements: Mapping[str, float]
    dose_e_per_A2: Sequence[float]
    tilt_max_deg: Sequence[float]
    n_tilts: Sequence[int]
    made: tuple[datetime, datetime]
    versions: Mapping[str, str]


def dataset_numbers(folder: Path, *, recipe: Recipe) -> DatasetNumbers | None:
    """Count what a dataset holds; None where no particle is finished."""
    from ase.data import chemical_symbols

    entries = read_manifest(folder)
    done = [entry for entry in entries if entry.status == "done"]
    if not done:
        return None
    read = [done[i] for i in np.unique(np.linspace(0, len(done) - 1, _MOST_READ).round().astype(int))]
    atoms: Counter[str] = Counter()
    doses, widest, n_tilts = [], [], []
    versions: dict[str, set[str]] = {}
    for entry in read:
        with open_checked(folder / entry.file) as file:
            numbers = file["specimen/atomic_numbers"][()]
            atoms.update(chemical_symbols[z] for z in numbers.tolist())
            doses.append(float(file["series"].attrs.get("dose_e_per_A2", np.nan)))
            tilt_deg = file["series/tilt_deg"][()]
            widest.append(float(np.abs(tilt_deg).max()))
            n_tilts.append(len(tilt_deg))
        for package, version in read_provenance(folder / entry.file)["versions"].items():
            versions.setdefault(package, set()).add(version)
    times = [(folder / entry.file).stat().st_mtime for entry in done]
    return DatasetNumbers(
        splits={
            split: _split_numbers(folder, recipe, [entry for entry in entries if entry.split == split])
            for split in SPLITS
            if any(entry.split == split for entry in entries)
        },
        n_read=len(read),
        elements={symbol: count / atoms.total() for symbol, count in atoms.most_common()},
        dose_e_per_A2=doses,
        tilt_max_deg=widest,
        n_tilts=n_tilts,
        made=(datetime.fromtimestamp(min(times), UTC), datetime.fromtimestamp(max(times), UTC)),
        versions={package: ", ".join(sorted(found)) for package, found in sorted(versions.items())},
    )


def _split_numbers(folder: Path, recipe: Recipe, entries: Sequence[Entry]) -> SplitNumbers:
    done = [entry for entry in entries if entry.status == "done"]
    kinds: Counter[str] = Counter()
    for entry in done:
        plan: Any = particle_plan(recipe, entry.split, entry.index)
        kinds[f"{plan[0].kind} ({plan[1]})"] += 1
    return SplitNumbers(
        n_done=len(done),
        n_failed=len(entries) - len(done),
        kinds=dict(kinds.most_common()),
        n_atoms=[entry.n_atoms for entry in done],
        size_bytes=sum((folder / entry.file).stat().st_size for entry in done),
    )
