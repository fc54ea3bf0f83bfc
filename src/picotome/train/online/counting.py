"""`picotome.recon.counting` on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from picotome.recon.counting import DARKEST, probe_kernel


def counting_weights(images: Tensor, *, pixel_size_A: float) -> Tensor:
    """(n_tilts, nx, ny) weights of such images; see `picotome.recon.counting.counting_weights`."""
    kernel = torch.from_numpy(probe_kernel(pixel_size_A)).to(images.device)
    reach = len(kernel) // 2
    padded = functional.pad(images[:, None], (reach, reach, reach, reach), mode="replicate")
    along_x = functional.conv2d(padded, kernel[None, None, :, None])
    expected = functional.conv2d(along_x, kernel[None, None, None, :])[:, 0]
    brightest = expected.max()
    weights = brightest / torch.maximum(expected, DARKEST * brightest)
    return torch.where(brightest > 0, weights, torch.ones_like(expected))
