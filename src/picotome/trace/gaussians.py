"""Many Gaussians on one grid: their sum and its derivatives, each on a small window of voxels.

An atom has seven local parameters: height A, centre (p_x, p_y, p_z) and the logarithms of its three standard
deviations. A window holds the voxels of an ellipsoid about the atom, the same number M for all atoms, so that
everything is an array of (n atoms, M voxels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.geometry import A_to_index, axis_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

N_LOCAL = 7
# exp(−3.5²/2) = 0.2 % of the height is left outside.
_WINDOW_SIGMAS = 3.5


@dataclass(frozen=True, eq=False)
class GaussianSum:
    """V(r) = Σ_i A_i exp(−½ Σ_k (r_k − p_ik)² / (w_i s_k)²).

    Attributes
    ----------
    positions_A
        (n, 3) float64 centres p relative to the origin.
    amplitudes
        (n,) heights A, in units of the volume.
    shape_A
        (3,) standard deviations s along x, y and z that all atoms share.
    widths
        (n,) factor w of each atom on `shape_A`.
    """

    positions_A: Array
    amplitudes: Array
    shape_A: Array
    widths: Array


@dataclass(frozen=True, eq=False)
class Windows:
    """Each atom on its voxels.

    Attributes
    ----------
    at
        (n, M) index of each voxel into the flattened volume.
    values
        (n, M) float32 exp(…) of each atom, without its height; 0 outside the volume.
    u
        (3, n, M) float32 distance from the centre in standard deviations.
    """

    at: Array
    values: Array
    u: Array


def make_windows(model: GaussianSum, shape: tuple[int, ...], voxel_size_A: float) -> Windows:
    """Evaluate every Gaussian of a sum on its window."""
    sigma_A = model.widths[:, None] * model.shape_A
    offsets = _ellipsoid(model.shape_A / voxel_size_A)
    centre = np.rint(A_to_index(model.positions_A, shape, voxel_size_A)).astype(np.int64)
    half = np.abs(offsets).max(axis=0)
    strides = (shape[1] * shape[2], shape[2], 1)
    n, m = len(centre), len(offsets)
    at = np.zeros((n, m), dtype=np.int64)
    values = np.ones((n, m), dtype=np.float32)
    u = np.empty((3, n, m), dtype=np.float32)
    for axis in range(3):
        steps = np.arange(-half[axis], half[axis] + 1)
        index = centre[:, axis, None] + steps
        inside = (index >= 0) & (index < shape[axis])
        index = np.clip(index, 0, shape[axis] - 1)
        along_A = axis_A(shape[axis], voxel_size_A)[index]
        # A window is separable: n × (2 half + 1) exponentials instead of n × M.
        distance = (along_A - model.positions_A[:, axis, None]) / sigma_A[:, axis, None]
        profile = np.where(inside, np.exp(-0.5 * distance**2), 0.0).astype(np.float32)
        pick = offsets[:, axis] + half[axis]
        at += (index * strides[axis])[:, pick]
        values *= profile[:, pick]
        u[axis] = distance.astype(np.float32)[:, pick]
    return Windows(at=at, values=values, u=u)


def add_up(windows: Windows, weights: Array, shape: tuple[int, ...]) -> Array:
    """(nx, ny, nz) float32 sum of (n, M) numbers at their voxels."""
    total = np.bincount(windows.at.ravel(), weights=weights.ravel(), minlength=math.prod(shape))
    volume: Array = total.astype(np.float32).reshape(shape)
    return volume


def render(model: GaussianSum, shape: tuple[int, ...], voxel_size_A: float) -> Array:
    """(nx, ny, nz) float32 volume of a sum of Gaussians, each cut off at 3.5 standard deviations."""
    windows = make_windows(model, shape, voxel_size_A)
    return add_up(windows, windows.values * model.amplitudes.astype(np.float32)[:, None], shape)


def local_jacobian(model: GaussianSum, windows: Windows) -> Array:
    """(n, 7, M) float32 derivatives of each atom by its height, centre (per Å) and three log sigmas."""
    sigma_A = (model.widths[:, None] * model.shape_A).astype(np.float32)
    bright = windows.values * model.amplitudes.astype(np.float32)[:, None]
    n, m = bright.shape
    jacobian = np.empty((n, N_LOCAL, m), dtype=np.float32)
    jacobian[:, 0] = windows.values
    for axis in range(3):
        slope = bright * windows.u[axis]
        jacobian[:, 1 + axis] = slope / sigma_A[:, axis, None]
        jacobian[:, 4 + axis] = slope * windows.u[axis]
    return jacobian


def _ellipsoid(sigma_voxels: Array) -> Array:
    """(M, 3) offsets of the voxels within 3.5 standard deviations, at least the nearest neighbours."""
    reach = np.maximum(_WINDOW_SIGMAS * sigma_voxels, 1.0)
    half = np.ceil(reach).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(-h, h + 1) for h in half], indexing="ij"), axis=-1).reshape(-1, 3)
    # Half a voxel more: the atom is anywhere within the central voxel.
    offsets: Array = grid[((grid / (reach + 0.5)) ** 2).sum(axis=1) <= 1]
    return offsets
