"""What several rooms test on, made once: a dataset of tiny particles, and a network that repairs nothing."""

import pytest
import torch
from hypothesis import settings

from picotome.configs import load_recipe
from picotome.configs.schema import NetworkConfig
from picotome.datasets.generate import generate
from picotome.train.checkpoint import ModelCard, save_weights
from picotome.train.unet import build_network

# How long an example takes says something of the machine only.
settings.register_profile("picotome", deadline=None)
settings.load_profile("picotome")

_TINY = [
    "engine=linear",
    # The preset sets knobs of PRISM, which the linear engine warns that it does not read.
    "optics.abtem={}",
    "acquisition.n_tilts=5",
    "training_set.n_train=3",
    "training_set.n_validation=1",
    "reconstruction.n_iterations=5",
    "training.n_epochs=2",
]


SMALL = NetworkConfig(channels=(4, 4, 8, 8, 8, 4))
CARD = ModelCard(
    0.4, 0.45, -65, 65, SMALL.model_dump(mode="json"), 3, {"rmsd_pm": 5.0}, "test", "32-true", "0"
)


@pytest.fixture(scope="session")
def tiny_settings():
    """Changes to the preset smoke."""
    return _TINY


@pytest.fixture(scope="session")
def tiny_recipe(tiny_settings):
    return load_recipe("smoke", tiny_settings)


@pytest.fixture(scope="session")
def tiny_dataset(tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "dataset"
    entries = generate(tiny_recipe, folder, splits=("train", "validation", "held_out"), n_workers=2)
    assert all(entry.status == "done" for entry in entries)
    return folder


@pytest.fixture(scope="session")
def identity_weights(tmp_path_factory):
    """A network that was never trained: it repairs nothing and spoils nothing."""
    path = tmp_path_factory.mktemp("weights") / "identity.safetensors"
    torch.manual_seed(0)
    save_weights(path, build_network(SMALL), CARD)
    return path
