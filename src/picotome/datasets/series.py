"""Tilt series at rest: simulated once, kept by content, and never simulated again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picotome.configs.imaging import AcquisitionConfig, EngineName, OpticsConfig, VolumeConfig
from picotome.configs.specimens import SpecimenConfig, source_file
from picotome.datasets.identity import JUDGES, identity, knobs, versions
from picotome.datasets.store import pick, read_records, write_records
from picotome.records import Specimen, TiltSeries
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.particles import build_specimen

_NAME_DIGITS = 16


@dataclass(frozen=True)
class SeriesRecipe:
    """Everything that determines one specimen and its tilt series.

    Attributes
    ----------
    name
        For people: in the file's name and beside the progress bar. The contents do not depend on it.
    seed, index
        Of the random streams.
    """

    name: str
    specimen: SpecimenConfig
    engine: EngineName
    volume: VolumeConfig
    optics: OpticsConfig
    acquisition: AcquisitionConfig
    seed: int
    index: int


def series_identity(recipe: SeriesRecipe) -> str:
    """Hash of everything that determines a series."""
    # The knobs of the linear engine must not cost hours of wave optics.
    unread = {"linear"} if recipe.engine != "linear" else set()
    determines: dict[str, Any] = {
        "seed": recipe.seed,
        "index": recipe.index,
        "specimen": knobs(recipe.specimen),
        "engine": recipe.engine,
        "volume": knobs(recipe.volume),
        "optics": knobs(recipe.optics, unread=unread),
        "acquisition": knobs(recipe.acquisition),
        "versions": versions(JUDGES),
    }
    source = source_file(recipe.specimen)
    if source is not None:
        # What is in the file counts, not where it lies; the other knobs count as ever.
        contents = hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else ""
        others = {k: v for k, v in determines["specimen"].items() if k not in ("kind", "path", "cif")}
        determines["specimen"] = {"file": contents, **others} if others else contents
    return identity(determines)


def series_path(recipe: SeriesRecipe, folder: Path) -> Path:
    """Where the file of a series is."""
    return folder / f"{recipe.name}_{series_identity(recipe)[:_NAME_DIGITS]}.h5"


def read_series(recipe: SeriesRecipe, folder: Path) -> tuple[Specimen, TiltSeries]:
    """Read a simulated series and its specimen."""
    path = series_path(recipe, folder)
    records = read_records(path)
    return pick(records, Specimen, path), pick(records, TiltSeries, path)


def simulate(
    recipe: SeriesRecipe, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Specimen, TiltSeries]:
    """Build and image one specimen; `progress` is called with (images done, images in all)."""
    specimen = build_specimen(
        recipe.specimen,
        volume=recipe.volume,
        rng=stream(recipe.seed, recipe.index, "build"),
        scheme=recipe.acquisition.scheme,
    )
    series = simulate_series(
        specimen,
        engine=recipe.engine,
        volume=recipe.volume,
        optics=recipe.optics,
        acquisition=recipe.acquisition,
        seed=recipe.seed,
        index=recipe.index,
        progress=progress,
        # Whoever made the recipe is told once, not by every particle.
        warn=False,
    )
    return specimen, series


def write_series(
    recipe: SeriesRecipe, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Build, image and store one specimen."""
    specimen, series = simulate(recipe, progress=progress)
    provenance = {
        "identity": series_identity(recipe),
        "seed": recipe.seed,
        "index": recipe.index,
        "volume": recipe.volume.model_dump(mode="json"),
        "optics": recipe.optics.model_dump(mode="json"),
        "acquisition": recipe.acquisition.model_dump(mode="json"),
        "specimen": recipe.specimen.model_dump(mode="json"),
        "versions": versions(JUDGES),
    }
    write_records(
        series_path(recipe, folder), {"specimen": specimen, "series": series}, provenance=provenance
    )
