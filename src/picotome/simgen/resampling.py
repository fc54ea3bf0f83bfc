"""From the scan of a periodic cell to the pixels of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import VolumeConfig
from picotome.geometry import axis_A
from picotome.simgen.cells import Axis, Cell


def resample_scan(
    scanned: NDArray[Any], cell: Cell, *, volume: VolumeConfig, source_size_A: float
) -> NDArray[Any]:
    """Blur a periodic scan by the source, integrate it over pixels and read it at the pixels' centres.

    Parameters
    ----------
    scanned
        (n_scan_x, n_scan_y) intensity at the positions of the probe; sample (0, 0) is a corner of the cell.

    Returns
    -------
    image
        (n_voxels, n_voxels) float32, mean intensity over each pixel; zero outside the cell.
    """
    x = _resampling_matrix(cell.x, float(cell.centre_A[0]), volume=volume, source_size_A=source_size_A)
    y = _resampling_matrix(cell.y, float(cell.centre_A[1]), volume=volume, source_size_A=source_size_A)
    image: NDArray[Any] = np.clip(x @ scanned @ y.T, 0.0, None).astype(np.float32)
    return image


def _resampling_matrix(
    axis: Axis, centre_A: float, *, volume: VolumeConfig, source_size_A: float
) -> NDArray[Any]:
    """(n_voxels, n_scan) real matrix from the samples along one side of the cell to the pixels."""
    pixels_A = axis_A(volume.n_voxels, volume.voxel_size_A)
    from_corner_A = pixels_A - centre_A + 0.5 * axis.length_A
    frequency = np.fft.fftfreq(axis.n_scan, axis.length_A / axis.n_scan)
    pixel = np.sinc(frequency * volume.voxel_size_A)
    transfer = np.exp(-2.0 * (np.pi * source_size_A * frequency) ** 2) * pixel
    samples_A = np.arange(axis.n_scan) * axis.length_A / axis.n_scan
    phase = 2.0 * np.pi * frequency * (from_corner_A[:, None, None] - samples_A[None, :, None])
    matrix: NDArray[Any] = (transfer * np.cos(phase)).sum(axis=-1) / axis.n_scan
    matrix[(from_corner_A < 0.0) | (from_corner_A > axis.length_A)] = 0.0
    return matrix
