"""Which found atom is which true atom: one to one, as many as possible, as close as possible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MOST_ROUNDS = 50


@dataclass(frozen=True, eq=False)
class Match:
    """Pairs of atoms.

    Attributes
    ----------
    true, found
        (m,) int64 indices into the true and the found positions, ascending in `true`.
    translation_A
        (3,) common translation of the found atoms that was taken off before matching: the mean of found minus
        true over the pairs. Zero where none was sought.
    """

    true: Array
    found: Array
    translation_A: Array


def match_atoms(true_A: Array, found_A: Array, *, radius_A: float) -> tuple[Array, Array]:
    """Match two sets of positions one to one, as they are.

    Among all one-to-one pairings with no distance beyond `radius_A`, take one with the most pairs, and of
    those the one with the smallest sum of squared distances. A linear assignment on the sparse graph of
    candidates (Jonker & Volgenant, doi:10.1007/BF02278710, as in SciPy), in which every true atom may also
    stay alone at a price that no sum of distances reaches.

    Parameters
    ----------
    true_A, found_A
        (n, 3) and (m, 3) positions, Å.
    radius_A
        Largest distance of a pair, inclusive, Å.

    Returns
    -------
    true, found
        (k,) int64 indices of the pairs, ascending in `true`.

    Raises
    ------
    ValueError
        If positions are not (n, 3) or not finite, or the radius is not positive.
    """
    true_A, found_A = _positions("true_A", true_A), _positions("found_A", found_A)
    if not (math.isfinite(radius_A) and radius_A > 0):
        raise ValueError(f"radius_A is {radius_A}; allowed is a positive number, Å")
    nobody = np.zeros(0, dtype=np.int64)
    if not len(true_A) or not len(found_A):
        return nobody, nobody
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching
    from scipy.spatial import cKDTree

    near = cKDTree(true_A).sparse_distance_matrix(cKDTree(found_A), radius_A, output_type="ndarray")
    if not len(near):
        return nobody, nobody
    # Atoms without a candidate would only make the graph larger.
    rows, row = np.unique(near["i"], return_inverse=True)
    columns, column = np.unique(near["j"], return_inverse=True)
    squares = (near["v"] / radius_A) ** 2
    alone = np.arange(len(rows))
    # One pair more is worth any sum of squares; costs start at 1 because a sparse array drops zeros.
    costs = np.concatenate([1.0 + squares, np.full(len(rows), 2.0 + 2.0 * len(rows))])
    where = (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone]))
    graph = coo_array((costs, where), shape=(len(rows), len(columns) + len(rows))).tocsr()
    i, j = min_weight_full_bipartite_matching(graph)
    paired = j < len(columns)
    true, found = rows[i[paired]].astype(np.int64), columns[j[paired]].astype(np.int64)
    order = np.argsort(true)
    return true[order], found[order]


def match_translated(true_A: Array, found_A: Array, *, radius_A: float) -> Match:
    """Match two sets of positions one to one after taking off their common translation.

    Matching and translation are found in turn until the pairs no longer change: first the median of the
    pairs' displacements, which a few wrong pairs cannot pull, and at the end their mean. The start is no
    translation, and no more than `radius_A` is ever taken off: sets that lie further apart, for example by
    a lattice vector, are not brought together, because a crystal matches itself there too.

    Parameters
    ----------
    true_A, found_A
        (n, 3) and (m, 3) positions, Å.
    radius_A
        Largest distance of a pair after translation, inclusive, Å.

    Raises
    ------
    ValueError
        As `match_atoms`.
    """
    true_A, found_A = _positions("true_A", true_A), _positions("found_A", found_A)
    translation_A = np.zeros(3)
    true, found = match_atoms(true_A, found_A, radius_A=radius_A)
    for centre in (np.median, np.mean):
        for _ in range(_MOST_ROUNDS):
            if not len(true):
                break
            translation_A = _at_most(centre(found_A[found] - true_A[true], axis=0), radius_A)
            previous = (true, found)
            true, found = match_atoms(true_A, found_A - translation_A, radius_A=radius_A)
            if np.array_equal(previous[0], true) and np.array_equal(previous[1], found):
                break
    return Match(true=true, found=found, translation_A=translation_A)


def rotation_onto(to_A: Array, from_A: Array, *, weights: Array | None = None) -> Array:
    """Best proper rotation of centred positions onto others, pair by pair.

    By singular values (Kabsch, doi:10.1107/S0567739476001873).

    Parameters
    ----------
    to_A, from_A
        (n, 3) positions of pairs, each set about its own (weighted) mean, Å.
    weights
        (n,) of the squared distances; default: all the same.

    Returns
    -------
    rotation
        (3, 3) matrix R, with ``from_A @ R.T`` as near to ``to_A`` as any rotation brings it.
    """
    weighted_A = to_A if weights is None else to_A * weights[:, None]
    u, _, vt = np.linalg.svd(weighted_A.T @ from_A)
    rotation: Array = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation


def _at_most(vector: Array, length: float) -> Array:
    shortened: Array = vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-300))
    return shortened


def _positions(name: str, positions_A: Array) -> Array:
    checked = np.asarray(positions_A, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[1] != 3:
        raise ValueError(f"{name} has shape {checked.shape}; allowed is (n, 3)")
    if not np.isfinite(checked).all():
        raise ValueError(f"{name} holds NaN or infinite positions; allowed are finite numbers, Å")
    return checked
