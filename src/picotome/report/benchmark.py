"""Figure of the benchmark: errors against dose, beside the bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from picotome.report.canvas import FAINT, GREEN, GREY, INK, STAGE_COLOURS, png, scene_name

Row = Mapping[str, Any]

# Name, label, colour, line, marker and its size: a small marker on a large one shows that two stages agree.
_STAGES: tuple[tuple[str, str, str, str, str, int], ...] = (
    ("raw", "raw", STAGE_COLOURS["raw"], "-", "s", 5),
    ("unet", "unet", STAGE_COLOURS["unet"], "-", "^", 6),
    ("refined_raw", "refined (from raw)", GREEN, "-", "o", 8),
    ("refined_unet", "refined (from unet)", INK, "--", "D", 4),
    ("joint", "joint", STAGE_COLOURS["joint"], ":", "v", 5),
)
_ENOUGH = 0.98
_PANEL_IN, _MARGIN_IN = 2.5, 0.7
_BEYOND = 1.5
_LEGEND_COLUMNS = 6


def draw_benchmark(path: Path, *, rows: Sequence[Row]) -> None:
    """Draw RMSD against dose: a row of panels for each specimen, a column for each imperfection.

    Hollow markers: recall or precision below 0.98, so that the RMSD is over a part of the atoms. The grey
    line is the bound. All panels share their axes.

    Parameters
    ----------
    path
        PNG to write.
    rows
        Contents of ``benchmark.json``.
    """
    specimens = list(dict.fromkeys((row["specimen"], row["engine"]) for row in rows))
    imperfections = list(dict.fromkeys(row["imperfection"] for row in rows))
    size = {
        "width_in": _PANEL_IN * max(2, len(imperfections)) + _MARGIN_IN,
        "height_in": 0.9 * _PANEL_IN * len(specimens) + _MARGIN_IN,
    }
    with png(path, **size) as figure:
        panels = figure.subplots(len(specimens), len(imperfections), sharex=True, sharey=True, squeeze=False)
        for i, (specimen, engine) in enumerate(specimens):
            for j, imperfection in enumerate(imperfections):
                key = (specimen, engine, imperfection)
                shown = [r for r in rows if (r["specimen"], r["engine"], r["imperfection"]) == key]
                _draw_panel(panels[i, j], shown)
                if i == 0:
                    panels[i, j].set_title(f"imperfection: {imperfection}")
            panels[i, 0].set_ylabel(f"{_title(rows, specimen, engine)}\nRMSD (pm)")
        for axes in panels[-1]:
            axes.set_xlabel("dose (e/Å² per image)")
        _finish_axes(panels, rows)
        handles, labels = _legend(panels)
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=_LEGEND_COLUMNS if len(imperfections) > 2 else 3,
            title=f"hollow markers: recall or precision below {_ENOUGH:g}",
            alignment="left",
        )


def _draw_panel(axes: Any, rows: Sequence[Row]) -> None:
    bound = sorted({(r["dose_e_per_A2"], r["crlb_pm"]) for r in rows if r["crlb_pm"] is not None})
    if bound:
        doses, pm = zip(*bound, strict=True)
        axes.plot(doses, pm, color=GREY, linewidth=3.5, alpha=0.6, label="bound", solid_capstyle="round")
        if len(bound) == 1:
            axes.plot(doses, pm, "_", color=GREY, markersize=22, markeredgewidth=3.5, alpha=0.6)
    for stage, label, colour, style, marker, size in _STAGES:
        found = sorted(
            (r["dose_e_per_A2"], r["rmsd_pm"], _is_whole(r))
            for r in rows
            if r["stage"] == stage and r["rmsd_pm"] is not None
        )
        if not found:
            continue
        doses, pm, _ = zip(*found, strict=True)
        axes.plot(doses, pm, color=colour, linestyle=style, linewidth=1.4)
        for dose, value, full in found:
            face = colour if full else "white"
            axes.plot(dose, value, marker, color=colour, markersize=size, markerfacecolor=face)
        axes.plot([], [], color=colour, linestyle=style, marker=marker, markersize=size, label=label)
    axes.grid(True)


def _finish_axes(panels: Any, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    doses = sorted({row["dose_e_per_A2"] for row in rows})
    first = panels[0, 0]
    first.set_xscale("log")
    first.set_yscale("log")
    first.set_xlim(doses[0] / _BEYOND, doses[-1] * _BEYOND)
    for axes in panels.flat:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(FixedLocator(doses))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", color=FAINT)


def _title(rows: Sequence[Row], specimen: str, engine: str) -> str:
    n_atoms = [r["n_atoms"] for r in rows if (r["specimen"], r["engine"]) == (specimen, engine)]
    count = next((n for n in n_atoms if n is not None), None)
    name = scene_name(specimen, engine)
    return name if count is None else f"{name}, {count} atoms"


def _is_whole(row: Row) -> bool:
    return all(row[key] is not None and row[key] >= _ENOUGH for key in ("recall", "precision"))


def _legend(panels: Any) -> tuple[list[Any], list[str]]:
    """Each label once, wherever it is drawn."""
    found: dict[str, Any] = {}
    for axes in panels.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    order = ["bound", *(stage[1] for stage in _STAGES)]
    labels = [label for label in order if label in found]
    return [found[label] for label in labels], labels
