"""Solvers of one signature: tilt series in, degraded tomogram out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import ReconstructionConfig
from picotome.recon.projector import (
    Projector,
    backproject,
    make_projector,
    rows_from_images,
    volume_from_planes,
)
from picotome.records import TiltSeries, Tomogram

_MIN_IMAGES = 2


class Solver(Protocol):
    """Solve A volume = images.

    Takes (n_tilts, nx, ny) images, their tilts and projector; returns a (nx, ny, nz) float32 volume.
    """

    def __call__(
        self,
        images: NDArray[Any],
        *,
        tilt_deg: NDArray[Any],
        projector: Projector,
        config: ReconstructionConfig,
    ) -> NDArray[Any]:
        """Return the volume."""


def reconstruct(series: TiltSeries, *, config: ReconstructionConfig) -> Tomogram:
    """Reconstruct a tilt series into a volume as deep as its images are wide.

    Parameters
    ----------
    series
        Images and nominal tilts.
    config
        Solver and iterations.

    Returns
    -------
    Tomogram
        Degraded, (nx, ny, nx), in image units per Å.

    Raises
    ------
    ValueError
        If images and tilts disagree in number, there are fewer than two, or the images are not finite or
        are all zero.
    """
    _check(series)
    n_x = series.images.shape[1]
    projector = make_projector(series.tilt_deg, n_x=n_x, n_z=n_x, voxel_size_A=series.pixel_size_A)
    solver = SOLVERS[config.solver]
    volume = solver(series.images, tilt_deg=series.tilt_deg, projector=projector, config=config)
    return Tomogram(volume=volume, voxel_size_A=series.pixel_size_A, kind="degraded")


def solve_sirt(
    images: NDArray[Any], *, tilt_deg: NDArray[Any], projector: Projector, config: ReconstructionConfig
) -> NDArray[Any]:
    """Reconstruct by SIRT with positivity and Nesterov momentum.

    Each iteration adds C Aᵀ R (b − A v), where R and C are the inverse row and column sums of A (Gregor &
    Benson, IEEE Trans. Med. Imaging 27, 918 (2008), doi:10.1109/TMI.2008.923696), clips negative voxels and
    extrapolates (Beck & Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), doi:10.1137/080716542). Thirty such
    iterations equal several hundred without momentum; many more fit the noise.
    """
    measured = rows_from_images(images)
    rows = _inverse_sums(projector.forward)[:, None]
    columns = _inverse_sums(projector.adjoint)[:, None]
    previous = np.zeros((projector.n_x * projector.n_z, measured.shape[1]), dtype=np.float32)
    extrapolated = previous.copy()
    momentum = 1.0
    for _ in range(config.n_iterations):
        residual = projector.forward @ extrapolated
        np.subtract(measured, residual, out=residual)
        residual *= rows
        current = projector.adjoint @ residual
        current *= columns
        current += extrapolated
        np.maximum(current, 0.0, out=current)
        following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        np.subtract(current, previous, out=extrapolated)
        extrapolated *= np.float32((momentum - 1.0) / following)
        extrapolated += current
        previous, momentum = current, following
    return volume_from_planes(previous, projector)


def solve_wbp(
    images: NDArray[Any], *, tilt_deg: NDArray[Any], projector: Projector, config: ReconstructionConfig
) -> NDArray[Any]:
    """Reconstruct by weighted back-projection.

    Each image is filtered with the ramp |k_x| (in its exact band-limited form, Kak & Slaney, Principles of
    Computerized Tomographic Imaging (1988), eq. 3.61) and weighted by the angle that it stands for, so
    unequal steps are allowed. Images at the two ends of a wedge stand for one step each.
    """
    n_x = projector.n_x
    n_padded = 2 * n_x
    pixel_A = _voxel_size_A(projector)
    distance = np.arange(n_padded)
    distance = np.minimum(distance, n_padded - distance)
    kernel = np.zeros(n_padded)
    kernel[0] = 0.25
    odd = distance % 2 == 1
    kernel[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    ramp = np.fft.rfft(kernel).real / pixel_A
    spectrum = np.fft.rfft(images, n=n_padded, axis=1) * ramp[None, :, None]
    filtered = np.fft.irfft(spectrum, n=n_padded, axis=1)[:, :n_x]
    filtered *= _angular_widths(tilt_deg)[:, None, None]
    # The adjoint sums weights in Å; a back-projection is a plain sum.
    return backproject(filtered, projector) / np.float32(pixel_A)


SOLVERS: Mapping[str, Solver] = {"sirt": solve_sirt, "wbp": solve_wbp}


def _check(series: TiltSeries) -> None:
    images = series.images
    if images.ndim != 3 or len(images) != len(series.tilt_deg):
        raise ValueError(
            f"images have shape {images.shape} but there are {len(series.tilt_deg)} tilts; "
            "allowed is one image (nx, ny) for each tilt"
        )
    if len(images) < _MIN_IMAGES:
        raise ValueError(f"the series has {len(images)} image; a reconstruction needs at least {_MIN_IMAGES}")
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
    if bad.size:
        raise ValueError(
            f"images {bad.tolist()} have values that are not finite (NaN or infinite); remove or mend them"
        )
    if not np.isfinite(series.tilt_deg).all():
        raise ValueError("tilt_deg has values that are not finite")
    if not np.any(images):
        raise ValueError("the series is empty: all pixels of all images are zero")


def _inverse_sums(matrix: Any) -> NDArray[Any]:
    """1 / row sums; zero for rows that touch next to nothing (corners outside the field of view)."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    smallest = 1e-3 * sums.max()
    inverse: NDArray[Any] = np.where(sums > smallest, 1.0 / np.maximum(sums, smallest), 0.0).astype(
        np.float32
    )
    return inverse


def _voxel_size_A(projector: Projector) -> float:
    """Å per voxel, which every column of A sums to for each image that sees the voxel."""
    return float(projector.adjoint.sum(axis=1).max()) / projector.n_tilts


def _angular_widths(tilt_deg: NDArray[Any]) -> NDArray[Any]:
    """Angle in radians that each image stands for: half the way to its neighbours, modulo 180°."""
    tilts = np.deg2rad(np.asarray(tilt_deg, dtype=np.float64))
    order = np.argsort(tilts)
    steps = np.diff(tilts[order])
    gap = np.pi - (tilts.max() - tilts.min())
    # A gap no wider than the steps around it is no wedge but the seam of a full series.
    seam = gap if gap <= 1.5 * steps.max() else float(np.median(steps))
    around = np.concatenate([[max(seam, 0.0)], steps, [max(seam, 0.0)]])
    widths = np.empty_like(tilts)
    widths[order] = (around[:-1] + around[1:]) / 2.0
    return widths
