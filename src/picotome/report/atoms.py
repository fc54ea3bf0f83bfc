"""Figures of atoms: shaded balls, drawn from the back to the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.report.balls import FAINT_FOG, MARGIN_A, by_element, draw_balls, frame, oblique, rgb_of
from picotome.report.canvas import ELEMENT_COLOURS, ERROR_MAP, INK, add_scale_bar, png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import Score, Specimen, Trace

    Array = NDArray[Any]

# Rows are the directions right, up and towards the eye of each view.
_VIEWS = {
    "along the beam": (("x", "y"), np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])),
    "along the tilt axis": (("x", "z"), np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])),
    "across both": (("y", "z"), np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])),
}


def draw_atoms(path: Path, *, specimen: Specimen, scores: Mapping[str, Score]) -> None:
    """Draw the true atoms in 3D, coloured by the error of the atom that was found for each.

    One column for each stage: above the particle from outside, below it with the half before its middle taken
    away. The beam (z) points up. Missed atoms are hollow red rings. All columns share one colour scale, which
    ends at the 95th percentile of all errors.

    Parameters
    ----------
    path
        PNG to write.
    specimen
        True atoms.
    scores
        Score of each stage, for example ``raw`` and ``unet``.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    errors = {stage: _errors_pm(score, len(specimen.positions_A)) for stage, score in scores.items()}
    together = np.concatenate([*errors.values(), np.zeros(0)])
    together = together[np.isfinite(together)]
    norm = Normalize(0.0, max(float(np.percentile(together, 95)), 1e-3) if together.size else 1.0)
    colours = colormaps[ERROR_MAP]
    turned_A = (specimen.positions_A - specimen.positions_A.mean(axis=0)) @ oblique().T
    reach_A = np.abs(turned_A[:, :2]).max(axis=0) + MARGIN_A
    height_in = 1.0 + 2 * 3.4 * float(reach_A[1] / reach_A[0])
    with png(path, width_in=0.9 + 3.6 * max(len(scores), 1), height_in=height_in) as figure:
        grid = figure.subplots(2, max(len(scores), 1), squeeze=False)
        for column, (stage, error_pm) in enumerate(errors.items()):
            for row, kept in enumerate((np.full(len(turned_A), True), turned_A[:, 2] <= 0)):
                axes = grid[row, column]
                rgb = colours(norm(np.nan_to_num(error_pm)))[:, :3]
                draw_balls(
                    axes, turned_A[kept], rgb[kept], fog=FAINT_FOG, hollow=~np.isfinite(error_pm)[kept]
                )
                frame(axes, reach_A)
            grid[0, column].set_title(_stage_title(stage, scores[stage]), linespacing=1.4)
        _name_rows(grid[:, 0], reach_A)
        bar = figure.colorbar(ScalarMappable(norm, ERROR_MAP), ax=grid, shrink=0.6, pad=0.02, extend="max")
        bar.set_label("distance from the true position (pm)")


def draw_specimen(path: Path, *, specimen: Specimen) -> None:
    """Draw three views of the true atoms, coloured by element."""
    title = f"{len(specimen.positions_A)} true atoms"
    with png(path, width_in=9.6, height_in=3.9) as figure:
        _draw_views(figure.subplots(1, 3), specimen.positions_A, specimen.atomic_numbers)
        _finish_views(figure, f"{title}\n{specimen.description}".strip(), specimen.atomic_numbers)


def draw_kind(
    path: Path,
    *,
    specimen: Specimen,
    values: Array | None = None,
    label: str = "",
    arrows: Array | None = None,
    cut: bool = False,
) -> None:
    """Draw a specimen from the side in two panels: its elements, and a field of its truth.

    Parameters
    ----------
    path
        PNG to write.
    values
        (n,) the field: text is drawn as categories, numbers on a colour scale. None: the inside by element.
    label
        What the field is.
    arrows
        (n, 3) vectors instead, drawn by direction and relative length, seen along the axis that they avoid.
    cut
        Take the near half away in the second panel.
    """
    with png(path, width_in=6.0, height_in=3.8) as figure:
        left, right = figure.subplots(1, 2)
        middle_A = (specimen.positions_A.max(axis=0) + specimen.positions_A.min(axis=0)) / 2
        turned_A = (specimen.positions_A - middle_A) @ oblique().T
        reach_A = np.full(2, np.abs(turned_A[:, :2]).max() + MARGIN_A)
        rgb = np.zeros((len(turned_A), 3))
        for name, colour, members in by_element(specimen.atomic_numbers):
            rgb[members] = rgb_of(colour)
            left.plot([], [], "o", color=colour, markeredgecolor=INK, label=name)
        draw_balls(left, turned_A, rgb)
        left.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, columnspacing=0.8)
        kept = turned_A[:, 2] <= 0 if cut or values is None else np.full(len(turned_A), True)
        if arrows is not None:
            _draw_arrows(right, specimen.positions_A - middle_A, arrows)
        elif values is None:
            draw_balls(right, turned_A[kept], rgb[kept], fog=FAINT_FOG)
        elif values.dtype.kind in "US":
            for number, name in enumerate(np.unique(values)):
                colour = ELEMENT_COLOURS[number % len(ELEMENT_COLOURS)]
                rgb[values == name] = rgb_of(colour)
                right.plot([], [], "o", color=colour, markeredgecolor=INK, label=str(name))
            draw_balls(right, turned_A[kept], rgb[kept], fog=FAINT_FOG)
            right.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, columnspacing=0.8)
        else:
            from matplotlib import colormaps
            from matplotlib.cm import ScalarMappable
            from matplotlib.colors import Normalize

            norm = Normalize(float(values.min()), float(values.max()))
            rgb = colormaps[ERROR_MAP](norm(values))[:, :3]
            draw_balls(right, turned_A[kept], rgb[kept], fog=FAINT_FOG)
            figure.colorbar(ScalarMappable(norm, ERROR_MAP), ax=right, shrink=0.7, pad=0.02)
        right.set_title(label or "near half taken away")
        left.set_title("elements")
        for axes in (left, right):
            frame(axes, reach_A)
        add_scale_bar(left, extent_A=2 * float(reach_A[0]), colour=INK)


def _draw_arrows(axes: Any, positions_A: Array, arrows: Array) -> None:
    """Draw vectors at their places, seen along where they are smallest; colour is direction."""
    shown = np.linalg.norm(arrows, axis=1) > 0
    right, up, _ = np.linalg.svd(arrows[shown], full_matrices=True)[2]
    flat, vectors = (values[shown] @ np.stack([right, up], axis=1) for values in (positions_A, arrows))
    longest = float(np.linalg.norm(vectors, axis=1).max())
    axes.quiver(
        *flat.T,
        *(vectors.T * (3.2 / longest)),
        np.arctan2(vectors[:, 1], vectors[:, 0]),
        cmap="hsv",
        clim=(-np.pi, np.pi),
        angles="xy",
        scale_units="xy",
        scale=1.0,
        pivot="mid",
        width=0.008,
    )


def draw_trace(path: Path, *, trace: Trace) -> None:
    """Draw three views of the found atoms, coloured by element, and the distribution of their intensities."""
    with png(path, width_in=9.6, height_in=6.2) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=(3.9, 2.3))
        if len(trace.positions_A):
            _draw_views(above.subplots(1, 3), trace.positions_A, trace.atomic_numbers)
        _finish_views(above, f"{len(trace.positions_A)} found atoms", trace.atomic_numbers)
        axes = below.add_subplot()
        intensities = np.asarray(trace.intensities, dtype=np.float64)
        known = np.isfinite(intensities)
        edges = np.histogram_bin_edges(intensities[known], bins=50) if known.any() else np.array([0.0, 1.0])
        for label, colour, members in by_element(trace.atomic_numbers):
            axes.hist(intensities[members & known], bins=edges, color=colour, alpha=0.8, label=label)
        axes.set(xlabel="intensity of the fitted peak (tomogram unit × Å³)", ylabel="atoms per bin")
        axes.grid(axis="y")


def _errors_pm(score: Score, n_true: int) -> Array:
    error_pm = np.full(n_true, np.nan)
    error_pm[score.matched_true] = np.linalg.norm(score.displacement_pm, axis=1)
    return error_pm


def _stage_title(stage: str, score: Score) -> str:
    n_matched = len(score.matched_true)
    rmsd = f"RMSD {score.rmsd_pm:.1f} pm" if np.isfinite(score.rmsd_pm) else "RMSD –"
    return f"{stage}\n{rmsd}, {score.n_true - n_matched} missed, {score.n_found - n_matched} false"


def _name_rows(axes: Sequence[Any], reach_A: Array) -> None:
    axes[0].set_ylabel("whole particle")
    axes[1].set_ylabel("near half taken away")
    add_scale_bar(axes[1], extent_A=2 * float(reach_A[0]), colour=INK)
    _draw_tripod(axes[0], reach_A)


def _draw_tripod(axes: Any, reach_A: Array) -> None:
    foot, length_A = np.array([-0.88, -0.88]) * reach_A, 0.17 * reach_A[0]
    for name, direction in zip(("x", "y", "z"), oblique().T, strict=True):
        tip = foot + length_A * direction[:2]
        axes.annotate("", xy=tip, xytext=foot, arrowprops={"arrowstyle": "->", "color": INK, "shrinkA": 0})
        axes.text(*(foot + 1.35 * length_A * direction[:2]), name, ha="center", va="center", fontsize=8)


def _draw_views(row: Sequence[Any], positions_A: Array, atomic_numbers: Array) -> None:
    rgb = np.zeros((len(positions_A), 3))
    for _, colour, members in by_element(atomic_numbers):
        rgb[members] = rgb_of(colour)
    centred_A = positions_A - (positions_A.max(axis=0) + positions_A.min(axis=0)) / 2
    reach_A = np.full(2, np.abs(centred_A).max() + MARGIN_A)
    for axes, (name, (labels, view)) in zip(row, _VIEWS.items(), strict=True):
        draw_balls(axes, centred_A @ view.T, rgb)
        frame(axes, reach_A)
        axes.set_title(name)
        axes.set_xlabel(f"{labels[0]} →")
        axes.set_ylabel(f"{labels[1]} →")
    add_scale_bar(row[0], extent_A=2 * float(reach_A[0]), colour=INK)


def _finish_views(figure: Any, title: str, atomic_numbers: Array) -> None:
    from matplotlib.lines import Line2D

    figure.suptitle(title, fontsize=10, parse_math=False, wrap=True)
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=7, color=colour, markeredgecolor=INK, label=label)
        for label, colour, _ in by_element(atomic_numbers)
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
