"""Fresh pairs, the same ones for the same seed and step, whoever makes them and whatever came before."""

import json

import pytest
import torch

from picotome.configs import load_recipe
from picotome.configs.schema import NetworkConfig
from picotome.datasets.manifest import read_manifest
from picotome.datasets.plan import n_particles
from picotome.train.launch import launch
from picotome.train.loop import train
from picotome.train.online.feed import Groups, OnlineFeed
from picotome.train.online.honoured import offline_knobs, refuse_offline_recipe

SMALL = [
    "optics.abtem={}",
    "acquisition.n_tilts=5",
    "reconstruction.n_iterations=5",
    "training_set.online=true",
    "training_set.n_train=3",
    "training_set.n_validation=1",
    "training.n_epochs=2",
    "training.patch_voxels=48",
    "training.batch_size=2",
    "training.patches_per_particle=2",
    "training.n_loader_workers=0",
]


def recipe(*settings):
    return load_recipe("smoke", [*SMALL, *settings])


def feed(chosen):
    return OnlineFeed(chosen, fabric=launch("32-true"), symmetric_wedge=True)


def test_an_epoch_is_reproducible_and_new():
    chosen = recipe()
    first = feed(chosen)
    assert first.n_steps == 4
    zero, one = list(first.epoch(0)), list(first.epoch(1))
    assert len(zero) == len(one) == first.n_steps
    for degraded, ideal in zero:
        assert degraded.shape == ideal.shape == (2, 1, 48, 48, 48)
        assert degraded.dtype == ideal.dtype == torch.float32
    # A feed that begins with the second epoch, as a resumed training does.
    for expected, found in zip(one, feed(chosen).epoch(1), strict=True):
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    sums = [float(ideal.sum()) for degraded, ideal in (*zero, *one)]
    # Patches of one group are of the same particles; groups are all different.
    assert len({round(total, 3) for total in sums[::2]}) == 4
    assert not torch.equal(next(iter(feed(recipe("seed=8")).epoch(0)))[0], zero[0][0])


def test_no_particle_comes_twice_and_processes_share_them():
    numbers = []
    for rank in range(3):
        groups = Groups(10, 2, rank=rank, n_ranks=3)
        assert len(groups) == 2
        for epoch in range(4):
            groups.epoch = epoch
            numbers += [number for group in groups for number in group]
    assert sorted(numbers) == list(range(4 * 12))


@pytest.mark.slow
def test_processes_ahead_draw_the_same_plans():
    alone, helped = feed(recipe()), feed(recipe("training.n_loader_workers=1"))
    for first, second in zip(alone.epoch(0), helped.epoch(0), strict=True):
        for a, b in zip(first, second, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_patch_lies_in_both_volumes_at_one_place():
    chosen = recipe("acquisition.dose_e_per_A2=null", "volume.n_voxels=56", "reconstruction.n_iterations=30")
    for degraded, ideal in feed(chosen).epoch(0):
        for a, b in zip(degraded, ideal, strict=True):
            together = torch.corrcoef(torch.stack([a.ravel(), b.ravel()]))[0, 1]
            moved = torch.corrcoef(torch.stack([a.ravel(), b.flip(1, 2).ravel()]))[0, 1]
            assert together > 0.5 > moved


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training_set.engine=prism", "training_set.engine is 'prism'"),
        ("training_set.n_prism=1", "training_set.n_prism is 1"),
        ("reconstruction.solver=wbp", "reconstruction.solver is 'wbp'"),
        ("reconstruction.align=true", "reconstruction.align is True"),
        ("acquisition.scan_drift_rms_A=0.2", r"acquisition.scan_drift_rms_A is \[0.2, 0.2\]"),
        ("acquisition.scheme=dual_axis", "acquisition.scheme is dual_axis"),
    ],
)
def test_what_online_pairs_cannot_have_is_refused(setting, words):
    assert offline_knobs(recipe()) == []
    with pytest.raises(ValueError, match=words):
        refuse_offline_recipe(recipe(setting))


def test_no_pairs_to_learn_from_are_stored():
    assert n_particles(recipe(), "train") == 0
    assert n_particles(recipe("training_set.online=false"), "train") == 3
    assert n_particles(recipe(), "validation") == 1


def test_an_ended_training_goes_on_with_new_particles(tiny_dataset, tiny_recipe, tmp_path):
    """Trained on the fly, beside a dataset whose validation particles are used alone."""
    made = tiny_recipe.training_set.model_copy(update={"online": True, "n_train": 2})
    small = NetworkConfig(channels=(4, 4, 8, 8, 8, 4))
    chosen = tiny_recipe.model_copy(update={"training_set": made, "network": small})
    whole = train(tiny_dataset, recipe=chosen, out=tmp_path / "whole")

    class EndedError(Exception):
        pass

    def end_in_second_epoch(task, done, total):
        if done > total // 2:
            raise EndedError

    with pytest.raises(EndedError):
        train(tiny_dataset, recipe=chosen, out=tmp_path / "ended", track=end_in_second_epoch)
    resumed = train(tiny_dataset, recipe=chosen, out=tmp_path / "ended")
    for key in ("train_loss", "rmsd_pm"):
        assert resumed.history[1][key] == pytest.approx(whole.history[1][key], rel=1e-2)
    assert len({row["train_loss"] for row in whole.history}) == 2
    history = json.loads((tmp_path / "ended" / "history.json").read_text())
    assert [row["epoch"] for row in history] == [0, 1]
    other = chosen.model_copy(update={"ideal": chosen.ideal.model_copy(update={"peak_sigma_A": 0.5})})
    with pytest.raises(ValueError, match="other knobs"):
        train(tiny_dataset, recipe=other, out=tmp_path / "ended")
    assert {entry.split for entry in read_manifest(tiny_dataset)} == {"train", "validation", "held_out"}
