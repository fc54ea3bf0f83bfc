"""The projector A of a single-axis series and its exact adjoint.

The tilt axis is y, so every (x, z) plane of the volume is projected by the same sparse matrix: one row
for each detector pixel of each image, one column for each voxel of a plane. The adjoint is that matrix
transposed, not a second approximation of it.

A voxel is a cube and a pixel a square: an entry is the area of the turned square of the voxel inside the
strip of rays that enter the pixel. Compared with sharing a voxel between its two nearest pixels, that takes
a third off the error of a projected atom and makes the matrix a fifth larger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from picotome.geometry import A_to_index, axis_A, tilt_rotation
from picotome.recon.threads import map_in_threads

# Below this |cos θ| or |sin θ| a side of the shadow is upright as far as float32 can tell, and the divided
# difference of the general formula would lose digits.
_UPRIGHT = 1e-5
_N_ROW_BLOCKS = 24

RowBlock = tuple[slice, Any]


@dataclass(frozen=True, eq=False)
class Projector:
    """A, kept with its transpose.

    Attributes
    ----------
    forward
        (n_tilts · n_x, n_x · n_z) sparse float32, entries in Å: an image is a line integral.
    adjoint
        The transpose of `forward`, stored by rows for speed.
    n_tilts, n_x, n_z
        Images, pixels across the tilt axis and voxels along the beam.
    voxel_size_A
        Edge of voxels and pixels.
    """

    forward: Any
    adjoint: Any
    n_tilts: int
    n_x: int
    n_z: int
    voxel_size_A: float


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
    parts = list(_entries(tilts, n_x, n_z, voxel_size_A))
    rows, columns, areas = (np.concatenate(part) for part in zip(*parts, strict=True))
    entries = (areas * voxel_size_A).astype(np.float32)
    forward = csr_matrix((entries, (rows, columns)), shape=(len(tilts) * n_x, n_x * n_z))
    adjoint = forward.T.tocsr()
    return Projector(forward, adjoint, n_tilts=len(tilts), n_x=n_x, n_z=n_z, voxel_size_A=voxel_size_A)


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
    return images_from_rows(_multiply(projector.forward, planes_from_volume(volume)), projector)


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
    return volume_from_planes(_multiply(projector.adjoint, rows_from_images(images)), projector)


def row_blocks(matrix: Any) -> list[RowBlock]:
    """Cut a sparse matrix into blocks of rows: work for threads whose number cannot change the result."""
    edges = np.unique(np.linspace(0, matrix.shape[0], _N_ROW_BLOCKS + 1).astype(int)).tolist()
    return [(slice(low, high), matrix[low:high]) for low, high in pairwise(edges)]


def planes_from_volume(volume: NDArray[Any]) -> NDArray[Any]:
    """Lay a volume out as (nx · nz, ny), the right-hand side of the sparse matrix."""
    return np.ascontiguousarray(volume.transpose(0, 2, 1), dtype=np.float32).reshape(-1, volume.shape[1])


def volume_from_planes(planes: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Invert `planes_from_volume`."""
    volume = planes.reshape(projector.n_x, projector.n_z, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(volume)


def rows_from_images(images: NDArray[Any]) -> NDArray[Any]:
    """Lay images out as (n_tilts · nx, ny)."""
    return np.ascontiguousarray(images, dtype=np.float32).reshape(-1, images.shape[2])


def images_from_rows(rows: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Invert `rows_from_images`."""
    return rows.reshape(projector.n_tilts, projector.n_x, -1)


def _multiply(matrix: Any, planes: NDArray[Any]) -> NDArray[Any]:
    product = np.empty((matrix.shape[0], planes.shape[1]), dtype=np.float32)

    def fill(block: RowBlock) -> None:
        rows, part = block
        product[rows] = part @ planes

    map_in_threads(fill, row_blocks(matrix))
    return product


def _entries(
    tilts: tuple[float, ...], n_x: int, n_z: int, voxel_size_A: float
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Rows, columns and shared areas in voxels, for each tilt and each pixel that a voxel can reach."""
    x_A, z_A = np.meshgrid(axis_A(n_x, voxel_size_A), axis_A(n_z, voxel_size_A), indexing="ij")
    plane_A = np.stack([x_A.ravel(), np.zeros(x_A.size), z_A.ravel()], axis=1)
    voxel = np.arange(x_A.size)
    for number, tilt in enumerate(tilts):
        turn = tilt_rotation(tilt)
        landing = A_to_index((plane_A @ turn.T)[:, :1], (n_x,), voxel_size_A)[:, 0]
        nearest = np.rint(landing).astype(np.int64)
        # A shadow is at most √2 wide; with half a pixel at each end it reaches no further than 1.21 pixels.
        for pixel in (nearest - 1, nearest, nearest + 1):
            area = _shared_area(landing - pixel, abs(turn[0, 0]), abs(turn[0, 2]))
            kept = (pixel >= 0) & (pixel < n_x) & (area > 1e-7)
            yield number * n_x + pixel[kept], voxel[kept], area[kept]


def _shared_area(distance: NDArray[Any], c: float, s: float) -> NDArray[Any]:
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
