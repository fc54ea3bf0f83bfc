"""Solvers of one signature: tilt series in, degraded tomogram out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import ReconstructionConfig
from picotome.recon.alignment import align_series
from picotome.recon.angles import angular_weights_rad
from picotome.recon.background import subtract_background
from picotome.recon.counting import counting_weights
from picotome.recon.kernels import N_SLICES, fill_backprojection, improve_planes
from picotome.recon.posed import solve_posed
from picotome.recon.projector import (
    Projector,
    backproject,
    images_with_margin,
    inverse_sums,
    make_projector,
    project,
    set_planes,
    slice_blocks,
)
from picotome.recon.sirt import inertias
from picotome.recon.views import solve_views, split_views
from picotome.records import ImageFit, TiltSeries, Tomogram
from picotome.threads import map_in_threads

_MIN_IMAGES = 2


class Solver(Protocol):
    """Solve A volume = images.

    Takes (n_tilts, nx, ny) images, how much each pixel counts, their tilts and projector; returns a
    (nx, ny, nz) float32 volume.
    """

    def __call__(
        self,
        images: NDArray[Any],
        *,
        weights: NDArray[Any],
        tilt_deg: NDArray[Any],
        projector: Projector,
        config: ReconstructionConfig,
    ) -> NDArray[Any]:
        """Return the volume."""


def reconstruct(series: TiltSeries, *, config: ReconstructionConfig, fit: ImageFit | None = None) -> Tomogram:
    """Reconstruct a tilt series into a volume as deep as its images are wide.

    SIRT trusts each pixel by the noise of its counting, background and all (see `picotome.recon.counting`).

    Parameters
    ----------
    series
        Images and nominal tilts.
    config
        Solver, iterations, and whether the images lose their background and are aligned first (see
        `picotome.recon.background` and `picotome.recon.alignment`).
    fit
        What a refinement found of these images: then their geometry and gain are its own, and nothing is
        aligned before (see `picotome.recon.posed`). So is their background, unless `subtract_background` asks
        for that of the images themselves, which is subtracted once.

    Returns
    -------
    Tomogram
        Degraded, (nx, ny, nx), in image units per Å.

    Raises
    ------
    ValueError
        If images and tilts disagree in number, there are fewer than two, the images are not finite or are
        all zero, or the pixel size is not above zero; or, with an azimuth, if that is no multiple of 90°, the
        images are not square, or the solver is not ``sirt``; or, with a fit, if that is not of these images
        or the solver is not ``sirt``.
    """
    _check(series)
    if config.align and fit is None:
        series = align_series(series)
    # Before the background goes: its noise stays.
    weights = counting_weights(series.images, pixel_size_A=series.pixel_size_A)
    if config.subtract_background:
        series = subtract_background(series)
    if fit is not None:
        if config.subtract_background:
            fit = replace(fit, background=np.zeros(len(series.images)))
        volume = solve_posed(series, fit, weights=weights, config=config)
        return Tomogram(volume=volume, voxel_size_A=series.pixel_size_A, kind="degraded")
    n_x = series.images.shape[1]
    if series.azimuth_deg is not None and np.any(series.azimuth_deg):
        volume = solve_views(split_views(series, weights), config=config)
        return Tomogram(volume=volume, voxel_size_A=series.pixel_size_A, kind="degraded")
    projector = make_projector(series.tilt_deg, n_x=n_x, n_z=n_x, voxel_size_A=series.pixel_size_A)
    solver = SOLVERS[config.solver]
    volume = solver(
        series.images, weights=weights, tilt_deg=series.tilt_deg, projector=projector, config=config
    )
    return Tomogram(volume=volume, voxel_size_A=series.pixel_size_A, kind="degraded")


def solve_sirt(
    images: NDArray[Any],
    *,
    weights: NDArray[Any],
    tilt_deg: NDArray[Any],
    projector: Projector,
    config: ReconstructionConfig,
) -> NDArray[Any]:
    """Reconstruct by SIRT with positivity, Nesterov momentum and weights.

    Each iteration adds C Aᵀ W R (b − A v), where R are the inverse row sums of A, W the weights of the pixels
    and C the inverse column sums of W A (Gregor & Benson, IEEE Trans. Med. Imaging 27, 918 (2008),
    doi:10.1109/TMI.2008.923696, for W = 1), clips negative voxels and extrapolates (Beck & Teboulle, SIAM J.
    Imaging Sci. 2, 183 (2009), doi:10.1137/080716542). Thirty such iterations equal several hundred without
    momentum; many more fit the noise.
    """
    # Slices are solved apart, and one without a single positive pixel stays zero: vacuum costs nothing.
    lit = (images > 0).any(axis=(0, 1))
    volume = np.zeros((projector.n_x, images.shape[2], projector.n_z), dtype=np.float32)
    volume[:, lit] = _accelerated_sirt(images[:, :, lit], weights[:, :, lit], projector, config.n_iterations)
    return volume


def solve_wbp(
    images: NDArray[Any],
    *,
    weights: NDArray[Any],
    tilt_deg: NDArray[Any],
    projector: Projector,
    config: ReconstructionConfig,
) -> NDArray[Any]:
    """Reconstruct by weighted back-projection; no weights of single pixels.

    Each image is filtered with the ramp |k_x| (in its exact band-limited form, Kak & Slaney, Principles of
    Computerized Tomographic Imaging (1988), eq. 3.61) and weighted by the angle that it stands for, so
    unequal steps are allowed. Images at the two ends of a wedge stand for one step each.
    """
    n_x = projector.n_x
    n_padded = 2 * n_x
    pixel_A = projector.voxel_size_A
    distance = np.arange(n_padded)
    distance = np.minimum(distance, n_padded - distance)
    kernel = np.zeros(n_padded)
    kernel[0] = 0.25
    odd = distance % 2 == 1
    kernel[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    ramp = np.fft.rfft(kernel).real / pixel_A
    spectrum = np.fft.rfft(images, n=n_padded, axis=1) * ramp[None, :, None]
    filtered = np.fft.irfft(spectrum, n=n_padded, axis=1)[:, :n_x]
    filtered *= angular_weights_rad(tilt_deg)[:, None, None]
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
    if not (np.isfinite(series.pixel_size_A) and series.pixel_size_A > 0):
        raise ValueError(f"pixel_size_A is {series.pixel_size_A}; allowed is a finite number above 0")


def _accelerated_sirt(
    images: NDArray[Any], weights: NDArray[Any], projector: Projector, n_iterations: int
) -> NDArray[Any]:
    """(n_x, n_y, n_z) volume from (n_tilts, n_x, n_y) images and weights."""
    n_tilts, n_x, n_y, n_z = projector.n_tilts, projector.n_x, images.shape[2], projector.n_z
    row_sums = project(np.ones((n_x, 1, n_z), dtype=np.float32), projector)
    column_sums = backproject(np.ones((n_tilts, n_x, 1), dtype=np.float32), projector).reshape(-1, 1)
    pixel_scale = np.pad(inverse_sums(row_sums), ((0, 0), (1, 1), (0, 0)))
    volume = np.empty((n_x, n_y, n_z), dtype=np.float32)

    def solve(block: slice) -> None:
        measured = images_with_margin(images[:, :, block], projector)
        weight = images_with_margin(weights[:, :, block], projector)
        row_scale = pixel_scale * weight
        voxel_scale = np.empty((n_x * n_z, N_SLICES), dtype=np.float32)
        fill_backprojection(projector.first_row, projector.weights, weight, voxel_scale)
        voxel_scale = inverse_sums(voxel_scale, unweighted=column_sums)
        projected = np.zeros_like(measured)
        current = np.zeros((n_x * n_z, N_SLICES), dtype=np.float32)
        extrapolated = np.zeros_like(current)
        for inertia in inertias(n_iterations):
            residual = (measured - projected) * row_scale
            projected.fill(0.0)
            improve_planes(
                projector.first_row,
                projector.weights,
                residual,
                voxel_scale,
                np.float32(inertia),
                current,
                extrapolated,
                projected,
            )
        set_planes(volume[:, block], current)

    map_in_threads(solve, slice_blocks(n_y))
    return volume
