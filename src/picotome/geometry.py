"""The one frame: voxel <-> Å, tilt rotations, centre.

Arrays are indexed ``[x, y, z]``. The beam runs along z, the tilt axis is y. At tilt θ the specimen turns
by +θ about y: x' = x cos θ + z sin θ, z' = −x sin θ + z cos θ, and the image is the sum over z'. The
origin is the voxel with index ``n // 2`` on each axis. Before it is tilted, the specimen may be turned by
an azimuth φ about the beam, x' = x cos φ − y sin φ, y' = x sin φ + y cos φ: the second axis of a dual-axis
series. No other module writes these expressions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def centre_index(n: int) -> int:
    """Index of the voxel at the origin."""
    return n // 2


def axis_A(n: int, voxel_size_A: float) -> NDArray[Any]:
    """(n,) coordinates of the voxel centres along one axis, in Å."""
    coordinates: NDArray[Any] = (np.arange(n) - centre_index(n)) * voxel_size_A
    return coordinates


def index_to_A(index: ArrayLike, shape: tuple[int, ...], voxel_size_A: float) -> NDArray[Any]:
    """Turn (…, d) fractional voxel indices into positions in Å relative to the origin."""
    centre = np.array([centre_index(n) for n in shape])
    positions_A: NDArray[Any] = (np.asarray(index, dtype=np.float64) - centre) * voxel_size_A
    return positions_A


def A_to_index(positions_A: ArrayLike, shape: tuple[int, ...], voxel_size_A: float) -> NDArray[Any]:
    """Turn (…, d) positions in Å into fractional voxel indices."""
    centre = np.array([centre_index(n) for n in shape])
    index: NDArray[Any] = np.asarray(positions_A, dtype=np.float64) / voxel_size_A + centre
    return index


def half_extent_A(n: int, voxel_size_A: float) -> float:
    """Largest |coordinate| in Å that lies inside an axis of n voxels on both sides of the origin."""
    return min(centre_index(n), n - 1 - centre_index(n)) * voxel_size_A


def tilt_rotation(tilt_deg: float) -> NDArray[Any]:
    """(3, 3) rotation of the specimen at a tilt about y: ``rotated = positions @ R.T``."""
    c, s = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def azimuth_rotation(azimuth_deg: float) -> NDArray[Any]:
    """(3, 3) rotation of the specimen by an azimuth about the beam; exact at multiples of 90°."""
    c, s = np.cos(np.deg2rad(azimuth_deg)), np.sin(np.deg2rad(azimuth_deg))
    quarters = azimuth_deg / 90.0
    if quarters == round(quarters):
        c, s = np.rint(c), np.rint(s)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def turn_volume(volume: NDArray[Any], quarter_turns: int) -> NDArray[Any]:
    """Turn a (n, n, n_z) volume by multiples of 90° about the beam, voxel by voxel.

    The first row and column of an even box have no partner beyond the origin: nothing comes from there, and
    nothing arrives. So turning back is the exact transpose of turning.

    Raises
    ------
    ValueError
        If the volume is not as wide along x as along y.
    """
    n = volume.shape[0]
    if volume.shape[1] != n:
        raise ValueError(
            f"volume has shape {volume.shape}; a quarter of a turn needs one as wide along x as along y"
        )
    if quarter_turns % 4 == 0:
        return volume
    turned = np.zeros_like(volume)
    paired = slice(2 * centre_index(n) - n + 1, None)
    turned[paired, paired] = np.rot90(volume[paired, paired], quarter_turns)
    return turned


def tilt_rotations(
    tilt_deg: ArrayLike,
    tilt_error_deg: NDArray[Any] | None = None,
    *,
    azimuth_deg: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """(n, 3, 3) rotations of a tilt series.

    Parameters
    ----------
    tilt_deg
        (n,) nominal tilts.
    tilt_error_deg
        (n, 3) small extra rotations about the microscope's x, y and z axes, applied after the tilt.
    azimuth_deg
        (n,) turns about the beam before the tilt; default: none.
    """
    rotations = np.stack([tilt_rotation(float(t)) for t in np.atleast_1d(tilt_deg)])
    if azimuth_deg is not None:
        rotations = rotations @ np.stack([azimuth_rotation(float(a)) for a in azimuth_deg])
    if tilt_error_deg is None:
        return rotations
    from scipy.spatial.transform import Rotation

    errors = Rotation.from_euler("xyz", tilt_error_deg, degrees=True).as_matrix()
    combined: NDArray[Any] = np.einsum("nij,njk->nik", errors, rotations)
    return combined
