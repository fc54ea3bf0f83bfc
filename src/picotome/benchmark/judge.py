"""One group of the table: one specimen, imperfection and dose, judged at every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from picotome.benchmark.gauge import gauge_of, score_in_gauge, tilt_error_left_deg
from picotome.benchmark.plan import RECONSTRUCTION, SCORING, TRACING, Scene
from picotome.datasets.pairs import elements_of
from picotome.recon.solvers import reconstruct
from picotome.records import ImageFit, Specimen, TiltSeries, Tomogram, Trace
from picotome.rng import stream
from picotome.simgen.detection import add_counting_noise
from picotome.trace.numbers import finite
from picotome.trace.refinement.bound import Bound, bound_positions
from picotome.trace.refinement.refine import refine_trace
from picotome.trace.refinement.union import unite
from picotome.trace.species import by_element
from picotome.trace.tracing import EMPTY_TRACE, trace_tomogram
from picotome.train.apply import repair

Row = dict[str, Any]

STAGES = ("raw", "unet", "refined_raw", "refined_unet")
ROW_KEYS = (
    "specimen",
    "n_atoms",
    "dose_e_per_A2",
    "imperfection",
    "stage",
    "recall",
    "precision",
    "rmsd_pm",
    "median_pm",
    "surface_rmsd_pm",
    "species_accuracy",
    "crlb_pm",
    "efficiency",
    "seconds",
    "engine",
    "gauge",
    "core_rmsd_pm",
    "rmsd_translation_pm",
    "rmsd_species_pm",
    "crlb_species_pm",
    "brightness_snr_species",
    "tilt_error_left_deg",
    "tilt_bound_deg",
    "misfit",
    "chi2",
    "n_added",
    "n_removed",
    "n_vouched",
    "note",
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a stage made of the images.

    Attributes
    ----------
    trace
        Empty where the stage failed.
    images
        What a refinement learned of the images.
    seconds
        That the stage itself took, without what it started from.
    note
        Why it failed, if it did.
    """

    trace: Trace
    images: ImageFit | None
    seconds: float
    note: str


def stages(model: Path | None) -> tuple[str, ...]:
    """Stages of each group; without weights there are none of the network."""
    return tuple(stage for stage in STAGES if model is not None or "unet" not in stage)


def judge_group(
    scene: Scene, specimen: Specimen, clean: TiltSeries, *, dose_e_per_A2: float, model: Path | None
) -> list[Row]:
    """Add noise, find the atoms at every stage, and hold them against the truth and the bound.

    Parameters
    ----------
    clean
        Images without noise; background and gain are already inside.
    model
        Weights; None leaves the stages of the network out.

    Returns
    -------
    list
        One row for each stage, plain numbers only. A stage that fails is a row with recall 0 and a note.
    """
    series = record(scene, clean, dose_e_per_A2=dose_e_per_A2)
    bound, note = find_bound(scene, specimen, clean, dose_e_per_A2=dose_e_per_A2)
    outcomes = find_atoms(scene, series, elements=elements_of(specimen), model=model)
    return [
        make_row(scene, specimen, series, stage=stage, outcome=outcome, bound=bound, note=note)
        for stage, outcome in outcomes.items()
    ]


def record(scene: Scene, clean: TiltSeries, *, dose_e_per_A2: float) -> TiltSeries:
    """Record noise-free images at a dose: each dose and imperfection has its own noise."""
    noisy = add_counting_noise(
        clean.images,
        dose_e_per_A2=dose_e_per_A2,
        pixel_size_A=clean.pixel_size_A,
        rng=stream(scene.series.seed, scene.series.index, f"{scene.imperfection} at {dose_e_per_A2:g}"),
    )
    return replace(clean, images=noisy, dose_e_per_A2=dose_e_per_A2)


def find_bound(
    scene: Scene, specimen: Specimen, clean: TiltSeries, *, dose_e_per_A2: float
) -> tuple[Bound | None, str]:
    """Compute the bound from the noise-free images, so that it does not depend on the draw of the noise."""
    try:
        bound = bound_positions(specimen, clean, config=scene.refinement, dose_e_per_A2=dose_e_per_A2)
    except ValueError as error:
        return None, f"no bound: {error}"
    return bound, ""


def find_atoms(
    scene: Scene, series: TiltSeries, *, elements: tuple[str, ...], model: Path | None
) -> Mapping[str, Outcome]:
    """Find the atoms at every stage.

    The network is given the tomogram of the geometry that refining the raw trace has found, where it has.
    """
    begun = time.monotonic()
    # Where shifts may be wrong, everybody aligns the images first.
    align = "shifts" in scene.refinement.geometry
    degraded = reconstruct(series, config=RECONSTRUCTION.model_copy(update={"align": align}))
    reconstruction_s = time.monotonic() - begun

    def traced(tomogram: Tomogram) -> tuple[Trace, None]:
        return trace_tomogram(tomogram, elements=elements, config=TRACING), None

    def refined(start: Trace) -> tuple[Trace, ImageFit]:
        found = refine_trace(
            start,
            series,
            elements=elements,
            config=scene.refinement,
            min_distance_A=TRACING.min_distance_A,
            optics=scene.series.optics,
        )
        return found.trace, found.images

    def repaired(fit: ImageFit | None, model: Path) -> tuple[Trace, None]:
        found = reconstruct(series, config=RECONSTRUCTION, fit=fit) if fit is not None else degraded
        return traced(repair(found, model=model))

    raw = _attempt(partial(traced, degraded))
    outcomes = {
        "raw": replace(raw, seconds=raw.seconds + reconstruction_s),
        "refined_raw": _attempt(partial(refined, raw.trace)),
    }
    if model is None:
        return outcomes
    unet = _attempt(partial(repaired, outcomes["refined_raw"].images, model))
    # A network that found nothing must not look like one that did.
    found = len(unet.trace.positions_A) > 0
    start = unite(unet.trace, raw.trace, min_distance_A=TRACING.min_distance_A) if found else unet.trace
    outcomes |= {"unet": unet, "refined_unet": _attempt(partial(refined, start))}
    return {stage: outcomes[stage] for stage in STAGES}


def _attempt(work: Callable[[], tuple[Trace, ImageFit | None]]) -> Outcome:
    """Time a stage; the one place where its failure is caught."""
    begun = time.monotonic()
    try:
        trace, images = work()
    except ValueError as error:
        return Outcome(EMPTY_TRACE, None, time.monotonic() - begun, note=str(error))
    return Outcome(trace, images, time.monotonic() - begun, note="")


def make_row(
    scene: Scene,
    specimen: Specimen,
    series: TiltSeries,
    *,
    stage: str,
    outcome: Outcome,
    bound: Bound | None,
    note: str,
) -> Row:
    """Return everything that ``benchmark.json`` says of one stage."""
    gauge = gauge_of(scene)
    score, errors = score_in_gauge(outcome.trace, specimen, config=SCORING, gauge=gauge)
    crlb_pm = bound.crlb_pm if bound is not None else None
    images = outcome.images
    row: Row = {
        "specimen": scene.specimen,
        "n_atoms": len(specimen.positions_A),
        "dose_e_per_A2": series.dose_e_per_A2,
        "imperfection": scene.imperfection,
        "stage": stage,
        "recall": score.recall,
        "precision": score.precision,
        "rmsd_pm": errors.rmsd_pm,
        "median_pm": errors.median_pm,
        "surface_rmsd_pm": errors.surface_rmsd_pm,
        "species_accuracy": score.species_accuracy,
        "crlb_pm": crlb_pm,
        "efficiency": errors.rmsd_pm / crlb_pm if crlb_pm is not None else None,
        "seconds": round(outcome.seconds, 3),
        "engine": series.engine,
        "gauge": gauge,
        "core_rmsd_pm": errors.core_rmsd_pm,
        "rmsd_translation_pm": score.rmsd_pm,
        "rmsd_species_pm": errors.rmsd_species_pm,
        "crlb_species_pm": _crlb_by_species_pm(bound, specimen),
        "brightness_snr_species": _snr_by_species(bound, specimen),
        "tilt_error_left_deg": None,
        "tilt_bound_deg": bound.tilt_deg if bound is not None else None,
        "misfit": images.misfit if images is not None else None,
        "chi2": images.chi2 if images is not None else None,
        "n_added": images.n_added if images is not None else None,
        "n_removed": images.n_removed if images is not None else None,
        "n_vouched": images.n_vouched if images is not None else None,
        "note": "; ".join(text for text in (outcome.note, note) if text),
    }
    if images is not None and gauge == "rigid":
        row["tilt_error_left_deg"] = tilt_error_left_deg(images, series)
    plain: Row = finite(row)
    return plain


def failed_rows(scene: Scene, *, dose_e_per_A2: float, model: Path | None, note: str) -> list[Row]:
    """Rows of a group whose images could not be made."""
    empty = dict.fromkeys(ROW_KEYS)
    known = {
        "specimen": scene.specimen,
        "dose_e_per_A2": dose_e_per_A2,
        "imperfection": scene.imperfection,
        "recall": 0.0,
        "engine": scene.series.engine,
        "gauge": gauge_of(scene),
        "note": note,
    }
    return [{**empty, **known, "stage": stage} for stage in stages(model)]


def _crlb_by_species_pm(bound: Bound | None, specimen: Specimen) -> dict[str, float] | None:
    """Root mean square over the atoms of each element."""
    if bound is None:
        return None
    variance_pm2 = np.square(bound.atom_pm).sum(axis=1)
    masks = by_element(specimen.atomic_numbers)
    return {symbol: float(np.sqrt(variance_pm2[mask].mean())) for symbol, mask in masks.items()}


def _snr_by_species(bound: Bound | None, specimen: Specimen) -> dict[str, float] | None:
    """Median over the atoms of each element."""
    if bound is None:
        return None
    masks = by_element(specimen.atomic_numbers)
    return {symbol: float(np.median(bound.brightness_snr[mask])) for symbol, mask in masks.items()}
