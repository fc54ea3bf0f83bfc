"""The compiled sum of peaks, against the formula written out."""

import numpy as np
import pytest

from picotome.rng import stream
from picotome.simgen.peak_sums import add_peaks

SIGMAS = 0.8 * 2.0 ** (0.5 * np.arange(6))
SHAPE = (50, 64)


def written_out(centres, heights):
    x, y = (np.arange(n)[None] - centres[:, axis, None] for axis, n in enumerate(SHAPE))
    image = np.zeros(SHAPE)
    for height, sigma in zip(heights.T.astype(float), SIGMAS, strict=True):
        along_x, along_y = (np.exp(-0.5 * (d / sigma) ** 2) for d in (x, y))
        image += np.einsum("a,ax,ay->xy", height, along_x, along_y)
    return image


@pytest.mark.parametrize(
    ("low", "high"),
    [((10.0, 10.0), (40.0, 54.0)), ((-12.0, -12.0), (62.0, 76.0)), ((-99.0, 0.0), (-80.0, 9.0))],
)
def test_every_gaussian_is_added_in_full_wherever_its_atom_is(low, high):
    rng = stream(3, 0, "test")
    centres = rng.uniform(low, high, (40, 2))
    heights = rng.normal(1.0, 0.5, (40, len(SIGMAS))).astype(np.float32)
    image = np.zeros(SHAPE, dtype=np.float32)
    add_peaks(image, centres, heights, SIGMAS)
    # float32, and 1.5e-8 of a peak where it ends.
    np.testing.assert_allclose(image, written_out(centres, heights), atol=2e-5)


def test_peaks_add_to_what_is_there_and_none_change_nothing():
    image = np.full(SHAPE, 2.0, dtype=np.float32)
    add_peaks(image, np.zeros((0, 2)), np.zeros((0, 6), dtype=np.float32), SIGMAS)
    assert (image == 2.0).all()
    add_peaks(image, np.array([[25.0, 32.0]]), np.eye(1, 6, dtype=np.float32), SIGMAS)
    assert image[25, 32] == pytest.approx(3.0)
