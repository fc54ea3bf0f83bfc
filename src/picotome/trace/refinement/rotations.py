"""Rotation vectors and matrices, many at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation(vector: Tensor) -> Tensor:
    """(…, 3, 3) rotation matrices of (…, 3) rotation vectors in radians."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vector.shape[:-1], 3, 3)
    turned: Tensor = torch.linalg.matrix_exp(cross)
    return turned


def rotation_vector(matrix: Tensor) -> Tensor:
    """(…, 3) rotation vectors in radians of (…, 3, 3) rotations below a quarter of a turn."""
    skew = 0.5 * (matrix - matrix.transpose(-1, -2))
    vector = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1)
    sine = torch.linalg.norm(vector, dim=-1, keepdim=True)
    small = sine < 1e-9
    return vector * torch.where(small, 1.0, torch.asin(sine.clamp(max=1.0)) / sine.clamp_min(1e-9))
