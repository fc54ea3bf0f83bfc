"""Solvers of one signature: tilt series in, degraded tomogram out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import ReconstructionConfig
from picotome.recon.angles import angular_weights_rad
from picotome.recon.projector import (
    Projector,
    RowBlock,
    backproject,
    make_projector,
    row_blocks,
    rows_from_images,
    volume_from_planes,
)
from picotome.recon.threads import map_in_threads
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
        If images and tilts disagree in number, there are fewer than two, the images are not finite or are
        all zero, or the pixel size is not above zero.
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
    # Slices are solved apart, and one without a single positive pixel stays zero: vacuum costs nothing.
    lit = (measured > 0).any(axis=0)
    planes = np.zeros((projector.n_x * projector.n_z, measured.shape[1]), dtype=np.float32)
    planes[:, lit] = _accelerated_sirt(measured[:, lit], projector, config.n_iterations)
    return volume_from_planes(planes, projector)


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


def _accelerated_sirt(measured: NDArray[Any], projector: Projector, n_iterations: int) -> NDArray[Any]:
    """(nx · nz, ny) planes of the tomogram from (n_tilts · nx, ny) rows of the images."""
    forward, adjoint = row_blocks(projector.forward), row_blocks(projector.adjoint)
    row_scale = _inverse_sums(projector.forward)[:, None]
    column_scale = _inverse_sums(projector.adjoint)[:, None]
    current = np.zeros((projector.n_x * projector.n_z, measured.shape[1]), dtype=np.float32)
    extrapolated = current.copy()
    residual = np.empty_like(measured)
    inertia = np.float32(0.0)

    # Everything is done block by block, while the product is still in the processor's cache.
    def compare(block: RowBlock) -> None:
        rows, matrix = block
        misfit = matrix @ extrapolated
        np.subtract(measured[rows], misfit, out=misfit)
        np.multiply(misfit, row_scale[rows], out=residual[rows])

    def improve(block: RowBlock) -> None:
        rows, matrix = block
        improved = matrix @ residual
        improved *= column_scale[rows]
        improved += extrapolated[rows]
        np.maximum(improved, 0.0, out=improved)
        ahead = np.subtract(improved, current[rows], out=extrapolated[rows])
        ahead *= inertia
        ahead += improved
        current[rows] = improved

    momentum = 1.0
    for _ in range(n_iterations):
        following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        inertia, momentum = np.float32((momentum - 1.0) / following), following
        map_in_threads(compare, forward)
        map_in_threads(improve, adjoint)
    return current


def _inverse_sums(matrix: Any) -> NDArray[Any]:
    """1 / row sums; zero for rows that touch next to nothing (corners outside the field of view)."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    smallest = 1e-3 * sums.max()
    inverse: NDArray[Any] = np.where(sums > smallest, 1.0 / np.maximum(sums, smallest), 0.0).astype(
        np.float32
    )
    return inverse
