"""What a set of tilts covers: the angle that each image stands for.

An image at tilt θ fills the line (kx, kz) ∝ (cos θ, sin θ) of Fourier space, so tilts that differ by 180°
fill the same line, and angles live on a circle of 180°.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Tilts closer than this share one line of Fourier space; far below what a goniometer can set.
_SAME_LINE_DEG = 1e-3
# A gap this many times the median gap is a missing wedge, not a coarse step.
_WEDGE_FACTOR = 1.5


def angular_weights_rad(tilt_deg: ArrayLike) -> NDArray[Any]:
    """Angle that each image stands for, in radians: half of the gap on each side.

    The largest gap, where it is a missing wedge, is not shared out: an image at its edge stands for as much
    on that side as on the other. Images at the same tilt share one weight. A series without a wedge adds up
    to π.

    Parameters
    ----------
    tilt_deg
        (n_tilts,), in any order.
    """
    lines, member = _lines_deg(tilt_deg)
    gaps = _gaps_deg(lines)
    before, after = np.roll(gaps, 1), gaps.copy()
    widest = int(np.argmax(gaps))
    if len(lines) > 2 and gaps[widest] > _WEDGE_FACTOR * np.median(gaps):
        after[widest] = gaps[widest - 1]
        before[(widest + 1) % len(gaps)] = gaps[(widest + 1) % len(gaps)]
    cells = np.deg2rad(0.5 * (before + after))
    weights: NDArray[Any] = (cells / np.bincount(member))[member]
    return weights


def _lines_deg(tilt_deg: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ascending distinct lines in [-90, 90) and, for each tilt, the index of its line."""
    angles = np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64)) + 90.0
    steps = np.rint(angles / _SAME_LINE_DEG) % round(180.0 / _SAME_LINE_DEG)
    distinct, member = np.unique(steps, return_inverse=True)
    return distinct * _SAME_LINE_DEG - 90.0, member.reshape(-1)


def _gaps_deg(lines: NDArray[Any]) -> NDArray[Any]:
    """Gap from each line to the next around the circle of 180°."""
    gaps: NDArray[Any] = np.diff(np.append(lines, lines[0] + 180.0))
    return gaps
