"""Numbers from ranges that have a law of their own."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from picotome.configs.fields import Section, Spread

AnySection = TypeVar("AnySection", bound=Section)
# Standard deviations between the middle of a normal range and its ends.
_NORMAL_SIGMAS = 2.0


def draw_from(ends: tuple[float, float], *, rng: np.random.Generator) -> float:
    """Draw one number: by the law of a `picotome.configs.fields.Spread`, else uniform."""
    low, high = ends
    law = ends.law if isinstance(ends, Spread) else "uniform"
    if low == high:
        return low
    if law == "log":
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
    elif law == "normal":
        from scipy.special import ndtr, ndtri

        within = rng.uniform(ndtr(-_NORMAL_SIGMAS), ndtr(_NORMAL_SIGMAS))
        drawn = 0.5 * (low + high) + 0.5 * (high - low) * float(ndtri(within)) / _NORMAL_SIGMAS
    else:
        drawn = float(rng.uniform(low, high))
    # Rounding may pass an end by a last bit.
    return min(max(drawn, low), high)


def settle(section: AnySection, *, rng: np.random.Generator) -> AnySection:
    """Replace every range with a law of its own, in nested sections too, by one number drawn from it.

    Plain ranges stay: who reads them draws from them. A section without laws comes back as it was and takes
    nothing from `rng`.
    """
    settled = {name: _settled(getattr(section, name), rng) for name in type(section).model_fields}
    changed = {name: value for name, value in settled.items() if value is not getattr(section, name)}
    return section.model_copy(update=changed) if changed else section


def _settled(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, Spread):
        drawn = draw_from(value, rng=rng)
        return (drawn, drawn)
    if isinstance(value, Section):
        return settle(value, rng=rng)
    if isinstance(value, tuple) and any(isinstance(part, Section) for part in value):
        parts = tuple(_settled(part, rng) for part in value)
        return parts if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value
