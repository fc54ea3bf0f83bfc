"""What gives a training its batches, and how long the training waits for them.

A feed is anything with `Feed`'s two members; the loop does not know where its pairs come from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from picotome.configs.schema import TrainingConfig
from picotome.rng import stream
from picotome.train.patches import PatchDataset

Batch = tuple[Tensor, Tensor]

# Starting a process costs seconds: a shorter training on a CPU reads its patches itself.
_LONG_TRAINING = 300
_MOST_WORKERS = 8
_AHEAD = 4


class Feed(Protocol):
    """Batches of (degraded, ideal), each (batch, 1, n, n, n) float32 on the training device."""

    @property
    def n_steps(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of one epoch; the same number gives the same batches."""


class StoredFeed:
    """Random patches of stored pairs, read ahead by processes of their own.

    Parameters
    ----------
    patches
        What to read.
    fabric
        Shares the batches out over processes, and moves them to the device.
    knobs
        Section ``training`` of the recipe.
    seed
        Seed of the order.
    """

    def __init__(self, patches: PatchDataset, *, fabric: Fabric, knobs: TrainingConfig, seed: int) -> None:
        self._order = EpochOrder(len(patches), seed=seed)
        n_steps = knobs.n_epochs * len(patches) // knobs.batch_size
        self._loader: Any = fabric.setup_dataloaders(
            DataLoader(
                patches,
                batch_size=knobs.batch_size,
                sampler=self._order,
                pin_memory=fabric.device.type == "cuda",
                **worker_settings(knobs, n_steps=n_steps, on_cpu=fabric.device.type == "cpu"),
            )
        )

    @property
    def n_steps(self) -> int:
        """Batches in an epoch."""
        return len(self._loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of one epoch."""
        self._order.epoch = number
        return iter(self._loader)


class EpochOrder(Sampler[int]):
    """All items of an epoch in random order, counted through all epochs: item i of epoch e is e · n + i.

    So a reading process knows the epoch of an item without being told.
    """

    def __init__(self, n_items: int, *, seed: int) -> None:
        self.n_items = n_items
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Count the items of an epoch."""
        return self.n_items

    def __iter__(self) -> Iterator[int]:
        """Give the order of the epoch."""
        generator = torch.Generator()
        generator.manual_seed(int(stream(self.seed, self.epoch, "order").integers(2**63)))
        # torch's own shuffle gives the first number to its workers; so trainings keep the order they had.
        torch.empty((), dtype=torch.int64).random_(generator=generator)
        for item in torch.randperm(self.n_items, generator=generator).tolist():
            yield self.epoch * self.n_items + item


class Waiting:
    """Iterate, and note for how many seconds the consumer waited.

    Attributes
    ----------
    seconds
        Waited so far.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Give what the batches give."""
        begun = time.perf_counter()
        for batch in self._batches:
            self.seconds += time.perf_counter() - begun
            yield batch
            begun = time.perf_counter()
        self.seconds += time.perf_counter() - begun


def worker_settings(knobs: TrainingConfig, *, n_steps: int, on_cpu: bool) -> dict[str, Any]:
    """Arguments of a DataLoader: how many processes read or build ahead, and how they are started.

    Processes are spawned, not forked: HDF5 handles, CUDA and threads do not survive a fork.
    """
    n_workers = knobs.n_loader_workers
    if n_workers is None:
        # On a CPU one process keeps ahead of the steps; a GPU's steps are a hundred times shorter.
        short = 0 if n_steps < _LONG_TRAINING else 1
        n_workers = short if on_cpu else max(1, min(_MOST_WORKERS, (os.cpu_count() or 2) - 1))
    if n_workers == 0:
        return {"num_workers": 0}
    return {
        "num_workers": n_workers,
        "multiprocessing_context": "spawn",
        "persistent_workers": True,
        "prefetch_factor": _AHEAD,
    }
