"""Amorphous particles: dense random packings in a ball."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.configs.compounds import AmorphousSpecimen
from picotome.records import Specimen
from picotome.simgen.alloy import whole_numbers
from picotome.simgen.atom_sizes import expected_lattice_A
from picotome.simgen.lattice import MIN_ATOMS, atomic_number

_N_PUSHES = 60
_N_LAST_PUSHES = 400
_ENOUGH = 1e-3
# Atoms gather at the wall. With their centres kept this share of their mean distance inside of it, the
# density inside is that of the whole (measured at 20 and 30 Å, 1 %).
_WALL = 0.28
_MEASURED_AT = 0.6


def build_amorphous(config: AmorphousSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Throw atoms into a ball and push overlapping ones apart until they are packed densely.

    The number of atoms follows from the ball's volume and `density`. Atoms start anywhere and are pushed
    apart by their overlap, half of it each, as spheres that together fill `packing` of the ball (Jodrey &
    Tory, Phys. Rev. A 32, 2347 (1985), doi:10.1103/PhysRevA.32.2347); the spheres of several elements have
    sizes in proportion to their covalent radii (Cordero et al., Dalton Trans. 2832 (2008),
    doi:10.1039/b801115j). Random close packing of equal spheres is 0.64; less converges fast. Afterwards only
    pairs closer than `min_distance_A` are pushed, until there are none. The defaults of 2.0 Å and 99 % of
    the crystal's density are those of the amorphous training set of Lee, Jeong & Yang, Nat. Commun. 12, 1962
    (2021), doi:10.1038/s41467-021-22204-1.

    Returns
    -------
    The specimen without ``displacement_A``: there is no lattice to be displaced from.

    Raises
    ------
    ValueError
        The lattice parameter is not known, the ball holds fewer than 13 atoms, or the distance cannot be kept
        at this density.
    """
    lattice_A = config.lattice_A or expected_lattice_A(config.composition)
    diameter_A = float(rng.uniform(*config.diameter_A))
    n_atoms = round(config.density * 4.0 / lattice_A**3 * math.pi / 6.0 * diameter_A**3)
    if n_atoms < MIN_ATOMS:
        raise ValueError(f"diameter_A is {diameter_A:g}, which holds {n_atoms} atoms; allowed is {MIN_ATOMS}")
    symbols = sorted(config.composition, key=atomic_number)
    shares = np.array([config.composition[symbol] for symbol in symbols])
    kinds = rng.permutation(np.repeat(np.arange(len(symbols)), whole_numbers(shares / shares.sum(), n_atoms)))
    numbers = np.array([atomic_number(symbol) for symbol in symbols], dtype=np.int64)[kinds]
    positions_A = pack(
        _radii_A(symbols, config.composition, n_atoms=n_atoms, diameter_A=diameter_A, packing=config.packing)[
            kinds
        ],
        diameter_A=diameter_A,
        min_distance_A=config.min_distance_A,
        rng=rng,
    )
    formula = " ".join(
        f"{symbol}{np.count_nonzero(kinds == number)}" for number, symbol in enumerate(symbols)
    )
    return Specimen(
        positions_A=positions_A,
        atomic_numbers=numbers,
        description=f"amorphous {formula}, {n_atoms} atoms, {diameter_A:.1f} Å, "
        f"{config.density:.0%} of the crystal's density",
    )


def pack(
    radii_A: NDArray[Any],
    *,
    diameter_A: float,
    min_distance_A: float,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """(n, 3) centres of spheres of (n,) `radii_A`, packed at random with centres in a ball.

    Raises
    ------
    ValueError
        Centres stay closer than `min_distance_A`.
    """
    n_atoms = len(radii_A)
    packing = float((2.0 * radii_A / diameter_A) ** 3 @ np.ones(n_atoms))
    wall = _WALL * min(packing / _MEASURED_AT, 1.0)
    inner_A = diameter_A / 2.0 - wall * math.cbrt(math.pi / 6.0 / n_atoms) * diameter_A
    direction = rng.normal(size=(n_atoms, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    positions_A = inner_A * np.cbrt(rng.uniform(size=n_atoms))[:, None] * direction
    widest_A = 2.0 * float(radii_A.max())
    for _ in range(_N_PUSHES):
        positions_A = _push(positions_A, wanted_A=radii_A, reach_A=widest_A, inner_A=inner_A)
    floor_A = np.full(n_atoms, 0.5 * min_distance_A * (1.0 + _ENOUGH))
    for _ in range(_N_LAST_PUSHES):
        if len(cKDTree(positions_A).query_pairs(min_distance_A, output_type="ndarray")) == 0:
            return positions_A
        positions_A = _push(
            positions_A, wanted_A=floor_A, reach_A=min_distance_A * (1.0 + _ENOUGH), inner_A=inner_A
        )
    raise ValueError(
        f"min_distance_A is {min_distance_A:g}, too far for {n_atoms} atoms in {diameter_A:.1f} Å; "
        f"lower it or density"
    )


def _push(
    positions_A: NDArray[Any], *, wanted_A: NDArray[Any], reach_A: float, inner_A: float
) -> NDArray[Any]:
    """Move every pair that overlaps apart by its overlap, and what left the ball back onto its surface."""
    first, second = cKDTree(positions_A).query_pairs(reach_A, output_type="ndarray").T
    apart_A = positions_A[first] - positions_A[second]
    distance_A = np.linalg.norm(apart_A, axis=1)
    overlap_A = wanted_A[first] + wanted_A[second] - distance_A
    touching = (overlap_A > 0.0) & (distance_A > 1e-9)
    first, second = first[touching], second[touching]
    push_A = (0.5 * overlap_A / np.maximum(distance_A, 1e-9))[touching, None] * apart_A[touching]
    moved_A = positions_A.copy()
    for axis in range(3):
        moved_A[:, axis] += np.bincount(first, push_A[:, axis], len(positions_A))
        moved_A[:, axis] -= np.bincount(second, push_A[:, axis], len(positions_A))
    radius_A = np.linalg.norm(moved_A, axis=1, keepdims=True)
    inside: NDArray[Any] = moved_A * np.minimum(1.0, inner_A / np.maximum(radius_A, 1e-9))
    return inside


def _radii_A(
    symbols: list[str], composition: Mapping[str, float], *, n_atoms: int, diameter_A: float, packing: float
) -> NDArray[Any]:
    """(k,) radii of the elements' spheres, which together fill a share of the ball, Å."""
    from ase.data import covalent_radii

    relative = np.array([float(covalent_radii[atomic_number(symbol)]) for symbol in symbols])
    shares = np.array([composition[symbol] for symbol in symbols])
    mean_cube = float(np.average(relative**3, weights=shares))
    volume_A3 = packing * (diameter_A / 2.0) ** 3 / n_atoms
    radii: NDArray[Any] = relative * math.cbrt(volume_A3 / mean_cube)
    return radii
