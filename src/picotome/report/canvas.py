"""What all figures share: style, colours, scale bar, and a PNG that is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Okabe & Ito, "Color Universal Design" (2008): told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#999999"
STAGE_COLOURS = {"raw": VERMILION, "unet": BLUE, "refined": GREEN, "joint": PURPLE}
ELEMENT_COLOURS = (SKY, ORANGE, GREEN, PURPLE, YELLOW, BLUE, VERMILION)
INK, FAINT = "#1a1a1a", "#8c8c8c"
ERROR_MAP = "viridis"

_DPI = 160
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
_NICE_A = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_A_PER_NM = 10.0


@contextmanager
def png(path: Path, *, width_in: float, height_in: float) -> Iterator[Any]:
    """Give a matplotlib figure, and write it to `path` once it is drawn.

    Parameters
    ----------
    path
        The PNG; its folder is made where needed.
    width_in, height_in
        Size in inches, the unit of matplotlib.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        try:
            figure.savefig(temporary, format="png", dpi=_DPI)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def scene_name(specimen: str, engine: str) -> str:
    """Name a specimen of the benchmark; that it was imaged by PRISM goes without saying."""
    return specimen if engine == "prism" else f"{specimen} ({engine})"


def scale_bar_A(extent_A: float) -> float:
    """Round length of a scale bar, Å: the largest of 1, 2, 5, 10, … that is at most 35 % of the extent."""
    fitting = [length for length in _NICE_A if length <= 0.35 * extent_A]
    return fitting[-1] if fitting else _NICE_A[0]


def add_scale_bar(axes: Any, *, extent_A: float, colour: str = "white", A_per_unit: float = 1.0) -> None:
    """Draw a scale bar with its length into the lower left corner of an image.

    Parameters
    ----------
    axes
        Axes whose limits are set.
    extent_A
        Width of the image, Å.
    colour
        Of bar and text.
    A_per_unit
        Å per unit of the axes.
    """
    length_A = scale_bar_A(extent_A)
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    x, y = x0 + 0.06 * (x1 - x0), y0 + 0.07 * (y1 - y0)
    end = x + length_A / A_per_unit * (1 if x1 > x0 else -1)
    axes.plot([x, end], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
    label = f"{length_A / _A_PER_NM:g} nm"
    axes.text((x + end) / 2, y + 0.025 * (y1 - y0), label, color=colour, ha="center", va="bottom", fontsize=8)


def blank(axes: Any) -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
