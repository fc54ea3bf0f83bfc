"""Tilts of other people's series."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.datasets.foreign_arrays import ForeignFile, open_foreign

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_TEXT_SUFFIXES = (".tlt", ".rawtlt", ".txt", ".csv", ".dat")
_KEY = "key:"
_ALLOWED = (
    f"a text file ({', '.join(_TEXT_SUFFIXES)}), an .npy file, or key:NAME for an array of the same file"
)
_LARGEST_DEG = 180.0


def read_tilts(where: str | None, *, file: ForeignFile) -> Array:
    """Read the tilts of a series.

    Text files hold one tilt in each line, or all in one line, divided by semicolons, commas, tabs or spaces
    (the first of these that occurs); lines that start with ``#`` are left out. A file with several columns
    needs a first line with their names, one of which says tilt or angle.

    Parameters
    ----------
    where
        Name of a file, or ``key:NAME`` for an array of the series' own file.
    file
        The series' own file.

    Returns
    -------
    tilt_deg
        (n,) float64, degrees, in the order of the images.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If tilts are not stated, not readable as numbers, not finite, beyond ±180°, or look like radians.
    """
    if where is None:
        raise ValueError(f"tilts are not stated; allowed is {_ALLOWED}")
    if where.startswith(_KEY):
        return _checked(file.read(where.removeprefix(_KEY)), where)
    return _checked(_read_file(Path(where)), where)


def _read_file(path: Path) -> Array:
    if not path.is_file():
        raise FileNotFoundError(f"no file of tilts {path}; allowed is {_ALLOWED}")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with open_foreign(path) as file:
            return file.read("data")
    if suffix not in _TEXT_SUFFIXES:
        raise ValueError(f"tilts are {str(path)!r}; allowed is {_ALLOWED}")
    try:
        return _parse(path.read_text("utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no list of tilts: {error}") from error


def _parse(text: str) -> Array:
    lines = [line.strip().rstrip(",;") for line in text.splitlines() if not line.lstrip().startswith("#")]
    divider = next((mark for mark in (";", ",", "\t") if any(mark in line for line in lines)), None)
    rows = [[word.strip() for word in line.split(divider)] for line in lines if line]
    names = rows.pop(0) if rows and not any(_is_number(word) for word in rows[0]) else []
    if not rows:
        raise ValueError("it holds no numbers")
    if len(rows) == 1 and not names:
        return np.array([_number(word) for word in rows[0]])
    column = _column(names, {len(row) for row in rows})
    return np.array([_number(row[column]) for row in rows])


def _column(names: list[str], widths: set[int]) -> int:
    if widths == {1}:
        return 0
    if len(widths) > 1:
        raise ValueError(
            f"its lines hold different counts of values ({sorted(widths)}); allowed is one tilt per line"
        )
    if len(names) not in widths:
        raise ValueError(
            f"it has {widths.pop()} columns; allowed is one, or a first line that names as many columns"
        )
    matching = [i for i, name in enumerate(names) if re.search(r"tilt|angle", name, re.IGNORECASE)]
    if len(matching) != 1:
        raise ValueError(
            f"its columns are {', '.join(names)}; exactly one must have a name with tilt or angle in it"
        )
    return matching[0]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _number(word: str) -> float:
    if not _is_number(word):
        raise ValueError(f"found {word!r} where a tilt in degrees should be")
    return float(word)


def _checked(tilt_deg: Array, where: str) -> Array:
    tilt_deg = np.asarray(tilt_deg)
    if (
        tilt_deg.dtype.kind not in "iuf"
        or max(tilt_deg.shape, default=0) != tilt_deg.size
        or not tilt_deg.size
    ):
        raise ValueError(
            f"tilts {where} have shape {tilt_deg.shape} and type {tilt_deg.dtype}; allowed is one list "
            "of numbers"
        )
    checked: Array = tilt_deg.astype(np.float64).ravel()
    if not np.isfinite(checked).all():
        bad = np.flatnonzero(~np.isfinite(checked)).tolist()
        raise ValueError(f"tilts {where} are not finite at positions {bad} (from 0); allowed are degrees")
    largest = float(np.abs(checked).max())
    if largest > _LARGEST_DEG:
        raise ValueError(
            f"tilts {where} reach {largest:g}; allowed is −{_LARGEST_DEG:g} to {_LARGEST_DEG:g} degrees"
        )
    if 0 < largest <= math.pi / 2 + 1e-3:
        raise ValueError(f"tilts {where} reach only {largest:g}, as radians would; give degrees")
    if len(checked) > 1 and largest == 0:
        raise ValueError(f"tilts {where} are all zero; give the tilt of each image in degrees")
    return checked
