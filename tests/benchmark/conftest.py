"""A benchmark small enough to run whole: two series of a tiny particle by the linear engine."""

from dataclasses import replace

import pytest

from picotome.benchmark.plan import Plan, full_plan
from picotome.benchmark.run import run_benchmark
from picotome.configs.imaging import VolumeConfig
from picotome.datasets.series import write_series


def tiny(scene):
    specimen = scene.series.specimen.model_copy(update={"diameter_A": (9.0, 9.0)})
    volume = VolumeConfig(n_voxels=40, voxel_size_A=0.4)
    return replace(scene, series=replace(scene.series, engine="linear", specimen=specimen, volume=volume))


@pytest.fixture(scope="session")
def tiny_plan():
    pt = [scene for scene in full_plan().scenes if scene.specimen == "Pt"]
    return Plan(tuple(tiny(scene) for scene in pt[:2]), (1e4,))


@pytest.fixture(scope="session")
def series_cache(tiny_plan, tmp_path_factory):
    """Folder of the plan's series, made without the start of a cluster."""
    folder = tmp_path_factory.mktemp("series_cache")
    for scene in tiny_plan.scenes:
        write_series(scene.series, folder)
    return folder


@pytest.fixture(scope="session")
def finished(tiny_plan, identity_weights, series_cache, tmp_path_factory):
    """Folder and result of a whole run."""
    out = tmp_path_factory.mktemp("benchmark")
    return out, run_benchmark(tiny_plan, out, cache=series_cache, model=identity_weights)
