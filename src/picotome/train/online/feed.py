"""Batches of fresh pairs: drawn ahead by processes, made on the training device, used once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from picotome.configs.schema import Recipe
from picotome.rng import stream
from picotome.train.feeding import Batch, worker_settings
from picotome.train.mirrors import mirrors, random_mirror
from picotome.train.online.honoured import refuse_offline_recipe
from picotome.train.online.pairs import blind_scale, make_pairs
from picotome.train.online.plans import LAST_PARTICLE, PairPlan, plan_pair
from picotome.train.patches import random_box


class PlanDataset(Dataset[PairPlan]):
    """Plans of a recipe's online particles, by their number."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __getitem__(self, number: int) -> PairPlan:
        """Draw one."""
        return plan_pair(self.recipe, number)


class OnlineFeed:
    """Random patches of pairs that are made once and never again.

    An epoch is `training_set.n_train` new particles. They come in groups of `training.batch_size`, and each
    group gives `training.patches_per_particle` batches, of one patch from each particle. Particles count
    through all epochs, so that the seed and the epoch alone determine what is made: a training that is
    resumed goes on with the particles that it would have had.

    Parameters
    ----------
    recipe
        The whole recipe.
    fabric
        Device, and how many processes share the particles.
    symmetric_wedge
        Whether the tilt range is symmetric about 0 (see `picotome.train.mirrors`).

    Raises
    ------
    ValueError
        If the recipe asks for what online pairs cannot have, or for more particles than there are.
    """

    def __init__(self, recipe: Recipe, *, fabric: Fabric, symmetric_wedge: bool) -> None:
        refuse_offline_recipe(recipe)
        self._recipe = recipe
        self._device = fabric.device
        self._mirrors = mirrors(symmetric_wedge=symmetric_wedge)
        knobs = recipe.training
        self._groups = Groups(
            recipe.training_set.n_train, knobs.batch_size, rank=fabric.global_rank, n_ranks=fabric.world_size
        )
        n_particles = knobs.n_epochs * self._groups.n_particles
        if n_particles > LAST_PARTICLE:
            raise ValueError(
                f"training.n_epochs × training_set.n_train is {n_particles}; online particles are allowed "
                f"up to {LAST_PARTICLE}"
            )
        self._loader: DataLoader[PairPlan] = DataLoader(
            PlanDataset(recipe),
            batch_sampler=self._groups,
            collate_fn=list,
            **worker_settings(
                knobs, n_steps=knobs.n_epochs * self.n_steps, on_cpu=self._device.type == "cpu"
            ),
        )

    @property
    def n_steps(self) -> int:
        """Batches in an epoch."""
        return len(self._groups) * self._recipe.training.patches_per_particle

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of one epoch; the same number gives the same batches."""
        self._groups.epoch = number
        for plans in self._loader:
            pairs = self._scaled_pairs(plans)
            for patch in range(self._recipe.training.patches_per_particle):
                yield self._batch(plans, pairs, patch)

    def _scaled_pairs(self, plans: Sequence[PairPlan]) -> list[tuple[Tensor, Tensor]]:
        pairs = make_pairs(plans, recipe=self._recipe, device=self._device)
        scales = [blind_scale(degraded) for degraded, _ in pairs]
        return [
            (degraded / scale, ideal / scale) for (degraded, ideal), scale in zip(pairs, scales, strict=True)
        ]

    def _batch(self, plans: Sequence[PairPlan], pairs: Sequence[tuple[Tensor, Tensor]], patch: int) -> Batch:
        knobs = self._recipe.training
        patches = []
        for plan, pair in zip(plans, pairs, strict=True):
            draw = plan.number * knobs.patches_per_particle + patch
            rng = stream(self._recipe.seed, draw, "online patch")
            box = random_box(tuple(pair[0].shape), knobs.patch_voxels, rng)
            flipped = random_mirror(self._mirrors, rng)
            patches.append([volume[box].flip(flipped)[None] for volume in pair])
        degraded, ideal = (torch.stack(volumes) for volumes in zip(*patches, strict=True))
        return degraded, ideal


class Groups(Sampler[list[int]]):
    """Numbers of the particles of an epoch, in groups; each process has its own."""

    def __init__(self, n_train: int, size: int, *, rank: int, n_ranks: int) -> None:
        self.size = size
        self.rank = rank
        self.n_ranks = n_ranks
        self.epoch = 0
        # Every process has equally many groups, or one would wait for the others for ever.
        self.n_groups = math.ceil(n_train / (size * n_ranks))
        self.n_particles = self.n_groups * n_ranks * size

    def __len__(self) -> int:
        """Count the groups of an epoch."""
        return self.n_groups

    def __iter__(self) -> Iterator[list[int]]:
        """Give the groups of the epoch."""
        for group in range(self.n_groups):
            first = self.epoch * self.n_particles + (group * self.n_ranks + self.rank) * self.size
            yield list(range(first, first + self.size))
