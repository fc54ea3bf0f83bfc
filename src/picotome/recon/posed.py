"""Reconstruction of images whose geometry has been refined: any rotation, shift, gain, background and focus.

A tilt series as it is told has one axis, and its slices are solved apart. What a refinement finds of the
images (`ImageFit`) turns each of them about all three axes, by tenths of a degree, so that the volume is
improved at once. Images are not resampled: their shifts are part of the projector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import A_to_index, tilt_rotations
from picotome.recon.kernels import MARGIN, N_BINS, REACH, add_posed_image, fill_posed_block
from picotome.recon.projector import shared_area
from picotome.recon.sirt import solve_whole
from picotome.records import ImageFit, TiltSeries
from picotome.threads import map_in_threads

_N_PLANES = 8


@dataclass(frozen=True, eq=False)
class Poses:
    """The projector of posed images.

    Attributes
    ----------
    maps
        (n_tilts, 2, 4) float64: the pixel (u, v) of voxel (i, j, k) is ``map @ (i, j, k, 1)``, the kernels'
        margin counted.
    footprints
        (n_tilts, N_BINS) float32: what a pixel sees of a voxel, Å, by their distance along u, from −2 to 2
        pixels.
    shape
        (n_x, n_y, n_z) of the volume; images have (n_x, n_y) pixels.
    """

    maps: NDArray[Any]
    footprints: NDArray[Any]
    shape: tuple[int, int, int]


def make_poses(series: TiltSeries, fit: ImageFit) -> Poses:
    """Make the projector of a series' images as a refinement found them."""
    _, n_x, n_y = series.images.shape
    voxel_A = series.pixel_size_A
    rotations = tilt_rotations(series.tilt_deg, fit.tilt_error_deg, azimuth_deg=series.azimuth_deg)
    shape = (n_x, n_y, n_x)
    origin = A_to_index(np.zeros(3), shape, 1.0)
    at_origin = A_to_index(fit.shift_error_A, (n_x, n_y), voxel_A) + MARGIN
    rows = rotations[:, :2, :]
    maps = np.concatenate([rows, (at_origin - rows @ origin)[:, :, None]], axis=2)
    # The shadow of a cube along u: of its three sides the two longer ones matter.
    sides = np.sort(np.abs(rotations[:, 0, :]), axis=1)[:, 1:]
    distance = np.linspace(-REACH, REACH, N_BINS)
    footprints = np.stack([shared_area(distance, long, short) for short, long in sides])
    return Poses(maps, (footprints * voxel_A).astype(np.float32), shape)


def project_poses(volume: NDArray[Any], poses: Poses) -> NDArray[Any]:
    """Project a volume [x, y, z] to (n_tilts, nx, ny) images, both float32; the unit gains an Å."""
    n_u, n_v = poses.shape[0] + 2 * MARGIN, poses.shape[1] + 2 * MARGIN
    images = np.zeros((len(poses.maps), n_u, n_v), dtype=np.float32)
    # Lines along y, which all images see almost upright.
    lines = np.ascontiguousarray(volume.transpose(0, 2, 1))

    def add(number: int) -> None:
        add_posed_image(lines, poses.maps[number], poses.footprints[number], images[number])

    map_in_threads(add, range(len(images)))
    return images[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def backproject_poses(images: NDArray[Any], poses: Poses) -> NDArray[Any]:
    """Apply the adjoint of `project_poses`."""
    n_x, n_y, n_z = poses.shape
    images = np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    lines = np.empty((n_x, n_z, n_y), dtype=np.float32)

    def fill(first: int) -> None:
        fill_posed_block(images, poses.maps, poses.footprints, first, lines[first : first + _N_PLANES])

    map_in_threads(fill, range(0, n_x, _N_PLANES))
    return np.ascontiguousarray(lines.transpose(0, 2, 1))


def solve_posed(
    series: TiltSeries, fit: ImageFit, *, weights: NDArray[Any], config: ReconstructionConfig
) -> NDArray[Any]:
    """Reconstruct by SIRT with positivity and momentum, as `picotome.recon.solvers.solve_sirt` does.

    Images lose their background and gain. A pixel counts by its `weights`, (n_tilts, n_x, n_y), of the images
    as they are, and by what it says of an atom's brightness: less where the probe is wider, out of focus.

    Raises
    ------
    ValueError
        If another solver is asked for, or the fit is not of these images.
    """
    _check(series, fit, config)
    gain, background = (values[:, None, None].astype(np.float32) for values in (fit.gain, fit.background))
    poses = make_poses(series, fit)
    return solve_whole(
        (series.images - background) / gain,
        shape=poses.shape,
        project=lambda volume: project_poses(volume, poses),
        backproject=lambda images: backproject_poses(images, poses),
        # What is divided by a gain has that much less noise.
        weights=weights * (probe_weights(fit)[:, None, None].astype(np.float32) * gain**2),
        n_iterations=config.n_iterations,
    )


def probe_weights(fit: ImageFit) -> NDArray[Any]:
    """(n_tilts,) weights: overlap of an image's probe with itself, over that of the focused one; 1 in focus.

    In white noise a spot p of known shape tells its brightness with a variance of 1 / ∫p². Core and tail
    count by their overlaps, so that it does not matter which of them a fit has called the core.
    """
    variance_A2 = np.array([fit.core_sigma_A**2, fit.tail_sigma_A**2])
    share = np.array([1.0 - fit.tail_fraction, fit.tail_fraction])
    both_A2 = variance_A2[:, None] + variance_A2
    wider_A2 = 2.0 * fit.spread * np.square(fit.defocus_A)[:, None, None]
    # The integral of the product of two Gaussians is a Gaussian of both variances at zero.
    overlap = np.einsum("i,j,tij->t", share, share, 1.0 / (both_A2 + wider_A2))
    weights: NDArray[Any] = overlap / float(share @ (1.0 / both_A2) @ share)
    return weights


def _check(series: TiltSeries, fit: ImageFit, config: ReconstructionConfig) -> None:
    if config.solver != "sirt":
        raise ValueError(
            f"reconstruction.solver is {config.solver!r}, which knows one tilt axis and no turns; "
            "to reconstruct with a refined geometry use sirt"
        )
    if len(fit.gain) != len(series.images):
        raise ValueError(
            f"the refined geometry is of {len(fit.gain)} images and the series has {len(series.images)}; "
            "give the refinement of this very series"
        )
    bad = np.flatnonzero(~(np.isfinite(fit.gain) & (fit.gain > 0)))
    if bad.size:
        raise ValueError(f"the refined geometry has no gain above 0 for images {bad.tolist()}; refine again")
