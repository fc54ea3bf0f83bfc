"""What the particles of a group take, from a few of them: measured in a process that starts as workers do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from picotome.configs.imaging import EngineName
from picotome.configs.schema import Recipe
from picotome.datasets.factory.executors import WORKER_ENVIRONMENT, with_environment
from picotome.datasets.forecast.memory import pair_memory_bytes
from picotome.datasets.forecast.particles import Built, build_particles, spread_out
from picotome.datasets.forecast.work import Group, has_own_tilts, imaged_acquisition, pair_seconds
from picotome.datasets.forecast.yardstick import count_work, measure_pair
from picotome.datasets.plan import particle_simulation, stream_number
from picotome.geometry import tilt_rotations
from picotome.rng import stream
from picotome.simgen.drawing import settle
from picotome.simgen.exposures import azimuths_deg, nominal_tilts_deg
from picotome.simgen.wave_plan import WaveImage, plan_images
from picotome.simgen.wave_work import WaveCost, WaveWork, image_seconds, measure_cost
from picotome.simgen.wave_work import count_work as count_wave_work

# Particles whose images by a wave engine are counted; images, where a slab must be posed for each.
_MOST_COUNTED, _IMAGES_OF_SLAB = 8, 5
# What one of dask's workers holds more than a process without dask that takes the same steps: 50 to 120 MiB
# were seen.
_DASK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Measured:
    """What the pairs of a group take: means over its particles, and the most of any.

    Attributes
    ----------
    n_built
        Particles that were built to find out.
    fewest_atoms, most_atoms
        Of these, without substrates.
    n_probes, n_waves
        Of one particle: positions of the probe that a wave engine computes, and PRISM's plane waves.
    particle_s, pair_s
        Seconds of one processor to build and image a particle, and for the rest of each pair.
    once_s
        Seconds that each worker takes once.
    memory_bytes
        Of a worker, beside the program.
    pair_bytes, simulation_bytes
        Of one file.
    """

    n_built: int
    fewest_atoms: int
    most_atoms: int
    n_probes: float
    n_waves: float
    particle_s: float
    pair_s: float
    once_s: float
    memory_bytes: int
    pair_bytes: int
    simulation_bytes: int


@dataclass(frozen=True)
class Start:
    """What a worker takes beside its particles: seconds of one processor before the first, and bytes.

    The bytes are those of a worker that has made some: modules and compiled loops come with the first.
    """

    seconds: float
    memory_bytes: int


def measure(recipe: Recipe, groups: Sequence[Group], *, folder: Path) -> tuple[Start, list[Measured]]:
    """Measure every group in a fresh process of one thread, which starts as a worker does.

    Parameters
    ----------
    folder
        On the disk that the dataset will be on.
    """
    with (
        with_environment(WORKER_ENVIRONMENT),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        start = pool.submit(_start, is_wave={group.engine for group in groups} != {"linear"}).result()
        known: dict[tuple[bool, EngineName], Measured] = {}
        for group in groups:
            key = _alike(group)
            if key not in known:
                known[key] = pool.submit(measure_group, recipe, group, folder=folder).result()
        resident_bytes = max(start.memory_bytes, pool.submit(_resident_bytes).result())
        warm = replace(start, memory_bytes=resident_bytes + _DASK_BYTES)
        return warm, [known[_alike(group)] for group in groups]


def _alike(group: Group) -> tuple[bool, EngineName]:
    """Tell groups apart whose particles differ: those to learn from and to validate with do not."""
    return group.split == "held_out", group.engine


def _start(*, is_wave: bool) -> Start:
    """Import what workers import."""
    from distributed import Worker  # noqa: F401

    from picotome.datasets import generate  # noqa: F401

    if is_wave:
        from picotome.simgen.abtem_engines import quiet_abtem

        with quiet_abtem():
            pass
    return Start(time.process_time(), _resident_bytes())


def _resident_bytes() -> int:
    """Memory of this process; its arrays have been given back."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def measure_group(recipe: Recipe, group: Group, *, folder: Path) -> Measured:
    """Measure the particles of one group, in this process.

    Raises
    ------
    ValueError
        If none of its first particles can be built.
    """
    built = build_particles(recipe, group)
    (middle,) = spread_out(built, 1)
    yardstick = measure_pair(recipe, middle, engine=group.engine, folder=folder)
    n_pair_images = group.n_pair_images / len(group.tasks)
    pair_s = [
        pair_seconds(
            count_work(recipe, each, engine=group.engine, n_images=n_pair_images, tail_A=yardstick.tail_A),
            yardstick.cost,
        )
        for each in built
    ]
    imaging_s, works = _wave_images(recipe, group, built) if group.engine != "linear" else (0.0, [])
    n_images = group.n_images / len(group.firsts)
    shared = particle_simulation(recipe, *middle.task)
    arrays_bytes = pair_memory_bytes(
        recipe,
        n_images=round(n_images),
        n_atoms=max(each.n_scattering for each in built),
        has_own_tilts=has_own_tilts(recipe, middle.task),
        file_bytes=yardstick.file_bytes,
    )
    return Measured(
        n_built=len(built),
        fewest_atoms=built[0].n_atoms,
        most_atoms=built[-1].n_atoms,
        n_probes=n_images * _mean([work.n_probes * work.n_configurations * work.n_foci for work in works]),
        n_waves=n_images * _mean([work.n_waves * work.n_configurations for work in works]),
        particle_s=_mean([each.seconds for each in built]) + n_images * imaging_s,
        pair_s=_mean(pair_s),
        once_s=yardstick.once_s,
        memory_bytes=max([arrays_bytes, *(work.memory_bytes for work in works)]),
        pair_bytes=yardstick.file_bytes,
        simulation_bytes=0 if shared is None else round(4 * n_images * recipe.volume.n_voxels**2),
    )


def _wave_images(recipe: Recipe, group: Group, built: Sequence[Built]) -> tuple[float, list[WaveWork]]:
    """Seconds of one image, on average, and the work of those that were counted."""
    works: list[WaveWork] = []
    cost: WaveCost | None = None
    counted = spread_out(built, _MOST_COUNTED if recipe.substrate is None else 2)
    for each in counted:
        images = planned_images(recipe, group, each)
        optics = settle(recipe.optics, rng=stream(recipe.seed, stream_number(*each.task), "optics laws"))
        works += count_wave_work(images, engine=group.engine, optics=optics)
        if cost is None:
            cost = measure_cost(images[0], works[0], optics=optics)
    return _mean([image_seconds(work, cost) for work in works]) if cost else 0.0, works


def planned_images(recipe: Recipe, group: Group, built: Built) -> list[WaveImage]:
    """Cells and atoms of a particle's images by a wave engine; of some of them, with a substrate."""
    acquisition = imaged_acquisition(recipe, built.task)
    tilt_deg = nominal_tilts_deg(acquisition, stream(recipe.seed, stream_number(*built.task), "tilts"))
    azimuth_deg = azimuths_deg(acquisition, len(tilt_deg))
    kept = np.arange(len(tilt_deg))
    if built.substrate is not None:
        kept = np.linspace(0, len(tilt_deg) - 1, min(_IMAGES_OF_SLAB, len(tilt_deg))).round().astype(int)
    return list(
        plan_images(
            built.specimen,
            rotations=tilt_rotations(
                tilt_deg[kept], azimuth_deg=None if azimuth_deg is None else azimuth_deg[kept]
            ),
            shifts_A=np.zeros((len(kept), 2)),
            defocus_A=np.full(len(kept), recipe.optics.defocus_A),
            windowed=group.engine == "prism",
            volume=recipe.volume,
            optics=recipe.optics,
            substrate=built.substrate,
        )
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
