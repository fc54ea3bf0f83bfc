"""What several rooms test on: a dataset of tiny particles, made once."""

import pytest
from hypothesis import settings

from picotome.configs import load_recipe
from picotome.datasets.generate import generate

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
