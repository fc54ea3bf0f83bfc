"""Randomness that depends on what is drawn, never on who draws it or when."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, index: int, stage: str) -> np.random.Generator:
    """Independent generator for one stage of one particle.

    The same three arguments give the same numbers on every machine and for any number of workers.

    Parameters
    ----------
    seed
        Seed of the recipe, 0 or more.
    index
        Index of the particle, 0 or more.
    stage
        Name of what is drawn, for example ``"build"`` or ``"noise"``.
    """
    import numpy as np

    return np.random.default_rng(np.random.SeedSequence([seed, index, zlib.crc32(stage.encode())]))
