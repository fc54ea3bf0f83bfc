"""Figure of how far predicted errors can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.report.canvas import FAINT, INK, STAGE_COLOURS, png
from picotome.trace.matching import rotation_onto
from picotome.units import PM_PER_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import Score, Trace

    Array = NDArray[Any]

_CLASS, _FEWEST = 30, 4
_SHOWN_SIGMAS = 4.0


def draw_calibration(path: Path, *, traces: Mapping[str, Trace], scores: Mapping[str, Score]) -> bool:
    """Draw predicted against true errors of every stage whose trace predicts them.

    Left: coordinates in classes of rising prediction; a perfect prediction lies on the diagonal. Right: error
    over prediction, beside a normal distribution of width 1. Common motions are removed from the errors.

    Parameters
    ----------
    path
        PNG to write.
    traces, scores
        Trace and score of each stage.

    Returns
    -------
    drawn
        False, and no file, where no trace predicts the errors of enough matched atoms.
    """
    pairs = {}
    for stage, score in scores.items():
        predicted = traces[stage].uncertainty_pm
        if predicted is not None and len(score.matched_found) >= _FEWEST:
            pairs[stage] = (predicted[score.matched_found].ravel(), _errors_pm(traces[stage], score).ravel())
    if not pairs:
        return False
    with png(path, width_in=7.6, height_in=3.5) as figure:
        classes, ratios = figure.subplots(1, 2)
        for stage, (predicted, error) in pairs.items():
            colour = STAGE_COLOURS.get(stage, INK)
            ratio = error / predicted
            width = float(np.sqrt(np.mean(ratio**2)))
            label = f"{stage}: rms of error / prediction {width:.2f}"
            classes.plot(*_classes(predicted, error), "o", color=colour, markersize=4, label=label)
            edges = np.linspace(-_SHOWN_SIGMAS, _SHOWN_SIGMAS, 33)
            ratios.hist(ratio, bins=edges, density=True, histtype="step", color=colour, linewidth=1.4)
        largest = 1.15 * classes.dataLim.max.max()
        classes.plot([0, largest], [0, largest], color=FAINT, linewidth=1.0)
        classes.set(
            xlabel="predicted error of a coordinate (pm)", ylabel="true error, rms (pm)", xlim=(0, largest)
        )
        classes.set_ylim(0, largest)
        sigma = np.linspace(-_SHOWN_SIGMAS, _SHOWN_SIGMAS, 201)
        ratios.plot(sigma, np.exp(-0.5 * sigma**2) / np.sqrt(2.0 * np.pi), color=FAINT, linewidth=1.0)
        ratios.set(
            xlabel="true error / predicted error", ylabel="density", xlim=(-_SHOWN_SIGMAS, _SHOWN_SIGMAS)
        )
        figure.legend(loc="outside upper left", alignment="left")
    return True


def _errors_pm(trace: Trace, score: Score) -> Array:
    """(m, 3) errors of matched atoms, the common turn removed as well as the shift."""
    found = trace.positions_A[score.matched_found]
    found = found - found.mean(axis=0)
    true = found - score.displacement_pm / PM_PER_A
    true = true - true.mean(axis=0)
    errors: Array = (found @ rotation_onto(true, found).T - true) * PM_PER_A
    return errors


def _classes(predicted: Array, error: Array) -> tuple[Array, Array]:
    """Mean prediction and rms error of classes of equal size."""
    n_classes = max(2, min(12, len(predicted) // _CLASS))
    groups = np.array_split(np.argsort(predicted, kind="stable"), n_classes)
    means = np.array([predicted[group].mean() for group in groups])
    rms = np.array([np.sqrt(np.mean(error[group] ** 2)) for group in groups])
    return means, rms
