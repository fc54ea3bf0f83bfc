"""What makes a file describe itself: NeXus groups, axes and units, beside the records.

Tomograms and tilt series are NXdata groups (https://manual.nexusformat.org/classes/base_classes/NXdata.html):
they name their signal and its axes, and the axes are arrays with units. The root leads to the tomogram by the
attribute ``default``, over an NXentry whose members are links: any NeXus program opens a file at the volume,
with its axes in ångström around the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from picotome.geometry import axis_A
from picotome.records import TiltSeries, Tomogram

ENTRY = "entry"
"""Group of links that NeXus programs enter by; it holds no record."""

VOLUME_AXES = ("x_A", "y_A", "z_A")
IMAGE_AXES = ("tilt_deg", "x_A", "y_A")

# By the suffix that every dimensional name carries, longest first.
_UNITS = (
    ("_e_per_A2", "1/angstrom^2"),
    ("_A2", "angstrom^2"),
    ("_A", "angstrom"),
    ("_deg", "degree"),
    ("_pm", "picometer"),
)
# What a program shows first, where a file holds several.
_SHOWN_FIRST = ("repaired", "degraded", "ideal", "series")


def units_of(name: str) -> str | None:
    """Unit of a dataset in words that UDUNITS knows, from its name; None for one without a unit."""
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), None)


def describe(file: Any, records: Mapping[str, Any]) -> None:
    """Add NeXus classes, axes, units and the way in to a file that holds these records by group name."""
    for name, record in records.items():
        group = file[name]
        _set_units(group)
        if isinstance(record, Tomogram):
            _describe_volume(group, record)
        elif isinstance(record, TiltSeries):
            _describe_images(group, record)
        else:
            group.attrs["NX_class"] = "NXcollection"
    _add_entry(file, records)


def _describe_volume(group: Any, tomogram: Tomogram) -> None:
    for name, n in zip(VOLUME_AXES, tomogram.volume.shape, strict=True):
        _add_axis(group, name, n, tomogram.voxel_size_A)
    group["volume"].attrs["units"] = "1/angstrom"
    group["volume"].attrs["long_name"] = f"{tomogram.kind} tomogram, image unit per Å"
    _make_nxdata(group, "volume", VOLUME_AXES)


def _describe_images(group: Any, series: TiltSeries) -> None:
    for name, n in zip(IMAGE_AXES[1:], series.images.shape[1:], strict=True):
        _add_axis(group, name, n, series.pixel_size_A)
    if series.engine == "import":
        group["images"].attrs["long_name"] = "image, unit of the detector"
    else:
        group["images"].attrs["units"] = "1"
        group["images"].attrs["long_name"] = "detected electrons per incident electron"
    _make_nxdata(group, "images", IMAGE_AXES)


def _make_nxdata(group: Any, signal: str, axes: tuple[str, ...]) -> None:
    group.attrs["NX_class"] = "NXdata"
    group.attrs["signal"] = signal
    group.attrs["axes"] = np.array(axes, dtype=h5py.string_dtype())
    for dimension, name in enumerate(axes):
        group.attrs[f"{name}_indices"] = dimension


def _add_axis(group: Any, name: str, n: int, step_A: float) -> None:
    axis = group.create_dataset(name, data=axis_A(n, step_A), track_times=False)
    axis.attrs["units"] = "angstrom"


def _set_units(group: Any) -> None:
    def add(name: str, node: Any) -> None:
        unit = units_of(name)
        if isinstance(node, h5py.Dataset) and unit is not None:
            node.attrs["units"] = unit

    group.visititems(add)


def _add_entry(file: Any, records: Mapping[str, Any]) -> None:
    file.attrs["NX_class"] = "NXroot"
    file.attrs["default"] = ENTRY
    entry = file.create_group(ENTRY)
    entry.attrs["NX_class"] = "NXentry"
    for name in records:
        entry[name] = h5py.SoftLink(f"/{name}")
    drawable = [name for name, record in records.items() if isinstance(record, Tomogram | TiltSeries)]
    drawable.sort(key=lambda name: _SHOWN_FIRST.index(name) if name in _SHOWN_FIRST else len(_SHOWN_FIRST))
    if drawable:
        entry.attrs["default"] = drawable[0]
