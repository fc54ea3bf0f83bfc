from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from picotome.cli import app
from picotome.configs import load_recipe, preset_names
from picotome.configs.imaging import SimulationConfig
from picotome.configs.schema import NetworkConfig, RefinedConfig, TrainingConfig
from picotome.configs.specimens import AlloySpecimen, WulffSpecimen
from picotome.datasets.pairs import elements_of, make_pair
from picotome.datasets.store import read_records, write_records
from picotome.records import Tomogram
from picotome.trace.scoring import score_trace
from picotome.trace.tracing import trace_or_nothing
from picotome.train import weights as weights_module
from picotome.train.apply import repair
from picotome.train.checkpoint import ModelCard, load_weights, save_weights
from picotome.train.model_card import model_card_text
from picotome.train.unet import build_network
from picotome.train.weights import LARGEST_SHIPPED_BYTES, find_weights, shipped_weights

needs_weights = pytest.mark.skipif(
    shipped_weights() is None, reason="this copy of picotome comes without weights"
)


@pytest.fixture(scope="module")
def general():
    return load_recipe("general", ["engine=linear"])


def card_of(recipe):
    stated = {
        "voxel_size_A": recipe.volume.voxel_size_A,
        "peak_sigma_A": recipe.ideal.peak_sigma_A,
        "tilt_min_deg": -75.0,
        "tilt_max_deg": 75.0,
        "network": recipe.network.model_dump(mode="json"),
        "epoch": 11,
        "score": {"recall": 0.98765, "precision": 0.99, "rmsd_pm": 12.346, "ospa_pm": 20.0},
        "recipe": recipe.name,
        "precision": "bf16-mixed",
        "picotome": "9.8.7",
        "narrowest_tilt_max_deg": 58.0,
    }
    return ModelCard(**stated)


def test_a_model_is_a_file_a_folder_or_the_one_that_comes_with_picotome(tmp_path, monkeypatch):
    file = tmp_path / "mine.safetensors"
    assert find_weights(file) == file
    assert find_weights(tmp_path) == tmp_path / "best.safetensors"
    monkeypatch.setattr(weights_module, "shipped_weights", lambda: None)
    with pytest.raises(FileNotFoundError, match=r"general\.safetensors.*--model.*picotome train"):
        find_weights(None)


def test_the_card_says_what_the_recipe_and_the_weights_say(general):
    rows = [
        {
            "specimen": "Pt 400",
            "dose_e_per_A2": 1e3,
            "imperfection": "worst",
            "stage": stage,
            "recall": recall,
            "precision": 0.5,
            "rmsd_pm": 22.5,
            "surface_rmsd_pm": None,
        }
        for stage, recall in (("raw", 0.801), ("unet", 0.902), ("refined", 0.703))
    ]
    mixed = general.model_copy(
        update={
            "training_set": general.training_set.model_copy(
                update={"n_prism": 5, "simulation": SimulationConfig(n_series=3)}
            )
        }
    )
    text = model_card_text(card_of(mixed), mixed, n_parameters=1_361_457, rows=rows)
    chosen = mixed.training_set
    for word in (
        "Model card: general",
        "1,361,457",
        "5.4 MB",
        "±58° to ±75°",
        "picotome 9.8.7",
        f"{chosen.n_train} simulated particles",
        "5 by `prism` (multislice; 3 from each simulation)",
        "300 to 100000 (log-uniform)",
        "| shift error, rms, Å | 0 to 0.4 |",
        "| 0.9877 | 0.99 | 12.35 | 20 |",
        "| Pt 400 | 1000 | worst | raw | 0.801 | 0.5 | 22.5 | – | – |",
        "| unet | 0.902 |",
        "## Limits",
    ):
        assert word in text, word
    assert "0.703" not in text


def test_the_card_says_how_a_training_began_and_how_it_differed_from_its_recipe(general):
    plain = model_card_text(card_of(general), general, n_parameters=1)
    other = replace(card_of(general), start="quickstart", note="It was ended early.")
    text = model_card_text(other, general, n_parameters=1)
    assert "Started from the weights of the recipe `quickstart`." in text
    assert "It was ended early." in text
    assert "steps in" in plain and "steps in" not in text


def test_the_card_says_which_tomograms_are_of_a_refined_geometry(general):
    chosen = general.training_set
    refined = RefinedConfig(share=0.25, tilt_error_rms_deg=(0.1, 0.5), gain_error_rms=0.03)
    for config, said in ((None, False), (refined, True)):
        recipe = general.model_copy(update={"training_set": chosen.model_copy(update={"refined": config})})
        text = model_card_text(card_of(recipe), recipe, n_parameters=1)
        assert ("25% of the tomograms" in text) == said
        assert ("0.1 to 0.5° about three axes" in text and "0.03 of gain" in text) == said


def test_the_card_says_how_densely_the_specimens_were_tilted(general):
    def told(**changes):
        chosen = general.training_set
        acquisition = chosen.acquisition.model_copy(update=changes)
        recipe = general.model_copy(
            update={"training_set": chosen.model_copy(update={"acquisition": acquisition})}
        )
        return model_card_text(card_of(recipe), recipe, n_parameters=1)

    assert "One image for every 6.5° of tilt about one axis." in told()
    twice = told(n_tilts=41, scheme="dual_axis", missing_fraction=(0.0, 0.5))
    assert (
        "One image for every 3.25° of tilt about each of two axes, of which a part of 0 to 0.5 is lost."
        in twice
    )


def test_the_card_says_how_it_was_trained_whatever_the_recipe_says_now(general):
    trained = general.training.model_copy(update={"peak_weight": 7.0, "n_epochs": 3})
    stored = replace(card_of(general), training=trained.model_dump(mode="json"))
    assert "weighted 1 + 7 / v²" in model_card_text(stored, general, n_parameters=1)
    assert "weighted 1 + 7 / v²" not in model_card_text(card_of(general), general, n_parameters=1)


@pytest.mark.parametrize("preset", preset_names())
def test_a_card_can_be_written_of_every_preset(preset):
    recipe = load_recipe(preset)
    text = model_card_text(card_of(recipe), recipe, n_parameters=1)
    for specimen in recipe.training_set.specimens:
        for modifier in specimen.modifiers:
            assert modifier.kind in text


def test_the_card_states_shares_of_kinds_and_what_was_done_to_them(general):
    learned = [
        WulffSpecimen(kind="wulff", element="Pt", weight=3.0),
        AlloySpecimen(
            kind="alloy", modifiers=[{"kind": "stacking_fault"}, {"kind": "vacancies", "fraction": 0.1}]
        ),
    ]

    def card_with(specimens):
        chosen = general.training_set.model_copy(update={"specimens": tuple(specimens)})
        recipe = general.model_copy(update={"training_set": chosen})
        return model_card_text(card_of(recipe), recipe, n_parameters=1)

    text = card_with(learned)
    assert "- 75%: wulff: element Pt\n" in text
    assert "- 25%: alloy: modifiers stacking_fault, vacancies (fraction 0.1)\n" in text
    alike = card_with([specimen.model_copy(update={"weight": 1.0}) for specimen in learned])
    assert "Kinds, in turn" in alike and "%: " not in alike


def test_the_card_of_another_recipe_is_refused(general):
    with pytest.raises(ValueError, match=r"'other'.*'general'"):
        model_card_text(replace(card_of(general), recipe="other"), general, n_parameters=1)


def test_apply_takes_the_shipped_weights_and_says_so(general, tmp_path, monkeypatch):
    channels = NetworkConfig(channels=(4, 4, 8, 8, 8, 4))
    card = replace(card_of(general), network=channels.model_dump(mode="json"))
    save_weights(tmp_path / "tiny.safetensors", build_network(channels), card)
    volume = np.random.default_rng(0).random((32, 32, 32)).astype(np.float32)
    tomogram = Tomogram(volume, general.volume.voxel_size_A, "degraded")
    write_records(tmp_path / "in.h5", {"degraded": tomogram}, provenance={})
    command = ["apply", str(tmp_path / "in.h5"), "--out", str(tmp_path / "out.h5")]
    monkeypatch.setattr(weights_module, "shipped_weights", lambda: tmp_path / "tiny.safetensors")
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "tiny.safetensors, which come with picotome" in done.output
    # The untrained network is the identity.
    repaired = read_records(tmp_path / "out.h5")["repaired"]
    np.testing.assert_allclose(repaired.volume, volume, rtol=1e-5)
    monkeypatch.setattr(weights_module, "shipped_weights", lambda: None)
    with pytest.raises(FileNotFoundError, match="--model"):
        CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.fixture(scope="module")
def shipped_recipe():
    return load_recipe("general", ["engine=linear"])


@needs_weights
def test_the_shipped_weights_are_small_and_of_the_shipped_recipe(shipped_recipe):
    path = shipped_weights()
    assert path.stat().st_size <= LARGEST_SHIPPED_BYTES
    _, card = load_weights(path)
    volume, ideal = shipped_recipe.volume, shipped_recipe.ideal
    assert card.recipe == shipped_recipe.name
    assert card.network == shipped_recipe.network.model_dump(mode="json")
    assert TrainingConfig.model_validate(card.training) == shipped_recipe.training
    assert (card.voxel_size_A, card.peak_sigma_A) == (volume.voxel_size_A, ideal.peak_sigma_A)


@needs_weights
@pytest.mark.parametrize("index", [2, 3])
def test_the_shipped_weights_repair_a_particle_that_they_have_not_seen(shipped_recipe, index):
    pair = make_pair(shipped_recipe, "held_out", index)
    repaired = repair(pair.degraded, model=shipped_weights())
    raw, better = (
        score_trace(
            trace_or_nothing(tomogram, elements=elements_of(pair.specimen), config=shipped_recipe.tracing),
            pair.specimen,
            config=shipped_recipe.scoring,
        )
        for tomogram in (pair.degraded, repaired)
    )
    assert better.rmsd_pm < 0.9 * raw.rmsd_pm
    assert better.recall >= raw.recall - 0.01
    assert better.precision >= raw.precision - 0.01
