"""Figures of numbers: errors of atoms, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.report.canvas import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PURPLE, STAGE_COLOURS, png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import Score

    Array = NDArray[Any]

_N_BINS = 36
_SHOWN_PERCENTILE = 99.0
_MARKERS = 60


def draw_error_histogram(path: Path, *, scores: Mapping[str, Score]) -> None:
    """Draw how far matched atoms are from their true positions, one histogram for each stage.

    Solid lines are RMSDs, dashed ones medians. Errors beyond the last bin are counted in the legend.

    Parameters
    ----------
    path
        PNG to write.
    scores
        Score of each stage, for example ``raw`` and ``unet``.
    """
    errors = {stage: np.linalg.norm(score.displacement_pm, axis=1) for stage, score in scores.items()}
    edges = _bin_edges(errors)
    with png(path, width_in=6.6, height_in=3.9) as figure:
        axes = figure.add_subplot()
        for number, (stage, error_pm) in enumerate(errors.items()):
            _draw_errors(axes, stage, error_pm, edges, scores[stage], _stage_colour(stage, number))
        axes.set(xlabel="distance from the true position (pm)", ylabel="atoms per bin", xlim=(0, edges[-1]))
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", title="solid line: RMSD; dashed: median", alignment="left")


def draw_training(path: Path, *, history: Sequence[Mapping[str, float]]) -> None:
    """Draw loss, validation RMSD and validation F1 against the epoch.

    Parameters
    ----------
    path
        PNG to write.
    history
        One row for each epoch: ``epoch``, ``train_loss``, ``validation_loss``, ``rmsd_pm``, ``recall``,
        ``precision``, and ``ospa_pm`` where the best epoch was chosen by it.
    """
    epoch = np.array([row["epoch"] for row in history])
    marker = "o" if len(history) <= _MARKERS else None
    with png(path, width_in=9.6, height_in=3.3) as figure:
        loss, rmsd, found = figure.subplots(1, 3)
        for key, label, colour in (
            ("train_loss", "training", ORANGE),
            ("validation_loss", "validation", BLUE),
        ):
            loss.plot(epoch, _column(history, key), label=label, color=colour, marker=marker, markersize=3)
        loss.set(title="loss", ylabel="mean squared error, normalised")
        _log_if_positive(loss, history)
        loss.legend()
        rmsd.plot(epoch, _column(history, "rmsd_pm"), color=BLUE, marker=marker, markersize=3)
        rmsd.set(title="position error of validation atoms", ylabel="RMSD (pm)")
        # The scale was fitted to the values before: a line along the upper edge would be cut.
        rmsd.set_ylim(0, 1.1 * rmsd.get_ylim()[1])
        recall, precision = _column(history, "recall"), _column(history, "precision")
        for values, label, colour, style in (
            (recall, "recall", GREEN, (0, (4, 2))),
            (precision, "precision", PURPLE, (0, (1, 1))),
            (_f1(recall, precision), "F1", INK, "-"),
        ):
            found.plot(epoch, values, label=label, color=colour, linestyle=style, marker=marker, markersize=3)
        found.set(title="validation atoms found", ylabel="fraction")
        found.set_ylim(min(0.95, found.get_ylim()[0]), 1.002)
        found.legend(loc="lower right")
        best = _best_epoch(history)
        for axes in (loss, rmsd, found):
            _finish_epochs(axes, best)
        if best is not None:
            figure.supxlabel(f"dotted line: the epoch that is kept ({best:g})", fontsize=8, color=FAINT)


def _stage_colour(stage: str, number: int) -> str:
    return STAGE_COLOURS.get(stage, (GREEN, PURPLE, GREY)[number % 3])


def _bin_edges(errors: Mapping[str, Array]) -> Array:
    together = np.concatenate([*errors.values(), np.zeros(0)])
    largest = float(np.percentile(together, _SHOWN_PERCENTILE)) * 1.1 if together.size else 0.0
    edges: Array = np.linspace(0.0, largest if largest > 0 else 1.0, _N_BINS + 1)
    return edges


def _draw_errors(axes: Any, stage: str, error_pm: Array, edges: Array, score: Score, colour: str) -> None:
    beyond = int(np.sum(error_pm > edges[-1]))
    label = f"{stage}: RMSD {_pm(score.rmsd_pm)}, median {_pm(score.median_pm)}, {len(error_pm)} atoms"
    if beyond:
        label += f" ({beyond} beyond)"
    axes.hist(error_pm, bins=edges, color=colour, alpha=0.28, linewidth=0)
    axes.hist(error_pm, bins=edges, color=colour, histtype="step", linewidth=1.4, label=label)
    if len(error_pm):
        axes.axvline(score.rmsd_pm, color=colour, linewidth=1.4)
        axes.axvline(score.median_pm, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))


def _pm(value: float) -> str:
    return f"{value:.1f} pm" if np.isfinite(value) else "–"


def _column(history: Sequence[Mapping[str, float]], key: str) -> Array:
    # An epoch without a number (None in JSON) leaves a gap in the curve.
    values = [row.get(key) for row in history]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _f1(recall: Array, precision: Array) -> Array:
    both = recall + precision
    f1: Array = np.where(both > 0, 2 * recall * precision / np.where(both > 0, both, 1.0), 0.0)
    return np.where(np.isfinite(both), f1, np.nan)


def _best_epoch(history: Sequence[Mapping[str, float]]) -> float | None:
    for key in ("ospa_pm", "rmsd_pm"):
        values = _column(history, key)
        if np.isfinite(values).any():
            return float(history[int(np.nanargmin(values))]["epoch"])
    return None


def _log_if_positive(axes: Any, history: Sequence[Mapping[str, float]]) -> None:
    losses = np.concatenate([_column(history, "train_loss"), _column(history, "validation_loss")])
    losses = losses[np.isfinite(losses)]
    # Over less than a factor of 3 a logarithmic axis has no labelled tick.
    if losses.size and losses.min() > 0 and losses.max() > 3 * losses.min():
        axes.set_yscale("log")


def _finish_epochs(axes: Any, best: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(True)
    if best is not None:
        axes.axvline(best, color=FAINT, linewidth=1.0, linestyle=":")
