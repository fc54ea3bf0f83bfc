"""Volumes kept in float16, and read as float32."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Precision = Literal["float32", "float16"]

# Brightest voxels of a float16 volume lie below this, half of the largest float16.
_FLOAT16_RANGE = 2.0**15
FACTOR = "volume_scaling_factor"
"""Dataset beside a volume of float16, by NeXus: what its values are multiplied by."""


def read_box(group: Any, box: tuple[slice, ...]) -> np.ndarray[Any, Any]:
    """Read a part of a tomogram's volume from its open group: float32, whatever it is stored in."""
    return in_float32(group["volume"][box], group)


def in_float32(stored: np.ndarray[Any, Any], group: Any) -> np.ndarray[Any, Any]:
    """Return what was read of a volume as float32, in its own unit; `group` is the tomogram's."""
    if stored.dtype != np.float16:
        return stored
    return stored.astype(np.float32) * np.float32(group[FACTOR][()])


def rounded(volume: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
    """Round a volume to float16 times a power of two, which costs no digit and no voxel its range."""
    largest = float(np.abs(volume).max(initial=0.0))
    factor = 2.0 ** np.ceil(np.log2(largest / _FLOAT16_RANGE)) if largest > 0.0 else 1.0
    return (volume / np.float32(factor)).astype(np.float16), float(factor)
