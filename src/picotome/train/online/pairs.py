"""Pairs of tomograms from plans, many particles at a time, on the training device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from picotome.configs.schema import Recipe
from picotome.train.online.counting import counting_weights
from picotome.train.online.ideal import ideal_volume
from picotome.train.online.images import peak_images, record_images
from picotome.train.online.plans import PairPlan
from picotome.train.online.project import solve_sirt, sparse_projector


@torch.no_grad()
def make_pairs(
    plans: Sequence[PairPlan], *, recipe: Recipe, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Make (degraded, ideal), (n, n, n) float32 each, of every plan."""
    volume = recipe.volume
    ideal_images = peak_images([plan.peaks for plan in plans], volume=volume, device=device)
    series = [
        record_images(images, plan, seed=recipe.seed, pixel_size_A=volume.voxel_size_A)
        for images, plan in zip(ideal_images, plans, strict=True)
    ]
    alike: dict[tuple[float, ...], list[int]] = {}
    for i, plan in enumerate(plans):
        alike.setdefault(tuple(plan.tilt_deg[plan.kept].tolist()), []).append(i)
    degraded: dict[int, Tensor] = {}
    for tilts, members in alike.items():
        projector = sparse_projector(
            tilts, n=volume.n_voxels, voxel_size_A=volume.voxel_size_A, device=device
        )
        solved = solve_sirt(
            [series[i] for i in members],
            weights=[counting_weights(series[i], pixel_size_A=volume.voxel_size_A) for i in members],
            projector=projector,
            n_iterations=recipe.reconstruction.n_iterations,
        )
        degraded.update(zip(members, solved, strict=True))
    return [
        (degraded[i], ideal_volume(plan, n=volume.n_voxels, device=device)) for i, plan in enumerate(plans)
    ]


def blind_scale(volume: Tensor) -> Tensor:
    """Σv³ / Σv² of the positive voxels; see `picotome.recon.normalise.tomogram_scale`.

    Raises
    ------
    ValueError
        If the tomogram is empty.
    """
    positive = volume.clamp(min=0.0).double()
    squares = positive.square()
    total = squares.sum()
    if not total > 0:
        raise ValueError(
            "an online tomogram is empty: no electron was counted; raise acquisition.dose_e_per_A2"
        )
    return ((squares * positive).sum() / total).float()
