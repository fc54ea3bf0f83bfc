"""The loop must get the same batches however they are read, and soon enough."""

import pickle
import time

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from picotome.configs.schema import TrainingConfig
from picotome.rng import stream
from picotome.train.feeding import EpochOrder, StoredFeed, Waiting, worker_settings
from picotome.train.launch import launch
from picotome.train.patches import Handles, PatchDataset


@pytest.fixture
def patches(tiny_dataset):
    files = sorted((tiny_dataset / "train").glob("*.h5"))
    return PatchDataset(files, patch_voxels=32, patches_per_particle=2, symmetric_wedge=True, seed=3)


def feed(patches, **knobs):
    config = TrainingConfig(batch_size=2, **knobs)
    return StoredFeed(patches, fabric=launch("32-true"), knobs=config, seed=5)


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_order_is_that_of_torch(epoch):
    generator = torch.Generator()
    generator.manual_seed(int(stream(5, epoch, "order").integers(2**63)))
    shuffled = DataLoader(TensorDataset(torch.arange(11)), shuffle=True, generator=generator)
    order = EpochOrder(11, seed=5)
    order.epoch = epoch
    assert [i - 11 * epoch for i in order] == [int(batch[0]) for batch in shuffled]


def test_an_epoch_holds_every_particle_equally_often(patches):
    order = EpochOrder(len(patches), seed=0)
    order.epoch = 7
    particles = [draw % len(patches.files) for draw in order]
    assert sorted(particles) == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_processes_read_the_same_patches(patches):
    alone, helped = feed(patches, n_loader_workers=0), feed(patches, n_loader_workers=1)
    assert alone.n_steps == helped.n_steps == 3
    for epoch in (0, 1):
        batches = list(alone.epoch(epoch))
        for first, second in zip(batches, helped.epoch(epoch), strict=True):
            assert first[0].shape == (2, 1, 32, 32, 32)
            for a, b in zip(first, second, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(batches[0][0], next(iter(alone.epoch(0)))[0])


def test_files_are_opened_once_and_stay_behind(patches):
    for draw in range(3 * len(patches)):
        patches[draw]
    open_before = patches._handles._open
    assert len(open_before) == len(patches.files)
    sent = pickle.loads(pickle.dumps(patches))
    assert len(sent._handles._open) == 0
    for a, b in zip(sent[1], patches[1], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert len(patches._handles._open) == len(patches.files)


def test_few_files_are_open_at_once(patches, monkeypatch):
    monkeypatch.setattr("picotome.train.patches._MOST_OPEN", 2)
    handles = Handles()
    opened = [handles.open(path) for path in patches.files]
    assert [bool(file) for file in opened] == [False, True, True]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5"):
        handles.open(patches.files[0].with_name("nowhere.h5"))


def test_waiting_is_the_time_until_a_batch_comes():
    def slow():
        for _ in range(3):
            time.sleep(0.02)
            yield ()

    batches = Waiting(slow())
    for _ in batches:
        time.sleep(0.1)
    assert 0.06 <= batches.seconds < 0.25


def test_who_reads_is_chosen_by_device_and_length():
    auto = TrainingConfig()
    assert worker_settings(auto, n_steps=10, on_cpu=True) == {"num_workers": 0}
    assert worker_settings(auto, n_steps=10_000, on_cpu=True)["num_workers"] == 1
    assert worker_settings(auto, n_steps=10, on_cpu=False)["num_workers"] >= 1
    chosen = worker_settings(TrainingConfig(n_loader_workers=3), n_steps=10, on_cpu=True)
    assert (chosen["num_workers"], chosen["multiprocessing_context"]) == (3, "spawn")
