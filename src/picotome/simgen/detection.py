"""From what reaches the detector to what it reports: background, gain, counted electrons, readout noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig
from picotome.geometry import axis_A
from picotome.simgen.drawing import draw_from

# Slopes that add up to this much over the frame make one corner of it dark; more would be negative.
_STEEPEST = 2.0


def draw_gain(gain_rms: float, n_images: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw the unknown relative brightness (n,) of each image: beam current, and channelling on zone axes.

    Log-normal, so that it stays positive.
    """
    gain: NDArray[Any] = np.exp(rng.normal(size=n_images) * gain_rms)
    return gain


def draw_dose(acquisition: AcquisitionConfig, rng: np.random.Generator) -> float | None:
    """Draw a dose in incident electrons per Å² and image, log-uniform; None for images without noise."""
    if acquisition.dose_e_per_A2 is None:
        return None
    low, high = np.log(acquisition.dose_e_per_A2)
    # A range of one number means that number, to the last bit.
    return acquisition.dose_e_per_A2[0] if low == high else float(np.exp(rng.uniform(low, high)))


def draw_background_change(
    acquisition: AcquisitionConfig, n_images: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Draw the background (n,) of each image over that of the series: log-normal, all 1 where it is off."""
    rms = draw_from(acquisition.background_rms, rng=rng)
    change: NDArray[Any] = np.exp(rng.normal(size=n_images) * rms)
    return change


def draw_background_slope(
    acquisition: AcquisitionConfig, n_images: int, rng: np.random.Generator
) -> NDArray[Any] | None:
    """Draw by how much the background changes across the frame along x and y, over its mean: (n, 2) or None.

    Normal; slopes that would make a corner negative are made less steep.
    """
    rms = draw_from(acquisition.background_slope_rms, rng=rng)
    slope: NDArray[Any] = rng.normal(size=(n_images, 2)) * rms
    steepness = np.abs(slope).sum(axis=1, keepdims=True)
    slope *= _STEEPEST / np.maximum(steepness, _STEEPEST)
    return slope if rms > 0.0 else None


def add_background(
    images: NDArray[Any],
    *,
    level: NDArray[Any],
    slope_per_A: NDArray[Any] | None,
    pixel_size_A: float,
) -> NDArray[Any]:
    """Add (n,) levels, and a plane of (n, 2) slopes that is zero at the origin, to (n, n_x, n_y) images."""
    lifted: NDArray[Any] = images + level.astype(np.float32)[:, None, None]
    if slope_per_A is not None:
        x_A, y_A = (axis_A(n, pixel_size_A) for n in images.shape[1:])
        plane = slope_per_A[:, 0, None, None] * x_A[:, None] + slope_per_A[:, 1, None, None] * y_A
        # The steepest plane is zero in a corner, but for roundings.
        lifted = np.maximum(lifted + plane.astype(np.float32), np.float32(0.0))
    return lifted


def add_counting_noise(
    images: NDArray[Any], *, dose_e_per_A2: float, pixel_size_A: float, rng: np.random.Generator
) -> NDArray[Any]:
    """Count electrons: the detected ones of each pixel are Poisson, the incident ones are known.

    Parameters
    ----------
    images
        Detected per incident electrons, 0 or more.

    Returns
    -------
    noisy
        float32, same unit and shape; counts are multiples of 1 / (dose × pixel area).
    """
    incident = dose_e_per_A2 * pixel_size_A**2
    noisy: NDArray[Any] = (rng.poisson(np.asarray(images, dtype=np.float64) * incident) / incident).astype(
        np.float32
    )
    return noisy


def add_readout_noise(
    images: NDArray[Any],
    *,
    rms_e: float,
    dose_e_per_A2: float,
    pixel_size_A: float,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Add what the detector's electronics add: normal, the same in all pixels, whatever they counted.

    Parameters
    ----------
    images
        Detected per incident electrons.
    rms_e
        In electrons that a pixel would have had to detect.
    """
    rms = rms_e / (dose_e_per_A2 * pixel_size_A**2)
    noisy: NDArray[Any] = images + (rng.normal(size=images.shape) * rms).astype(np.float32)
    return noisy
