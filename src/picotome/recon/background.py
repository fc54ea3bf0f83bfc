"""What an image shows beside the particle: a substrate, stray light, an offset of the detector."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.records import TiltSeries

_SMOOTH_A, _MARGIN_A = 1.0, 2.0
_PARTICLE = 0.15
# The first guess is the mean of the frame, where a particle may lie, too.
_N_ROUNDS = 3


def subtract_background(series: TiltSeries) -> TiltSeries:
    """Subtract from each image its mean outside of the particle.

    A slab of even thickness adds the same to all pixels of an image, on average, and more of it at higher
    tilts; its grain stays. Pixels may come out negative, as noise does. Where a particle fills the image,
    what is subtracted is the mean of the frame.

    Raises
    ------
    ValueError
        If an image is not finite.
    """
    levels = find_background(series)
    images = (series.images - levels[:, None, None]).astype(np.float32)
    return replace(series, images=images)


def find_background(series: TiltSeries) -> NDArray[Any]:
    """(n_tilts,) mean of each image outside of the particle, in the unit of the images."""
    if not np.isfinite(series.images).all():
        raise ValueError("the images hold values that are not finite; clean them first")
    return np.array([_outside(np.asarray(image, np.float64), series.pixel_size_A) for image in series.images])


def _outside(image: NDArray[Any], pixel_size_A: float) -> float:
    level = frame_mean(image)
    for _ in range(_N_ROUNDS):
        outside = ~particle_mask(image - level, pixel_size_A)
        if not outside.any():
            break
        level = float(image[outside].mean())
    return level


def frame_mean(image: NDArray[Any]) -> float:
    """Mean of the two outermost rows and columns on each side."""
    frame = np.concatenate(
        [image[:2].ravel(), image[-2:].ravel(), image[:, :2].ravel(), image[:, -2:].ravel()]
    )
    return float(frame.mean())


def particle_mask(signal: NDArray[Any], pixel_size_A: float) -> NDArray[Any]:
    """Where an image above its background is bright on the scale of an ångström, and 2 Å around it."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    smooth = gaussian_filter(signal, _SMOOTH_A / pixel_size_A)
    mask: NDArray[Any] = binary_dilation(
        smooth > _PARTICLE * smooth.max(), iterations=max(1, round(_MARGIN_A / pixel_size_A))
    )
    return mask
