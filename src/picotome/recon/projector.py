"""The projector A of a single-axis series and its exact adjoint.

The tilt axis is y, so every (x, z) plane of the volume is projected by the same sparse matrix: one row
for each detector pixel of each image, one column for each voxel of a plane. The adjoint is that matrix
transposed, not a second approximation of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from picotome.geometry import A_to_index, axis_A, tilt_rotation


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
    """

    forward: Any
    adjoint: Any
    n_tilts: int
    n_x: int
    n_z: int


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
    """
    tilts = tuple(float(tilt) for tilt in np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64)))
    return _cached_projector(tilts, n_x, n_z, float(voxel_size_A))


# Every particle of a dataset is seen at the same tilts.
@lru_cache(maxsize=4)
def _cached_projector(tilts: tuple[float, ...], n_x: int, n_z: int, voxel_size_A: float) -> Projector:
    x_A, z_A = np.meshgrid(axis_A(n_x, voxel_size_A), axis_A(n_z, voxel_size_A), indexing="ij")
    plane_A = np.stack([x_A.ravel(), np.zeros(x_A.size), z_A.ravel()], axis=1)
    rows, columns, weights = [], [], []
    for number, tilt in enumerate(tilts):
        landing = A_to_index((plane_A @ tilt_rotation(tilt).T)[:, :1], (n_x,), voxel_size_A)[:, 0]
        left = np.floor(landing).astype(np.int64)
        fraction = landing - left
        # A voxel is shared between the two pixels that it falls between: flux and centroid are exact.
        for pixel, weight in ((left, 1.0 - fraction), (left + 1, fraction)):
            inside = (pixel >= 0) & (pixel < n_x) & (weight > 0)
            rows.append(number * n_x + pixel[inside])
            columns.append(np.flatnonzero(inside))
            weights.append(weight[inside] * voxel_size_A)
    shape = (len(tilts) * n_x, n_x * n_z)
    entries = np.concatenate(weights).astype(np.float32)
    forward = csr_matrix((entries, (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    return Projector(forward=forward, adjoint=forward.T.tocsr(), n_tilts=len(tilts), n_x=n_x, n_z=n_z)


def project(volume: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Project a (nx, ny, nz) volume to (n_tilts, nx, ny) images, both float32."""
    planes = planes_from_volume(volume)
    return images_from_rows(np.asarray(projector.forward @ planes), projector)


def backproject(images: NDArray[Any], projector: Projector) -> NDArray[Any]:
    """Apply the adjoint to (n_tilts, nx, ny) images; returns a (nx, ny, nz) float32 volume."""
    return volume_from_planes(np.asarray(projector.adjoint @ rows_from_images(images)), projector)


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
