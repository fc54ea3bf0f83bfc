"""The forecast of a dataset: counts that are exact, costs that are near, and nothing made."""

from typer.testing import CliRunner

from picotome.cli import app
from picotome.configs import load_recipe
from picotome.datasets.forecast.work import group_tasks
from picotome.datasets.generate import missing_tasks
from picotome.datasets.plan import SPLITS

_DERIVED = (
    "optics.abtem={}",
    "acquisition.n_tilts=5",
    "training_set.n_train=7",
    "training_set.n_prism=5",
    "training_set.simulation={n_series: 3, tilt_min_deg: -64, tilt_max_deg: 64, tilt_step_deg: 8}",
)


def test_dry_run_prints_a_forecast_and_makes_nothing(tiny_settings, tmp_path):
    out = tmp_path / "data"
    overrides = [part for setting in tiny_settings for part in ("--set", setting)]
    done = CliRunner().invoke(app, ["generate", "smoke", "--out", str(out), "--dry-run", *overrides])
    assert done.exit_code == 0, done.output
    assert "6 pairs to make" in done.output and "CPU-hours" in done.output
    assert list(tmp_path.iterdir()) == []


def test_pairs_of_a_simulation_are_counted_apart_from_their_particles():
    recipe = load_recipe("smoke", list(_DERIVED))
    groups = group_tasks(recipe, [("train", index) for index in range(7)])
    assert [(g.engine, len(g.tasks), len(g.firsts), g.n_images, g.n_pair_images) for g in groups] == [
        ("prism", 5, 2, 2 * 17, 5 * 5),
        ("linear", 2, 2, 2 * 5, 2 * 5),
    ]


def test_both_axes_are_counted():
    recipe = load_recipe("smoke", ["acquisition.scheme=dual_axis"])
    (group,) = group_tasks(recipe, [("train", 0)])
    assert group.n_images == 14


def test_what_is_finished_is_not_forecast(tiny_recipe, tiny_dataset):
    assert missing_tasks(tiny_recipe, tiny_dataset, splits=SPLITS) == []
