"""Patches of stored pairs, read lazily from HDF5.

Only mirror images that keep the wedge are used as augmentation. Free rotations would move it; new
orientations come from the generator instead.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from picotome.datasets.precision import read_box
from picotome.datasets.store import open_checked
from picotome.rng import stream
from picotome.train.mirrors import Axes, mirrors, random_mirror

# Well below the 1,024 that many systems allow a process.
_MOST_OPEN = 128


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Random patches of pairs; the same (seed, draw) gives the same patch.

    Each draw is (degraded, ideal), both (1, n, n, n) float32 and divided by the scale of the *degraded*
    tomogram, which needs no knowledge of the atoms. Draws count through all epochs: draw d is of the particle
    ``d % n_files``. Each process opens a file once, when it first needs it, and keeps it open.

    Parameters
    ----------
    files
        Pair files, one for each particle.
    patch_voxels
        Edge n of a patch.
    patches_per_particle
        Patches per particle and epoch.
    symmetric_wedge
        Whether the tilt range is symmetric about 0 (see `picotome.train.mirrors`).
    seed
        Seed of the patches' places and mirror images.
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
        self.mirrors = mirrors(symmetric_wedge=symmetric_wedge)
        self.seed = seed
        self._handles = Handles()

    def __len__(self) -> int:
        """Count the patches of an epoch."""
        return len(self.files) * self.patches_per_particle

    def __getitem__(self, draw: int) -> tuple[Tensor, Tensor]:
        """Read one patch."""
        rng = stream(self.seed, draw, "patch")
        # An epoch holds every particle equally often, so counting through epochs changes no particle.
        file = self._handles.open(self.files[draw % len(self.files)])
        scale = float(file["degraded"].attrs["scale"])
        box = random_box(file["degraded/volume"].shape, self.patch_voxels, rng)
        degraded, ideal = (read_box(file[name], box) for name in ("degraded", "ideal"))
        flipped = random_mirror(self.mirrors, rng)
        return _tensor(degraded / scale, flipped), _tensor(ideal / scale, flipped)


class Handles:
    """Open files of one process, the most recently used ones; a copy sent to another process holds none."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, tuple[Any, ExitStack]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_open": OrderedDict()}

    def open(self, path: Path) -> Any:
        """Return the open file; errors are those of `open_checked`."""
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path][0]
        while len(self._open) >= _MOST_OPEN:
            self._open.popitem(last=False)[1][1].close()
        with ExitStack() as stack:
            file = stack.enter_context(open_checked(path))
            self._open[path] = (file, stack.pop_all())
        return file


def random_box(shape: tuple[int, ...], edge: int, rng: np.random.Generator) -> tuple[slice, ...]:
    """Draw a cube inside a volume.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    if min(shape) < edge:
        raise ValueError(f"training.patch_voxels is {edge}, larger than a volume of {shape}")
    starts = [int(rng.integers(0, side - edge + 1)) for side in shape]
    return tuple(slice(start, start + edge) for start in starts)


def _tensor(array: np.ndarray[Any, Any], flipped: Axes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.flip(array, flipped), dtype=np.float32))[None]
