"""What more dose cannot lower: how far atoms refined from noise-free images are from the truth, and where."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.benchmark.gauge import displacements_pm, errors_in_gauge, gauge_of
from picotome.benchmark.plan import SCORING, TRACING, Scene
from picotome.datasets.pairs import elements_of
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, TiltSeries, Trace
from picotome.trace.numbers import finite
from picotome.trace.refinement.refine import refine_trace
from picotome.trace.scoring import score_trace
from picotome.trace.surface import find_surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Floor = dict[str, Any]

FLOOR_KEYS = (
    "specimen",
    "engine",
    "imperfection",
    "n_atoms",
    "floor_pm",
    "floor_species_pm",
    "floor_axis_pm",
    "surface_pm",
    "core_pm",
    "misfit",
    "misfit_image",
    "overlap_image",
    "depth_A",
    "error_pm",
    "atomic_numbers",
    "note",
)
# Counting noise far below what the image model leaves unexplained, and not yet below what float32 resolves.
_DOSE_E_PER_A2 = 1e8
# Atoms closer than this in projection share a column: the radius of the probe.
_COLUMN_A = 0.4
_DIGITS = 4


def find_floor(scene: Scene, specimen: Specimen, clean: TiltSeries) -> Floor:
    """Refine the true atoms against noise-free images, and say how far they walk and where.

    The walk is all due to the image model: counting noise, tracing and a bad start have no part in it.

    Returns
    -------
    dict
        ``floor_pm`` rmsd; the same by element, by axis (x, the tilt axis y, and z, the beam at zero tilt), of
        the surface and of the rest; ``misfit_image``, the part of each image that the model leaves
        unexplained, beside ``overlap_image``, the mean number of other atoms within 0.4 Å of an atom in that
        projection, which is large near zone axes and lattice planes seen edge on; and for each atom
        ``error_pm``, its distance ``depth_A`` from the nearest surface atom, and ``atomic_numbers``. A scene
        that cannot be refined has a ``note`` instead.
    """
    series = replace(clean, dose_e_per_A2=_DOSE_E_PER_A2)
    try:
        refined = refine_trace(
            _as_trace(specimen, series),
            series,
            elements=elements_of(specimen),
            config=scene.refinement.model_copy(update={"change_atoms": False}),
            min_distance_A=TRACING.min_distance_A,
            optics=scene.series.optics,
        )
    except ValueError as error:
        return no_floor(scene, note=str(error))
    gauge = gauge_of(scene)
    score = score_trace(refined.trace, specimen, config=SCORING)
    errors = errors_in_gauge(refined.trace, specimen, score, gauge=gauge)
    moved_pm = displacements_pm(refined.trace, specimen, score, gauge)
    at = score.matched_true
    surface = find_surface(specimen.positions_A)
    misfit_image = refined.images.misfit_image
    floor: Floor = {
        "specimen": scene.specimen,
        "engine": clean.engine,
        "imperfection": scene.imperfection,
        "n_atoms": len(specimen.positions_A),
        "floor_pm": errors.rmsd_pm,
        "floor_species_pm": errors.rmsd_species_pm,
        "floor_axis_pm": np.sqrt(np.mean(moved_pm**2, axis=0)).tolist(),
        "surface_pm": errors.surface_rmsd_pm,
        "core_pm": errors.core_rmsd_pm,
        "misfit": refined.images.misfit,
        "misfit_image": _rounded(misfit_image if misfit_image is not None else np.zeros(0)),
        "overlap_image": _rounded(column_overlap(specimen, clean)),
        "depth_A": _rounded(depth_A(specimen.positions_A, surface)[at]),
        "error_pm": _rounded(np.linalg.norm(moved_pm, axis=1)),
        "atomic_numbers": specimen.atomic_numbers[at].tolist(),
        "note": "",
    }
    plain: Floor = finite(floor)
    return plain


def no_floor(scene: Scene, *, note: str) -> Floor:
    """Row of a scene without images, or whose images cannot be refined."""
    known = {
        "specimen": scene.specimen,
        "engine": scene.series.engine,
        "imperfection": scene.imperfection,
        "note": note,
    }
    return {**dict.fromkeys(FLOOR_KEYS), **known}


def column_overlap(specimen: Specimen, series: TiltSeries) -> Array:
    """(n_tilts,) mean number of other atoms within 0.4 Å of an atom, in the projection of each image."""
    from scipy.spatial import cKDTree

    errors_deg = series.truth.get("tilt_error_deg")
    turned = tilt_rotations(series.tilt_deg, errors_deg, azimuth_deg=series.azimuth_deg)
    n_pairs = [len(cKDTree((specimen.positions_A @ turn.T)[:, :2]).query_pairs(_COLUMN_A)) for turn in turned]
    overlap: Array = 2.0 * np.array(n_pairs) / len(specimen.positions_A)
    return overlap


def depth_A(positions_A: Array, surface: Array) -> Array:
    """(n,) distance of each atom from the nearest one at the surface, Å."""
    from scipy.spatial import cKDTree

    distance_A: Array = cKDTree(positions_A[surface]).query(positions_A)[0]
    return distance_A


def _as_trace(specimen: Specimen, series: TiltSeries) -> Trace:
    """Return the truth as a trace; brightness as Z^1.7, together as bright as the images."""
    relative = (specimen.atomic_numbers / specimen.atomic_numbers.max()) ** 1.7
    total_A2 = float(series.images.sum(axis=(1, 2), dtype=np.float64).mean()) * series.pixel_size_A**2
    return Trace(
        positions_A=specimen.positions_A,
        intensities=relative * (total_A2 / relative.sum()),
        atomic_numbers=specimen.atomic_numbers,
        sigma_A=np.full(len(relative), _COLUMN_A),
    )


def _rounded(values: Array) -> list[float]:
    return [float(value) for value in np.round(values, _DIGITS)]
