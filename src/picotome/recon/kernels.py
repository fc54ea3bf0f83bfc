"""The loops that take the time, compiled: between voxels and pixels, for a block of slices at once.

A voxel of a slice meets three neighbouring pixels of each image, with the same weights in every slice, so
the innermost loop runs over the slices of a block and needs no index. Blocks share nothing: each is one
thread's work from beginning to end, and the number of threads cannot change the result.

In all functions `first_row` (n_voxels, n_tilts) and `weights` (n_voxels, n_tilts, 3) are those of a
`Projector`, `rows` are the (n_tilts, n_x + 2, N_SLICES) images and `planes` (n_voxels, N_SLICES).

What makes these loops fast: arrays are flattened first, so that the compiler sees that the three pixels do
not overlap; indices are unsigned, which spares the test for negative ones; and no view is cut for a tilt,
which would cost two locked counts of references. The loops are then bound by instructions: they draw less
than a tenth of what memory can deliver. Indices are not checked: shapes must come from the projector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.compiled import compiled

# Known when compiling, so that the innermost loops become a few vector instructions. Loops over fewer slices
# are unrolled before they could be vectorised and are four times slower; more share work out unevenly.
N_SLICES = 32
_ROW, _TWO_ROWS, _ONE = np.uintp(N_SLICES), np.uintp(2 * N_SLICES), np.uintp(1)

# Posed images have a margin, so that a voxel at the edge meets as many pixels as any.
MARGIN = 2
# The footprint of a voxel is tabulated up to this distance, in pixels, on both sides: every 1/256 of a pixel.
REACH, N_BINS = 2.0, 1025

Index = int | np.uintp


@compiled
def _gather(
    first_row: NDArray[Any],
    weights: NDArray[Any],
    rows: NDArray[Any],
    voxel: Index,
    n_tilts: Index,
    sums: NDArray[Any],
) -> None:
    """Sum, over the tilts, the pixels that one voxel meets; all arrays but the weights are flat."""
    for s in range(_ROW):
        sums[s] = np.float32(0.0)
    for entry in range(voxel * n_tilts, (voxel + _ONE) * n_tilts):
        left, middle, right = weights[entry, 0], weights[entry, 1], weights[entry, 2]
        start = np.uintp(first_row[entry]) * _ROW
        for s in range(start, start + _ROW):
            sums[s - start] += left * rows[s] + middle * rows[s + _ROW] + right * rows[s + _TWO_ROWS]


@compiled
def _scatter(
    first_row: NDArray[Any],
    weights: NDArray[Any],
    planes: NDArray[Any],
    voxel: Index,
    n_tilts: Index,
    rows: NDArray[Any],
) -> None:
    """Add one voxel to the pixels that it meets: the transpose of `_gather`."""
    for entry in range(voxel * n_tilts, (voxel + _ONE) * n_tilts):
        left, middle, right = weights[entry, 0], weights[entry, 1], weights[entry, 2]
        start = np.uintp(first_row[entry]) * _ROW
        for s in range(_ROW):
            # All are read before any is written, or the compiler has to expect that they overlap.
            value = planes[voxel * _ROW + s]
            sum_left = rows[start + s] + left * value
            sum_middle = rows[start + s + _ROW] + middle * value
            sum_right = rows[start + s + _TWO_ROWS] + right * value
            rows[start + s] = sum_left
            rows[start + s + _ROW] = sum_middle
            rows[start + s + _TWO_ROWS] = sum_right


@compiled
def add_projection(
    first_row: NDArray[Any], weights: NDArray[Any], planes: NDArray[Any], rows: NDArray[Any]
) -> None:
    """Add A planes to the images."""
    n_tilts = np.uintp(first_row.shape[1])
    flat_first, flat_weights = first_row.reshape(-1), weights.reshape(-1, 3)
    flat_planes, flat_rows = planes.reshape(-1), rows.reshape(-1)
    for voxel in range(np.uintp(len(planes))):
        _scatter(flat_first, flat_weights, flat_planes, voxel, n_tilts, flat_rows)


@compiled
def fill_backprojection(
    first_row: NDArray[Any], weights: NDArray[Any], rows: NDArray[Any], planes: NDArray[Any]
) -> None:
    """Overwrite the planes with Aᵀ images."""
    n_tilts = np.uintp(first_row.shape[1])
    flat_first, flat_weights, flat_rows = first_row.reshape(-1), weights.reshape(-1, 3), rows.reshape(-1)
    for voxel in range(np.uintp(len(planes))):
        _gather(flat_first, flat_weights, flat_rows, voxel, n_tilts, planes[voxel])


@compiled
def improve_planes(
    first_row: NDArray[Any],
    weights: NDArray[Any],
    residual: NDArray[Any],
    voxel_scale: NDArray[Any],
    inertia: np.float32,
    current: NDArray[Any],
    extrapolated: NDArray[Any],
    projected: NDArray[Any],
) -> None:
    """Take one step of SIRT with positivity and momentum, and project its result, in one pass.

    With x the current planes, y the extrapolated ones and C the (n_voxels, N_SLICES) scale: x' = max(0, y + C
    Aᵀ residual), y' = x' + inertia (x' − x), and A y' is added to `projected`.
    """
    n_tilts = np.uintp(first_row.shape[1])
    flat_first, flat_weights = first_row.reshape(-1), weights.reshape(-1, 3)
    now, ahead, scale = current.reshape(-1), extrapolated.reshape(-1), voxel_scale.reshape(-1)
    flat_residual, flat_projected = residual.reshape(-1), projected.reshape(-1)
    sums = np.empty(N_SLICES, dtype=np.float32)
    for voxel in range(np.uintp(len(current))):
        _gather(flat_first, flat_weights, flat_residual, voxel, n_tilts, sums)
        start = voxel * _ROW
        for s in range(_ROW):
            improved = max(ahead[start + s] + scale[start + s] * sums[s], np.float32(0.0))
            ahead[start + s] = improved + inertia * (improved - now[start + s])
            now[start + s] = improved
        _scatter(flat_first, flat_weights, ahead, voxel, n_tilts, flat_projected)


@compiled
def add_posed_image(
    lines: NDArray[Any], pose: NDArray[Any], footprint: NDArray[Any], image: NDArray[Any]
) -> None:
    """Add the projection of a volume, (n_x, n_z, n_y) lines along y, to one image with its margin.

    A voxel meets three pixels along u, by its footprint, and two along v, which share it by their distance;
    `pose` and `footprint` are those of one image in `picotome.recon.posed.Poses`.
    """
    n_x, n_z, n_y = lines.shape
    n_u, n_v = image.shape
    per_pixel = (len(footprint) - 1) / (2.0 * REACH)
    for i in range(n_x):
        for k in range(n_z):
            u_line = pose[0, 0] * i + pose[0, 2] * k + pose[0, 3]
            v_line = pose[1, 0] * i + pose[1, 2] * k + pose[1, 3]
            for j in range(n_y):
                value = lines[i, k, j]
                if value == np.float32(0.0):
                    continue
                u, v = u_line + pose[0, 1] * j, v_line + pose[1, 1] * j
                middle, low = int(np.floor(u + 0.5)), int(np.floor(v))
                if middle < 1 or middle > n_u - 2 or low < 1 or low > n_v - 3:
                    continue
                upper = np.float32(v - low) * value
                lower = value - upper
                for column in range(middle - 1, middle + 2):
                    weight = footprint[int((u - column + REACH) * per_pixel + 0.5)]
                    image[column, low] += weight * lower
                    image[column, low + 1] += weight * upper


@compiled
def fill_posed_block(
    images: NDArray[Any], poses: NDArray[Any], footprints: NDArray[Any], first: int, lines: NDArray[Any]
) -> None:
    """Overwrite a (≤ n_x, n_z, n_y) block of lines, from plane `first` on, with the adjoint of the above."""
    n_block, n_z, n_y = lines.shape
    n_tilts, n_u, n_v = images.shape
    per_pixel = (footprints.shape[1] - 1) / (2.0 * REACH)
    lines[:] = np.float32(0.0)
    for number in range(n_tilts):
        pose, footprint, image = poses[number], footprints[number], images[number]
        for i in range(n_block):
            for k in range(n_z):
                u_line = pose[0, 0] * (first + i) + pose[0, 2] * k + pose[0, 3]
                v_line = pose[1, 0] * (first + i) + pose[1, 2] * k + pose[1, 3]
                for j in range(n_y):
                    u, v = u_line + pose[0, 1] * j, v_line + pose[1, 1] * j
                    middle, low = int(np.floor(u + 0.5)), int(np.floor(v))
                    if middle < 1 or middle > n_u - 2 or low < 1 or low > n_v - 3:
                        continue
                    upper = np.float32(v - low)
                    lower = np.float32(1.0) - upper
                    total = np.float32(0.0)
                    for column in range(middle - 1, middle + 2):
                        weight = footprint[int((u - column + REACH) * per_pixel + 0.5)]
                        total += weight * (lower * image[column, low] + upper * image[column, low + 1])
                    lines[i, k, j] += total
