"""On which side of its middle a particle is in focus: a thin one looks nearly the same from both."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from picotome.trace.refinement.fit import Target, expected_images
from picotome.trace.refinement.model import ImageModel, pose
from picotome.trace.refinement.noise import deviance


def mirror_focus(model: ImageModel, target: Target) -> tuple[ImageModel, int]:
    """Mirror the plane of focus in the middle of the atoms wherever the image is then more likely.

    The blur grows with the squared distance from focus, so that each side of the middle has a minimum of the
    cost, and no downhill step leads from one to the other.

    Returns
    -------
    model
        To be fitted again.
    n_mirrored
        Images whose focus changed sides.
    """
    depth_A = pose(model)[..., 2]
    middle_A = (depth_A * model.brightness_A2).sum(dim=1) / model.brightness_A2.sum()
    mirrored = replace(model, defocus_A=2.0 * middle_A - model.defocus_A)
    better = _misfit(mirrored, target) < _misfit(model, target)
    defocus_A = torch.where(better, mirrored.defocus_A, model.defocus_A)
    return replace(model, defocus_A=defocus_A), int(better.sum())


def _misfit(model: ImageModel, target: Target) -> Tensor:
    """(n_tilts,) −2 log likelihood of each image."""
    pixels = deviance(target.images, expected_images(model, target), target.noise)
    return (pixels * target.inside).double().sum(dim=1)
