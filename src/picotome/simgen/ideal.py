"""The tomogram that a perfect reconstruction would be: one peak for each atom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import VolumeConfig
from picotome.configs.schema import IdealConfig
from picotome.geometry import A_to_index
from picotome.records import Specimen, Tomogram

_CUT_SIGMAS = 5.0
# Below this many voxels per sigma the samples of a peak no longer sum to its integral and centroid.
_MIN_SIGMA_VOXELS = 0.7


def ideal_tomogram(
    specimen: Specimen, *, volume: VolumeConfig, config: IdealConfig, brightness_A2: Mapping[str, float]
) -> Tomogram:
    """Sum one Gaussian for each atom.

    An atom of cross-section b contributes b (2πσ²)^(−3/2) exp(−r² / 2σ²): its sum over voxels times the
    voxel's volume is b in Å², and the sum over z times `voxel_size_A` is an image in detected electrons per
    incident electron. What falls outside the box is lost, as it is for a microscope.

    Parameters
    ----------
    brightness_A2
        Cross-section for scattering onto the detector by chemical symbol, Å².

    Raises
    ------
    ValueError
        An element has no brightness, or the peaks are too narrow for the voxels.
    """
    n, voxel = volume.n_voxels, volume.voxel_size_A
    if config.peak_sigma_A < _MIN_SIGMA_VOXELS * voxel:
        raise ValueError(
            f"ideal.peak_sigma_A is {config.peak_sigma_A:g} Å; allowed is at least "
            f"{_MIN_SIGMA_VOXELS * voxel:.3g} Å, {_MIN_SIGMA_VOXELS:g} of volume.voxel_size_A = {voxel:g} Å"
        )
    brightness = atom_brightness_A2(specimen.atomic_numbers, brightness_A2)
    index = A_to_index(specimen.positions_A, (n, n, n), voxel)
    first, profiles = peak_profiles_per_A(index, voxel_size_A=voxel, sigma_A=config.peak_sigma_A)
    # An atom's peak that lies wholly outside would otherwise wrap around by negative indices.
    low = np.clip(-first, 0, profiles.shape[2])
    high = np.clip(n - first, 0, profiles.shape[2])
    total = np.zeros((n, n, n), dtype=np.float32)
    for b, start, (px, py, pz), lo, hi in zip(brightness, first, profiles, low, high, strict=True):
        if (lo >= hi).any():
            continue
        x, y, z = (slice(s + i, s + j) for s, i, j in zip(start, lo, hi, strict=True))
        plane = b * px[lo[0] : hi[0], None] * py[None, lo[1] : hi[1]]
        total[x, y, z] += plane[:, :, None] * pz[lo[2] : hi[2]]
    return Tomogram(volume=total, voxel_size_A=voxel, kind="ideal")


def peak_profiles_per_A(
    index: NDArray[Any], *, voxel_size_A: float, sigma_A: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sample normalised Gaussians on the voxels around (n, 3) fractional indices.

    Returns
    -------
    (n, 3) first voxel of each window and (n, 3, w) float32 profiles in 1/Å, of sum 1 / voxel_size_A.
    """
    half = math.ceil(_CUT_SIGMAS * sigma_A / voxel_size_A)
    first = np.rint(index).astype(np.int64) - half
    voxels = first[:, :, None] + np.arange(2 * half + 1)
    profiles = np.exp(-0.5 * ((voxels - index[:, :, None]) * (voxel_size_A / sigma_A)) ** 2)
    profiles /= profiles.sum(axis=2, keepdims=True) * voxel_size_A
    return first, profiles.astype(np.float32)


def atom_brightness_A2(atomic_numbers: NDArray[Any], brightness_A2: Mapping[str, float]) -> NDArray[Any]:
    """(n,) float32 brightness of each atom."""
    from ase.data import chemical_symbols

    kinds, kind_of_atom = np.unique(atomic_numbers, return_inverse=True)
    symbols = [chemical_symbols[z] for z in kinds]
    missing = [symbol for symbol in symbols if symbol not in brightness_A2]
    if missing:
        raise ValueError(
            f"brightness_A2 has no {', '.join(missing)}, only {', '.join(brightness_A2) or 'nothing'}; "
            f"give one for every element of the specimen"
        )
    values = np.array([brightness_A2[symbol] for symbol in symbols], dtype=np.float32)
    brightness: NDArray[Any] = values[kind_of_atom]
    return brightness
