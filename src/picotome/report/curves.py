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

_SHOWN_PERCENTILE = 99.0
_MARKERS = 60


def draw_errors(path: Path, *, scores: Mapping[str, Score]) -> None:
    """Draw how many of the true atoms are found how near to their true positions, a curve for each stage.

    A curve rises at every matched atom and ends at the recall. The dot on it is the RMSD, where it crosses
    one half of the matched atoms the median. Errors beyond the frame are counted in the legend.

    Parameters
    ----------
    path
        PNG to write.
    scores
        Score of each stage, for example ``raw`` and ``unet``.
    """
    errors = {
        stage: np.sort(np.linalg.norm(score.displacement_pm, axis=1)) for stage, score in scores.items()
    }
    largest_pm = _largest(errors)
    with png(path, width_in=6.6, height_in=4.1) as figure:
        axes = figure.add_subplot()
        for number, (stage, error_pm) in enumerate(errors.items()):
            _draw_found(axes, stage, error_pm, largest_pm, scores[stage], _stage_colour(stage, number))
        axes.set(xlabel="distance from the true position (pm)", ylabel="fraction of the true atoms")
        axes.set(xlim=(0, largest_pm), ylim=(0, 1.02))
        axes.grid(True)
        figure.legend(loc="outside upper left", title="found within a distance; dot: RMSD", alignment="left")


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


def _largest(errors: Mapping[str, Array]) -> float:
    together = np.concatenate([*errors.values(), np.zeros(0)])
    largest = float(np.percentile(together, _SHOWN_PERCENTILE)) * 1.1 if together.size else 0.0
    return largest if largest > 0 else 1.0


def _draw_found(axes: Any, stage: str, error_pm: Array, largest_pm: float, score: Score, colour: str) -> None:
    beyond = int(np.sum(error_pm > largest_pm))
    label = f"{stage}: RMSD {_pm(score.rmsd_pm)}, median {_pm(score.median_pm)}, {len(error_pm)} atoms"
    if beyond:
        label += f" ({beyond} beyond)"
    found = np.arange(len(error_pm) + 1) / score.n_true
    at_pm = np.concatenate([[0.0], error_pm, [max([largest_pm, *error_pm])]])
    axes.plot(
        at_pm, np.append(found, found[-1]), drawstyle="steps-post", color=colour, linewidth=1.5, label=label
    )
    if len(error_pm):
        below = np.searchsorted(error_pm, score.rmsd_pm)
        axes.plot(score.rmsd_pm, found[below], "o", color=colour, markersize=6)


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
