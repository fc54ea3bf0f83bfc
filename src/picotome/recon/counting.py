"""How much each pixel of a series says: the less, the more electrons it has counted.

A pixel that expects m electrons is off by √m. An atom at the surface is seen against the vacuum in some
images and through the whole particle in others, so that these differ several times in what they know of it.
A solver that trusts all alike spreads the noise of the bright pixels over all atoms along their rays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# An image shows nothing finer than its probe: about this wide, with the size of the source.
_PROBE_SIGMA_A = 0.6
_REACH_SIGMAS = 3.0
# In darker pixels, as a part of the brightest, it is not counting that limits but what no atom explains:
# tails of the probe, stray light.
DARKEST = 0.08


def counting_weights(images: NDArray[Any], *, pixel_size_A: float) -> NDArray[Any]:
    """Inverse variance of each pixel by counting, relative to the brightest place of the series.

    What a pixel expects is estimated by the images blurred as much as a probe is wide: its weight must not
    follow its own noise, or what came out too dark by chance would count most.

    Parameters
    ----------
    images
        (n_tilts, nx, ny) in any unit that is proportional to counts; a background that was counted belongs
        to them.
    pixel_size_A
        Edge of a pixel.

    Returns
    -------
    ndarray
        (n_tilts, nx, ny) float32 from 1 to 1 / `DARKEST`; 1 everywhere where no pixel is above zero.
    """
    from scipy.ndimage import correlate1d

    expected = np.asarray(images, dtype=np.float32)
    kernel = probe_kernel(pixel_size_A)
    for axis in (1, 2):
        expected = correlate1d(expected, kernel, axis=axis, mode="nearest")
    brightest = expected.max()
    if not brightest > 0:
        return np.ones_like(expected)
    weights: NDArray[Any] = brightest / np.maximum(expected, np.float32(DARKEST) * brightest)
    return weights


def probe_kernel(pixel_size_A: float) -> NDArray[Any]:
    """(2n + 1,) float32 Gaussian of the width of a probe, by pixel, of unit sum."""
    sigma = _PROBE_SIGMA_A / pixel_size_A
    reach = int(np.ceil(_REACH_SIGMAS * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    normalised: NDArray[Any] = (kernel / kernel.sum()).astype(np.float32)
    return normalised
