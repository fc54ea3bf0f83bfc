"""The forecast of a dataset: counts that are exact, costs that are near, and nothing made."""

import shutil

import pytest
from typer.testing import CliRunner

from picotome.cli import app
from picotome.configs import load_recipe
from picotome.configs.schema import RefinedConfig
from picotome.datasets.forecast.forecast import Forecast
from picotome.datasets.forecast.limits import Workers, refuse_small_memory
from picotome.datasets.forecast.measure import Measured, Start
from picotome.datasets.forecast.particles import build_particles
from picotome.datasets.forecast.work import group_tasks
from picotome.datasets.forecast.yardstick import measure_pair
from picotome.datasets.generate import missing_tasks
from picotome.datasets.plan import SPLITS, particle_simulation
from picotome.datasets.series import series_path

_DERIVED = (
    "optics.abtem={}",
    "acquisition.n_tilts=5",
    "training_set.n_train=7",
    "training_set.n_prism=5",
    "training_set.simulation={n_series: 3, tilt_min_deg: -64, tilt_max_deg: 64, tilt_step_deg: 8}",
)


def dry_run(settings, out, *options):
    overrides = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(
        app, ["generate", "smoke", "--out", str(out), "--dry-run", *overrides, *options]
    )


def test_dry_run_prints_a_forecast_and_makes_nothing(tiny_settings, tmp_path):
    done = dry_run(tiny_settings, tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert "6 pairs to make" in done.output and "CPU-hours" in done.output
    assert list(tmp_path.iterdir()) == []


def test_dry_run_refuses_workers_with_too_little_memory(tiny_settings, tmp_path):
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("kind: local\nworkers: 1\nmemory: 100MB\n")
    done = dry_run(tiny_settings, tmp_path / "data", "--cluster", str(cluster))
    assert "CPU-hours" in done.output and done.exit_code == 1
    assert isinstance(done.exception, ValueError)
    assert "of memory and is ended at 90.6 MiB: raise `memory` in the cluster file" in str(done.exception)
    assert list(tmp_path.iterdir()) == [cluster]


@pytest.mark.parametrize(
    ("needed_GiB", "advice"), [(3, "give --workers 2"), (9, "use a machine with more memory")]
)
def test_advice_where_workers_share_a_memory(needed_GiB, advice):
    workers = Workers(number=4, n_cores=4, limit_bytes=2 * 2**30)
    refuse_small_memory(2 * 2**30, workers)
    with pytest.raises(ValueError, match=advice):
        refuse_small_memory(needed_GiB * 2**30, workers)


def test_dry_run_refuses_a_disk_that_is_too_small(tiny_settings, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=100_000))
    done = dry_run(tiny_settings, tmp_path / "data")
    assert "CPU-hours" in done.output and done.exit_code == 1
    assert isinstance(done.exception, OSError) and "its disk has 0.1 MiB free" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_pairs_of_a_simulation_are_counted_apart_from_their_particles(tmp_path):
    recipe = load_recipe("smoke", list(_DERIVED))
    groups = group_tasks(recipe, [("train", index) for index in range(7)], folder=tmp_path)
    assert [(g.engine, len(g.tasks), len(g.firsts), g.n_images, g.n_pair_images) for g in groups] == [
        ("prism", 5, 2, 2 * 17, 5 * 5),
        ("linear", 2, 2, 2 * 5, 2 * 5),
    ]


def test_a_simulation_that_is_there_is_not_forecast_again(tmp_path):
    recipe = load_recipe("smoke", list(_DERIVED))
    path = series_path(particle_simulation(recipe, "train", 0), tmp_path / "simulations")
    path.parent.mkdir()
    path.touch()
    tasks = [("train", index) for index in range(1, 7)]
    groups = group_tasks(recipe, tasks, folder=tmp_path)
    assert [(g.engine, len(g.tasks), g.n_simulated) for g in groups] == [("prism", 4, 1), ("linear", 2, 2)]
    measured = Measured(
        n_built=1,
        fewest_atoms=9,
        most_atoms=9,
        n_probes=0.0,
        n_waves=0.0,
        particle_s=100.0,
        pair_s=1.0,
        once_s=0.0,
        memory_bytes=0,
        pair_bytes=1,
        simulation_bytes=1000,
    )
    told = Forecast(tuple(groups), (measured, measured), Start(0.0, 0), Workers(1, 1, None), 0)
    assert (told.work_s, told.disk_bytes) == (306.0, 3006)


def test_refined_geometries_are_counted_by_their_share(tmp_path):
    """They improve the whole volume at once, which takes several times as long."""
    plain = load_recipe("smoke", [])
    updates_s = []
    for share in (None, 0.5, 1.0):
        refined = None if share is None else RefinedConfig(share=share)
        chosen = plain.training_set.model_copy(update={"refined": refined})
        recipe = plain.model_copy(update={"training_set": chosen})
        group = group_tasks(recipe, [("train", 0)], folder=tmp_path)[0]
        (built,) = build_particles(recipe, group)
        updates_s.append(measure_pair(recipe, built, engine="linear", folder=tmp_path).cost.update_s)
    told, half, all_refined = updates_s
    assert 1.5 * told < half < all_refined


def test_both_axes_are_counted(tmp_path):
    recipe = load_recipe("smoke", ["acquisition.scheme=dual_axis"])
    (group,) = group_tasks(recipe, [("train", 0)], folder=tmp_path)
    assert group.n_images == 14


def test_what_is_finished_is_not_forecast(tiny_recipe, tiny_dataset):
    assert missing_tasks(tiny_recipe, tiny_dataset, splits=SPLITS) == []
