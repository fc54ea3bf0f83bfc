"""What the wave engines have to do for an image, counted, and what a unit of it takes on this machine, timed.

Counts are exact: they come from the cells that the engines themselves would choose. Times come from the
engines' own steps in one of these cells: the transmission functions, few plane waves instead of all (PRISM),
and one tile of probes instead of the whole scan. They are seconds of one processor, which other programs
disturb less than seconds on the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from picotome.configs.imaging import EngineName, OpticsConfig
from picotome.simgen.aberrations import focal_nodes
from picotome.simgen.abtem_engines import (
    MULTISLICE_TILE,
    PRISM_TILE,
    quiet_abtem,
    reduce_tile,
    scan_tile,
    scattering_matrix,
    tiles,
    transmission_of,
)
from picotome.simgen.cells import Axis, Cell, downsample_angle_mrad
from picotome.simgen.wave_plan import WaveImage
from picotome.units import wavelength_A

Result = TypeVar("Result")

_COMPLEX_BYTES = 8
# Plane waves that are timed.
_FEW_WAVES = 16


@dataclass(frozen=True)
class WaveWork:
    """One image.

    Attributes
    ----------
    n_waves
        Plane waves of PRISM; 0 for multislice, which propagates every probe.
    n_probes, n_slices
        Positions of the scan and slices of the potential.
    n_grid, n_reduced
        Points of the wave, and of the window that PRISM reduces each probe to.
    n_configurations, n_foci
        Frozen phonons (1 for atoms at rest) and nodes of the focal spread.
    memory_bytes
        Largest arrays that are alive together.
    """

    n_waves: int
    n_probes: int
    n_slices: int
    n_grid: int
    n_reduced: int
    n_configurations: int
    n_foci: int
    memory_bytes: int


@dataclass(frozen=True)
class WaveCost:
    """Seconds of one processor per unit of work: see `image_seconds`."""

    transmission_s: float
    wave_s: float
    probe_s: float
    probe_wave_s: float


def count_work(images: Iterable[WaveImage], *, engine: EngineName, optics: OpticsConfig) -> list[WaveWork]:
    """Count the work of every image of a series."""
    return [_count(image.cell, engine, optics) for image in images]


def _count(cell: Cell, engine: EngineName, optics: OpticsConfig) -> WaveWork:
    n_grid = cell.x.gpts * cell.y.gpts
    n_waves = n_reduced = 0
    # The slices; one of them on a grid twice as fine, in double precision, while it is made.
    n_potential = (cell.n_slices + 1) * n_grid
    n_making = n_potential + 4 * 4 * n_grid
    if engine == "prism":
        n_waves = count_plane_waves(cell.x, cell.y, optics)
        n_reduced = _reduced_window(cell, optics) ** 2
        n_matrix = n_waves * n_reduced * cell.x.interpolation * cell.y.interpolation
        # A wave, its spectrum, the propagator, and what makes it.
        wave = 6 * n_grid
        # The waves of a tile's window and its probes.
        tile = 2 * n_waves * n_reduced + 3 * PRISM_TILE**2 * n_reduced
        n_scanning = n_potential + n_matrix + max(wave, tile)
    else:
        n_scanning = n_potential + 5 * MULTISLICE_TILE**2 * n_grid
    return WaveWork(
        n_waves=n_waves,
        n_probes=cell.x.n_scan * cell.y.n_scan,
        n_slices=cell.n_slices,
        n_grid=n_grid,
        n_reduced=n_reduced,
        n_configurations=max(1, optics.abtem.n_frozen_phonons),
        n_foci=len(focal_nodes(optics)[0]),
        memory_bytes=max(n_making, n_scanning) * _COMPLEX_BYTES,
    )


def count_plane_waves(x: Axis, y: Axis, optics: OpticsConfig) -> int:
    """Count the waves of PRISM: the frequencies of one window inside the aperture."""
    largest = optics.convergence_mrad * 1e-3 / wavelength_A(optics.beam_energy_eV)
    kx, ky = (
        np.arange(-math.ceil(largest * axis.window_A), math.ceil(largest * axis.window_A) + 1) / axis.window_A
        for axis in (x, y)
    )
    return int((kx[:, None] ** 2 + ky**2 <= largest**2).sum())


def _reduced_window(cell: Cell, optics: OpticsConfig) -> int:
    step_mrad = wavelength_A(optics.beam_energy_eV) / cell.x.window_A * 1e3
    return min(2 * round(downsample_angle_mrad(cell, optics) / step_mrad) + 2, cell.x.n_window)


def image_seconds(work: WaveWork, cost: WaveCost) -> float:
    """Seconds of one processor for one image."""
    propagated = _propagated(work)
    if work.n_waves:
        scan = work.n_probes * (cost.probe_s + cost.probe_wave_s * work.n_waves * work.n_reduced)
        once = cost.wave_s * work.n_waves * propagated + work.n_foci * scan
    else:
        once = work.n_foci * work.n_probes * cost.wave_s * propagated
    return work.n_configurations * (cost.transmission_s * propagated + once)


def measure_cost(image: WaveImage, work: WaveWork, *, optics: OpticsConfig) -> WaveCost:
    """Time the engine's steps on one image: PRISM's, or multislice's where no plane waves were counted."""
    cell, propagated = image.cell, _propagated(work)
    with quiet_abtem():
        potential, transmission_s = _timed(
            partial(transmission_of, cell, image.atomic_numbers, image.atoms_A, optics)
        )
        edge = PRISM_TILE if work.n_waves else MULTISLICE_TILE
        _, _, grid = next(tiles(cell, edge))
        n_probes = len(grid)
        if not work.n_waves:
            _, probes_s = _timed(partial(scan_tile, potential, grid, optics, 0.0))
            return WaveCost(transmission_s / propagated, probes_s / n_probes / propagated, 0.0, 0.0)
        # Waves cost alike. Probes cost their own transforms, and their sums over the waves: twice as many
        # waves tell one from the other.
        numbers, tile_s, wave_s = [], [], 0.0
        for n_wanted in (_FEW_WAVES, 2 * _FEW_WAVES):
            narrow = _with_waves(n_wanted, work.n_waves, optics)
            # Once each: it is the longest step, and the second comes after the first's plans.
            matrix, matrix_s = _timed(partial(scattering_matrix, cell, potential, narrow), n_times=1)
            numbers.append(count_plane_waves(cell.x, cell.y, narrow))
            wave_s = matrix_s / numbers[-1]
            tile_s.append(_timed(partial(reduce_tile, matrix, grid, narrow, 0.0))[1])
    more = numbers[1] - numbers[0]
    per_wave_s = max(tile_s[1] - tile_s[0], 0.0) / more / n_probes if more else 0.0
    return WaveCost(
        transmission_s=transmission_s / propagated,
        wave_s=wave_s / propagated,
        probe_s=max(tile_s[1] / n_probes - per_wave_s * numbers[1], 0.0),
        probe_wave_s=per_wave_s / work.n_reduced,
    )


def _propagated(work: WaveWork) -> float:
    """Points that one wave is transformed at, times what a transform takes for each."""
    return work.n_slices * work.n_grid * math.log2(work.n_grid)


def _with_waves(n_wanted: int, n_all: int, optics: OpticsConfig) -> OpticsConfig:
    """Narrow the aperture so that about so many plane waves pass."""
    share = min(1.0, math.sqrt(n_wanted / n_all))
    return optics.model_copy(update={"convergence_mrad": optics.convergence_mrad * share})


def _timed(work: Callable[[], Result], *, n_times: int = 2) -> tuple[Result, float]:
    """Return what a call gives, and its least processor seconds: the first time makes plans and tables."""
    taken = []
    for _ in range(n_times):
        begun = time.process_time()
        result = work()
        taken.append(time.process_time() - begun)
    return result, min(taken)
