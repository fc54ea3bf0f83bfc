"""One group of the table: one specimen, imperfection and dose, judged at every stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from picotome.benchmark.gauge import gauge_of, score_in_gauge, tilt_error_left_deg
from picotome.benchmark.plan import RECONSTRUCTION, SCORING, TRACING, Scene
from picotome.datasets.pairs import elements_of
from picotome.records import Specimen, TiltSeries
from picotome.rng import stream
from picotome.simgen.detection import add_counting_noise
from picotome.trace.numbers import finite
from picotome.trace.refinement.bound import Bound, bound_positions
from picotome.trace.species import by_element
from picotome.trace.uncertainty import expected_pm
from picotome.train.locate import Search, Stage, find_stages, join_stages

Row = dict[str, Any]

STAGES = ("raw", "unet", "refined_raw", "refined_unet", "joint")
_OF_NETWORK = ("unet", "refined_unet", "joint")
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
    "expected_pm",
    "network_weight_species",
    "note",
)


def stages(model: Path | None) -> tuple[str, ...]:
    """Stages of each group; without weights there are none of the network."""
    return tuple(stage for stage in STAGES if model is not None or stage not in _OF_NETWORK)


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
    found = find_atoms(scene, series, elements=elements_of(specimen), model=model)
    return [
        make_row(scene, specimen, series, name=name, stage=found[name], bound=bound, note=note)
        for name in stages(model)
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
) -> dict[str, Stage]:
    """Find the atoms at every stage."""
    search = Search(
        elements=elements,
        refinement=scene.refinement,
        model=model,
        tracing=TRACING,
        # Where shifts may be wrong, everybody aligns the images first.
        reconstruction=RECONSTRUCTION.model_copy(update={"align": "shifts" in scene.refinement.geometry}),
        optics=scene.series.optics,
    )
    found = find_stages(series, search)
    return found if model is None else {**found, "joint": join_stages(series, search, found)}


def make_row(
    scene: Scene,
    specimen: Specimen,
    series: TiltSeries,
    *,
    name: str,
    stage: Stage,
    bound: Bound | None,
    note: str,
) -> Row:
    """Return everything that ``benchmark.json`` says of one stage."""
    gauge = gauge_of(scene)
    score, errors = score_in_gauge(stage.trace, specimen, config=SCORING, gauge=gauge)
    crlb_pm = bound.crlb_pm if bound is not None else None
    images = stage.refined.images if stage.refined is not None else None
    row: Row = {
        "specimen": scene.specimen,
        "n_atoms": len(specimen.positions_A),
        "dose_e_per_A2": series.dose_e_per_A2,
        "imperfection": scene.imperfection,
        "stage": name,
        "recall": score.recall,
        "precision": score.precision,
        "rmsd_pm": errors.rmsd_pm,
        "median_pm": errors.median_pm,
        "surface_rmsd_pm": errors.surface_rmsd_pm,
        "species_accuracy": score.species_accuracy,
        "crlb_pm": crlb_pm,
        "efficiency": errors.rmsd_pm / crlb_pm if crlb_pm is not None else None,
        "seconds": round(stage.seconds, 3),
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
        "expected_pm": expected_pm(stage.trace),
        "network_weight_species": {s: worth.network_weight for s, worth in stage.worth.items()} or None,
        "note": "; ".join(text for text in (stage.note, note) if text),
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
