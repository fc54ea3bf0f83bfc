"""Which neighbours atoms prefer: the Warren-Cowley parameter, and swapping atoms until it is reached."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_TOLERANCE = 0.005
_SWAPS_PER_ATOM = 200
_DRAWN_AT_ONCE = 4096


def warren_cowley(kinds: NDArray[Any], neighbours: csr_matrix) -> float:
    """First-shell parameter α = 1 − N_AB / (2 c_A c_B N) between the kinds 0 (A) and 1 (B).

    N counts the bonds between neighbours, N_AB those between unlike main elements, c are fractions of all
    atoms: 0 in a random alloy, negative where unlike atoms attract each other (−1/3 in L1_0 and L1_2),
    positive where they separate. Cowley, Phys. Rev. 77, 669 (1950), doi:10.1103/PhysRev.77.669.

    Parameters
    ----------
    kinds
        (n,) index of each atom's element.
    neighbours
        Symmetric (n, n) matrix of ones.
    """
    return 1.0 - _unlike_bonds(kinds, neighbours) / _unlike_by_chance(kinds, neighbours)


def order_neighbours(
    kinds: NDArray[Any], neighbours: csr_matrix, *, target: float, rng: np.random.Generator
) -> NDArray[Any]:
    """Swap atoms of kinds 0 and 1 until `warren_cowley` is at `target`, to 0.005 or two bonds.

    Pairs are drawn at random and swapped where that brings it nearer.

    Returns
    -------
    (n,) kinds, as many of each as before.

    Raises
    ------
    ValueError
        The target is not reached, or there are no atoms to swap.
    """
    chance = _unlike_by_chance(kinds, neighbours)
    if chance == 0.0:
        raise ValueError(
            f"short_range_order is {target:g}, but the atoms that may be swapped are not of both main "
            f"elements; set it to null, or ask for a larger particle or another surface"
        )
    excess = _unlike_bonds(kinds, neighbours) - (1.0 - target) * chance
    allowed = max(2.0, _TOLERANCE * chance)
    kind = kinds.tolist()
    around = [part.tolist() for part in np.split(neighbours.indices, neighbours.indptr[1:-1])]
    # How many neighbours of kinds 0 and 1 each atom has.
    count = [(neighbours @ (kinds == k).astype(np.int64)).tolist() for k in (0, 1)]
    members = [np.flatnonzero(kinds == k).tolist() for k in (0, 1)]
    for _ in range(math.ceil(_SWAPS_PER_ATOM * len(kind) / _DRAWN_AT_ONCE)):
        drawn = [rng.integers(len(of_kind), size=_DRAWN_AT_ONCE).tolist() for of_kind in members]
        for i, j in zip(*drawn, strict=True):
            if abs(excess) <= allowed:
                return np.array(kind)
            a, b = members[0][i], members[1][j]
            # A bond between the two stays unlike, but was counted as lost at both ends.
            change = count[0][a] - count[1][a] + count[1][b] - count[0][b] + 2 * (b in around[a])
            if abs(excess + change) < abs(excess):
                excess += change
                members[0][i], members[1][j] = b, a
                kind[a], kind[b] = 1, 0
                for atom, lost, gained in ((a, 0, 1), (b, 1, 0)):
                    for other in around[atom]:
                        count[lost][other] -= 1
                        count[gained][other] += 1
    if abs(excess) > allowed:
        raise ValueError(
            f"short_range_order is {target:g}, but {_SWAPS_PER_ATOM} swaps per atom reached only "
            f"{target - excess / chance:.3f}; ask for a value nearer to 0"
        )
    return np.array(kind)


def _unlike_bonds(kinds: NDArray[Any], neighbours: csr_matrix) -> float:
    return float((kinds == 0) @ (neighbours @ (kinds == 1).astype(np.float64)))


def _unlike_by_chance(kinds: NDArray[Any], neighbours: csr_matrix) -> float:
    """Unlike bonds expected where atoms are strewn at random: 2 c_A c_B N."""
    return float(np.mean(kinds == 0) * np.mean(kinds == 1) * neighbours.sum()) if len(kinds) else 0.0
