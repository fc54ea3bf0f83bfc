"""Patches of stored pairs, read lazily from HDF5.

Only flips are used as augmentation: along x, y and z they keep a symmetric wedge where it is. Free rotations
would move the wedge; new orientations come from the generator instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from picotome.datasets.store import open_checked, read_box
from picotome.rng import stream


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Random patches of pairs; the same (seed, epoch, item) gives the same patch.

    Each item is (degraded, ideal), both (1, n, n, n) float32 and divided by the scale of the *degraded*
    tomogram, which needs no knowledge of the atoms.

    Parameters
    ----------
    files
        Pair files, one for each particle.
    patch_voxels
        Edge n of a patch.
    patches_per_particle
        Items per particle and epoch.
    symmetric_wedge
        Whether flips along x and z keep the tilt range; if not, only y is flipped.
    seed
        Seed of the patches' places and flips.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        patch_voxels: int,
        patches_per_particle: int,
        symmetric_wedge: bool,
        seed: int,
    ) -> None:
        self.files = list(files)
        self.patch_voxels = patch_voxels
        self.patches_per_particle = patches_per_particle
        self.flip_axes = (0, 1, 2) if symmetric_wedge else (1,)
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Count the patches of an epoch."""
        return len(self.files) * self.patches_per_particle

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        """Read one patch."""
        rng = stream(self.seed, self.epoch * len(self) + item, "patch")
        # Opened for each patch: a handle must not cross into a DataLoader worker, and opening is cheap.
        with open_checked(self.files[item % len(self.files)]) as file:
            scale = float(file["degraded"].attrs["scale"])
            box = self._random_box(file["degraded/volume"].shape, rng)
            degraded, ideal = (read_box(file[name], box) for name in ("degraded", "ideal"))
        flips = [axis for axis in self.flip_axes if rng.random() < 0.5]
        return _tensor(degraded / scale, flips), _tensor(ideal / scale, flips)

    def _random_box(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, ...]:
        n = self.patch_voxels
        if min(shape) < n:
            raise ValueError(f"training.patch_voxels is {n}, larger than a stored volume of {shape}")
        starts = [int(rng.integers(0, edge - n + 1)) for edge in shape]
        return tuple(slice(start, start + n) for start in starts)


def _tensor(array: np.ndarray[Any, Any], flips: list[int]) -> Tensor:
    flipped = np.ascontiguousarray(np.flip(array, tuple(flips)), dtype=np.float32)
    return torch.from_numpy(flipped)[None]
