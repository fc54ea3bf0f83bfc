"""Where and how each image of a series is taken: what the user is told, and what really happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, SchemeName
from picotome.rng import stream
from picotome.simgen.drawing import draw_from

AZIMUTHS_DEG: Mapping[SchemeName, tuple[float, ...]] = {"single_axis": (0.0,), "dual_axis": (0.0, 90.0)}


@dataclass(frozen=True)
class Imperfection:
    """How badly one particle's series is recorded: what `AcquisitionConfig`'s ranges gave it.

    Attributes
    ----------
    tilt_error_rms_deg, shift_error_rms_A, defocus_rms_A, gain_rms
        See `picotome.configs.imaging.AcquisitionConfig`.
    """

    tilt_error_rms_deg: float
    shift_error_rms_A: float
    defocus_rms_A: float
    gain_rms: float


@dataclass(frozen=True, eq=False)
class Exposures:
    """Geometry and focus of every image.

    Attributes
    ----------
    tilt_deg
        (n,) tilts about y that the user is told.
    azimuth_deg
        (n,) turns about the beam before the tilt, which the user knows; None: none.
    tilt_error_deg
        (n, 3) unknown rotations about x, y, z after the tilt.
    shift_error_A
        (n, 2) unknown shifts along x and y.
    defocus_A
        (n,) the set and the unknown defocus together.
    """

    tilt_deg: NDArray[Any]
    azimuth_deg: NDArray[Any] | None
    tilt_error_deg: NDArray[Any]
    shift_error_A: NDArray[Any]
    defocus_A: NDArray[Any]


def draw_exposures(
    acquisition: AcquisitionConfig,
    optics: OpticsConfig,
    imperfection: Imperfection,
    *,
    seed: int,
    index: int,
) -> Exposures:
    """Plan the images of one particle; tilts, errors and defocus draw from streams of their own."""
    tilt_deg = nominal_tilts_deg(acquisition, stream(seed, index, "tilts"))
    tilt_deg = tilt_deg + draw_from(acquisition.tilt_offset_deg, rng=stream(seed, index, "tilt offset"))
    tilt_error_deg, shift_error_A = draw_geometry_errors(
        imperfection, len(tilt_deg), stream(seed, index, "geometry")
    )
    defocus_error_A = draw_defocus_error(imperfection, len(tilt_deg), stream(seed, index, "defocus"))
    return Exposures(
        tilt_deg=tilt_deg,
        azimuth_deg=azimuths_deg(acquisition, len(tilt_deg)),
        tilt_error_deg=tilt_error_deg,
        shift_error_A=shift_error_A,
        defocus_A=optics.defocus_A + defocus_error_A,
    )


def nominal_tilts_deg(acquisition: AcquisitionConfig, rng: np.random.Generator) -> NDArray[Any]:
    """(n,) tilts that the user knows, before their offset: listed, or in equal steps, and their jitter.

    A dual-axis series goes through them twice.
    """
    if acquisition.tilts_deg is not None:
        planned_deg = np.array(acquisition.tilts_deg, dtype=np.float64)
    else:
        planned_deg = np.linspace(acquisition.tilt_min_deg, acquisition.tilt_max_deg, acquisition.n_tilts)
    planned_deg = np.tile(planned_deg, len(AZIMUTHS_DEG[acquisition.scheme]))
    jitter_deg = draw_from(acquisition.tilt_jitter_rms_deg, rng=rng)
    if jitter_deg > 0.0:
        planned_deg = planned_deg + rng.normal(size=len(planned_deg)) * jitter_deg
    return planned_deg


def n_exposures(acquisition: AcquisitionConfig) -> int:
    """Count the images of a series, those included that are lost later."""
    return acquisition.n_tilts * len(AZIMUTHS_DEG[acquisition.scheme])


def azimuths_deg(acquisition: AcquisitionConfig, n_images: int) -> NDArray[Any] | None:
    """(n,) azimuth of each image; None where the specimen is never turned."""
    visited = AZIMUTHS_DEG[acquisition.scheme]
    return np.repeat(visited, n_images // len(visited)) if any(visited) else None


def draw_imperfection(acquisition: AcquisitionConfig, rng: np.random.Generator) -> Imperfection:
    """Draw how large one particle's errors are, each uniform in its range."""
    # All four in a fixed order, whatever the ranges are: widening one leaves the others as they were.
    return Imperfection(
        tilt_error_rms_deg=float(rng.uniform(*acquisition.tilt_error_rms_deg)),
        shift_error_rms_A=float(rng.uniform(*acquisition.shift_error_rms_A)),
        defocus_rms_A=float(rng.uniform(*acquisition.defocus_rms_A)),
        gain_rms=float(rng.uniform(*acquisition.gain_rms)),
    )


def draw_geometry_errors(
    imperfection: Imperfection, n_tilts: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw unknown rotations (n, 3) about x, y, z in degrees and shifts (n, 2) along x, y in Å."""
    tilt_error_deg = rng.normal(size=(n_tilts, 3)) * imperfection.tilt_error_rms_deg
    shift_error_A = rng.normal(size=(n_tilts, 2)) * imperfection.shift_error_rms_A
    return tilt_error_deg, shift_error_A


def draw_defocus_error(imperfection: Imperfection, n_tilts: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw the unknown part (n,) of each image's defocus in Å."""
    error_A: NDArray[Any] = rng.normal(size=n_tilts) * imperfection.defocus_rms_A
    return error_A


def draw_kept(acquisition: AcquisitionConfig, n_images: int, rng: np.random.Generator) -> NDArray[Any]:
    """Ascending indices of the images that were not lost; at least two."""
    n_lost = min(round(draw_from(acquisition.missing_fraction, rng=rng) * n_images), n_images - 2)
    kept: NDArray[Any] = np.sort(rng.permutation(n_images)[n_lost:]) if n_lost > 0 else np.arange(n_images)
    return kept
