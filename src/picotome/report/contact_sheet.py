"""What a recipe makes, at a glance: nine of its particles on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.datasets.pairs import build_particle
from picotome.datasets.plan import Split, particle_plan
from picotome.progress import Track, silent
from picotome.records import Specimen
from picotome.report.balls import MARGIN_A, by_element, draw_balls, frame, oblique, rgb_of
from picotome.report.canvas import FAINT, INK, add_scale_bar, blank, png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.configs.schema import Recipe

    Array = NDArray[Any]

_EDGE = 3
# Along the nearest of so many directions a width is at most 0.5 % too small.
_N_DIRECTIONS = 500
# What a line under a particle can hold.
_LINE = 46


@dataclass(frozen=True)
class Sample:
    """One particle of a recipe; `specimen` is None where it cannot be built, and `error` says why."""

    index: int
    kind: str
    specimen: Specimen | None
    error: str = ""


def sample_particles(recipe: Recipe, split: Split, *, track: Track = silent) -> list[Sample]:
    """Build the first nine particles of a split, also where the recipe asks for fewer."""
    samples = []
    for index in range(_EDGE**2):
        kind = particle_plan(recipe, split, index)[0].kind
        try:
            samples.append(Sample(index, kind, build_particle(recipe, split, index)))
        except (ValueError, OSError) as error:
            samples.append(Sample(index, kind, None, str(error)))
        track(f"building {split.replace('_', '-')} particles", index + 1, _EDGE**2)
    return samples


def draw_contact_sheet(path: Path, *, samples: Sequence[Sample], title: str) -> None:
    """Draw nine particles at one scale, each with its kind, size and composition.

    The beam (z) points up. Colours are elements, the same on the whole sheet.

    Parameters
    ----------
    path
        PNG to write.
    samples
        At most nine.
    title
        Above all of them.
    """
    from matplotlib.lines import Line2D

    built = [sample.specimen for sample in samples if sample.specimen is not None]
    numbers = np.concatenate([specimen.atomic_numbers for specimen in built]) if built else np.zeros(0, int)
    colours = {int(numbers[members][0]): colour for _, colour, members in by_element(numbers)}
    turned = [(specimen.positions_A - _middle(specimen)) @ oblique().T for specimen in built]
    reach_A = np.full(2, max((float(np.abs(t[:, :2]).max()) for t in turned), default=10.0) + MARGIN_A)
    with png(path, width_in=9.0, height_in=10.6) as figure:
        panels = figure.subplots(_EDGE, _EDGE).ravel()
        is_first = True
        for axes, sample in zip(panels, samples, strict=False):
            frame(axes, reach_A)
            axes.set_xlabel(caption(sample), fontsize=8, parse_math=False, linespacing=1.4)
            if sample.specimen is None:
                axes.text(0, 0, "cannot be built", ha="center", va="center", color=FAINT)
                continue
            balls_A = turned.pop(0)
            draw_balls(axes, balls_A, np.array([rgb_of(colours[z]) for z in _list(sample.specimen)]))
            if is_first:
                add_scale_bar(axes, extent_A=2 * float(reach_A[0]), colour=INK)
            is_first = False
        for axes in panels[len(samples) :]:
            blank(axes)
        figure.suptitle(title, fontsize=11, parse_math=False)
        handles = [
            Line2D(
                [], [], marker="o", linestyle="", markersize=7, color=c, markeredgecolor=INK, label=_name(z)
            )
            for z, c in colours.items()
        ]
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def caption(sample: Sample) -> str:
    """Say what a particle is: kind, largest width between two atoms, number of atoms, composition."""
    specimen = sample.specimen
    if specimen is None:
        return f"{sample.index}  {sample.kind}\n{_short(sample.error)}"
    n = len(specimen.positions_A)
    parts = [
        f"{_name(int(z))} {100 * count / n:.0f} %"
        for z, count in zip(*np.unique(specimen.atomic_numbers, return_counts=True), strict=True)
    ]
    return (
        f"{sample.index}  {sample.kind}, {_width_A(specimen.positions_A):.1f} Å\n"
        f"{n} atoms: {_short(', '.join(parts))}"
    )


def _width_A(positions_A: Array) -> float:
    """Largest distance of two atoms, along the nearest of many directions."""
    step = np.arange(_N_DIRECTIONS) + 0.5
    # Fibonacci's half sphere.
    z, azimuth = step / _N_DIRECTIONS, np.pi * (1 + 5**0.5) * step
    flat = np.sqrt(1 - z**2)
    along_A = positions_A @ np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z])
    return float(np.ptp(along_A, axis=0).max())


def _middle(specimen: Specimen) -> Array:
    middle: Array = (specimen.positions_A.max(axis=0) + specimen.positions_A.min(axis=0)) / 2
    return middle


def _list(specimen: Specimen) -> list[int]:
    numbers: list[int] = specimen.atomic_numbers.tolist()
    return numbers


def _name(z: int) -> str:
    from ase.data import chemical_symbols

    name: str = chemical_symbols[z]
    return name


def _short(text: str) -> str:
    return text if len(text) <= _LINE else text[: _LINE - 1] + "…"
