"""One start from two traces of the same series."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.records import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_PER_ATOM = ("positions_A", "intensities", "atomic_numbers", "sigma_A")


def unite(first: Trace, second: Trace, *, min_distance_A: float) -> Trace:
    """All atoms of one trace, and those of another that are no closer to them than atoms are.

    A network leaves out what it has not seen enough of, a raw tomogram drowns it: what either shows is worth
    the judgement of the images. Brightness of the second trace is scaled to that of the first by the atoms
    that both show. The second trace's atoms have the `chance` that it says, or none.
    """
    from scipy.spatial import cKDTree

    if not len(first.positions_A) or not len(second.positions_A):
        return second if len(second.positions_A) else first
    distance_A, nearest = cKDTree(first.positions_A).query(second.positions_A)
    shared = distance_A < 0.5 * min_distance_A
    ratio = first.intensities[nearest] / second.intensities
    scale = float(np.median(ratio[shared])) if shared.any() else 1.0
    scaled = replace(second, intensities=second.intensities * scale)
    more = distance_A >= min_distance_A
    joined: dict[str, Array] = {
        name: np.concatenate([getattr(first, name), getattr(scaled, name)[more]]) for name in _PER_ATOM
    }
    if first.chance is not None or second.chance is not None:
        joined["chance"] = np.concatenate([_chance(first), _chance(second)[more]])
    return Trace(**joined)


def _chance(trace: Trace) -> Array:
    return trace.chance if trace.chance is not None else np.full(len(trace.positions_A), np.nan)
