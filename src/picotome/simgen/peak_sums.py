"""The sum of peaks that makes an image, compiled: every Gaussian as far as it can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.compiled import compiled

# A Gaussian ends after so many of its widths: 1.5e-8 of its height, less than float32 resolves. Without an
# end, numbers too small for a normal float32 would be formed, on which processors are many times slower.
_REACH = 6.0


@compiled
def add_peaks(
    image: NDArray[Any], centres: NDArray[Any], heights: NDArray[Any], sigmas: NDArray[Any]
) -> None:
    """Add round Gaussians to an image; all lengths are in pixels.

    Parameters
    ----------
    image
        (n_x, n_y) float32, contiguous; changed in place.
    centres
        (n, 2) fractional indices.
    heights
        (n, k) float32.
    sigmas
        (k,) narrowest first; each variance is twice the one before.
    """
    n_x, n_y = image.shape
    # Flat, with unsigned indices: the innermost loop becomes a few vector instructions.
    pixels = image.reshape(-1)
    widest = -0.5 / sigmas[-1] ** 2
    along_x, along_y = np.empty(n_x, np.float32), np.empty(n_y, np.float32)
    for atom in range(len(centres)):
        x, y = centres[atom, 0], centres[atom, 1]
        for gaussian in range(len(sigmas) - 1, -1, -1):
            reach = _REACH * sigmas[gaussian]
            first_x, end_x = (
                np.uintp(max(x - reach + 1.0, 0.0)),
                np.uintp(min(max(x + reach + 1.0, 0.0), n_x)),
            )
            first_y, end_y = (
                np.uintp(max(y - reach + 1.0, 0.0)),
                np.uintp(min(max(y + reach + 1.0, 0.0), n_y)),
            )
            if gaussian == len(sigmas) - 1:
                for i in range(first_x, end_x):
                    along_x[i] = np.exp(np.float32(widest * (i - x) ** 2))
                for j in range(first_y, end_y):
                    along_y[j] = np.exp(np.float32(widest * (j - y) ** 2))
            else:
                # Half the variance is the square.
                for i in range(first_x, end_x):
                    along_x[i] *= along_x[i]
                for j in range(first_y, end_y):
                    along_y[j] *= along_y[j]
            height = heights[atom, gaussian]
            for i in range(first_x, end_x):
                at_x = height * along_x[i]
                row = i * np.uintp(n_y)
                for j in range(first_y, end_y):
                    pixels[row + j] += at_x * along_y[j]
