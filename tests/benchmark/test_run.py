"""The whole benchmark on a tiny plan: what it writes, what it repeats, and what does not end it."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from picotome.benchmark import run
from picotome.benchmark.judge import ROW_KEYS, STAGES, failed_rows, record
from picotome.benchmark.page import benchmark_page, terminal_table
from picotome.benchmark.plan import Plan
from picotome.benchmark.run import run_benchmark
from picotome.cli import app
from picotome.datasets.factory.simulating import simulate_missing
from picotome.datasets.series import read_series
from picotome.report.benchmark import draw_benchmark

# The columns that the table is published with.
PUBLISHED = {
    *("specimen", "n_atoms", "dose_e_per_A2", "imperfection", "stage", "recall", "precision", "rmsd_pm"),
    *("median_pm", "surface_rmsd_pm", "species_accuracy", "crlb_pm", "efficiency", "seconds"),
}


@pytest.fixture
def no_simulation(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("something was simulated")

    monkeypatch.setattr("picotome.datasets.factory.executors.connect_workers", refuse)


def test_the_json_is_a_row_for_each_stage(finished, tiny_plan):
    out, result = finished
    rows = json.loads((out / "benchmark.json").read_text())
    assert rows == result.rows
    assert [(r["imperfection"], r["stage"]) for r in rows] == [
        (scene.imperfection, stage) for scene, _ in tiny_plan.groups for stage in STAGES
    ]
    for row in rows:
        assert set(row) == set(ROW_KEYS) >= PUBLISHED
        assert row["recall"] == row["precision"] == 1.0
        assert row["efficiency"] == pytest.approx(row["rmsd_pm"] / row["crlb_pm"])
        assert row["gauge"] == ("translation" if row["imperfection"] == "none" else "rigid")
        assert (row["tilt_error_left_deg"] is None) == (
            row["imperfection"] == "none" or not row["stage"].startswith("refined")
        )


def test_refinement_comes_close_to_the_bound_and_corrects_the_tilts(finished):
    _, result = finished
    for row in result.rows:
        if row["stage"].startswith("refined"):
            assert 0.6 < row["efficiency"] < 1.5
            raw = next(
                r for r in result.rows if (r["imperfection"], r["stage"]) == (row["imperfection"], "raw")
            )
            assert row["rmsd_pm"] < raw["rmsd_pm"]
            assert row["rmsd_species_pm"] == {"Pt": row["rmsd_pm"]}
            assert row["crlb_species_pm"]["Pt"] == pytest.approx(row["crlb_pm"])


def test_a_network_that_repairs_nothing_leaves_what_the_refined_geometry_gives(finished):
    _, result = finished
    rmsd_pm = {(r["imperfection"], r["stage"]): r["rmsd_pm"] for r in result.rows}
    for imperfection in ("none", "middle"):
        same = pytest.approx(rmsd_pm[imperfection, "refined_raw"], rel=1e-3)
        assert rmsd_pm[imperfection, "refined_unet"] == same
    # Where no geometry was refined the tomogram is as good as the raw one, elsewhere better.
    assert rmsd_pm["none", "unet"] == pytest.approx(rmsd_pm["none", "raw"], rel=0.03)
    assert rmsd_pm["middle", "unet"] < rmsd_pm["middle", "raw"]


def test_joint_atoms_are_the_refined_ones_moved_by_the_weight_of_the_network(finished):
    """A network that repairs nothing draws the tomogram: worse than the images, and known to be so."""
    _, result = finished
    for row in result.rows:
        weight = row["network_weight_species"]
        if row["stage"] != "joint":
            assert weight is None
            continue
        refined = next(
            r for r in result.rows if (r["imperfection"], r["stage"]) == (row["imperfection"], "refined_unet")
        )
        assert list(weight) == ["Pt"] and 0.0 <= weight["Pt"] < 0.5
        assert row["rmsd_pm"] < 1.05 * refined["rmsd_pm"]
        assert row["expected_pm"] <= refined["expected_pm"] == pytest.approx(refined["crlb_pm"], rel=0.2)


def test_finished_groups_and_series_are_not_repeated(
    finished, tiny_plan, identity_weights, series_cache, tmp_path, monkeypatch, no_simulation
):
    out, result = finished
    # Another folder with the same cache: judged anew, simulated not.
    again = run_benchmark(
        Plan(tiny_plan.scenes[:1], (1e4,)), tmp_path, cache=series_cache, model=identity_weights
    )
    assert not again.failed
    skipped = {"seconds"}
    for row, before in zip(again.rows, result.rows, strict=False):
        for key in set(row) - skipped:
            assert row[key] == before[key] or row[key] == pytest.approx(before[key], rel=1e-6), key

    def refuse(*arguments, **named):
        raise AssertionError("something was judged")

    monkeypatch.setattr(run, "judge_group", refuse)
    same = run_benchmark(tiny_plan, out, cache=tmp_path / "empty", model=identity_weights)
    assert same.rows == result.rows


def test_an_interrupted_run_resumes(
    tiny_plan, identity_weights, series_cache, tmp_path, monkeypatch, no_simulation
):
    judged = []

    def fake(scene, specimen, clean, *, dose_e_per_A2, model):
        if len(judged) == 1 and not (tmp_path / "resumed").exists():
            raise KeyboardInterrupt
        judged.append(scene.imperfection)
        return failed_rows(scene, dose_e_per_A2=dose_e_per_A2, model=model, note="drawn, not found")

    monkeypatch.setattr(run, "judge_group", fake)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(tiny_plan, tmp_path, cache=series_cache, model=identity_weights)
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    assert {row["imperfection"] for row in rows} == {"none"}
    (tmp_path / "resumed").touch()
    run_benchmark(tiny_plan, tmp_path, cache=series_cache, model=identity_weights)
    assert judged == ["none", "middle"]
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["imperfection"] for row in rows] == ["none"] * len(STAGES) + ["middle"] * len(STAGES)
    # A finished group whose file was damaged is judged again.
    next((tmp_path / "groups").glob("*none*_10000_*")).write_text("[{")
    run_benchmark(tiny_plan, tmp_path, cache=series_cache, model=identity_weights)
    assert judged == ["none", "middle", "none"]


def test_a_failing_stage_is_a_row(
    tiny_plan, identity_weights, series_cache, tmp_path, monkeypatch, no_simulation
):
    def fail(degraded, *, model):
        raise ValueError("the network is on strike")

    monkeypatch.setattr("picotome.train.locate.repair", fail)
    plan = Plan(tiny_plan.scenes[:1], (1e4,))
    result = run_benchmark(plan, tmp_path, cache=series_cache, model=identity_weights)
    rows = {row["stage"]: row for row in result.rows}
    assert rows["raw"]["recall"] == rows["refined_raw"]["recall"] == 1.0
    assert rows["unet"]["recall"] == rows["refined_unet"]["recall"] == rows["joint"]["recall"] == 0.0
    assert rows["unet"]["note"] == "the network is on strike"
    assert "no atoms" in rows["refined_unet"]["note"]
    assert "nothing to join" in rows["joint"]["note"] and "no atoms" in rows["joint"]["note"]
    for key in ("precision", "rmsd_pm", "efficiency", "species_accuracy"):
        assert rows["unet"][key] is None
    assert rows["unet"]["crlb_pm"] == rows["raw"]["crlb_pm"]
    assert "the network is on strike" in (tmp_path / "benchmark.md").read_text("utf-8")


@pytest.mark.slow
def test_workers_make_what_can_be_made_and_say_what_cannot(tiny_plan, series_cache, tmp_path, monkeypatch):
    scene = tiny_plan.scenes[0]
    volume = scene.series.volume.model_copy(update={"n_voxels": 16})
    broken = replace(scene, specimen="too large", series=replace(scene.series, name="broken", volume=volume))
    monkeypatch.setattr("picotome.train.weights.shipped_weights", lambda: None)
    events = []
    result = run_benchmark(
        Plan((broken, scene), (1e4,)), tmp_path, n_workers=2, track=lambda *event: events.append(event)
    )
    assert set(result.failed) == {"broken"}
    assert [(row["specimen"], row["stage"]) for row in result.rows] == [
        (name, stage) for name in ("too large", "Pt") for stage in ("raw", "refined_raw")
    ]
    for row in result.rows[:2]:
        assert (row["recall"], row["rmsd_pm"]) == (0.0, None)
        assert "n_voxels" in row["note"]
    assert [floor["floor_pm"] is None for floor in result.floors] == [True, False]
    # What failed is tried again next time.
    assert len(list((tmp_path / "groups").glob("*"))) == 2
    assert (tmp_path / "benchmark.png").is_file()
    assert [event for event in events if event[0] in ("series", "judged")] == [
        ("series", 0, 2),
        ("series", 1, 2),
        ("series", 2, 2),
        *(("judged", number, 4) for number in (1, 2, 3, 4)),
    ]
    # A worker makes what the function makes.
    ours, theirs = (read_series(scene.series, folder)[1] for folder in (series_cache, tmp_path / "cache"))
    np.testing.assert_array_equal(ours.images, theirs.images)


def test_wrong_weights_are_refused_before_anything_is_made(tiny_plan, tmp_path, no_simulation):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        run_benchmark(tiny_plan, tmp_path / "out", model=tmp_path / "none.safetensors")
    assert not (tmp_path / "out").exists()


def test_noise_belongs_to_dose_and_imperfection(finished, tiny_plan, series_cache):
    for scene in tiny_plan.scenes:
        _, clean = read_series(scene.series, series_cache)
        low, high = (record(scene, clean, dose_e_per_A2=dose) for dose in (1e3, 1e5))
        np.testing.assert_array_equal(record(scene, clean, dose_e_per_A2=1e3).images, low.images)
        lit = clean.images > 0.2 * clean.images.max()
        noise = [np.var((series.images - clean.images)[lit]) for series in (low, high)]
        # Counts: the variance of a fraction is fraction / (dose × pixel area).
        for dose, variance in zip((1e3, 1e5), noise, strict=True):
            assert variance == pytest.approx(clean.images[lit].mean() / (dose * 0.4**2), rel=0.1)
        assert low.truth is clean.truth
    none, middle = (record(scene, clean, dose_e_per_A2=1e3).images for scene in tiny_plan.scenes)
    assert not np.array_equal(none, middle)


def test_a_series_that_is_there_is_not_made_again(tiny_plan, finished, series_cache, no_simulation):
    series = [scene.series for scene in tiny_plan.scenes]
    seen = []
    assert simulate_missing(series, series_cache, track=lambda *event: seen.append(event)) == {}
    assert seen == [("series", 2, 2)]


def test_the_page_shows_every_number_once(finished):
    _, result = finished
    page = benchmark_page(
        result.rows,
        result.floors,
        command="picotome benchmark --out here",
        picture="benchmark.png",
        floor_picture="floor.png",
    )
    assert "```sh\npicotome benchmark --out here\n```" in page
    assert "](benchmark.png)" in page and "](floor.png)" in page
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    summary, elements, floors, everything = tables
    assert len(summary.splitlines()) == 2 + 2
    assert len(elements.splitlines()) == 2
    assert len(floors.splitlines()) == 2 + len(result.floors)
    assert len(everything.splitlines()) == 2 + len(result.rows)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    for row in result.rows:
        assert f" {row['rmsd_pm']:.2f} " in summary
    assert "failed" not in page


def test_a_small_part_of_the_atoms_is_marked(finished):
    _, result = finished
    rows = [{**row, "recall": 0.5} if row["stage"] == "raw" else row for row in result.rows]
    marked = re.findall(r"([\d.]+) †", terminal_table(rows))
    assert marked == [f"{row['rmsd_pm']:.2f}" for row in rows if row["stage"] == "raw"]
    # Nor does such a stage count as the best.
    lucky = [{**row, "efficiency": 0.01} if row["stage"] == "raw" else row for row in rows]
    assert terminal_table(lucky) == terminal_table(rows)


def test_the_picture_shows_the_rows(finished, tmp_path):
    _, result = finished
    draw_benchmark(tmp_path / "a.png", rows=result.rows)
    low = [{**row, "dose_e_per_A2": 1e3, "rmsd_pm": 3 * row["rmsd_pm"]} for row in result.rows]
    draw_benchmark(tmp_path / "b.png", rows=[*result.rows, *low])
    nothing = [
        dict.fromkeys(row)
        | {k: row[k] for k in ("specimen", "engine", "imperfection", "stage", "dose_e_per_A2")}
        for row in low
    ]
    draw_benchmark(tmp_path / "c.png", rows=nothing)
    pictures = [imread(tmp_path / f"{name}.png") for name in "abc"]
    # Coloured pixels: more for two doses than for one, and next to none without numbers.
    coloured = [int((np.ptp(picture[..., :3], axis=-1) > 0.3).sum()) for picture in pictures]
    assert coloured[1] > 1.3 * coloured[0] > 13 * coloured[2]


def test_the_command_says_where_the_table_is(
    finished, tiny_plan, identity_weights, series_cache, monkeypatch, no_simulation
):
    out, _ = finished
    monkeypatch.setattr("picotome.benchmark.plan.quick_plan", lambda: tiny_plan)
    words = ["benchmark", "--quick", "--out", out, "--cache", series_cache, "--model", identity_weights]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    for name in ("benchmark.json", "benchmark.md", "benchmark.png"):
        assert str(out / name) in done.output
        assert (out / name).is_file()
    assert len(re.findall(r"^\s*Pt\s+linear", done.output, re.MULTILINE)) == 2
