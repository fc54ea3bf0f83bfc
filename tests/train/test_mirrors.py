"""Mirror images that keep the wedge, held against the wedge itself."""

from itertools import combinations

import numpy as np
import pytest

from picotome.geometry import axis_A
from picotome.train.mirrors import every_mirror, mirrors, random_mirror


def measured(tilt_min_deg, tilt_max_deg, n=33):
    """Which voxels of an odd Fourier box some image of a tilt range about y has seen."""
    x, _, z = np.meshgrid(*[axis_A(n, 1.0)] * 3, indexing="ij")
    # The image at tilt t has seen the plane through k_y and the direction (cos t, −sin t) of (k_x, k_z).
    t = np.rad2deg(np.arctan2(-z, x))
    return (x == 0) & (z == 0) | np.any(
        [(t + turn >= tilt_min_deg) & (t + turn <= tilt_max_deg) for turn in (-180, 0, 180)], axis=0
    )


@pytest.mark.parametrize(("tilt_min_deg", "tilt_max_deg"), [(-65, 65), (-70, 50), (0, 60)])
def test_mirrors_are_those_that_keep_the_wedge(tilt_min_deg, tilt_max_deg):
    wedge = measured(tilt_min_deg, tilt_max_deg)
    keeping = [
        axes
        for n in range(4)
        for axes in combinations(range(3), n)
        if np.array_equal(np.flip(wedge, axes), wedge)
    ]
    listed = every_mirror(mirrors(symmetric_wedge=tilt_min_deg == -tilt_max_deg))
    assert sorted(tuple(sorted(axes)) for axes in listed) == sorted(keeping)


@pytest.mark.parametrize("symmetric", [True, False])
def test_every_mirror_is_drawn_equally_often(symmetric):
    generators = mirrors(symmetric_wedge=symmetric)
    rng = np.random.default_rng(1)
    drawn = [random_mirror(generators, rng) for _ in range(4000)]
    every = every_mirror(generators)
    assert set(drawn) == set(every)
    counts = [drawn.count(axes) / len(drawn) for axes in every]
    assert counts == pytest.approx([1 / len(every)] * len(every), abs=0.03)
