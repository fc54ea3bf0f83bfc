"""The table as text: for the terminal, and as the page docs/benchmark.md."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from picotome.datasets.identity import versions

Row = Mapping[str, Any]

_TITLES = {
    "raw": "raw",
    "unet": "unet",
    "refined_raw": "refined (raw)",
    "refined_unet": "refined (unet)",
    "joint": "joint",
}
# Below this, an RMSD over the matched atoms alone is half the story.
_ENOUGH = 0.98
_VERSIONED = ("picotome", "abtem", "numpy", "scipy", "torch")
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("specimen", "specimen", ""),
    ("engine", "engine", ""),
    ("dose", "dose_e_per_A2", "g"),
    ("imperfection", "imperfection", ""),
    ("stage", "stage", ""),
    ("recall", "recall", ".4f"),
    ("precision", "precision", ".4f"),
    ("RMSD", "rmsd_pm", ".2f"),
    ("median", "median_pm", ".2f"),
    ("surface", "surface_rmsd_pm", ".2f"),
    ("core", "core_rmsd_pm", ".2f"),
    ("species", "species_accuracy", ".4f"),
    ("bound", "crlb_pm", ".2f"),
    ("efficiency", "efficiency", ".2f"),
    ("tilt error left", "tilt_error_left_deg", ".3f"),
    ("its bound", "tilt_bound_deg", ".3f"),
    ("misfit", "misfit", ".3f"),
    ("expected", "expected_pm", ".2f"),
    ("network's weight", "network_weight_species", ".2f"),
    ("seconds", "seconds", ".1f"),
)


def benchmark_page(
    rows: Sequence[Row], floors: Sequence[Row], *, command: str, picture: str, floor_picture: str
) -> str:
    """Turn the rows of ``benchmark.json`` into a page of Markdown.

    Parameters
    ----------
    rows, floors
        Contents of ``benchmark.json`` and ``floor.json``.
    command
        What they were made with.
    picture, floor_picture
        Where the pictures are, as seen from the page.
    """
    used = ", ".join(f"{package} {version}" for package, version in versions(_VERSIONED).items())
    parts = [
        _HEAD.format(command=command),
        f"Made with {used}, on {os.cpu_count()} cores.",
        f"![RMSD against dose, for each specimen and imperfection]({picture})",
        "## RMSD (pm)",
        f"Of the matched atoms; † where recall or precision is below {_ENOUGH:g}.",
        _markdown(*summary_table(rows)),
        "## Elements",
        _ELEMENTS_HEAD,
        _markdown(*element_table(rows)),
        "## The floor",
        _FLOOR_HEAD,
        f"![What is unexplained of images, and how far atoms walk for it]({floor_picture})",
        _markdown(*floor_table(floors)),
        "## Everything",
        _EVERYTHING_HEAD,
        _markdown([title for title, _, _ in _COLUMNS], [_cells(row) for row in rows]),
    ]
    notes = _notes(rows)
    if notes:
        parts += ["## Stages that failed", notes]
    return "\n\n".join(parts) + "\n"


def terminal_table(rows: Sequence[Row]) -> str:
    """One line for each specimen, imperfection and dose: the RMSD of every stage, and the bound."""
    header, lines = summary_table(rows)
    table = [header, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    return "\n".join([*text, f"RMSD in pm; † recall or precision below {_ENOUGH:g}"])


def summary_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the short table, one for each group."""
    stages = [stage for stage in _TITLES if any(row["stage"] == stage for row in rows)]
    header = ["specimen", "engine", "atoms", "dose", "imperfection"]
    header += [*(_TITLES[stage] for stage in stages), "bound", "best efficiency"]
    lines = []
    for group in _groups(rows):
        by_stage = {row["stage"]: row for row in group}
        efficiencies = [
            row["efficiency"] for row in group if row["efficiency"] is not None and _is_whole(row)
        ]
        lines.append(
            [
                *(_cell(group[0][key], style) for key, style in (("specimen", ""), ("engine", ""))),
                _cell(group[0]["n_atoms"], "d"),
                _cell(group[0]["dose_e_per_A2"], "g"),
                _cell(group[0]["imperfection"], ""),
                *(_marked_rmsd(by_stage.get(stage)) for stage in stages),
                _cell(group[0]["crlb_pm"], ".2f"),
                _cell(min(efficiencies, default=None), ".2f"),
            ]
        )
    return header, lines


def element_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the refined stages, one for each element of specimens with several."""
    stages = [stage for stage in ("refined_raw", "refined_unet") if any(r["stage"] == stage for r in rows)]
    header = ["specimen", "engine", "dose", "imperfection", "element", *(_TITLES[s] for s in stages), "bound"]
    header.append("brightness")
    lines = []
    for group in _groups(rows):
        bounds, snr = group[0]["crlb_species_pm"] or {}, group[0]["brightness_snr_species"] or {}
        by_stage = {row["stage"]: row["rmsd_species_pm"] or {} for row in group}
        for symbol in bounds if len(bounds) > 1 else ():
            lines.append(
                [
                    *(_cell(group[0][key], style) for key, style in (("specimen", ""), ("engine", ""))),
                    _cell(group[0]["dose_e_per_A2"], "g"),
                    _cell(group[0]["imperfection"], ""),
                    symbol,
                    *(_over(by_stage.get(stage, {}).get(symbol), bounds[symbol]) for stage in stages),
                    _cell(bounds[symbol], ".2f"),
                    f"{_cell(snr.get(symbol), '.1f')} σ",
                ]
            )
    return header, lines


def floor_table(floors: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of what more dose cannot lower, one for each scene."""
    header = ["specimen", "engine", "imperfection", "floor", "elements", "x, y, z", "surface", "inside"]
    header += ["misfit", "of the images"]
    lines = []
    for floor in floors:
        species, axes, images = (floor[key] for key in ("floor_species_pm", "floor_axis_pm", "misfit_image"))
        lines.append(
            [
                *(_cell(floor[key], "") for key in ("specimen", "engine", "imperfection")),
                _cell(floor["floor_pm"], ".2f"),
                ", ".join(f"{symbol} {pm:.2f}" for symbol, pm in (species or {}).items()) or floor["note"],
                ", ".join(f"{pm:.2f}" for pm in axes or ()),
                *(_cell(floor[key], ".2f") for key in ("surface_pm", "core_pm")),
                _cell(floor["misfit"], ".1%"),
                f"{min(images):.1%} to {max(images):.1%}" if images else "–",
            ]
        )
    return header, lines


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("specimen", "engine", "imperfection", "dose_e_per_A2"))
        found.setdefault(key, []).append(row)
    return list(found.values())


def _is_whole(row: Row) -> bool:
    return all(row[key] is not None and row[key] >= _ENOUGH for key in ("recall", "precision"))


def _marked_rmsd(row: Row | None) -> str:
    if row is None or row["rmsd_pm"] is None:
        return "–"
    return f"{row['rmsd_pm']:.2f}" + ("" if _is_whole(row) else " †")


def _over(rmsd_pm: float | None, crlb_pm: float) -> str:
    return "–" if rmsd_pm is None else f"{rmsd_pm:.2f} ({rmsd_pm / crlb_pm:.2f})"


def _cells(row: Row) -> list[str]:
    return [_cell(row[key], style) for _, key, style in _COLUMNS]


def _cell(value: Any, style: str) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format(part, style)}" for name, part in value.items())
    return "–" if value is None else format(value, style)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    table = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


def _notes(rows: Sequence[Row]) -> str:
    named = [("specimen", ""), ("engine", ""), ("imperfection", ""), ("dose_e_per_A2", "g"), ("stage", "")]
    return "\n".join(
        f"- {', '.join(_cell(row[key], style) for key, style in named)}: {row['note']}"
        for row in rows
        if row["note"]
    )


_ELEMENTS_HEAD = """\
RMSD of the atoms of one element over their bound, pm. Last column: brightness of the median atom over the
bound of its error, so how surely the images show that it is there. Below about 5 σ no method finds all
of the atoms and nothing else ([why](refinement.md#which-atoms-can-be-found)), unless it adds what it knows
of crystals; a network does."""

_EVERYTHING_HEAD = """\
RMSD, median, surface, core and bound in pm, dose in e/Å² per image, tilt error left in degrees. Expected: the
error that the atoms themselves state, rms, pm. The network's weight: part of the way to its places that
`joint` goes."""

_FLOOR_HEAD = """\
What more dose cannot lower, pm: the true atoms, refined from the images without noise. A sum of spots
does not explain all of an image. The unexplained part (`misfit`) is smallest where few atoms overlap in
projection, and up to three times that beside zone axes and lattice planes seen edge on (left). There,
atoms at rest scatter coherently along a column and screen one another, which takes light from the middle
of the particle: atoms inside walk further than those at the surface. Each image is weighed by its own
misfit. The picture shows the specimens of imperfection `none`, where the geometry is known."""

_HEAD = """\
# Benchmark

How well atoms are found, against the truth and against the bound: a fixed, seeded table that anyone can
repeat.

```sh
{command}
```

With `--quick` the particles are small and the dose is one: minutes. Simulated series are kept (`--cache`)
and finished groups are not repeated. This page, `benchmark.json`, `floor.json` and the pictures are what the
command writes.

- **Specimens**: nanoparticles with strain and disorder in a random orientation, imaged by abTEM's PRISM
  (300 kV, 30 mrad, 40–95 mrad, source size 0.3 Å): 21 images over ±65°, pixels of 0.4 Å. The structure of
  a file (`--particle FILE --particle-engine linear --particle-engine prism`) is imaged as it is.
- **Imperfection** `none`; `middle`: tilt error 0.3° rms about three axes, shift 0.2 Å rms; `worst`: tilt
  error 0.6° rms about three axes, shift 0.4 Å rms, defocus 15 Å rms, background 2 % of the brightest pixel,
  gain 5 % rms. The program knows none of it.
- **Dose**: incident electrons per Å² and image; counting noise.
- **Stages**: `raw`, the tomogram (SIRT) traced; `refined`, atoms, probe and geometry fitted to the images,
  from the raw trace, or from the network's and what the raw one shows besides, where the network's word is
  the prior of whether an atom is there, not of where; `unet`, the tomogram made again with what `refined`
  from raw has found of the images, repaired by the network and traced; `joint`, the atoms of `refined` from
  the network, gone part of the way to where the network places them, by what that is worth in this series,
  measured without the truth ([how](refinement.md#network-and-images-together)). A network knows what
  particles look like: like `unet`, `joint` may err less than the bound, which is that of the images alone.
  Free in the refinement: no geometry (`none`); tilt, turns and shifts (`middle`); defocus as well (`worst`).
  Seconds are those of the stage alone, on a machine that may have had other work.
- **Scores**: atoms are matched one to one within 0.75 Å. Errors are measured after the mean translation is
  removed, and at `middle` and `worst` after a rigid fit, because there specimen and microscope can be turned
  together without changing an image. The bound (Cramér-Rao) is for counting noise, with everything unknown
  that the refinement leaves free and the same motions projected out; the tilt error left has a bound from
  the same matrix. Efficiency is RMSD / bound; the best is
  that of the stages with recall and precision of 0.98 or more."""
