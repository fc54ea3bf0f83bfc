"""Scores as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from picotome.records import ImageFit, Score, Trace
from picotome.trace.joint import Worth
from picotome.trace.numbers import score_numbers
from picotome.trace.uncertainty import expected_pm

_COLUMNS = (
    ("true", "n_true", "d"),
    ("found", "n_found", "d"),
    ("recall", "recall", ".4f"),
    ("precision", "precision", ".4f"),
    ("RMSD/pm", "rmsd_pm", ".2f"),
    ("median/pm", "median_pm", ".2f"),
    ("surface/pm", "surface_rmsd_pm", ".2f"),
    ("core/pm", "core_rmsd_pm", ".2f"),
    ("species", "species_accuracy", ".4f"),
    ("bound/pm", "crlb_pm", ".2f"),
    ("efficiency", "efficiency", ".2f"),
)


def score_table(specimens: Sequence[Mapping[str, Any]]) -> str:
    """One row for each held-out particle and stage of a summary."""
    rows = [["specimen", "stage", *(title for title, _, _ in _COLUMNS)]]
    for specimen in specimens:
        for stage, numbers in specimen["stages"].items():
            rows.append(
                [specimen["name"], stage, *(_cell(numbers[key], style) for _, key, style in _COLUMNS)]
            )
    return _aligned(rows)


def refinement_lines(trace: Trace, images: ImageFit) -> str:
    """What a refinement found, for the terminal."""
    angle, shift = (math.sqrt(float((a**2).mean())) for a in (images.tilt_error_deg, images.shift_error_A))
    focus = math.sqrt(float((images.defocus_A**2).mean()))
    tail = f"tail {images.tail_sigma_A:.2f} Å with {images.tail_fraction:.0%}"
    vouched = f"; {images.n_vouched} kept on a network's word" if images.n_vouched else ""
    lines = [
        ("images", f"χ² {images.chi2:.2f} per lit pixel; {images.misfit:.1%} of the signal unexplained"),
        ("geometry", f"was off by {angle:.3f}° and {shift:.3f} Å rms, the focus by {focus:.1f} Å rms"),
        ("probe", f"core {images.core_sigma_A:.2f} Å, {tail}"),
        ("atoms", f"{images.n_added} added, {images.n_removed} removed{vouched}"),
    ]
    if images.coherence is not None:
        lines.insert(3, ("waves", f"{images.coherence:.0%} of the interference of a still lattice"))
    expected = expected_pm(trace)
    if expected is not None:
        lines.append(
            ("error", f"{expected:.1f} pm rms expected from counting and misfit, common motions apart")
        )
    return "\n".join(f"{key:>10}  {text}" for key, text in lines)


def worth_table(worth: Mapping[str, Worth]) -> str:
    """Say what images and network were worth, one row for each element."""
    if not worth:
        return "too few atoms to tell what the network is worth: they stand where the images place them"
    rows = [["element", "atoms", "images/pm", "apart/pm", "shared/pm", "network's weight", "together/pm"]]
    for symbol, found in worth.items():
        errors_pm = (found.images_pm, found.apart_pm, found.shared_pm)
        cells = [*(f"{value:.1f}" for value in errors_pm), f"{found.network_weight:.2f}"]
        rows.append([symbol, str(found.n_atoms), *cells, f"{found.joint_pm:.1f}"])
    return _aligned(rows)


def score_lines(score: Score) -> str:
    """Every number of a score, one on a line."""
    lines = []
    for key, value in score_numbers(score).items():
        if isinstance(value, dict):
            text = ", ".join(f"{name} {_cell(item, '.4g')}" for name, item in value.items())
        elif isinstance(value, list):
            text = ", ".join(_cell(item, ".4g") for item in value)
        else:
            text = _cell(value, "d" if isinstance(value, int) else ".4g")
        lines.append(f"{key:>20}  {text}")
    return "\n".join(lines)


def _cell(value: Any, style: str) -> str:
    return "–" if value is None else format(value, style)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )
