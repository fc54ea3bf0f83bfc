"""Ideal volumes on any device: the peaks of `picotome.simgen.ideal`, summed as products of profiles."""

from __future__ import annotations

import torch
from torch import Tensor

from picotome.train.online.plans import PairPlan

# Atoms summed at a time, which bounds the memory.
_ATOMS_AT_ONCE = 256


def ideal_volume(plan: PairPlan, *, n: int, device: torch.device) -> Tensor:
    """(n, n, n) float32: one peak for each atom; what falls outside the box is lost."""
    first, profiles = (
        torch.from_numpy(array).to(device) for array in (plan.ideal_first, plan.ideal_profiles)
    )
    brightness = torch.from_numpy(plan.ideal_A2).to(device)
    voxel = first[:, :, None] + torch.arange(profiles.shape[2], device=device)
    inside = (voxel >= 0) & (voxel < n)
    spread = torch.zeros(len(first), 3, n, device=device)
    spread.scatter_add_(2, voxel.clamp(0, n - 1), torch.where(inside, profiles, 0.0))
    total = torch.zeros(n * n, n, device=device)
    for part, weight in zip(
        torch.split(spread, _ATOMS_AT_ONCE), torch.split(brightness, _ATOMS_AT_ONCE), strict=True
    ):
        plane = (weight[:, None] * part[:, 0])[:, :, None] * part[:, 1, None, :]
        total.addmm_(plane.reshape(len(part), -1).T, part[:, 2])
    return total.reshape(n, n, n)
