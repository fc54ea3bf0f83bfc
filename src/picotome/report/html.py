"""The report of a run: one HTML file that opens without a network."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from picotome.datasets.safe_write import write_text

_MISSING = "–"
# Title, key of the score, decimals.
_COLUMNS: tuple[tuple[str, str, int | None], ...] = (
    ("true", "n_true", 0),
    ("found", "n_found", 0),
    ("recall", "recall", 4),
    ("precision", "precision", 4),
    ("RMSD", "rmsd_pm", 2),
    ("median", "median_pm", 2),
    ("x / y / z", "rmsd_axis_pm", 2),
    ("surface", "surface_rmsd_pm", 2),
    ("core", "core_rmsd_pm", 2),
    ("by element", "rmsd_species_pm", 2),
    ("rigid fit", "rigid_rmsd_pm", 2),
    ("affine fit", "affine_rmsd_pm", 2),
    ("bound", "crlb_pm", 2),
    ("efficiency", "efficiency", 2),
    ("species right", "species_accuracy", 4),
    ("radius / Å", "radius_A", 2),
    ("chance recall", "chance_recall", 3),
)
_HOW_TO_READ = (
    ("matching", "Found and true atoms are paired one to one, none further apart than the radius."),
    ("recall, precision", "The fraction of true atoms that were found, and of found atoms that are true."),
    (
        "chance recall",
        "The recall that a randomly rotated copy of the true atoms reaches: a recall near it means nothing.",
    ),
    (
        "RMSD, median",
        "Distance from the true position over matched atoms in pm, after the mean shift of all atoms was "
        "removed. x / y / z: along each axis; y is the tilt axis, z the beam.",
    ),
    ("surface, core", "RMSD of atoms that see the vacuum, and of all others."),
    (
        "rigid fit, affine fit",
        "RMSD after the best rotation, and after the best linear map. A large gain from the latter means a "
        "calibration error.",
    ),
    (
        "bound, efficiency",
        "The Cramér-Rao bound: the RMSD that no unbiased method can beat with these electrons and tilts, and "
        "how many times larger the RMSD is (after a rigid fit where the geometry of the images is unknown).",
    ),
    (
        "raw, unet, refined",
        "Atoms traced in the tomogram as reconstructed, after the network repaired it, and fitted to the "
        "images themselves.",
    ),
)
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1180px; margin: 0 auto; padding: 24px 24px 64px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 40px 0 10px; border-bottom: 1px solid #ddd; }
.sub { color: #666; margin: 2px 0 20px; }
.cards { display: flex; flex-wrap: wrap; gap: 14px; }
.card { border: 1px solid #ddd; border-radius: 8px; padding: 12px 18px; min-width: 250px; flex: 1; }
.card b { display: block; font-size: 24px; font-weight: 600; } .card span { color: #555; font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th { font-weight: 600; border-bottom: 1px solid #999; vertical-align: bottom; }
th.text, td.text { text-align: left; } tr.first td { border-top: 1px solid #bbb; }
tr.last td { font-weight: 600; } td.note { color: #666; white-space: normal; font-weight: 400; }
figure { margin: 22px 0 30px; } figure img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: 13.5px; } figcaption b { color: #1a1a1a; }
dt { font-weight: 600; margin-top: 6px; } dd { margin-left: 22px; }
pre { background: #f6f6f6; padding: 12px; font-size: 12.5px; overflow-x: auto; }
summary { cursor: pointer; font-weight: 600; } details { margin: 10px 0; }
.failed { color: #a33c00; } pre.failed { background: #fff4ec; white-space: pre-wrap; }
"""
# Refuses whatever is not in the file itself, should anything ever get past the escaping.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(path: Path, *, summary: Mapping[str, Any], figures: Sequence[tuple[str, Path, str]]) -> None:
    """Write one HTML file with numbers and figures of a run.

    Parameters
    ----------
    path
        HTML file; an existing one is replaced as a whole.
    summary
        Contents of ``summary.json``. What is missing, None or NaN is shown as a dash.
    figures
        Title, PNG and caption of each figure, in order.

    Raises
    ------
    FileNotFoundError
        If a figure does not exist.
    """
    recipe = summary.get("recipe") or {}
    name = escape(str(recipe.get("name", "run")))
    specimens = summary.get("specimens") or []
    parts = [
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>picotome: {name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name}</h1><p class='sub'>Atoms found in held-out particles before and after the network. "
        f"picotome {escape(str(summary.get('picotome', '')))}, seed "
        f"{escape(str(recipe.get('seed', _MISSING)))}</p>",
        _cards(specimens),
        "<h2>Scores</h2>",
        _score_table(specimens),
        _failures(summary.get("particles") or {}),
        "<h2>How to read the numbers</h2>",
        _definitions(_HOW_TO_READ),
        "<h2>Figures</h2>",
        *(_figure(*figure) for figure in figures),
        "<h2>Training</h2>",
        _training(summary.get("training") or {}),
        "<h2>Time</h2>",
        _pairs_table(_timings(summary.get("timings_s") or {})),
        "<h2>How it was made</h2>",
        _details(
            "Recipe, with all defaults", yaml.safe_dump(_plain(recipe), sort_keys=False, allow_unicode=True)
        ),
        _details(
            "Versions", "\n".join(f"{key} {value}" for key, value in (summary.get("versions") or {}).items())
        ),
        "</body></html>\n",
    ]
    write_text(path, "\n".join(parts))


def format_number(value: Any, decimals: int | None = None) -> str:
    """Return a number, or several, as text; what does not exist (None, NaN, infinite) as a dash.

    Not escaped.
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_number(item, decimals)}" for key, item in value.items()) or _MISSING
    if isinstance(value, list | tuple):
        return " / ".join(format_number(item, decimals) for item in value) or _MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _MISSING if value is None else str(value)
    if not math.isfinite(value):
        return _MISSING
    return f"{value:.4g}" if decimals is None else f"{value:,.{decimals}f}"


def _cards(specimens: Sequence[Mapping[str, Any]]) -> str:
    return f"<div class='cards'>{''.join(_card(specimen) for specimen in specimens)}</div>"


def _card(specimen: Mapping[str, Any]) -> str:
    stages = list((specimen.get("stages") or {}).values())
    if not stages:
        return ""
    first, last = stages[0], stages[-1]
    before, after = first.get("rmsd_pm"), last.get("rmsd_pm")
    change = ""
    if _exists(before) and _exists(after) and before > 0 and len(stages) > 1:
        change = f" ({(after / before - 1) * 100:+.0f} %)".replace("-", "−")
    arrow = (
        f"{format_number(before, 1)} → {format_number(after, 1)}"
        if len(stages) > 1
        else format_number(after, 1)
    )
    found = [
        f"{label} {format_number(first.get(key), 3)} → {format_number(last.get(key), 3)}"
        for label, key in (("recall", "recall"), ("precision", "precision"))
    ]
    return (
        f"<div class='card'><span>{escape(str(specimen.get('name', '')))}: RMSD of "
        f"{format_number(specimen.get('n_true'), 0)} atoms</span>"
        f"<b>{escape(arrow)} pm{escape(change)}</b><span>{escape('; '.join(found))}</span></div>"
    )


def _score_table(specimens: Sequence[Mapping[str, Any]]) -> str:
    if not specimens:
        return "<p>No held-out particle was scored.</p>"
    head = "".join(f"<th>{escape(title)}</th>" for title, _, _ in _COLUMNS)
    rows = "".join(_specimen_rows(specimen) for specimen in specimens)
    return (
        "<p>Distances in pm.</p><div class='scroll'><table><thead><tr><th class='text'>particle</th>"
        f"<th class='text'>stage</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _specimen_rows(specimen: Mapping[str, Any]) -> str:
    stages = specimen.get("stages") or {}
    rows = []
    for number, (stage, score) in enumerate(stages.items()):
        name = escape(str(specimen.get("name", ""))) if number == 0 else ""
        kind = " ".join(["first"] * (number == 0) + ["last"] * (number == len(stages) - 1))
        cells = "".join(
            f"<td>{escape(format_number(score.get(key), decimals))}</td>" for _, key, decimals in _COLUMNS
        )
        rows.append(
            f"<tr class='{kind}'><td class='text'>{name}</td><td class='text'>{escape(str(stage))}</td>"
            f"{cells}</tr>"
        )
    dose, weights = specimen.get("dose_e_per_A2"), specimen.get("network_weight")
    facts = (
        str(specimen.get("description", "")),
        f"images: {specimen.get('engine', _MISSING)}",
        f"{specimen['n_tilts']} tilts" if "n_tilts" in specimen else "",
        "no noise" if dose is None else f"{format_number(dose, 0)} e/Å² per image",
        f"the network's weight in joint: {format_number(weights, 2)}" if weights else "",
        *(f"{stage}: {score['note']}" for stage, score in stages.items() if score.get("note")),
    )
    note = escape("; ".join(fact for fact in facts if fact))
    rows.append(f"<tr><td></td><td class='text note' colspan='{len(_COLUMNS) + 1}'>{note}</td></tr>")
    return "".join(rows)


def _failures(particles: Mapping[str, Any]) -> str:
    failed = particles.get("failed") or []
    if not failed:
        return ""
    lines = "\n".join(f"{item.get('split')} {item.get('index')}: {item.get('error')}" for item in failed)
    return f"<p class='failed'>Failed particles: {len(failed)}</p><pre class='failed'>{escape(lines)}</pre>"


def _figure(title: str, path: Path, caption: str) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no figure {path}")
    picture = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{picture}">'
        f"<figcaption><b>{escape(title)}.</b> {escape(caption)}</figcaption></figure>"
    )


def _training(training: Mapping[str, Any]) -> str:
    rows = []
    for key, value in training.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}: {inner}", format_number(item)) for inner, item in value.items()]
        else:
            rows.append((key, format_number(value)))
    return _pairs_table(rows)


def _timings(timings_s: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(stage, f"{format_number(seconds, 1)} s") for stage, seconds in timings_s.items()]
    known = [seconds for seconds in timings_s.values() if _exists(seconds)]
    return [*rows, ("total", f"{format_number(sum(known), 1)} s")] if rows else rows


def _pairs_table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><td class='text'>{escape(key.replace('_', ' '))}</td><td>{escape(value)}</td></tr>"
        for key, value in rows
    )
    return f"<table><tbody>{cells}</tbody></table>" if rows else f"<p>{_MISSING}</p>"


def _definitions(items: Sequence[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in items)}</dl>"


def _details(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _exists(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """Turn mappings and tuples into what YAML knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
