"""Series about several axes: each azimuth is a single-axis series of the volume turned about the beam.

With T the turn of the volume (`picotome.geometry.turn_volume`) and A the projector of one axis, such a view
is A T, and its adjoint Tᵀ Aᵀ is exact because both factors' are. The views no longer share slices, so that
the whole volume is improved at once, from all views together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import turn_volume
from picotome.recon.projector import Projector, backproject, make_projector, project
from picotome.recon.sirt import solve_whole
from picotome.records import TiltSeries


@dataclass(frozen=True, eq=False)
class View:
    """The images of one azimuth.

    Attributes
    ----------
    quarter_turns
        By how many times 90° the volume is turned before it is projected.
    projector
        For the tilts of these images.
    images, weights
        (n, n_x, n_x) float32: pixels, and how much each counts.
    """

    quarter_turns: int
    projector: Projector
    images: NDArray[Any]
    weights: NDArray[Any]


def split_views(series: TiltSeries, weights: NDArray[Any]) -> list[View]:
    """Sort the images of a series, and how much each of their pixels counts, by azimuth.

    Raises
    ------
    ValueError
        If azimuths are not multiples of 90°, or there is not one for each image, or images are not square.
    """
    azimuth_deg = np.zeros(0) if series.azimuth_deg is None else np.asarray(series.azimuth_deg)
    n_images, n_x, n_y = series.images.shape
    if azimuth_deg.shape != (n_images,):
        raise ValueError(
            f"azimuth_deg has shape {azimuth_deg.shape} for {n_images} images; allowed is one for each image"
        )
    turns = azimuth_deg / 90.0
    if not (turns == np.rint(turns)).all():
        raise ValueError(
            f"azimuth_deg holds {sorted(set(azimuth_deg.tolist()))}; a reconstruction turns the volume voxel "
            "by voxel, so allowed are multiples of 90"
        )
    if n_x != n_y:
        raise ValueError(
            f"images are {n_x} × {n_y} pixels; with an azimuth they must be square: pad or crop them"
        )
    views = []
    for quarter_turns in np.unique(turns):
        of_view = turns == quarter_turns
        projector = make_projector(
            series.tilt_deg[of_view], n_x=n_x, n_z=n_x, voxel_size_A=series.pixel_size_A
        )
        views.append(View(int(quarter_turns), projector, series.images[of_view], weights[of_view]))
    return views


def project_view(volume: NDArray[Any], view: View) -> NDArray[Any]:
    """(n, n_x, n_x) images of a (n_x, n_x, n_x) volume; see `picotome.recon.projector.project`."""
    return project(turn_volume(volume, view.quarter_turns), view.projector)


def backproject_view(images: NDArray[Any], view: View) -> NDArray[Any]:
    """Apply the adjoint of `project_view`."""
    return turn_volume(backproject(images, view.projector), -view.quarter_turns)


def solve_views(views: list[View], *, config: ReconstructionConfig) -> NDArray[Any]:
    """Reconstruct by SIRT with positivity and Nesterov momentum, as `picotome.recon.solvers.solve_sirt` does.

    Raises
    ------
    ValueError
        If another solver is asked for: weighted back-projection knows no overlap of two wedges.
    """
    if config.solver != "sirt":
        raise ValueError(
            f"reconstruction.solver is {config.solver!r}, which takes series about one axis; "
            "for a series with azimuths use sirt"
        )
    n_x = views[0].projector.n_x
    images = np.concatenate([view.images for view in views])
    ends = np.cumsum([len(view.images) for view in views])[:-1]

    def project_all(volume: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([project_view(volume, view) for view in views])

    def backproject_all(images: NDArray[Any]) -> NDArray[Any]:
        parts = zip(np.split(images, ends), views, strict=True)
        return np.asarray(sum(backproject_view(part, view) for part, view in parts))

    return solve_whole(
        images,
        shape=(n_x, n_x, n_x),
        project=project_all,
        backproject=backproject_all,
        weights=np.concatenate([view.weights for view in views]),
        n_iterations=config.n_iterations,
    )
