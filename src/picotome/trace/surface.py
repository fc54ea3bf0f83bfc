"""Which atoms of a particle lie at its surface."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# In bulk f.c.c. and h.c.p. no direction is further than 35° from a neighbour of the first two shells, beside
# a vacancy none further than 45°. Above a (111) or (100) facet it is 90°, above the second layer of (110),
# which touches the vacuum through the first, 60°.
_OPEN_HALF_ANGLE_DEG = 55.0
# Between the second and the third shell of f.c.c. (1.41 and 1.73 nearest-neighbour distances).
_SHELL = 1.57
_N_DIRECTIONS = 400
_CHUNK = 2000


def find_surface(positions_A: Array) -> Array:
    """Say which atoms see the vacuum.

    An atom is at the surface if some direction is free: no atom within 1.57 times the median
    nearest-neighbour distance (the first two shells of f.c.c.) lies within 55° of it. Unlike a coordination
    number this needs no lattice, holds at facets, edges, twins and in a glass alike, and does not call an
    atom beside a vacancy a surface.

    Parameters
    ----------
    positions_A
        (n, 3) positions, Å.

    Returns
    -------
    surface
        (n,) bool. Atoms without neighbours are surface.
    """
    from scipy.spatial import cKDTree

    n = len(positions_A)
    if n < 2:
        return np.ones(n, dtype=bool)
    tree = cKDTree(positions_A)
    reach_A = _SHELL * float(np.median(tree.query(positions_A, k=2)[0][:, 1]))
    pairs = tree.query_pairs(reach_A, output_type="ndarray")
    directions = _sphere(_N_DIRECTIONS)
    blocked = np.zeros((n, len(directions)), dtype=bool)
    cosine = math.cos(math.radians(_OPEN_HALF_ANGLE_DEG))
    for first in range(0, len(pairs), _CHUNK):
        i, j = pairs[first : first + _CHUNK].T
        vector = positions_A[j] - positions_A[i]
        toward = (vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)) @ directions.T
        np.logical_or.at(blocked, i, toward > cosine)
        np.logical_or.at(blocked, j, toward < -cosine)
    surface: Array = np.logical_not(blocked.all(axis=1))
    return surface


def _sphere(n: int) -> Array:
    """(n, 3) unit vectors spread evenly: a Fibonacci lattice (González, doi:10.1007/s11004-009-9257-x)."""
    k = np.arange(n) + 0.5
    z = 1 - 2 * k / n
    azimuth = math.pi * (1 + math.sqrt(5)) * k
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], axis=-1)
