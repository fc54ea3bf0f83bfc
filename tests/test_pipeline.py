"""What a run makes of one held-out particle."""

from dataclasses import replace

import numpy as np
import pytest

from picotome.configs import load_recipe
from picotome.configs.schema import RefinedConfig
from picotome.datasets.naming import find_pair, pair_identity
from picotome.datasets.pairs import write_particle
from picotome.pipeline import judge


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(
        "smoke",
        [
            "engine=linear",
            "optics.abtem={}",
            "acquisition.n_tilts=21",
            "acquisition.dose_e_per_A2=1e5",
            "acquisition.tilt_error_rms_deg=1.5",
            "acquisition.shift_error_rms_A=0.3",
            "reconstruction.align=true",
        ],
    )


@pytest.mark.parametrize("refined", [None, RefinedConfig()])
def test_a_network_that_learned_on_refined_geometries_is_given_one(
    recipe, identity_weights, refined, tmp_path
):
    chosen = recipe.training_set.model_copy(update={"refined": refined})
    recipe = recipe.model_copy(update={"training_set": chosen})
    write_particle(recipe, tmp_path, "held_out", 0)
    file = find_pair(tmp_path, "held_out", 0, identity=pair_identity(recipe, "held_out", 0))
    found = judge(file, recipe, model=identity_weights, out=tmp_path / "held_out_found")
    assert list(found.scores) == ["raw", "unet", "refined", "joint"] and not found.notes
    raw_pm, unet_pm = (found.scores[stage].rigid_rmsd_pm for stage in ("raw", "unet"))
    if refined is None:
        assert unet_pm == pytest.approx(raw_pm, rel=0.02)
    else:
        assert unet_pm < 0.8 * raw_pm
    assert found.scores["refined"].rigid_rmsd_pm < 0.6 * raw_pm
    # This network adds nothing, and is found to.
    assert found.network_weight["Pt"] < 0.3
    assert found.scores["joint"].rigid_rmsd_pm < 1.05 * found.scores["refined"].rigid_rmsd_pm


@pytest.mark.parametrize("refined", [None, RefinedConfig()])
def test_a_network_that_leaves_nothing_leaves_what_the_images_say(
    recipe, identity_weights, refined, tmp_path, monkeypatch
):
    def wiped(degraded, *, model):
        return replace(degraded, volume=np.zeros_like(degraded.volume), kind="repaired")

    monkeypatch.setattr("picotome.train.locate.repair", wiped)
    chosen = recipe.training_set.model_copy(update={"refined": refined})
    recipe = recipe.model_copy(update={"training_set": chosen})
    write_particle(recipe, tmp_path, "held_out", 0)
    file = find_pair(tmp_path, "held_out", 0, identity=pair_identity(recipe, "held_out", 0))
    found = judge(file, recipe, model=identity_weights, out=tmp_path / "held_out_found")
    assert found.scores["unet"].n_found == 0
    assert found.scores["refined"].recall == 1.0
    np.testing.assert_array_equal(found.traces["joint"].positions_A, found.traces["refined"].positions_A)
    assert found.network_weight == {}
    assert "is empty" in found.notes["unet"] and "nothing to join" in found.notes["joint"]
    assert list(found.notes) == ["unet", "joint"]
