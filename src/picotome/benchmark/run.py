"""The whole benchmark: simulate what is missing, judge what is unfinished, write the table."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import picotome
from picotome.benchmark.floor import Floor, find_floor, no_floor
from picotome.benchmark.judge import Row, failed_rows, judge_group
from picotome.benchmark.page import benchmark_page
from picotome.benchmark.plan import RECONSTRUCTION, SCORING, TRACING, Plan, Scene, command_of
from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.factory.simulating import simulate_missing
from picotome.datasets.identity import versions
from picotome.datasets.safe_write import write_text
from picotome.datasets.series import read_series, series_identity
from picotome.progress import Track, silent

JSON_NAME, PAGE_NAME, PICTURE_NAME = "benchmark.json", "benchmark.md", "benchmark.png"
FLOOR_NAME, FLOOR_PICTURE_NAME = "floor.json", "floor.png"
_JUDGES = ("picotome", "numba", "numpy", "scipy", "torch")
_JUDGING_ROOMS = ("benchmark", "recon", "trace", "train")
_NAME_DIGITS = 16


@dataclass(frozen=True)
class Benchmark:
    """What the benchmark leaves.

    Attributes
    ----------
    rows
        Contents of ``benchmark.json``.
    floors
        Contents of ``floor.json``.
    failed
        What went wrong with series that could not be made, by name.
    """

    rows: list[Row]
    floors: list[Floor]
    failed: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Group:
    """One specimen, imperfection and dose, and the file of its finished rows.

    At an infinite dose there is one row, the floor.
    """

    scene: Scene
    dose_e_per_A2: float
    path: Path


def run_benchmark(
    plan: Plan,
    out: Path,
    *,
    cache: Path | None = None,
    n_workers: int | None = None,
    scheduler_address: str | None = None,
    cluster: LocalWorkers | QueueWorkers | None = None,
    model: Path | None = None,
    track: Track = silent,
) -> Benchmark:
    """Fill the table of a plan; the same call resumes an ended run and repeats nothing that is finished.

    Parameters
    ----------
    out
        Folder of ``benchmark.json``, ``benchmark.md``, ``benchmark.png``, ``floor.json``, ``floor.png`` and,
        in ``groups``, of what is finished.
    cache
        Folder of simulated series; default: ``out/cache``.
    n_workers, scheduler_address, cluster
        Where the workers that simulate come from; see `picotome.datasets.generate.generate`.
    model
        Weights, or the folder that a training wrote; default: those that come with picotome. Without any,
        the stages of the network are left out.
    track
        Called as work advances.

    Raises
    ------
    FileNotFoundError, ValueError
        If the weights are not there or not picotome's.
    """
    from picotome.report.benchmark import draw_benchmark
    from picotome.report.floor import draw_floor

    weights = _weights(model)
    cache = cache if cache is not None else out / "cache"
    out.mkdir(parents=True, exist_ok=True)
    code = _code()
    groups, floors = (
        [
            Group(scene, dose, out / "groups" / _file_name(scene, dose, weights=weights, code=code))
            for scene, dose in pairs
        ]
        for pairs in (plan.groups, [(scene, math.inf) for scene in plan.scenes])
    )
    every = [*groups, *floors]
    done = {group.path: rows for group in every if (rows := _finished(group.path)) is not None}
    series = {g.scene.series.name: g.scene.series for g in every if g.path not in done}
    failed = simulate_missing(
        list(series.values()),
        cache,
        n_workers=n_workers,
        scheduler_address=scheduler_address,
        cluster=cluster,
        track=track,
    )

    for number, group in enumerate(every, start=1):
        if group.path not in done:
            done[group.path] = _judge(group, cache=cache, weights=weights, failed=failed)
            _write_rows(out / JSON_NAME, groups, done)
        track("judged", number, len(every))

    table = _write_rows(out / JSON_NAME, groups, done)
    floor_table = _write_rows(out / FLOOR_NAME, floors, done)
    draw_benchmark(out / PICTURE_NAME, rows=table)
    drawn = [floor for floor in floor_table if floor["floor_pm"] is not None]
    # Errors of the geometry have floors of their own.
    shown = [floor for floor in drawn if floor["imperfection"] == "none"] or drawn
    if shown:
        draw_floor(out / FLOOR_PICTURE_NAME, floors=shown)
    page = benchmark_page(
        table,
        floor_table,
        command=command_of(plan),
        picture=PICTURE_NAME,
        floor_picture=FLOOR_PICTURE_NAME,
    )
    write_text(out / PAGE_NAME, page)
    return Benchmark(rows=table, floors=floor_table, failed=failed)


def group_identity(scene: Scene, dose_e_per_A2: float, *, weights: Path | None, code: str) -> str:
    """Hash of everything that determines the rows of a group, the code that judges included.

    While picotome is worked on its version stays, but a table must never mix the numbers of two codes.
    """
    determines = {
        "series": series_identity(scene.series),
        "specimen": scene.specimen,
        "imperfection": scene.imperfection,
        "dose_e_per_A2": repr(dose_e_per_A2),
        "sections": [
            section.model_dump(mode="json")
            for section in (scene.refinement, RECONSTRUCTION, TRACING, SCORING)
        ],
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights is not None else None,
        "versions": versions(_JUDGES),
        "code": code,
    }
    return hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()


def _file_name(scene: Scene, dose_e_per_A2: float, *, weights: Path | None, code: str) -> str:
    identity = group_identity(scene, dose_e_per_A2, weights=weights, code=code)
    return f"{scene.series.name}_{dose_e_per_A2:g}_{identity[:_NAME_DIGITS]}.json"


def _code() -> str:
    """Digest of the rooms that judge."""
    root = Path(picotome.__file__).parent
    digest = hashlib.sha256()
    for room in _JUDGING_ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _weights(model: Path | None) -> Path | None:
    from picotome.train.checkpoint import load_weights
    from picotome.train.weights import find_weights, shipped_weights

    weights = find_weights(model) if model is not None else shipped_weights()
    if weights is not None:
        # Wrong weights are refused before any long work.
        load_weights(weights)
    return weights


def _judge(group: Group, *, cache: Path, weights: Path | None, failed: Mapping[str, str]) -> list[Row]:
    """Judge a group and store its rows; one whose images are missing is not stored, to be tried again."""
    scene, dose = group.scene, group.dose_e_per_A2
    error = failed.get(scene.series.name)
    has_dose = math.isfinite(dose)
    if error is not None:
        return (
            failed_rows(scene, dose_e_per_A2=dose, model=weights, note=error)
            if has_dose
            else [no_floor(scene, note=error)]
        )
    specimen, clean = read_series(scene.series, cache)
    rows = (
        judge_group(scene, specimen, clean, dose_e_per_A2=dose, model=weights)
        if has_dose
        else [find_floor(scene, specimen, clean)]
    )
    write_text(group.path, _to_json(rows))
    return rows


def _finished(path: Path) -> list[Row] | None:
    """Rows of a finished group; None where there are none, or the file is damaged."""
    try:
        rows: list[Row] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return rows


def _write_rows(path: Path, groups: Sequence[Group], done: Mapping[Path, Sequence[Row]]) -> list[Row]:
    rows = [row for group in groups for row in done.get(group.path, ())]
    write_text(path, _to_json(rows))
    return rows


def _to_json(rows: Sequence[Row]) -> str:
    return json.dumps(list(rows), indent=1, allow_nan=False)
