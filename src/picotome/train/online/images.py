"""From planned peaks to recorded images, on any device: the linear engine's sums and the detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from picotome.configs.imaging import VolumeConfig
from picotome.geometry import axis_A
from picotome.rng import stream
from picotome.train.online.plans import AllPeaks, PairPlan

# Its square is still a normal float32: on smaller numbers processors are many times slower.
_FAINTEST = 1e-15


def peak_images(peaks: Sequence[AllPeaks], *, volume: VolumeConfig, device: torch.device) -> list[Tensor]:
    """Image several particles at once: (n, n_voxels, n_voxels) float32 each, as `image_linear` does.

    Images of all particles are one batch, in which atoms are filled up with dark ones.
    """
    n_atoms = max(part.positions_A.shape[1] for part in peaks)
    axis = torch.tensor(axis_A(volume.n_voxels, volume.voxel_size_A), dtype=torch.float32, device=device)
    atoms_A = _stacked([part.positions_A for part in peaks], n_atoms, device)
    heights = _stacked([part.integrals_A2 for part in peaks], n_atoms, device)
    # A dark atom has any width but zero.
    widest_A2 = torch.cat(
        [_filled(part.widest_A2[None], n_atoms, 1.0).expand(len(part.positions_A), -1) for part in peaks]
    ).to(device)
    rate = (-0.5 / widest_A2)[:, :, None]
    x, y = (torch.exp(rate * (axis - atoms_A[:, :, column, None]) ** 2) for column in (0, 1))
    images = torch.zeros(len(atoms_A), len(axis), len(axis), device=device)
    for column in reversed(range(heights.shape[2])):
        for factor in (x, y):
            torch.nn.functional.threshold(factor, _FAINTEST, 0.0, inplace=True)
        height = heights[:, :, column] * (0.5 / math.pi / widest_A2)
        images.baddbmm_((x * height[:, :, None]).transpose(1, 2), y)
        # Half the variance, for the next Gaussian.
        x.square_()
        y.square_()
        widest_A2 = 0.5 * widest_A2
    images.clamp_(min=0.0)
    parts = list(torch.split(images, [len(part.positions_A) for part in peaks]))
    for image, part in zip(parts, peaks, strict=True):
        if part.saturation > 0.0:
            image *= 1.0 - part.saturation / image.max() * image
    return parts


def record_images(images: Tensor, plan: PairPlan, *, seed: int, pixel_size_A: float) -> Tensor:
    """Add background, gain and noise to (n, n_x, n_y) images of one particle, and leave lost images out.

    The noise depends on the seed and the particle alone, on one kind of device.
    """
    device = images.device
    level = images.max() * _tensor(plan.background, device)
    recorded = images + level[:, None, None]
    if plan.background_slope is not None:
        slope = level[:, None] * _tensor(plan.background_slope, device)
        x, y = (_tensor(axis_A(n, pixel_size_A) / (n * pixel_size_A), device) for n in images.shape[1:])
        plane = slope[:, 0, None, None] * x[:, None] + slope[:, 1, None, None] * y
        recorded = (recorded + plane).clamp_(min=0.0)
    recorded = recorded * _tensor(plan.gain, device)[:, None, None]
    if plan.incident_e is not None:
        generator = torch.Generator(device)
        generator.manual_seed(int(stream(seed, plan.number, "online noise").integers(2**63)))
        recorded = torch.poisson(recorded * plan.incident_e, generator=generator) / plan.incident_e
        if plan.readout_e > 0.0:
            noise = torch.randn(recorded.shape, generator=generator, device=device)
            recorded += noise * (plan.readout_e / plan.incident_e)
    return recorded if len(plan.kept) == len(recorded) else recorded[torch.from_numpy(plan.kept).to(device)]


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)


def _filled(array: NDArray[Any], n_atoms: int, value: float) -> Tensor:
    """(n, n_atoms, …) float32: filled up along the second axis."""
    full = torch.full((len(array), n_atoms, *array.shape[2:]), value)
    full[:, : array.shape[1]] = torch.from_numpy(np.asarray(array, dtype=np.float32))
    return full


def _stacked(arrays: Sequence[NDArray[Any]], n_atoms: int, device: torch.device) -> Tensor:
    return torch.cat([_filled(array, n_atoms, 0.0) for array in arrays]).to(device)
