"""SIRT with positivity, Nesterov momentum and pixels that count by their noise: what its solvers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.recon.projector import inverse_sums

Operator = Callable[[NDArray[Any]], NDArray[Any]]


def inertias(n_iterations: int) -> Iterator[float]:
    """How far each iteration extrapolates its step (Beck & Teboulle 2009, doi:10.1137/080716542)."""
    momentum = 1.0
    for _ in range(n_iterations):
        following = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
        yield (momentum - 1.0) / following
        momentum = following


def solve_whole(
    images: NDArray[Any],
    *,
    shape: tuple[int, int, int],
    project: Operator,
    backproject: Operator,
    weights: NDArray[Any],
    n_iterations: int,
) -> NDArray[Any]:
    """Improve a volume at once, for projectors under which its slices depend on one another.

    Otherwise as `picotome.recon.solvers.solve_sirt`, which solves slices apart and is much faster.

    Parameters
    ----------
    images
        (n_tilts, n_x, n_y) float32.
    shape
        (3,) of the volume.
    project, backproject
        A, from a volume to images, and its exact adjoint.
    weights
        (n_tilts, n_x, n_y) float32, how much each pixel counts.
    """
    row_scale = inverse_sums(project(np.ones(shape, dtype=np.float32))) * weights
    column_sums = backproject(np.ones_like(weights))
    voxel_scale = inverse_sums(backproject(weights), unweighted=column_sums)
    current = np.zeros(shape, dtype=np.float32)
    extrapolated = current
    for inertia in inertias(n_iterations):
        step = voxel_scale * backproject((images - project(extrapolated)) * row_scale)
        improved = np.maximum(extrapolated + step, np.float32(0.0))
        extrapolated = improved + np.float32(inertia) * (improved - current)
        current = improved
    return current
