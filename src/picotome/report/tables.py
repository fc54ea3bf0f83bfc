"""Scores as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from picotome.records import Score
from picotome.trace.numbers import score_numbers

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
)


def score_table(specimens: Sequence[Mapping[str, Any]]) -> str:
    """One row for each held-out particle and stage of a summary."""
    rows = [["specimen", "stage", *(title for title, _, _ in _COLUMNS)]]
    for specimen in specimens:
        for stage, numbers in specimen["stages"].items():
            rows.append(
                [specimen["name"], stage, *(_cell(numbers[key], style) for _, key, style in _COLUMNS)]
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )


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
