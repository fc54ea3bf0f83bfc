"""Dense random packing of atoms in a periodic cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_MOST_PUSHES = 400
# Pairs are pushed a little further apart than they must be, so that the last ones are done at some time.
_FURTHER = 1.03


def pack_periodic(
    kinds: NDArray[Any],
    *,
    cell_A: NDArray[Any],
    smallest_A: NDArray[Any],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Throw atoms into a periodic cell and push overlapping ones apart until none overlap.

    Each pair moves apart by its overlap, half of it each (Jodrey & Tory, Phys. Rev. A 32, 2347 (1985),
    doi:10.1103/PhysRevA.32.2347). Without walls the density is the same everywhere.

    Parameters
    ----------
    kinds
        (n,) kind of each atom.
    cell_A
        (3,) edges of the cell.
    smallest_A
        (k, k) smallest distance of two atoms, by their kinds.

    Returns
    -------
    positions_A
        (n, 3), from 0 to the edges.

    Raises
    ------
    ValueError
        The cell is too full.
    """
    positions_A: NDArray[Any] = rng.uniform(size=(len(kinds), 3)) * cell_A
    reach_A = _FURTHER * float(smallest_A.max())
    for _ in range(_MOST_PUSHES):
        pairs = cKDTree(positions_A, boxsize=cell_A).query_pairs(reach_A, output_type="ndarray")
        first, second = pairs.T
        apart_A = positions_A[first] - positions_A[second]
        apart_A -= cell_A * np.round(apart_A / cell_A)
        distance_A = np.linalg.norm(apart_A, axis=1)
        wanted_A = smallest_A[kinds[first], kinds[second]]
        if (distance_A >= wanted_A).all():
            break
        overlap_A = _FURTHER * wanted_A - distance_A
        touching = (overlap_A > 0.0) & (distance_A > 1e-9)
        first, second = first[touching], second[touching]
        push_A = (0.5 * overlap_A[touching] / distance_A[touching])[:, None] * apart_A[touching]
        for axis in range(3):
            positions_A[:, axis] += np.bincount(first, push_A[:, axis], len(kinds))
            positions_A[:, axis] -= np.bincount(second, push_A[:, axis], len(kinds))
        positions_A = np.mod(positions_A, cell_A)
        # A tiny negative number modulo the edge rounds to the edge itself.
        positions_A[positions_A >= cell_A] = 0.0
    else:
        raise ValueError(
            f"{len(kinds)} atoms in {cell_A[0]:.1f} x {cell_A[1]:.1f} x {cell_A[2]:.1f} Å cannot keep "
            f"{smallest_A.max():g} Å apart; lower the density"
        )
    return positions_A
