"""Perovskites: ABO3 particles whose B ions are off the middle of their oxygen cages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.compounds import PerovskiteSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import atomic_number
from picotome.units import C_PER_M2_PER_E_PER_A2, PM_PER_A

# From B to its oxygens and to the A ions around it, in cells.
_OXYGENS = 0.5 * np.concatenate([np.eye(3), -np.eye(3)])
_CORNERS = 0.5 * np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), axis=-1).reshape(-1, 3)
# An A ion belongs to the particle where at least half of the cells that share it do.
_MIN_CELLS_AT_CORNER = 4
_MIN_CELLS = 7


def build_perovskite(config: PerovskiteSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut whole BO6 octahedra with the A ions between them, and move B off centre.

    The default lattice parameter is that of a cube as large as the tetragonal cell of BaTiO3 at room
    temperature, a = 3.991, c = 4.035 Å; there Ti is 9 pm from the middle of the Ba cube and 15 pm from the
    middle of its oxygens: Kwei et al., J. Phys. Chem. 97, 2368 (1993), doi:10.1021/j100112a043. Here only B
    moves, by a drawn distance of `off_centre_pm`; 10 pm are 0.1 Å.

    The directions lie in a plane across a drawn axis (`vortices` and `vortex`) or along one drawn direction
    (`uniform`). For axes at points p_k with windings s_k they follow the angle Σ s_k arg(ρ − p_k) + φ, which
    goes around a single axis (φ = 90°) and is drawn for several, as in planar magnets; close to an axis the
    off-centring falls as tanh(distance / `vortex_core_A`), where neighbours point apart.

    The polarisation of a cell is Z* u / V: the acoustic sum rule makes it the same whether B moves against
    the rest or the rest against B. Z* = 7.16 e is Ti's in cubic BaTiO3: Zhong, King-Smith & Vanderbilt,
    Phys. Rev. Lett. 72, 3618 (1994), doi:10.1103/PhysRevLett.72.3618. 15 pm make 0.27 C/m², where the
    tetragonal crystal has 0.26.

    Returns
    -------
    The specimen; `truth` also holds ``off_centre_A`` (n, 3), B minus the middle of its oxygens before
    disorder, ``polarisation_C_per_m2`` (n, 3) of the cell around it, both 0 for A and O. ``displacement_A``
    contains the off-centring.

    Raises
    ------
    ValueError
        The particle would have fewer than 7 cells.
    """
    edges_A = config.lattice_A * np.array([1.0, 1.0, config.c_over_a])
    diameter_A = float(rng.uniform(*config.diameter_A))
    cells = _cells(config, edges_A=edges_A, diameter_A=diameter_A, rng=rng)
    centre_A = cells.mean(axis=0) * edges_A
    cell_sites_A = cells * edges_A - centre_A
    corner, n_cells_at = np.unique(
        np.rint(2 * (cells[:, None] + _CORNERS)).reshape(-1, 3).astype(np.int64), axis=0, return_counts=True
    )
    corners = corner[n_cells_at >= _MIN_CELLS_AT_CORNER] / 2.0
    oxygens = (
        np.unique(np.rint(2 * (cells[:, None] + _OXYGENS)).reshape(-1, 3).astype(np.int64), axis=0) / 2.0
    )
    distance_A = float(rng.uniform(*config.off_centre_pm)) / PM_PER_A
    off_centre_A = distance_A * _directions(config, cell_sites_A, diameter_A=diameter_A, rng=rng)
    parts = [corners * edges_A - centre_A, cell_sites_A]
    numbers = [atomic_number(config.a_site), atomic_number(config.b_site)]
    if config.oxygen:
        parts.append(oxygens * edges_A - centre_A)
        numbers.append(atomic_number("O"))
    sites = np.concatenate(parts)
    is_b = np.repeat(np.arange(len(parts)), [len(part) for part in parts]) == 1
    moved_A = np.zeros_like(sites)
    moved_A[is_b] = off_centre_A
    per_A = config.born_charge_e / float(np.prod(edges_A)) * C_PER_M2_PER_E_PER_A2
    crystal = Specimen(
        positions_A=sites + moved_A,
        atomic_numbers=np.repeat(np.array(numbers, dtype=np.int64), [len(part) for part in parts]),
        description=f"{config.a_site}{config.b_site}O3{'' if config.oxygen else ' without O'}, "
        f"{config.shape}, {len(cells)} cells, {len(sites)} atoms, {diameter_A:.1f} Å, {config.b_site} off "
        f"centre by {distance_A * PM_PER_A:.1f} pm, {config.field}, lattice {config.lattice_A:.3f} Å",
        truth={
            "displacement_A": moved_A,
            "off_centre_A": moved_A,
            "polarisation_C_per_m2": per_A * moved_A,
        },
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _cells(
    config: PerovskiteSpecimen, *, edges_A: NDArray[Any], diameter_A: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(n, 3) B sites in cells, those lowest in the shape; as many as have its volume."""
    n_cells = round(math.pi / 6.0 * diameter_A**3 / float(np.prod(edges_A)))
    if n_cells < _MIN_CELLS:
        smallest_A = (6.0 / math.pi * _MIN_CELLS * float(np.prod(edges_A))) ** (1.0 / 3.0)
        raise ValueError(
            f"diameter_A is {diameter_A:g}, which holds {n_cells} cells; allowed is at least {_MIN_CELLS} "
            f"({smallest_A:.1f} Å for this lattice)"
        )
    reach = math.ceil(0.6 * diameter_A / float(edges_A.min())) + 2
    steps = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    from_middle_A = np.abs((grid + rng.uniform(-0.5, 0.5, 3)) * edges_A)
    radius_A = np.linalg.norm(from_middle_A, axis=1)
    level = radius_A if config.shape == "sphere" else from_middle_A.max(axis=1)
    cells: NDArray[Any] = grid[np.lexsort((radius_A, np.round(level, 6)))[:n_cells]].astype(np.float64)
    return cells


def _directions(
    config: PerovskiteSpecimen, positions_A: NDArray[Any], *, diameter_A: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(n, 3) directions of the off-centring, of length 1 far from any vortex axis."""
    from scipy.spatial.transform import Rotation

    first, second, axis = Rotation.from_quat(rng.normal(size=4)).as_matrix().T
    if config.field == "uniform":
        return np.broadcast_to(axis, positions_A.shape)
    flat_A = positions_A @ np.stack([first, second], axis=1)
    if config.field == "vortex":
        cores_A, angle = np.zeros((1, 2)), math.pi / 2.0
    else:
        # Uniform over the disc, and not too near its edge, where a vortex has no room.
        radius_A = 0.35 * diameter_A * np.sqrt(rng.uniform(size=config.n_vortices))
        azimuth = rng.uniform(0.0, 2.0 * math.pi, config.n_vortices)
        cores_A = radius_A[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
        angle = float(rng.uniform(0.0, 2.0 * math.pi))
    size = np.ones(len(positions_A))
    angles = np.full(len(positions_A), angle)
    for number, core_A in enumerate(cores_A):
        x_A, y_A = (flat_A - core_A).T
        angles += (1 if number % 2 == 0 else -1) * np.arctan2(y_A, x_A)
        size *= np.tanh(np.hypot(x_A, y_A) / config.vortex_core_A)
    in_plane = size[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    directions: NDArray[Any] = in_plane @ np.stack([first, second])
    return directions
