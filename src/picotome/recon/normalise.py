"""Blind normalisation: one number for the brightness of a tomogram, the same in training and in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def tomogram_scale(volume: NDArray[Any]) -> float:
    """Mean of the positive voxels, weighted by their squares: Σv³ / Σv².

    It needs no knowledge of the atoms, does not change when empty space is added around the particle, and
    scales with the intensities, so dividing by it makes tomograms of any detector gain alike.

    Parameters
    ----------
    volume
        (nx, ny, nz) tomogram.

    Raises
    ------
    ValueError
        If the tomogram has no positive voxel, or values that are not finite.
    """
    positive = np.clip(volume, 0.0, None).astype(np.float64)
    squares = float(np.sum(positive**2))
    if not np.isfinite(squares):
        n_bad = int(np.count_nonzero(~np.isfinite(volume)))
        raise ValueError(
            f"the tomogram has {n_bad} values that are not finite; reconstruct it from clean images"
        )
    if squares == 0.0:
        raise ValueError(
            "the tomogram is empty: no voxel is above zero; check the tilt series it was made from"
        )
    return float(np.sum(positive**3)) / squares
