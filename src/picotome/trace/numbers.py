"""A score as plain numbers, for JSON and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from picotome.records import Score

_PER_ATOM = {"matched_true", "matched_found", "displacement_pm"}


def score_numbers(score: Score) -> dict[str, Any]:
    """Return the fields of a score that are not per atom; what does not exist (NaN) is None."""
    return {f.name: finite(getattr(score, f.name)) for f in fields(score) if f.name not in _PER_ATOM}


def finite(value: Any) -> Any:
    """Turn numpy values into plain ones and NaN or infinity into None, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
