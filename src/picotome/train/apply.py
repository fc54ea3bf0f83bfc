"""Apply the network to a tomogram, in tiles when it is large."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from picotome.geometry import centre_index
from picotome.recon.normalise import tomogram_scale
from picotome.records import Tomogram
from picotome.train.checkpoint import ModelCard, load_weights
from picotome.train.mirrors import every_mirror, mirrors
from picotome.train.unet import N_VOXELS_MULTIPLE, RepairNet

TILE_VOXELS = 96
_TILE_OVERLAP = 0.5
_SAME_VOXEL = 1e-3
_RESAMPLE_LIMIT = 1.5
_MIRRORS = every_mirror(mirrors(symmetric_wedge=False))


def repair(degraded: Tomogram, *, model: Path, tile_voxels: int = TILE_VOXELS) -> Tomogram:
    """Repair a degraded tomogram with trained weights.

    Parameters
    ----------
    degraded
        As `picotome.recon` makes it. A voxel size other than the model's is resampled about the origin if it
        is within a factor of 1.5; the result then has the model's voxels.
    model
        Weights (safetensors).
    tile_voxels
        Larger volumes are done in overlapping tiles of this edge.

    Raises
    ------
    ValueError
        If the tomogram is empty or not finite, its voxel size is too far from the model's, or the weights
        are not picotome's.
    """
    network, card = load_weights(model)
    return repair_with(network, match_voxels(degraded, card), tile_voxels=tile_voxels)


def repair_with(network: RepairNet, degraded: Tomogram, *, tile_voxels: int = TILE_VOXELS) -> Tomogram:
    """Repair a tomogram of the network's own voxel size.

    The mean over the mirror images that keep any wedge: the repaired mirror image is then the mirror image of
    the repaired tomogram, as it must be, and what the network is unsure of errs less.
    """
    scale = tomogram_scale(degraded.volume)
    device = next(network.parameters()).device
    normalised = torch.from_numpy(np.ascontiguousarray(degraded.volume, dtype=np.float32) / scale)[None, None]
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        repaired = _mirrored(network, normalised.to(device), tile_voxels)
    network.train(was_training)
    volume = repaired[0, 0].float().cpu().numpy() * np.float32(scale)
    return Tomogram(volume=volume, voxel_size_A=degraded.voxel_size_A, kind="repaired")


def match_voxels(degraded: Tomogram, card: ModelCard) -> Tomogram:
    """Resample a tomogram to the model's voxel size, or refuse.

    Raises
    ------
    ValueError
        If the two sizes differ by more than a factor of 1.5.
    """
    ratio = degraded.voxel_size_A / card.voxel_size_A
    if abs(ratio - 1.0) < _SAME_VOXEL:
        return degraded
    if not 1.0 / _RESAMPLE_LIMIT <= ratio <= _RESAMPLE_LIMIT:
        raise ValueError(
            f"the tomogram's voxel_size_A is {degraded.voxel_size_A:g}, the model's "
            f"{card.voxel_size_A:g}; allowed is a factor of {_RESAMPLE_LIMIT:g} between them: "
            "reconstruct at the model's voxel size or train another model"
        )
    return resample(degraded, voxel_size_A=card.voxel_size_A)


def resample(tomogram: Tomogram, *, voxel_size_A: float) -> Tomogram:
    """Resample to another voxel size with cubic splines; the origin stays at the origin."""
    from scipy.ndimage import affine_transform

    step = voxel_size_A / tomogram.voxel_size_A
    old_shape = tomogram.volume.shape
    new_shape = tuple(max(1, round(n / step)) for n in old_shape)
    offset = [centre_index(n) - step * centre_index(m) for n, m in zip(old_shape, new_shape, strict=True)]
    volume: NDArray[Any] = affine_transform(
        tomogram.volume.astype(np.float32), np.full(3, step), offset=offset, output_shape=new_shape, order=3
    )
    return Tomogram(volume=volume, voxel_size_A=voxel_size_A, kind=tomogram.kind)


def _mirrored(network: RepairNet, volume: torch.Tensor, tile_voxels: int) -> torch.Tensor:
    axes = [tuple(axis + 2 for axis in flipped) for flipped in _MIRRORS]
    total = torch.zeros_like(volume)
    for flipped in axes:
        total += _forward(network, volume.flip(flipped), tile_voxels).flip(flipped)
    return total / len(axes)


def _forward(network: RepairNet, volume: torch.Tensor, tile_voxels: int) -> torch.Tensor:
    edges = volume.shape[2:]
    if max(edges) <= tile_voxels:
        padding = [(-n) % N_VOXELS_MULTIPLE for n in edges]
        padded = torch.nn.functional.pad(volume, (0, padding[2], 0, padding[1], 0, padding[0]))
        repaired: torch.Tensor = network(padded)[:, :, : edges[0], : edges[1], : edges[2]]
        return repaired
    from monai.inferers.utils import sliding_window_inference

    tiled = sliding_window_inference(
        volume, (tile_voxels,) * 3, sw_batch_size=1, predictor=network, overlap=_TILE_OVERLAP, mode="gaussian"
    )
    return cast(torch.Tensor, tiled)
