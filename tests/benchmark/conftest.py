"""A benchmark small enough to run whole: two series of a tiny particle by the linear engine."""

from dataclasses import replace

import pytest
import torch

from picotome.benchmark.plan import Plan, full_plan
from picotome.benchmark.run import run_benchmark
from picotome.configs.imaging import VolumeConfig
from picotome.configs.schema import NetworkConfig
from picotome.datasets.series import write_series
from picotome.train.checkpoint import ModelCard, save_weights
from picotome.train.unet import build_network

SMALL = NetworkConfig(channels=(4, 4, 8, 8, 8, 4))
CARD = ModelCard(
    0.4, 0.45, -65, 65, SMALL.model_dump(mode="json"), 3, {"rmsd_pm": 5.0}, "test", "32-true", "0"
)


def tiny(scene):
    specimen = scene.series.specimen.model_copy(update={"diameter_A": (9.0, 9.0)})
    volume = VolumeConfig(n_voxels=40, voxel_size_A=0.4)
    return replace(scene, series=replace(scene.series, engine="linear", specimen=specimen, volume=volume))


@pytest.fixture(scope="session")
def tiny_plan():
    pt = [scene for scene in full_plan().scenes if scene.specimen == "Pt"]
    return Plan(tuple(tiny(scene) for scene in pt[:2]), (1e4,))


@pytest.fixture(scope="session")
def identity_weights(tmp_path_factory):
    """A network that was never trained: it repairs nothing and spoils nothing."""
    path = tmp_path_factory.mktemp("weights") / "identity.safetensors"
    torch.manual_seed(0)
    save_weights(path, build_network(SMALL), CARD)
    return path


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
