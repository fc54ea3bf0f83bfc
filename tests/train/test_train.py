import json
import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from picotome.configs.schema import NetworkConfig
from picotome.geometry import axis_A
from picotome.records import Score, Tomogram
from picotome.train import precision
from picotome.train.apply import match_voxels, repair, repair_with, resample
from picotome.train.checkpoint import ModelCard, load_state, load_weights, save_weights
from picotome.train.loop import train
from picotome.train.mirrors import every_mirror, mirrors
from picotome.train.patches import PatchDataset
from picotome.train.unet import build_network
from picotome.train.validation import ospa_pm

SMALL = NetworkConfig(channels=(4, 4, 8, 8, 8, 4))
CARD = ModelCard(
    0.4, 0.45, -65, 65, SMALL.model_dump(mode="json"), 3, {"rmsd_pm": 5.0}, "test", "32-true", "0"
)


def random_network(seed=0):
    torch.manual_seed(seed)
    network = build_network(SMALL)
    torch.nn.init.normal_(network.unet.final_conv.weight, std=0.1)
    return network


def random_tomogram(shape=(32, 32, 32), voxel_size_A=0.4):
    volume = np.random.default_rng(0).random(shape).astype(np.float32)
    return Tomogram(volume, voxel_size_A, "degraded")


@pytest.fixture(scope="module")
def trained(tiny_recipe, tiny_dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    return train(tiny_dataset, recipe=tiny_recipe, out=out)


def test_no_forbidden_layers():
    kinds = {type(module).__name__ for module in build_network(NetworkConfig()).modules()}
    assert not [kind for kind in kinds if ("Norm" in kind and kind != "VoxelNorm") or "Transpose" in kind]


def test_the_untrained_network_changes_nothing():
    tomogram = random_tomogram()
    repaired = repair_with(build_network(SMALL), tomogram)
    np.testing.assert_allclose(repaired.volume, tomogram.volume, rtol=1e-5)
    assert repaired.kind == "repaired"


def test_repair_follows_the_gain_of_the_detector():
    tomogram, network = random_tomogram(), random_network()
    once = repair_with(network, tomogram).volume
    louder = repair_with(network, replace(tomogram, volume=tomogram.volume * 1e4)).volume
    np.testing.assert_allclose(louder, once * 1e4, rtol=1e-3, atol=1e-4 * louder.max())


def test_edges_that_are_no_multiple_of_sixteen_are_padded():
    assert repair_with(random_network(), random_tomogram((33, 20, 47))).volume.shape == (33, 20, 47)


def test_the_repaired_mirror_image_is_the_mirror_image_of_the_repaired():
    network, tomogram = random_network(2), random_tomogram((32, 32, 48))

    def mirrored(tomogram, axes):
        return replace(tomogram, volume=np.flip(tomogram.volume, axes))

    once = repair_with(network, tomogram).volume
    for axes in every_mirror(mirrors(symmetric_wedge=False)):
        again = mirrored(repair_with(network, mirrored(tomogram, axes)), axes)
        np.testing.assert_allclose(again.volume, once, atol=1e-4)
    # The network alone has no such symmetry, or the test would say nothing.
    volume = torch.from_numpy(tomogram.volume)[None, None]
    with torch.inference_mode():
        difference = network(volume) - network(volume.flip(3)).flip(3)
    assert float(difference.abs().max()) > 1e-2


def test_tiles_are_put_back_where_they_were():
    # The untrained network is the identity, so every difference would be the tiling's.
    tomogram = random_tomogram((70, 33, 48))
    tiled = repair_with(build_network(SMALL), tomogram, tile_voxels=32)
    np.testing.assert_allclose(tiled.volume, tomogram.volume, rtol=1e-4, atol=1e-5)


def test_up_sampling_moves_nothing():
    modules = build_network(SMALL).modules()
    assert [m.align_corners for m in modules if isinstance(m, torch.nn.Upsample)] == [False] * 4


def test_weights_survive_with_their_card(tmp_path):
    network = random_network()
    save_weights(tmp_path / "w.safetensors", network, CARD)
    loaded, card = load_weights(tmp_path / "w.safetensors")
    assert card == CARD
    tomogram = random_tomogram()
    np.testing.assert_array_equal(repair_with(loaded, tomogram).volume, repair_with(network, tomogram).volume)


def test_resampling_keeps_an_atom_where_it_is():
    position, sigma = np.array([2.3, -1.1, 3.7]), 0.6
    profiles = [np.exp(-((axis_A(48, 0.5) - p) ** 2) / (2 * sigma**2)) for p in position]
    tomogram = Tomogram(np.einsum("x,y,z->xyz", *profiles).astype(np.float32), 0.5, "degraded")
    fine = resample(tomogram, voxel_size_A=0.4)
    assert (fine.volume.shape, fine.voxel_size_A) == ((60, 60, 60), 0.4)
    axis = axis_A(60, 0.4)
    for i, p in enumerate(position):
        profile = fine.volume.sum(tuple({0, 1, 2} - {i})).astype(float)
        assert profile @ axis / profile.sum() == pytest.approx(p, abs=0.005)


def test_voxels_of_another_size_are_resampled_or_refused():
    assert match_voxels(random_tomogram(), CARD).voxel_size_A == 0.4
    assert match_voxels(random_tomogram(voxel_size_A=0.5), CARD).voxel_size_A == 0.4
    with pytest.raises(ValueError, match=r"voxel_size_A is 1.*model's 0\.4"):
        match_voxels(random_tomogram(voxel_size_A=1.0), CARD)


@pytest.mark.parametrize(
    ("volume", "words"), [(np.zeros((16,) * 3), "empty"), (np.full((16,) * 3, np.nan), "finite")]
)
def test_empty_and_broken_tomograms_are_refused(volume, words):
    with pytest.raises(ValueError, match=words):
        repair_with(random_network(), Tomogram(volume, 0.4, "degraded"))


def test_models_of_another_kind_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    pickled = tmp_path / "evil.safetensors"
    pickled.write_bytes(pickle.dumps(Evil()))
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    damaged = tmp_path / "damaged.safetensors"
    metadata = {"format": "picotome-unet", "version": "1", "card": json.dumps({"voxel_size_A": 1})}
    save_file({"a": torch.zeros(2)}, damaged, metadata=metadata)
    for path, words in ((pickled, "cannot run code"), (other, "another kind"), (damaged, "damaged")):
        with pytest.raises(ValueError, match=words):
            repair(random_tomogram(), model=path)
    with pytest.raises(FileNotFoundError, match="picotome train"):
        repair(random_tomogram(), model=tmp_path / "nowhere.safetensors")
    state = tmp_path / "last.pt"
    torch.save({"x": Evil()}, state)
    with pytest.raises(ValueError, match="not a readable training state"):
        load_state(state)
    assert not (tmp_path / "ran").exists()


def test_patches_repeat_and_share_one_scale(tiny_recipe, tiny_dataset):
    files = sorted((tiny_dataset / "train").glob("*.h5"))

    def patches(**changes):
        knobs = {"patch_voxels": 32, "patches_per_particle": 2, "symmetric_wedge": True, "seed": 3, **changes}
        return PatchDataset(files, **knobs)

    first, second = patches(), patches()
    assert len(first) == 6
    for item in range(len(first)):
        for a, b in zip(first[item], second[item], strict=True):
            assert a.shape == (1, 32, 32, 32)
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(first[0][0], second[len(second)][0])
    assert patches(symmetric_wedge=False).mirrors == ((1,), (0, 2))
    with pytest.raises(ValueError, match="patch_voxels is 64"):
        patches(patch_voxels=64)[0]


def test_training_writes_what_it_says(trained, tiny_recipe):
    assert [row["epoch"] for row in trained.history] == [0, 1]
    assert {"train_loss", "validation_loss", "rmsd_pm", "recall", "precision", "ospa_pm"} <= set(
        trained.history[0]
    )
    assert all(0 < row["wait_fraction"] < 1 for row in trained.history)
    _, card = load_weights(trained.model)
    assert card.epoch == trained.best_epoch
    assert card.voxel_size_A == tiny_recipe.volume.voxel_size_A
    assert card.score["ospa_pm"] == min(row["ospa_pm"] for row in trained.history)


def test_an_ended_training_resumes_to_the_same_weights(trained, tiny_recipe, tiny_dataset, tmp_path):
    class EndedError(Exception):
        pass

    def end_in_second_epoch(task, done, total):
        if done > total // 2:
            raise EndedError

    with pytest.raises(EndedError):
        train(tiny_dataset, recipe=tiny_recipe, out=tmp_path, track=end_in_second_epoch)
    resumed = train(tiny_dataset, recipe=tiny_recipe, out=tmp_path)
    assert len(resumed.history) == 2
    for key in ("train_loss", "rmsd_pm"):
        assert resumed.history[1][key] == pytest.approx(trained.history[1][key], rel=1e-2)
    other = tiny_recipe.model_copy(update={"seed": 99})
    with pytest.raises(ValueError, match="other knobs"):
        train(tiny_dataset, recipe=other, out=tmp_path)


def test_a_training_may_start_from_other_weights(trained, tiny_recipe, tiny_dataset, tmp_path):
    knobs = tiny_recipe.training.model_copy(update={"n_epochs": 1, "learning_rate": 1e-9})
    recipe = tiny_recipe.model_copy(update={"training": knobs})
    further = train(tiny_dataset, recipe=recipe, out=tmp_path / "further", start=trained.model)
    (before, card), (after, card_after) = load_weights(trained.model), load_weights(further.model)
    assert (card.start, card_after.start) == (None, tiny_recipe.name)
    assert card_after.training == knobs.model_dump(mode="json", exclude={"n_loader_workers"})
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    other = recipe.model_copy(update={"network": NetworkConfig(channels=(4, 4, 8, 8, 16, 4))})
    with pytest.raises(ValueError, match=r"network .* start from others"):
        train(tiny_dataset, recipe=other, out=tmp_path / "refused", start=trained.model)
    assert not (tmp_path / "refused").exists()


def test_an_x86_without_bf16_convolutions_is_not_tried(monkeypatch):
    def tried(*_):
        raise AssertionError("a trial step in bf16 takes minutes there")

    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(precision, "_seconds_per_step", tried)
    assert precision.choose_precision(NetworkConfig(), 48) == precision.FULL


@pytest.mark.slow
def test_training_lowers_the_error(tiny_recipe, tiny_dataset, tmp_path):
    training = tiny_recipe.training.model_copy(update={"n_epochs": 15, "learning_rate": 3e-3})
    history = train(
        tiny_dataset, recipe=tiny_recipe.model_copy(update={"training": training}), out=tmp_path
    ).history
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]


def test_ospa_counts_errors_missed_and_false_atoms():
    numbers = dict.fromkeys((field.name for field in fields(Score)), float("nan"))
    displacement_pm = np.array([[3.0, 4, 0], [0, 0, 5]])
    score = Score(
        **{**numbers, "n_true": 4, "n_found": 2, "radius_A": 0.75, "displacement_pm": displacement_pm}
    )
    assert ospa_pm(score) == pytest.approx(np.sqrt((25 + 25 + 2 * 75**2) / 4))
    perfect = replace(score, n_true=2, displacement_pm=np.zeros((2, 3)))
    assert ospa_pm(perfect) == 0
