"""The main job, end to end: particles, pairs, network, traces, scores, report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picotome import __version__
from picotome.configs.loading import recipe_to_yaml
from picotome.configs.schema import Recipe
from picotome.datasets.generate import generate
from picotome.datasets.manifest import Entry
from picotome.datasets.pairs import SPLITS, elements_of, versions
from picotome.datasets.safe_write import write_text
from picotome.datasets.store import read_pair, read_provenance, write_records
from picotome.progress import Track, silent
from picotome.records import Pair, Score, Tomogram, Trace
from picotome.trace.numbers import finite, score_numbers
from picotome.trace.scoring import score_trace
from picotome.trace.tracing import trace_tomogram
from picotome.train.apply import repair
from picotome.train.loop import Trained, train

STAGES = ("raw", "unet")
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
    """One held-out particle with what each stage made of it."""

    name: str
    pair: Pair
    repaired: Tomogram
    traces: Mapping[str, Trace]
    scores: Mapping[str, Score]


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
    n_workers, scheduler_address
        See `picotome.datasets.generate.generate`.
    track
        Called as work advances.

    Raises
    ------
    ValueError
        If no held-out particle, or no particle to learn from, could be made.
    """
    from picotome.report.run_report import write_run_report

    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", recipe_to_yaml(recipe))
    timings_s: dict[str, float] = {}

    with _timed(timings_s, "generate"):
        entries = generate(
            recipe,
            out / "dataset",
            splits=SPLITS,
            n_workers=n_workers,
            scheduler_address=scheduler_address,
            track=track,
        )
    failed = [entry for entry in entries if entry.status == "failed"]
    held_out_entries = [entry for entry in entries if entry.split == "held_out" and entry.status == "done"]
    if not held_out_entries:
        raise ValueError("no held-out particle could be made:\n" + "\n".join(entry.error for entry in failed))

    with _timed(timings_s, "train"):
        trained = train(out / "dataset", recipe=recipe, out=out / "model", track=track)

    with _timed(timings_s, "apply_trace_score"):
        held_out = []
        for done, entry in enumerate(held_out_entries, start=1):
            held_out.append(
                judge(out / "dataset" / entry.file, recipe, model=trained.model, out=out / "held_out")
            )
            track("repair, trace, score", done, len(held_out_entries))

    summary = summarise(recipe, held_out, entries, trained, timings_s)
    with _timed(timings_s, "report"):
        report = write_run_report(out, summary=summary, held_out=held_out, history=trained.history)
    write_text(out / "summary.json", json.dumps(summary, indent=1, allow_nan=False))
    return RunResult(summary=summary, report=report, failed=failed)


def judge(file: Path, recipe: Recipe, *, model: Path, out: Path) -> HeldOut:
    """Repair, trace and score one held-out particle, and store what was found."""
    pair = read_pair(file)
    repaired = repair(pair.degraded, model=model)
    elements = recipe.tracing.elements or elements_of(pair.specimen)
    traces = {
        stage: trace_tomogram(tomogram, elements=elements, config=recipe.tracing)
        for stage, tomogram in zip(STAGES, (pair.degraded, repaired), strict=True)
    }
    scores = {
        stage: score_trace(trace, pair.specimen, config=recipe.scoring) for stage, trace in traces.items()
    }
    index = int(read_provenance(file)["index"])
    config = recipe.specimens[index % len(recipe.specimens)]
    name = f"{config.kind}_{index:03d}"
    write_records(
        out / f"{name}.h5",
        {
            "specimen": pair.specimen,
            "degraded": pair.degraded,
            "repaired": repaired,
            **{f"trace_{stage}": trace for stage, trace in traces.items()},
        },
        provenance={"source": file.name, "elements": list(elements), "versions": versions(_VERSIONED)},
    )
    return HeldOut(name=name, pair=pair, repaired=repaired, traces=traces, scores=scores)


def summarise(
    recipe: Recipe,
    held_out: Sequence[HeldOut],
    entries: Sequence[Entry],
    trained: Trained,
    timings_s: dict[str, float],
) -> dict[str, Any]:
    """Collect everything that ``summary.json`` says."""
    failed = [entry for entry in entries if entry.status == "failed"]
    return {
        "picotome": __version__,
        "versions": versions(_VERSIONED),
        "recipe": recipe.model_dump(mode="json"),
        "timings_s": timings_s,
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
        "specimens": [
            {
                "name": item.name,
                "description": item.pair.specimen.description,
                "engine": item.pair.series.engine,
                "dose_e_per_A2": item.pair.series.dose_e_per_A2,
                "n_tilts": len(item.pair.series.tilt_deg),
                "n_true": len(item.pair.specimen.positions_A),
                "stages": {stage: score_numbers(score) for stage, score in item.scores.items()},
            }
            for item in held_out
        ],
    }


@contextmanager
def _timed(timings_s: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    timings_s[stage] = round(time.monotonic() - begun, 2)
