"""The projector A of a single-axis series and its exact adjoint.

The tilt axis is y, so every (x, z) plane of the volume is projected by the same sparse matrix: one row
for each detector pixel of each image, one column for each voxel of a plane. The adjoint is that matrix
transposed, not a second approximation of it: both read the same weights.

A voxel is a cube and a pixel a square: a weight is the area of the turned square of the voxel inside the
strip of rays that enter the pixel. Compared with sharing a voxel between its two nearest pixels, that takes
a third off the error of a projected atom. A shadow reaches three pixels, so the matrix is kept as three
weights for each voxel and tilt, and the first of their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from picotome.geometry import A_to_index, axis_A, tilt_rotation
from picotome.recon.kernels import N_SLICES, add_projection, fill_backprojection
from picotome.threads import map_in_threads

# Below this |cos θ| or |sin θ| a side of the shadow is upright as far as float32 can tell, and the divided
# difference of the general formula would lose digits.
_UPRIGHT = 1e-5
# Areas below this are rounding errors.
_NO_AREA = 1e-7
# Of the largest sum of weights: what is seen by less than this is hardly seen at all.
NEXT_TO_NOTHING = 1e-3


@dataclass(frozen=True, eq=False)
class Projector:
    """A, by voxel.

    Attributes
    ----------
    first_row
        (n_x · n_z, n_tilts) uint32: first of the three pixels that a voxel can reach in each image, counted
        through all images, each with a margin of one pixel on both sides.
    weights
        (n_x · n_z, n_tilts, 3) float32 entries of A for those pixels, in Å: an image is a line integral.
        Zero in the margin.
    n_x, n_z
        Pixels across the tilt axis and voxels along the beam.
    voxel_size_A
        Edge of voxels and pixels.
    """

    first_row: NDArray[Any]
    weights: NDArray[Any]
    n_x: int
    n_z: int
    voxel_size_A: float

    @property
    def n_tilts(self) -> int:
        """Number of images."""
        return int(self.first_row.shape[1])


def make_projector(tilt_deg: ArrayLike, *, n_x: int, n_z: int, voxel_size_A: float) -> Projector:
    """Make the projector of a tilt series.

    Parameters
    ----------
    tilt_deg
        (n_tilts,) tilts about y.
    n_x, n_z
        Voxels of the volume along x and z; images have `n_x` pixels across the tilt axis.
    voxel_size_A
        Edge of voxels and pixels.

    Raises
    ------
    ValueError
        If there is no tilt, a tilt is not finite, or a size is not positive.
    """
    if np.size(tilt_deg) == 0 or not np.isfinite(tilt_deg).all():
        raise ValueError(f"tilt_deg is {tilt_deg!r}; allowed are one or more finite angles")
    if n_x < 1 or n_z < 1:
        raise ValueError(f"n_x and n_z are {n_x} and {n_z}; allowed is 1 or more")
    if not (np.isfinite(voxel_size_A) and voxel_size_A > 0):
        raise ValueError(f"voxel_size_A is {voxel_size_A}; allowed is a finite number above 0")
    tilts = tuple(float(tilt) for tilt in np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64)))
    return _cached_projector(tilts, n_x, n_z, float(voxel_size_A))


# Every particle of a dataset is seen at the same tilts.
@lru_cache(maxsize=4)
def _cached_projector(tilts: tuple[float, ...], n_x: int, n_z: int, voxel_size_A: float) -> Projector:
    x_A, z_A = np.meshgrid(axis_A(n_x, voxel_size_A), axis_A(n_z, voxel_size_A), indexing="ij")
    plane_A = np.stack([x_A.ravel(), np.zeros(x_A.size), z_A.ravel()], axis=1)
    first_row = np.empty((x_A.size, len(tilts)), dtype=np.uint32)
    weights = np.empty((x_A.size, len(tilts), 3), dtype=np.float32)
    for number, tilt in enumerate(tilts):
        turn = tilt_rotation(tilt)
        landing = A_to_index((plane_A @ turn.T)[:, :1], (n_x,), voxel_size_A)
        # A shadow is at most √2 wide; with half a pixel at each end it reaches no further than 1.21 pixels.
        first = np.clip(np.rint(landing) - 1, -1, n_x - 2)
        pixel = first + np.arange(3)
        area = shared_area(landing - pixel, abs(turn[0, 0]), abs(turn[0, 2]))
        seen = (pixel >= 0) & (pixel < n_x) & (area > _NO_AREA)
        first_row[:, number] = first[:, 0] + 1 + number * (n_x + 2)
        weights[:, number] = np.where(seen, area * voxel_size_A, 0.0)
    return Projector(first_row, weights, n_x=n_x, n_z=n_z, voxel_size_A=voxel_size_A)


def project(volume: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Project a (nx, ny, nz) volume to (n_tilts, nx, ny) images, both float32; the unit gains an Å.

    Raises
    ------
    ValueError
        If the projector was made for another nx or nz.
    """
    if volume.ndim != 3 or (volume.shape[0], volume.shape[2]) != (projector.n_x, projector.n_z):
        raise ValueError(
            f"volume has shape {volume.shape}; allowed is ({projector.n_x}, ny, {projector.n_z}): "
            "make a projector for this volume"
        )
    images = np.empty((projector.n_tilts, projector.n_x, volume.shape[1]), dtype=np.float32)

    def fill(block: slice) -> None:
        part = volume[:, block].transpose(0, 2, 1)
        planes = np.zeros((projector.n_x * projector.n_z, N_SLICES), dtype=np.float32)
        planes[:, : part.shape[2]] = part.reshape(-1, part.shape[2])
        projected = np.zeros((projector.n_tilts, projector.n_x + 2, N_SLICES), dtype=np.float32)
        add_projection(projector.first_row, projector.weights, planes, projected)
        images[:, :, block] = projected[:, 1:-1, : part.shape[2]]

    map_in_threads(fill, slice_blocks(volume.shape[1]))
    return images


def backproject(images: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Apply the adjoint to (n_tilts, nx, ny) images; returns a (nx, ny, nz) float32 volume.

    Raises
    ------
    ValueError
        If the projector was made for other images.
    """
    if images.ndim != 3 or images.shape[:2] != (projector.n_tilts, projector.n_x):
        raise ValueError(
            f"images have shape {images.shape}; allowed is ({projector.n_tilts}, {projector.n_x}, ny): "
            "make a projector for this series"
        )
    volume = np.empty((projector.n_x, images.shape[2], projector.n_z), dtype=np.float32)

    def fill(block: slice) -> None:
        planes = np.empty((projector.n_x * projector.n_z, N_SLICES), dtype=np.float32)
        margined = images_with_margin(images[:, :, block], projector)
        fill_backprojection(projector.first_row, projector.weights, margined, planes)
        set_planes(volume[:, block], planes)

    map_in_threads(fill, slice_blocks(images.shape[2]))
    return volume


def slice_blocks(n_y: int) -> list[slice]:
    """Cut the axis of the slices into blocks for the kernels: work for threads."""
    return [slice(start, min(start + N_SLICES, n_y)) for start in range(0, n_y, N_SLICES)]


def images_with_margin(images: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Lay a block of (n_tilts, n_x, ≤ N_SLICES) images out as the kernels want it, padded with zeros."""
    margined = np.zeros((projector.n_tilts, projector.n_x + 2, N_SLICES), dtype=np.float32)
    margined[:, 1:-1, : images.shape[2]] = images
    return margined


def set_planes(volume: NDArray[Any], planes: NDArray[Any]) -> None:
    """Fill a (n_x, ≤ N_SLICES, n_z) block of a volume from the (n_x · n_z, N_SLICES) planes of a kernel."""
    n_x, n_y, n_z = volume.shape
    volume[:] = planes.reshape(n_x, n_z, -1)[:, :, :n_y].transpose(0, 2, 1)


def inverse_sums(sums: NDArray[Any], *, unweighted: NDArray[Any] | None = None) -> NDArray[Any]:
    """1 / row sums; zero for rows that touch next to nothing (corners outside the field of view).

    Which these are is told by the sums without weights, where they are given: what surrounds a row must not
    decide whether it counts.
    """
    plain = sums if unweighted is None else unweighted
    touched = (plain > np.float32(NEXT_TO_NOTHING) * plain.max()) & (sums > 0)
    inverse: NDArray[Any] = np.where(touched, 1.0 / np.where(touched, sums, 1.0), 0.0).astype(np.float32)
    return inverse


def shared_area(distance: NDArray[Any], c: float, s: float) -> NDArray[Any]:
    """Area of a turned unit square inside the unit strip at a distance from its centre.

    The shadow of the square is box(c) ∗ box(s), the strip box(1): together a quadratic spline, the third
    divided difference of t²₊ / 2 (or, for an upright square, the second of t₊).
    """
    long, short = max(c, s), min(c, s)
    if short < _UPRIGHT:
        triangle: NDArray[Any] = np.clip(1.0 - np.abs(distance), 0.0, None)
        return triangle
    area = np.zeros_like(distance)
    for sign_long in (1, -1):
        for sign_short in (1, -1):
            for sign_strip in (1, -1):
                t = distance + 0.5 * (sign_long * long + sign_short * short + sign_strip)
                area += sign_long * sign_short * sign_strip * np.clip(t, 0.0, None) ** 2
    normalised: NDArray[Any] = area / (2.0 * long * short)
    return normalised
