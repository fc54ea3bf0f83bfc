"""How long the steps of a pair take on this machine: the steps themselves, at their true size, in part.

One particle goes through all that is done to a pair, with few iterations of the solver, and twice: what only
the first time takes, a worker takes once. Times are seconds of one processor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig, EngineName, OpticsConfig
from picotome.configs.schema import Recipe
from picotome.datasets.forecast.particles import Built
from picotome.datasets.forecast.work import PairCost, PairWork, count_pair, has_own_tilts
from picotome.datasets.pairs import elements_of, reconstruction_of
from picotome.datasets.plan import particle_plan, particle_simulation, stream_number
from picotome.datasets.refined import guess_fit
from picotome.datasets.store import read_records, write_pair
from picotome.geometry import tilt_rotations
from picotome.recon.kernels import N_SLICES
from picotome.recon.projector import make_projector
from picotome.recon.solvers import reconstruct
from picotome.records import ImageFit, Pair, TiltSeries, Tomogram
from picotome.rng import stream
from picotome.simgen.acquisition import record_series
from picotome.simgen.brightness import brightness_table
from picotome.simgen.derived import shift_images
from picotome.simgen.drawing import settle
from picotome.simgen.engines import ENGINES
from picotome.simgen.exposures import Exposures, draw_exposures, draw_imperfection
from picotome.simgen.ideal import ideal_tomogram

Result = TypeVar("Result")

# Iterations that are timed: few, and as many more as take about so long.
_FEW_ITERATIONS, _MOST_ITERATIONS, _SOLVING_S = 2, 60, 1.0


@dataclass(frozen=True)
class Yardstick:
    """What was measured on one pair.

    Attributes
    ----------
    cost
        Of a unit of its work.
    once_s
        What only the first pair of a worker takes: tables, compiled loops, a projector that all share.
    tail_A
        By how much the slices that show anything reach beyond the atoms, on both sides together.
    file_bytes
        Size of its file.
    """

    cost: PairCost
    once_s: float
    tail_A: float
    file_bytes: int


def measure_pair(recipe: Recipe, built: Built, *, engine: EngineName, folder: Path) -> Yardstick:
    """Put one particle through the steps of a pair; images are always those of the linear engine.

    Parameters
    ----------
    engine
        Of its pair. The time of the images counts if it is the linear one.
    folder
        On the disk that the dataset will be on; what is written there is removed again.
    """
    begun = time.process_time()
    _steps(recipe, built, engine=engine, folder=folder)
    first_s = time.process_time() - begun
    begun = time.process_time()
    yardstick = _steps(recipe, built, engine=engine, folder=folder)
    return Yardstick(
        cost=yardstick.cost,
        once_s=max(first_s - (time.process_time() - begun), 0.0),
        tail_A=yardstick.tail_A,
        file_bytes=yardstick.file_bytes,
    )


def count_work(
    recipe: Recipe, built: Built, *, engine: EngineName, n_images: float, tail_A: float
) -> PairWork:
    """Count the steps of a particle's pair with so many images."""
    config, n = recipe.reconstruction, recipe.volume.n_voxels
    width_A = float(np.ptp(built.specimen.positions_A[:, 1])) + tail_A
    n_lit = min(n, round(width_A / recipe.volume.voxel_size_A))
    return count_pair(
        n_voxels=n,
        n_images=n_images,
        n_iterations=config.n_iterations if config.solver == "sirt" else 1,
        # Solved in blocks.
        n_slices=-(-n_lit // N_SLICES) * N_SLICES,
        n_atoms=built.n_scattering if engine == "linear" else 0,
        has_own_projector=has_own_tilts(recipe, built.task),
    )


def _steps(recipe: Recipe, built: Built, *, engine: EngineName, folder: Path) -> Yardstick:
    acquisition, optics, exposures, gain_rms = _draw(recipe, built)
    images, imaging_s = _timed(partial(_image, recipe, built, exposures, optics))
    derives = particle_simulation(recipe, *built.task) is not None
    series, recording_s = _timed(
        lambda: record_series(
            _moved(images, recipe) if derives else images,
            exposures=exposures,
            gain_rms=gain_rms,
            engine="linear",
            acquisition=acquisition,
            pixel_size_A=recipe.volume.voxel_size_A,
            seed=recipe.seed,
            index=stream_number(*built.task),
        )
    )
    degraded, solving_s = _solve_as_learned(recipe, built, series)
    n = recipe.volume.n_voxels
    # Tilts that nobody has asked for before.
    other_deg = series.tilt_deg + 1e-3 * (1.0 + time.perf_counter() % 1.0)
    _, projector_s = _timed(
        lambda: make_projector(other_deg, n_x=n, n_z=n, voxel_size_A=recipe.volume.voxel_size_A)
    )
    brightness_A2 = brightness_table(list(elements_of(built.specimen)), optics=recipe.optics)
    ideal, ideal_s = _timed(
        lambda: ideal_tomogram(
            built.specimen, volume=recipe.volume, config=recipe.ideal, brightness_A2=brightness_A2
        )
    )
    pair = Pair(built.specimen, series, degraded, ideal, substrate=built.substrate)
    file_bytes, file_s = _file(recipe, pair, folder, reads=derives)
    lit_A = float((series.images > 0).any(axis=(0, 1)).sum()) * recipe.volume.voxel_size_A
    tail_A = lit_A - float(np.ptp(built.specimen.positions_A[:, 1]))
    work = count_work(recipe, built, engine=engine, n_images=len(images), tail_A=tail_A)
    return Yardstick(
        cost=PairCost(
            peak_s=imaging_s / work.n_peaks if work.n_peaks else 0.0,
            pixel_s=recording_s / work.n_pixels,
            weight_s=projector_s / work.n_pixels,
            update_s=solving_s / work.n_updates,
            voxel_s=(ideal_s + file_s) / work.n_voxels,
        ),
        once_s=0.0,
        tail_A=tail_A,
        file_bytes=file_bytes,
    )


def _draw(recipe: Recipe, built: Built) -> tuple[AcquisitionConfig, OpticsConfig, Exposures, float]:
    """Settle how a series is recorded, as `picotome.simgen.acquisition.simulate_series` does."""
    seed, index = recipe.seed, stream_number(*built.task)
    acquisition = settle(particle_plan(recipe, *built.task)[2], rng=stream(seed, index, "acquisition laws"))
    optics = settle(recipe.optics, rng=stream(seed, index, "optics laws"))
    imperfection = draw_imperfection(acquisition, stream(seed, index, "imperfection"))
    exposures = draw_exposures(acquisition, optics, imperfection, seed=seed, index=index)
    return acquisition, optics, exposures, imperfection.gain_rms


def _image(recipe: Recipe, built: Built, exposures: Exposures, optics: OpticsConfig) -> NDArray[Any]:
    return ENGINES["linear"](
        built.specimen,
        rotations=tilt_rotations(exposures.tilt_deg, azimuth_deg=exposures.azimuth_deg),
        shifts_A=np.zeros((len(exposures.tilt_deg), 2)),
        defocus_A=exposures.defocus_A,
        volume=recipe.volume,
        optics=optics,
        rng=stream(recipe.seed, stream_number(*built.task), "engine"),
        substrate=built.substrate,
    )


def _moved(images: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """What drawing a series from a simulation adds: images are shifted."""
    pixel_size_A = recipe.volume.voxel_size_A
    return shift_images(images, shifts_A=np.full((len(images), 2), 0.1), pixel_size_A=pixel_size_A)


def _solve_as_learned(recipe: Recipe, built: Built, series: TiltSeries) -> tuple[Tomogram, float]:
    """Reconstruct; the seconds of the mean pair, where some are made with a refined geometry."""
    split, index = built.task
    degraded, told_s = _solve(recipe, series, None)
    refined = recipe.training_set.refined
    if refined is None or split == "held_out":
        return degraded, told_s
    rng = stream(recipe.seed, stream_number(split, index), "refined geometry")
    fit = guess_fit(series, config=refined, optics=recipe.optics, rng=rng)
    _, refined_s = _solve(recipe, series, fit)
    return degraded, (1.0 - refined.share) * told_s + refined.share * refined_s


def _solve(recipe: Recipe, series: TiltSeries, fit: ImageFit | None) -> tuple[Tomogram, float]:
    """Reconstruct with few iterations; the seconds that all would take."""
    config = reconstruction_of(recipe)
    if config.solver == "wbp" or config.n_iterations <= _FEW_ITERATIONS:
        return _timed(partial(reconstruct, series, config=config, fit=fit))
    few = config.model_copy(update={"n_iterations": _FEW_ITERATIONS})
    # The kernels and the projector are there from now on.
    reconstruct(series, config=few, fit=fit)
    _, few_s = _timed(partial(reconstruct, series, config=few, fit=fit))
    n_more = min(max(int(_SOLVING_S / few_s * _FEW_ITERATIONS), 3 * _FEW_ITERATIONS), _MOST_ITERATIONS)
    n_more = min(n_more, config.n_iterations)
    degraded, more_s = _timed(
        partial(reconstruct, series, config=config.model_copy(update={"n_iterations": n_more}), fit=fit)
    )
    per_iteration_s = max(more_s - few_s, 0.0) / (n_more - _FEW_ITERATIONS)
    return degraded, more_s + (config.n_iterations - n_more) * per_iteration_s


def _file(recipe: Recipe, pair: Pair, folder: Path, *, reads: bool) -> tuple[int, float]:
    """Write a pair's file, and read it if its simulation would have to be read; bytes and seconds."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".forecast-") as scratch:
        path = Path(scratch) / "pair.h5"
        provenance = {"recipe": recipe.model_dump(mode="json")}
        _, seconds = _timed(
            lambda: write_pair(path, pair, provenance=provenance, precision=recipe.storage.precision)
        )
        if reads:
            seconds += _timed(lambda: read_records(path))[1]
        return path.stat().st_size, seconds


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    begun = time.process_time()
    result = work()
    return result, time.process_time() - begun
