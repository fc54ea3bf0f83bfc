"""The Fourier slice that shows the missing wedge, and how full the wedge is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.geometry import centre_index


def fourier_power_slice(
    volume: NDArray[Any], *, voxel_size_A: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Power of a tomogram in the plane k_y = 0, which holds the wedge of a series about y.

    Parameters
    ----------
    volume
        (nx, ny, nz) tomogram.
    voxel_size_A
        Edge of a voxel.

    Returns
    -------
    tuple
        (nx, nz) power with the origin at ``n // 2``, and k_x (nx,) and k_z (nz,) in 1/Å.
    """
    # k_y = 0 is the transform of the sum over y: no three-dimensional transform is needed.
    spectrum = np.fft.fftshift(np.fft.fft2(volume.sum(axis=1, dtype=np.float64)))
    n_x, n_z = spectrum.shape
    k_x, k_z = (np.fft.fftshift(np.fft.fftfreq(n, voxel_size_A)) for n in (n_x, n_z))
    power: NDArray[Any] = np.abs(spectrum) ** 2
    return power, k_x, k_z


def wedge_power_ratio(
    volume: NDArray[Any],
    *,
    voxel_size_A: float,
    tilt_deg: NDArray[Any],
    k_min_per_A: float = 0.2,
    k_max_per_A: float = 0.6,
) -> float:
    """Mean power inside the missing wedge over mean power outside it, in a ring that holds the lattice peaks.

    Parameters
    ----------
    volume
        (nx, ny, nz) tomogram.
    voxel_size_A
        Edge of a voxel.
    tilt_deg
        Tilts of the series; directions between its ends are measured.
    k_min_per_A, k_max_per_A
        The ring, in 1/Å.

    Raises
    ------
    ValueError
        If the tilts leave no wedge.
    """
    spectrum = np.abs(np.fft.fftshift(np.fft.fftn(volume.astype(np.float32)))) ** 2
    k_x, k_y, k_z = (np.fft.fftshift(np.fft.fftfreq(n, voxel_size_A)) for n in volume.shape)
    radius = np.sqrt(k_x[:, None, None] ** 2 + k_y[None, :, None] ** 2 + k_z[None, None, :] ** 2)
    # An image at tilt θ measures the plane spanned by k_y and (cos θ, 0, sin θ).
    angle = np.rad2deg(np.arctan2(k_z[None, :], k_x[:, None]))
    angle = (angle + 90.0) % 180.0 - 90.0
    measured = (angle >= np.min(tilt_deg)) & (angle <= np.max(tilt_deg))
    measured[centre_index(len(k_x)), centre_index(len(k_z))] = True
    ring = (radius >= k_min_per_A) & (radius <= k_max_per_A)
    inside = ring & ~measured[:, None, :]
    if not inside.any():
        raise ValueError(f"tilts {np.min(tilt_deg):g} to {np.max(tilt_deg):g}° leave no wedge in the ring")
    return float(spectrum[inside].mean() / spectrum[ring & measured[:, None, :]].mean())
