"""Tilt series made by whatever workers there are; and schedulers for which nobody works."""

import dataclasses

import pytest
from distributed import LocalCluster

from picotome.configs.specimens import FileSpecimen
from picotome.datasets.factory import executors, window
from picotome.datasets.factory.simulating import simulate_missing
from picotome.datasets.generate import generate
from picotome.datasets.series import SeriesRecipe, read_series, series_path, simulate


@pytest.fixture
def series(tiny_recipe):
    recipe = SeriesRecipe(
        name="first",
        specimen=tiny_recipe.specimens[0],
        engine="linear",
        volume=tiny_recipe.volume,
        optics=tiny_recipe.optics,
        acquisition=tiny_recipe.acquisition,
        seed=1,
        index=0,
    )
    return [recipe, dataclasses.replace(recipe, name="second", index=1)]


def scheduler(n_workers):
    return LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )


def test_series_are_made_by_a_scheduler_that_runs(series, tmp_path):
    missing = FileSpecimen(kind="file", path=str(tmp_path / "atoms.xyz"))
    bad = dataclasses.replace(series[0], name="bad", specimen=missing)
    seen = []
    with scheduler(1) as cluster:
        failed = simulate_missing(
            [*series, bad],
            tmp_path,
            scheduler_address=cluster.scheduler_address,
            track=lambda *event: seen.append(event),
        )
    assert list(failed) == ["bad"] and "atoms.xyz" in failed["bad"]
    assert seen[-1] == ("series", 3, 3)
    assert ("linear first", 5, 5) in seen
    for recipe in series:
        assert (read_series(recipe, tmp_path)[1].images == simulate(recipe)[1].images).all()
    assert not series_path(bad, tmp_path).exists()


def test_a_scheduler_without_workers_is_waited_for_then_refused(series, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(window, "_ASK_INTERVAL_S", 0.1)
    monkeypatch.setattr(executors, "WORKERS_TIMEOUT_S", 0.5)
    seen = []
    with scheduler(0) as cluster:
        for make in (
            lambda **more: simulate_missing(series, tmp_path / "series", **more),
            lambda **more: generate(tiny_recipe, tmp_path / "data", splits=("validation",), **more),
        ):
            with pytest.raises(ValueError, match=r"no workers for 0 s; .*: start workers"):
                make(scheduler_address=cluster.scheduler_address, track=lambda *event: seen.append(event))
            assert seen[-1] == ("waiting for workers", 0, 1)
        # Workers that come late are not too late.
        monkeypatch.setattr(executors, "WORKERS_TIMEOUT_S", 60.0)

        def hire(*event):
            seen.append(event)
            if event == ("waiting for workers", 0, 1):
                cluster.scale(1)

        assert not simulate_missing(
            series, tmp_path / "series", scheduler_address=cluster.scheduler_address, track=hire
        )
    assert ("waiting for workers", 1, 1) in seen
