"""The main job, end to end: particles, pairs, network, traces, scores, report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from picotome import __version__
from picotome.configs.loading import recipe_to_yaml
from picotome.configs.schema import Recipe
from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.factory.refusal import DATA_SECTIONS, refuse_another_recipe
from picotome.datasets.generate import generate
from picotome.datasets.identity import versions
from picotome.datasets.manifest import Entry
from picotome.datasets.pairs import reconstruction_of, traced_elements
from picotome.datasets.plan import SPLITS, particle_plan
from picotome.datasets.safe_write import write_text
from picotome.datasets.store import read_pair, read_provenance, write_records
from picotome.progress import Track, silent
from picotome.records import ImageFit, Pair, Score, Tomogram, Trace
from picotome.trace.numbers import finite, score_numbers
from picotome.trace.refinement.bound import Bound, bound_positions
from picotome.trace.scoring import score_trace, scored_atoms
from picotome.train.locate import Search, Stage, find_stages, join_stages
from picotome.train.loop import Trained, train
from picotome.train.online.honoured import refuse_offline_recipe

# The sections of a recipe that the contents of a run folder depend on.
_SECTIONS = (*DATA_SECTIONS, "network", "training", "tracing", "refinement", "scoring")
# Particles whose figures go into the report; the numbers of all are in the summary.
_N_DRAWN = 6
_VERSIONED = (
    "picotome",
    "abtem",
    "ase",
    "dask",
    "h5py",
    "lightning-fabric",
    "monai",
    "numpy",
    "scipy",
    "torch",
)


@dataclass(frozen=True)
class HeldOut:
    """One held-out particle with what each stage made of it.

    The specimen of `pair` is what is scored. `images` is None where nothing could be refined, `bound` where
    the series states no dose. `network_weight` is, for each element, what the network's places are worth
    beside the images' own, and empty where that could not be told. `notes` say why stages failed.
    """

    name: str
    pair: Pair
    repaired: Tomogram
    traces: Mapping[str, Trace]
    scores: Mapping[str, Score]
    images: ImageFit | None
    bound: Bound | None
    network_weight: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes
    ----------
    summary
        Contents of ``summary.json``.
    report
        The HTML report.
    failed
        Particles that could not be made.
    """

    summary: dict[str, Any]
    report: Path
    failed: list[Entry]


def run(
    recipe: Recipe,
    out: Path,
    *,
    n_workers: int | None = None,
    scheduler_address: str | None = None,
    cluster: LocalWorkers | QueueWorkers | None = None,
    track: Track = silent,
) -> RunResult:
    """Do the whole job of a recipe; the same call resumes an ended run.

    Parameters
    ----------
    recipe
        What to do.
    out
        Folder of everything that is made: ``dataset``, ``model``, ``held_out``, ``figures``,
        ``summary.json`` and ``report.html``.
    n_workers, scheduler_address, cluster
        See `picotome.datasets.generate.generate`.
    track
        Called as work advances.

    Raises
    ------
    ValueError
        If no held-out particle, or no particle to learn from, could be made.
    """
    from picotome.report.dataset_card import write_dataset_card
    from picotome.report.run_report import Figure, draw_particle, write_run_report

    if recipe.training_set.online:
        refuse_offline_recipe(recipe)
    out.mkdir(parents=True, exist_ok=True)
    # The network is of the particles that it learned from, and no others.
    refuse_another_recipe(out, recipe, sections=_SECTIONS, may_grow={"n_held_out"})
    write_text(out / "recipe.yaml", recipe_to_yaml(recipe))
    timings_s = _earlier_timings(out)

    with _timed(out, timings_s, "generate"):
        entries = generate(
            recipe,
            out / "dataset",
            splits=SPLITS,
            n_workers=n_workers,
            scheduler_address=scheduler_address,
            cluster=cluster,
            track=track,
        )
        write_dataset_card(out / "dataset", recipe=recipe)
    failed = [entry for entry in entries if entry.status == "failed"]
    held_out = [entry for entry in entries if entry.split == "held_out" and entry.status == "done"]
    if not held_out:
        raise ValueError("no held-out particle could be made:\n" + "\n".join(entry.error for entry in failed))

    with _timed(out, timings_s, "train"):
        trained = train(out / "dataset", recipe=recipe, out=out / "model", track=track)

    rows: list[dict[str, Any]] = []
    figures: list[Figure] = []
    with _timed(out, timings_s, "apply_trace_refine_score"):
        for done, entry in enumerate(held_out, start=1):
            item = judge(out / "dataset" / entry.file, recipe, model=trained.model, out=out / "held_out")
            rows.append(summary_row(item))
            if done <= _N_DRAWN:
                figures.extend(draw_particle(out / "figures", item))
            track("repair, trace, refine, score", done, len(held_out))

    summary = summarise(recipe, rows, entries, trained, timings_s)
    # Before the pictures too: a drawing that fails must not cost the numbers.
    write_text(out / "summary.json", json.dumps(summary, indent=1, allow_nan=False))
    with _timed(out, timings_s, "report"):
        report = write_run_report(out, summary=summary, figures=figures, history=trained.history)
    summary = {**summary, "timings_s": dict(timings_s)}
    write_text(out / "summary.json", json.dumps(summary, indent=1, allow_nan=False))
    return RunResult(summary=summary, report=report, failed=failed)


def judge(file: Path, recipe: Recipe, *, model: Path, out: Path) -> HeldOut:
    """Repair, trace, refine and score one held-out particle, and store what was found."""
    pair = read_pair(file)
    elements = traced_elements(pair.specimen, config=recipe.tracing)
    truth = scored_atoms(pair.specimen, config=recipe.scoring)

    search = Search(
        elements=elements,
        refinement=recipe.refinement,
        model=model,
        tracing=recipe.tracing,
        reconstruction=reconstruction_of(recipe),
        optics=recipe.optics,
        # A network that has learned on tomograms of a refined geometry is given one.
        posed=recipe.training_set.refined is not None,
    )
    found = find_stages(pair.series, search, degraded=pair.degraded)
    repaired = found["unet"].tomogram
    if repaired is None:
        raise ValueError(found["unet"].note)
    stages = {"raw": found["raw"], "unet": found["unet"], "refined": placed_by_images(found)}
    stages["joint"] = join_stages(pair.series, search, found, seed=recipe.seed)
    if not len(stages["joint"].trace.positions_A):
        # Where the network left nothing to join, the images have the only word.
        stages["joint"] = replace(stages["joint"], trace=stages["refined"].trace)
    traces = {name: stage.trace for name, stage in stages.items()}
    refined = stages["refined"].refined
    images = refined.images if refined is not None else None
    bound = None
    if pair.series.dose_e_per_A2 is not None:
        bound = bound_positions(truth, pair.series, config=recipe.refinement)
    scores = {stage: score_trace(trace, truth, config=recipe.scoring) for stage, trace in traces.items()}
    index = int(read_provenance(file)["index"])
    config, _, _ = particle_plan(recipe, "held_out", index)
    name = f"{config.kind}_{index:03d}"
    write_records(
        out / f"{name}.h5",
        {
            "specimen": pair.specimen,
            **({"substrate": pair.substrate} if pair.substrate is not None else {}),
            "degraded": pair.degraded,
            "repaired": repaired,
            **{f"trace_{stage}": trace for stage, trace in traces.items()},
            **({"images": images} if images is not None else {}),
        },
        provenance={"source": file.name, "elements": list(elements), "versions": versions(_VERSIONED)},
    )
    return HeldOut(
        name,
        replace(pair, specimen=truth),
        repaired,
        traces=traces,
        scores=scores,
        images=images,
        bound=bound,
        network_weight={s: worth.network_weight for s, worth in stages["joint"].worth.items()},
        notes={name: stage.note for name, stage in stages.items() if stage.note},
    )


def placed_by_images(found: Mapping[str, Stage]) -> Stage:
    """Refined from the network's atoms; from those of the raw tomogram where a network left none."""
    from_network = found["refined_unet"]
    return from_network if from_network.refined is not None else found["refined_raw"]


def summary_row(item: HeldOut) -> dict[str, Any]:
    """Return what ``summary.json`` says of one held-out particle."""
    series = item.pair.series
    return {
        "name": item.name,
        "description": item.pair.specimen.description,
        "engine": series.engine,
        "dose_e_per_A2": series.dose_e_per_A2,
        "n_tilts": len(series.tilt_deg),
        "n_true": len(item.pair.specimen.positions_A),
        "bound": bound_numbers(item.bound),
        "network_weight": dict(item.network_weight),
        "stages": {
            stage: {
                **score_numbers(score),
                **efficiency(score, item.bound),
                "note": item.notes.get(stage, ""),
            }
            for stage, score in item.scores.items()
        },
    }


def bound_numbers(bound: Bound | None) -> dict[str, Any] | None:
    """Return what ``summary.json`` says of the Cramér-Rao bound."""
    if bound is None:
        return None
    return {
        "crlb_pm": bound.crlb_pm,
        "crlb_axis_pm": list(bound.crlb_axis_pm),
        "relative_error": bound.relative_error,
        "turns_removed": bound.turns_removed,
    }


def efficiency(score: Score, bound: Bound | None) -> dict[str, float | None]:
    """Set an RMSD against the bound: 1 is perfect, and less means that a prior is being scored.

    Where the geometry is free, a common rotation of specimen and tilts is beyond any data: then the RMSD
    after a rigid fit is compared.
    """
    if bound is None:
        return {"crlb_pm": None, "efficiency": None}
    rmsd_pm = score.rigid_rmsd_pm if bound.turns_removed else score.rmsd_pm
    return {"crlb_pm": bound.crlb_pm, "efficiency": finite(rmsd_pm / bound.crlb_pm)}


def summarise(
    recipe: Recipe,
    rows: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    trained: Trained,
    timings_s: Mapping[str, float],
) -> dict[str, Any]:
    """Collect everything that ``summary.json`` says."""
    failed = [entry for entry in entries if entry.status == "failed"]
    return {
        "picotome": __version__,
        "versions": versions(_VERSIONED),
        "recipe": recipe.model_dump(mode="json"),
        "timings_s": dict(timings_s),
        "particles": {
            "done": len(entries) - len(failed),
            "failed": [{"split": e.split, "index": e.index, "error": e.error} for e in failed],
        },
        "training": {
            "precision": trained.precision,
            "n_epochs": len(trained.history),
            "best_epoch": trained.best_epoch,
            "seconds": sum(row["seconds"] for row in trained.history),
            "validation": finite(trained.history[trained.best_epoch]),
        },
        "specimens": list(rows),
    }


def _earlier_timings(out: Path) -> dict[str, float]:
    """Seconds that each stage has taken so far: a resumed run adds to them."""
    path = out / "timings.json"
    if not path.is_file():
        return {}
    try:
        return {str(stage): float(seconds) for stage, seconds in json.loads(path.read_text("utf-8")).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


@contextmanager
def _timed(out: Path, timings_s: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.monotonic()
    try:
        yield
    finally:
        timings_s[stage] = round(timings_s.get(stage, 0.0) + time.monotonic() - begun, 2)
        write_text(out / "timings.json", json.dumps(timings_s, indent=1))
