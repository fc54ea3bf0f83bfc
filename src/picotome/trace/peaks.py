"""Where atoms may be: local maxima of a tomogram, to a fraction of a voxel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.geometry import index_to_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import Tomogram

    Array = NDArray[Any]

# Three voxels across are needed to say that the middle one is a maximum.
_SMALLEST_AXIS = 3


def check_tomogram(tomogram: Tomogram) -> None:
    """Refuse a tomogram in which no atom can be found.

    Raises
    ------
    ValueError
        If the volume is not 3D, is smaller than 3 voxels along an axis, holds NaN or infinity, or has no
        positive voxel, or if the voxel size is not positive.
    """
    volume = np.asarray(tomogram.volume)
    if volume.ndim != 3 or min(volume.shape) < _SMALLEST_AXIS:
        raise ValueError(
            f"tomogram.volume has shape {volume.shape}; allowed are three axes [x, y, z] of at least "
            f"{_SMALLEST_AXIS} voxels"
        )
    if not (math.isfinite(tomogram.voxel_size_A) and tomogram.voxel_size_A > 0):
        raise ValueError(f"tomogram.voxel_size_A is {tomogram.voxel_size_A}; allowed is a positive number, Å")
    n_bad = volume.size - int(np.isfinite(volume).sum())
    if n_bad:
        raise ValueError(
            f"tomogram.volume holds {n_bad} NaN or infinite voxels of {volume.size}; allowed are finite "
            f"numbers: look for the cause in the images or in the reconstruction"
        )
    if volume.max() <= 0 or volume.max() == volume.min():
        raise ValueError(
            f"tomogram.volume is empty: its voxels lie between {volume.min():g} and {volume.max():g}; "
            f"an atom is a peak above 0"
        )


def find_peaks(
    tomogram: Tomogram,
    *,
    min_distance_A: float,
    smoothing_A: float = 0.25,
    threshold: float | None = None,
) -> tuple[Array, Array]:
    """Find the local maxima of a tomogram, the brightest first.

    A voxel is a peak where it is the highest of its 27 neighbourhood after a light Gaussian smoothing. A
    parabola through each voxel and its two neighbours along each axis gives the fraction of a voxel. Of
    peaks closer together than `min_distance_A` the brighter one stays.

    Parameters
    ----------
    tomogram
        Any volume; voxels may be negative.
    min_distance_A
        Smallest distance of two peaks, Å; 0 keeps all.
    smoothing_A
        Sigma of the smoothing, Å; 0 for none. It quiets noise, and pulls peaks that overlap together.
    threshold
        Lowest height of a peak, in units of the volume. By default all positive peaks stay.

    Returns
    -------
    positions_A, heights
        (n, 3) float64 relative to the origin, and (n,) float64 heights of the smoothed volume at them.

    Raises
    ------
    ValueError
        If the volume is empty, not finite or not 3D, or a length is negative.
    """
    check_tomogram(tomogram)
    for name, value in (("min_distance_A", min_distance_A), ("smoothing_A", smoothing_A)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; allowed is 0 or more, Å")
    from scipy.ndimage import gaussian_filter

    volume = np.asarray(tomogram.volume, dtype=np.float32)
    voxel_A = tomogram.voxel_size_A
    smooth = gaussian_filter(volume, smoothing_A / voxel_A, truncate=3.0) if smoothing_A > 0 else volume
    index = _local_maxima(smooth, 0.0 if threshold is None else threshold)
    fraction, heights = _parabola(smooth, index)
    order = np.lexsort((*index.T, -heights))
    positions_A = index_to_A((index + fraction)[order], volume.shape, voxel_A)
    heights = heights[order]
    kept = thin_out(positions_A, min_distance_A=min_distance_A)
    return positions_A[kept], heights[kept]


def thin_out(positions_A: Array, *, min_distance_A: float) -> Array:
    """Say which of (n, 3) positions, the most important first, are no closer than a distance to a better one.

    A position is dropped only for the sake of one that stays, so that a chain of close positions loses every
    second one and not all but the first.

    Returns
    -------
    kept
        (n,) bool.
    """
    from scipy.spatial import cKDTree

    n = len(positions_A)
    kept = np.ones(n, dtype=bool)
    if n < 2 or min_distance_A <= 0:
        return kept
    # The tree's radius is inclusive; two atoms exactly min_distance_A apart may both stay.
    pairs = cKDTree(positions_A).query_pairs(np.nextafter(min_distance_A, 0.0), output_type="ndarray")
    better, worse = pairs.min(axis=1), pairs.max(axis=1)
    undecided = np.ones(n, dtype=bool)
    while len(better):
        blocked = np.zeros(n, dtype=bool)
        blocked[worse] = True
        winners = undecided & ~blocked
        kept[worse[winners[better]]] = False
        undecided &= ~winners & kept
        open_pair = undecided[better] & undecided[worse]
        better, worse = better[open_pair], worse[open_pair]
    return kept


def _local_maxima(volume: Array, threshold: float) -> Array:
    """(n, 3) indices of inner voxels above a threshold that no voxel of their 26 neighbours exceeds."""
    inner = volume[1:-1, 1:-1, 1:-1]
    index = np.argwhere(inner > threshold) + 1
    if not len(index):
        return index
    flat = volume.ravel()
    strides = np.array([volume.shape[1] * volume.shape[2], volume.shape[2], 1])
    at = index @ strides
    steps = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ strides
    # Face neighbours first: each pass leaves far fewer voxels for the next.
    for step in steps[np.argsort(np.abs(np.arange(27) - 13) % 3 != 0, kind="stable")]:
        if step:
            # Of two equal neighbours the one that comes first in memory is the peak.
            neighbour = flat[at + step]
            at = at[flat[at] > neighbour] if step < 0 else at[flat[at] >= neighbour]
    found: Array = np.stack(np.unravel_index(at, volume.shape), axis=-1)
    return found


def _parabola(volume: Array, index: Array) -> tuple[Array, Array]:
    """(n, 3) fractions of a voxel within ± 0.5, and (n,) heights there."""
    fraction = np.zeros(index.shape)
    i, j, k = index.T
    middle = volume[i, j, k].astype(np.float64)
    heights = middle.copy()
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        low = volume[tuple((index - step).T)].astype(np.float64)
        high = volume[tuple((index + step).T)].astype(np.float64)
        curvature = 2 * middle - low - high
        flat = curvature <= 0
        slope = 0.5 * (high - low)
        fraction[:, axis] = np.where(flat, 0.0, np.clip(slope / np.where(flat, 1.0, curvature), -0.5, 0.5))
        heights += np.where(flat, 0.0, slope * fraction[:, axis] - 0.5 * curvature * fraction[:, axis] ** 2)
    return fraction, heights
