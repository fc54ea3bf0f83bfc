"""Mirror images of a tomogram whose missing wedge is where it was.

The tilt axis is y. Mirrored along y, or turned by half a turn about it, every tilt range gives the wedge that
it gave before; one that is symmetric about 0 does so mirrored along x or z alone, too. A mirrored specimen is
as likely as the specimen itself, so what a network learns and does must not depend on it.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

Axes = tuple[int, ...]


def mirrors(*, symmetric_wedge: bool) -> tuple[Axes, ...]:
    """Sets of axes to flip together; any of them after any others keep the wedge.

    Parameters
    ----------
    symmetric_wedge
        Whether the tilt range is symmetric about 0.
    """
    return ((0,), (1,), (2,)) if symmetric_wedge else ((1,), (0, 2))


def random_mirror(generators: tuple[Axes, ...], rng: np.random.Generator) -> Axes:
    """Draw one of the mirror images, the specimen itself among them: the axes to flip."""
    return tuple(axis for axes in generators if rng.random() < 0.5 for axis in axes)


def every_mirror(generators: tuple[Axes, ...]) -> tuple[Axes, ...]:
    """List all mirror images, the specimen itself first."""
    chosen = [group for n in range(len(generators) + 1) for group in combinations(generators, n)]
    return tuple(tuple(axis for axes in group for axis in axes) for group in chosen)
