"""Where the residual images call for another atom."""

from __future__ import annotations

import torch
from torch import Tensor

from picotome.geometry import A_to_index, axis_A
from picotome.trace.refinement.model import Frame, ImageModel

_BATCH = 500_000


def find_candidates(
    residual: Tensor, weights: Tensor, model: ImageModel, frame: Frame, *, depth_A: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Find where one more atom would explain most of what the images show beyond the model.

    An atom at p of brightness a lowers χ² by 2 a F − a² Q, with F and Q sums over the images of the residual
    and of the squared probe, both weighted, at the projection of p: best at a = F / Q, by F² / Q.

    Parameters
    ----------
    residual, weights
        (n_tilts, n_pixels) padded images; weights are inverse variances, zero in the margin.
    depth_A
        Range of z searched.

    Returns
    -------
    positions_A
        (m, 3) local maxima of F / √Q on a grid as fine as the pixels, best first.
    significance
        (m,) F / √Q.
    brightness_A2
        (m,) F / Q.
    """
    force, information = _filtered(residual, weights, model, frame)
    x_A, y_A = (torch.as_tensor(axis_A(n, frame.pixel_size_A)) for n in frame.shape)
    n_deep = max(3, int((depth_A[1] - depth_A[0]) / frame.pixel_size_A) + 1)
    z_A = depth_A[0] + frame.pixel_size_A * torch.arange(n_deep, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(x_A, y_A, z_A, indexing="ij"), dim=-1).to(residual.device)
    flat = grid.reshape(-1, 3)
    parts = [
        _sum_over_images(flat[i : i + _BATCH], force, information, model, frame)
        for i in range(0, len(flat), _BATCH)
    ]
    f, q = (torch.cat(part).reshape(grid.shape[:3]) for part in zip(*parts, strict=True))
    strength = f / torch.sqrt(q.clamp_min(1e-30))
    highest = torch.nn.functional.max_pool3d(strength[None, None], 3, stride=1, padding=1)[0, 0]
    peak = (strength >= highest) & (f > 0)
    order = torch.argsort(strength[peak], descending=True)
    return grid[peak][order], strength[peak][order], (f / q.clamp_min(1e-30))[peak][order]


def _filtered(residual: Tensor, weights: Tensor, model: ImageModel, frame: Frame) -> tuple[Tensor, Tensor]:
    """(n_tilts, 1, nx, ny) weighted residual and weights, correlated with the probe and its square."""
    steps = torch.arange(-frame.reach, frame.reach + 1, device=residual.device) * frame.pixel_size_A
    square = (steps[:, None] ** 2 + steps**2).double()

    def gaussian(variance: Tensor) -> Tensor:
        return torch.exp(-0.5 * square / variance) / (2.0 * torch.pi * variance)

    probe = (1.0 - model.tail_fraction) * gaussian(model.core_A2) + model.tail_fraction * gaussian(
        model.tail_A2
    )
    shape = (len(residual), 1, *frame.padded)
    gain = model.gain.float()[:, None, None, None]
    force = torch.nn.functional.conv2d((residual * weights).reshape(shape), probe.float()[None, None])
    information = torch.nn.functional.conv2d(weights.reshape(shape), (probe**2).float()[None, None])
    return gain * force, gain**2 * information


def _sum_over_images(
    points_A: Tensor, force: Tensor, information: Tensor, model: ImageModel, frame: Frame
) -> tuple[Tensor, Tensor]:
    total = torch.zeros(2, len(points_A), device=points_A.device)
    maps = torch.cat([force, information], dim=1)
    for tilt, image in enumerate(maps):
        seen_A = points_A @ model.rotations[tilt, :2].T + model.shift_A[tilt]
        unit = []
        for axis in (1, 0):
            n = frame.shape[axis]
            index = seen_A[:, axis] / frame.pixel_size_A + float(
                A_to_index([0.0], (n,), frame.pixel_size_A)[0]
            )
            unit.append(2.0 * index / (n - 1) - 1.0)
        at = torch.stack(unit, dim=-1).float()[None, None]
        total += torch.nn.functional.grid_sample(image[None], at, align_corners=True)[0, :, 0]
    return total[0], total[1]
