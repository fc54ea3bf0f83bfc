"""Figure of the floor: what the image model leaves unexplained, and how far atoms walk for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from picotome.report.canvas import ELEMENT_COLOURS, png, scene_name

Floor = Mapping[str, Any]

_MARKERS = ("o", "s", "D", "^", "v")
_AXES = ("x", "y (tilt axis)", "z (beam)")
# Between the layers of close-packed metals; an rms over fewer atoms is mostly chance.
_LAYER_A = 2.1
_FEWEST = 10
_PERCENT = 100.0


def draw_floor(path: Path, *, floors: Sequence[Floor]) -> None:
    """Draw where the floor sits: over images, below the surface, along the axes.

    Left: the unexplained part of each image against how far atoms overlap in it; zone axes and lattice planes
    seen edge on are at the right. Middle: rms error against depth below the surface. Right: along each axis.

    Parameters
    ----------
    path
        PNG to write.
    floors
        Contents of ``floor.json``; one curve for each.
    """
    with png(path, width_in=9.4, height_in=3.4) as figure:
        images, depth, axes = figure.subplots(1, 3)
        width = 0.8 / max(1, len(floors))
        for number, floor in enumerate(floors):
            style = {
                "color": ELEMENT_COLOURS[number % len(ELEMENT_COLOURS)],
                "marker": _MARKERS[number % len(_MARKERS)],
            }
            name = scene_name(floor["specimen"], floor["engine"])
            label = f"{name}, {floor['imperfection']}: {floor['floor_pm']:.2f} pm"
            misfit = _PERCENT * np.asarray(floor["misfit_image"])
            images.plot(floor["overlap_image"], misfit, linestyle="", markersize=4, alpha=0.8, **style)
            depth.plot(*_in_bins(floor), markersize=4, label=label, **style)
            places = np.arange(len(_AXES)) + (number - 0.5 * (len(floors) - 1)) * width
            axes.bar(places, floor["floor_axis_pm"], width=0.9 * width, color=style["color"])
        images.set_xlabel("other atoms within 0.4 Å in projection")
        images.set_ylabel("unexplained part of the image (%)")
        images.set_title("images")
        depth.set_xlabel("depth below the surface (Å)")
        depth.set_ylabel("rms error without noise (pm)")
        depth.set_title("atoms")
        axes.set_xticks(range(len(_AXES)), _AXES)
        axes.set_ylabel("rms error without noise (pm)")
        axes.set_title("directions")
        for panel in (images, depth, axes):
            panel.set_ylim(bottom=0.0)
            panel.grid(True, axis="y")
        figure.legend(loc="outside upper left", ncols=4)


def _in_bins(floor: Floor) -> tuple[list[float], list[float]]:
    """Mean depth and rms error of the atoms at the surface, and of layers below it."""
    depth_A, error_pm = np.asarray(floor["depth_A"]), np.asarray(floor["error_pm"])
    layer = np.ceil(depth_A / _LAYER_A)
    groups = [np.flatnonzero(layer == number) for number in np.unique(layer)]
    filled = [group for group in groups if len(group) >= _FEWEST]
    return (
        [float(depth_A[group].mean()) for group in filled],
        [float(np.sqrt(np.mean(error_pm[group] ** 2))) for group in filled],
    )
