"""Which neighbours atoms prefer: the Warren-Cowley parameter, and swapping atoms until it is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def pair_parameter(kinds: NDArray[Any], neighbours: csr_matrix, *, pair: tuple[int, int]) -> float:
    """First-shell parameter α between any two kinds; `warren_cowley` is that of the pair (0, 1)."""
    first, second = ((kinds == kind).astype(np.float64) for kind in pair)
    chance = float(first.mean() * second.mean() * neighbours.sum())
    return 1.0 - float(first @ (neighbours @ second)) / chance if chance else math.nan


def order_pairs(
    kinds: NDArray[Any],
    neighbours: csr_matrix,
    *,
    targets: Mapping[tuple[int, int], float],
    names: Mapping[tuple[int, int], str],
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Swap atoms of any kinds until `pair_parameter` of every pair is at its target, to 0.005 or two bonds.

    Atoms are drawn at random and swapped where that lowers the sum of the squared excesses of bonds, each in
    units of what is allowed. Pairs without a target are free.

    Parameters
    ----------
    targets, names
        α and what to call the pair in a message, by pair of kinds.

    Returns
    -------
    (n,) kinds, as many of each as before.

    Raises
    ------
    ValueError
        A target is not reached, or a pair has no atoms to swap.
    """
    share = np.bincount(kinds, minlength=max(max(pair) for pair in targets) + 1) / max(len(kinds), 1)
    n_kinds = len(share)
    chance = {pair: float(share[pair[0]] * share[pair[1]] * neighbours.sum()) for pair in targets}
    for pair, expected in chance.items():
        if expected == 0.0:
            raise ValueError(f"pair_order: no atoms that may be swapped make {names[pair]} pairs; drop it")
    allowed = {pair: max(2.0, _TOLERANCE * expected) for pair, expected in chance.items()}
    near = np.stack([neighbours @ (kinds == kind).astype(np.int64) for kind in range(n_kinds)], axis=1)
    excess = {
        (i, j): float(near[kinds == i, j].sum()) - (1.0 - target) * chance[i, j]
        for (i, j), target in targets.items()
    }
    weights = {pair: 1.0 / allowed[pair] ** 2 for pair in targets}
    around = [part.tolist() for part in np.split(neighbours.indices, neighbours.indptr[1:-1])]
    count, kind = near.tolist(), kinds.tolist()
    for _ in range(math.ceil(_SWAPS_PER_ATOM * len(kind) / _DRAWN_AT_ONCE)):
        for a, b in rng.integers(len(kind), size=(_DRAWN_AT_ONCE, 2)).tolist():
            if all(abs(excess[pair]) <= allowed[pair] for pair in targets):
                return np.array(kind)
            p, q = kind[a], kind[b]
            if p == q:
                continue
            are_bound = b in around[a]
            change = {pair: _change(pair, p, q, count[a], count[b], are_bound=are_bound) for pair in targets}
            gain = sum(weights[pair] * delta * (2.0 * excess[pair] + delta) for pair, delta in change.items())
            if gain >= 0.0:
                continue
            for pair, delta in change.items():
                excess[pair] += delta
            kind[a], kind[b] = q, p
            for atom, lost, gained in ((a, p, q), (b, q, p)):
                for other in around[atom]:
                    count[other][lost] -= 1
                    count[other][gained] += 1
    missed = [pair for pair in targets if abs(excess[pair]) > allowed[pair]]
    if missed:
        reached = ", ".join(
            f"{names[pair]} {targets[pair] - excess[pair] / chance[pair]:.3f} of {targets[pair]:g}"
            for pair in missed
        )
        raise ValueError(
            f"pair_order: {_SWAPS_PER_ATOM} swaps per atom reached only {reached}; ask for values that go "
            f"together, or nearer to 0"
        )
    return np.array(kind)


def _change(
    pair: tuple[int, int], p: int, q: int, near_p: list[int], near_q: list[int], *, are_bound: bool
) -> int:
    """By how much the bonds of a pair of kinds grow when an atom of kind p and one of kind q are swapped."""
    total = 0
    for i, j in (pair, pair[::-1]):
        if i == p:
            total += near_q[j] - near_p[j]
        if i == q:
            total += near_p[j] - near_q[j]
    # A bond between the two stays what it is, but was counted as lost at both ends.
    return total + 2 * (are_bound and set(pair) == {p, q})


def _unlike_bonds(kinds: NDArray[Any], neighbours: csr_matrix) -> float:
    return float((kinds == 0) @ (neighbours @ (kinds == 1).astype(np.float64)))


def _unlike_by_chance(kinds: NDArray[Any], neighbours: csr_matrix) -> float:
    """Unlike bonds expected where atoms are strewn at random: 2 c_A c_B N."""
    return float(np.mean(kinds == 0) * np.mean(kinds == 1) * neighbours.sum()) if len(kinds) else 0.0
