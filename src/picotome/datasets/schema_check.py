"""Whether a file is what docs/file-format.md says: names, shapes, types, finite numbers.

A checksum says that a file is as it was written; this says that what was written makes sense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from picotome.datasets.nexus import ENTRY, IMAGE_AXES, VOLUME_AXES, units_of
from picotome.datasets.store import Record, open_checked, read_group
from picotome.geometry import axis_A
from picotome.records import ImageFit, Pair, Specimen, Substrate, TiltSeries, Tomogram, Trace

# Files of version 1 have no NeXus attributes.
_FIRST_WITH_NEXUS = 2

# For each record: its arrays with their shape, n being the number of atoms or images, and their kind of type.
_ARRAYS: Mapping[type, Mapping[str, tuple[tuple[int | str, ...], str]]] = {
    Specimen: {"positions_A": (("n", 3), "f"), "atomic_numbers": (("n",), "i")},
    Substrate: {
        "positions_A": (("n", 3), "f"),
        "atomic_numbers": (("n",), "i"),
        "period_A": ((2,), "f"),
    },
    TiltSeries: {"images": (("n", "x", "y"), "f"), "tilt_deg": (("n",), "f"), "azimuth_deg": (("n",), "f")},
    Tomogram: {"volume": (("x", "y", "z"), "f")},
    Trace: {
        "positions_A": (("n", 3), "f"),
        "intensities": (("n",), "f"),
        "atomic_numbers": (("n",), "i"),
        "sigma_A": (("n",), "f"),
        "uncertainty_pm": (("n", 3), "f"),
        "support": (("n",), "f"),
        "chance": (("n",), "f"),
        "network_weight": (("n",), "f"),
    },
    ImageFit: {
        "tilt_error_deg": (("n", 3), "f"),
        "shift_error_A": (("n", 2), "f"),
        "defocus_A": (("n",), "f"),
        "gain": (("n",), "f"),
        "background": (("n",), "f"),
        "misfit_image": (("n",), "f"),
    },
}
# An atom that a fit could not give an error or a species has none: these may be NaN.
_MAY_BE_NAN = {"uncertainty_pm", "support", "chance"}


def schema_problems(path: Path, *, n_voxels: int | None = None, is_pair: bool = False) -> list[str]:
    """List what is wrong with a file; an empty list is a good file.

    Parameters
    ----------
    path
        Any file of picotome.
    n_voxels
        Edge that volumes and images must have, where it is known.
    is_pair
        Whether the file must hold a whole particle of a dataset.
    """
    try:
        with open_checked(path) as file:
            names = [name for name in file if name != ENTRY]
            records = {name: read_group(file[name]) for name in names}
            problems = [text for name in names for text in _record_problems(name, records[name], n_voxels)]
            if int(file.attrs["format_version"]) >= _FIRST_WITH_NEXUS:
                problems += [text for name in names for text in _nexus_problems(file[name], records[name])]
    except (ValueError, OSError) as error:
        return [str(error)]
    return problems + (_pair_problems(records) if is_pair else [])


def _record_problems(name: str, record: Record, n_voxels: int | None) -> Iterator[str]:
    """Shapes, types and numbers of one record."""
    sizes: dict[int | str, int] = {} if n_voxels is None else dict.fromkeys("xyz", n_voxels)
    for key, (shape, kind) in _ARRAYS[type(record)].items():
        array = getattr(record, key)
        if array is None:
            continue
        expected = tuple(side if isinstance(side, int) else sizes.get(side, -1) for side in shape)
        fits = array.ndim == len(shape) and all(
            wanted in (-1, found) for wanted, found in zip(expected, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(sizes.get(side, side)) for side in shape)
            yield f"{name}/{key} has shape {array.shape}; expected ({wanted})"
            continue
        sizes.update(dict(zip(shape, array.shape, strict=True)))
        yield from _array_problems(f"{name}/{key}", array, kind, may_be_nan=key in _MAY_BE_NAN)
    for key, array in getattr(record, "truth", {}).items():
        if len(array) != sizes.get("n", len(array)):
            yield f"{name}/truth/{key} has {len(array)} rows for {sizes['n']} atoms or images"
        yield from _array_problems(f"{name}/truth/{key}", array, array.dtype.kind, may_be_nan=False)
    for key in ("voxel_size_A", "pixel_size_A"):
        size_A = getattr(record, key, 1.0)
        if not (np.isfinite(size_A) and size_A > 0):
            yield f"{name} has {key} {size_A}; expected a finite number above 0"


def _array_problems(name: str, array: Any, kind: str, *, may_be_nan: bool) -> Iterator[str]:
    if array.dtype.kind != kind:
        yield f"{name} has type {array.dtype}; expected {'floating point' if kind == 'f' else 'integers'}"
    elif kind == "f" and not may_be_nan:
        n_bad = int(np.count_nonzero(~np.isfinite(array)))
        if n_bad:
            yield f"{name} has {n_bad} values that are not finite"


def _nexus_problems(group: Any, record: Record) -> Iterator[str]:
    """Axes and units, which other programs read instead of our attributes."""
    drawn: Mapping[type, Callable[[Any], tuple[str, tuple[str, ...], float]]] = {
        Tomogram: lambda record: ("volume", VOLUME_AXES, record.voxel_size_A),
        TiltSeries: lambda record: ("images", IMAGE_AXES, record.pixel_size_A),
    }
    if type(record) not in drawn:
        return
    signal, axes, step_A = drawn[type(record)](record)
    name = group.name.lstrip("/")
    if group.attrs.get("NX_class") != "NXdata" or group.attrs.get("signal") != signal:
        yield f"{name} is not an NXdata group with the signal {signal}"
        return
    if tuple(group.attrs.get("axes", ())) != axes:
        yield f"{name} has axes {list(group.attrs.get('axes', ()))}; expected {list(axes)}"
        return
    for axis, n in zip(axes, group[signal].shape, strict=True):
        if axis not in group:
            yield f"{name} lacks its axis {axis}"
            continue
        if group[axis].attrs.get("units") != units_of(axis):
            yield f"{name}/{axis} has units {group[axis].attrs.get('units')!r}; expected {units_of(axis)!r}"
        if axis in VOLUME_AXES and not np.array_equal(group[axis][()], axis_A(n, step_A)):
            yield f"{name}/{axis} is not the axis of {n} voxels of {step_A:g} Å"


def _pair_problems(records: Mapping[str, Record]) -> list[str]:
    """Whether the parts of a particle belong together."""
    missing = [f.name for f in fields(Pair) if f.default is MISSING and f.name not in records]
    if missing:
        return [f"lacks {', '.join(missing)}"]
    specimen, series = records["specimen"], records["series"]
    degraded, ideal = records["degraded"], records["ideal"]
    # The names decide what is there; a wrong record under one of them is a problem of its own.
    problems = [
        f"{name} holds a {type(record).__name__}; expected {expected.__name__}"
        for name, record, expected in (
            ("specimen", specimen, Specimen),
            ("series", series, TiltSeries),
            ("degraded", degraded, Tomogram),
            ("ideal", ideal, Tomogram),
        )
        if not isinstance(record, expected)
    ]
    if problems:
        return problems
    if len(specimen.positions_A) == 0:  # type: ignore[union-attr]
        problems.append("specimen has no atoms")
    if degraded.volume.shape != ideal.volume.shape:  # type: ignore[union-attr]
        problems.append(
            f"degraded {degraded.volume.shape} and ideal {ideal.volume.shape} differ in shape"  # type: ignore[union-attr]
        )
    sizes_A = {degraded.voxel_size_A, ideal.voxel_size_A, series.pixel_size_A}  # type: ignore[union-attr]
    if len(sizes_A) > 1:
        problems.append(f"voxels and pixels differ in size: {sorted(sizes_A)} Å")
    return problems
