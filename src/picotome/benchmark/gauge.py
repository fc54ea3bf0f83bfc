"""Errors without the motions that no image can see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from picotome.benchmark.plan import Scene
from picotome.configs.schema import ScoringConfig
from picotome.geometry import tilt_rotations
from picotome.records import ImageFit, Score, Specimen, TiltSeries, Trace
from picotome.trace.matching import rotation_onto
from picotome.trace.scoring import score_trace
from picotome.trace.species import by_element
from picotome.trace.surface import find_surface
from picotome.units import PM_PER_A

Gauge = Literal["translation", "rigid"]
# A rigid motion has 6 freedoms: fewer atoms are fitted exactly, and the rest says nothing.
_FEWEST_RIGID = 3


@dataclass(frozen=True)
class Errors:
    """Errors of matched atoms after the common motion is removed, pm; NaN where there are no such atoms.

    Attributes
    ----------
    rmsd_species_pm
        RMSD for each true element, by symbol.
    """

    rmsd_pm: float
    median_pm: float
    surface_rmsd_pm: float
    core_rmsd_pm: float
    rmsd_species_pm: Mapping[str, float]


def gauge_of(scene: Scene) -> Gauge:
    """What is no error: where turns of the images are free, specimen and microscope may turn together."""
    return "rigid" if {"tilt", "turns"} & set(scene.refinement.geometry) else "translation"


def score_in_gauge(
    trace: Trace, specimen: Specimen, *, config: ScoringConfig, gauge: Gauge
) -> tuple[Score, Errors]:
    """Score a trace, and measure its errors after a translation or a rigid motion is removed.

    Where specimen and microscope may turn together, a turn of the trace is no error, but may hide pairs: then
    the trace, turned back, is matched once more, and the score with more pairs holds.
    """
    score = score_trace(trace, specimen, config=config)
    if gauge == "rigid" and len(score.matched_true) >= _FEWEST_RIGID:
        again = score_trace(_turned_back(trace, specimen, score), specimen, config=config)
        if len(again.matched_true) > len(score.matched_true):
            score = again
    return score, errors_in_gauge(trace, specimen, score, gauge=gauge)


def errors_in_gauge(trace: Trace, specimen: Specimen, score: Score, *, gauge: Gauge) -> Errors:
    """Measure the errors of a score's pairs after a common translation or rigid motion is removed."""
    length_pm = np.linalg.norm(displacements_pm(trace, specimen, score, gauge), axis=1)
    surface = find_surface(specimen.positions_A)[score.matched_true]
    numbers = specimen.atomic_numbers[score.matched_true]
    masks = by_element(numbers, present=specimen.atomic_numbers)
    return Errors(
        rmsd_pm=_rms(length_pm),
        median_pm=float(np.median(length_pm)) if len(length_pm) else math.nan,
        surface_rmsd_pm=_rms(length_pm[surface]),
        core_rmsd_pm=_rms(length_pm[~surface]),
        rmsd_species_pm={symbol: _rms(length_pm[mask]) for symbol, mask in masks.items()},
    )


def tilt_error_left_deg(images: ImageFit, series: TiltSeries) -> float:
    """Rms over images and axes of what a refinement left of the tilt errors, degrees.

    The specimen's own turn, common to all images, is no error: it is the mean (in the least-squares sense)
    of true⁻¹ found over the images, and taken out of the found rotations.
    """
    from scipy.spatial.transform import Rotation

    true, found = (
        Rotation.from_matrix(tilt_rotations(series.tilt_deg, errors_deg, azimuth_deg=series.azimuth_deg))
        for errors_deg in (series.truth["tilt_error_deg"], images.tilt_error_deg)
    )
    common = (true.inv() * found).mean()
    left = (found * common.inv() * true.inv()).as_rotvec(degrees=True)
    return _rms(left.ravel())


def _turned_back(trace: Trace, specimen: Specimen, score: Score) -> Trace:
    """Return the trace after the rigid motion that brings its matched atoms onto the true ones."""
    true_A = specimen.positions_A[score.matched_true]
    found_A = trace.positions_A[score.matched_found]
    from_A, to_A = found_A.mean(axis=0), true_A.mean(axis=0)
    rotation = rotation_onto(true_A - to_A, found_A - from_A)
    return replace(trace, positions_A=(trace.positions_A - from_A) @ rotation.T + to_A)


def displacements_pm(trace: Trace, specimen: Specimen, score: Score, gauge: Gauge) -> NDArray[Any]:
    """(n, 3) found − true of a score's pairs after a common translation or rigid motion is removed."""
    true_A = specimen.positions_A[score.matched_true]
    found_A = trace.positions_A[score.matched_found]
    if len(true_A) < (_FEWEST_RIGID if gauge == "rigid" else 1):
        return np.full((len(true_A), 3), np.nan)
    true_A, found_A = true_A - true_A.mean(axis=0), found_A - found_A.mean(axis=0)
    if gauge == "rigid":
        found_A = found_A @ rotation_onto(true_A, found_A).T
    displacements_pm: NDArray[Any] = (found_A - true_A) * PM_PER_A
    return displacements_pm


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else math.nan
