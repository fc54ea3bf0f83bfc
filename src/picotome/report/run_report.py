"""Figures and report of a whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from picotome.records import Pair, Score, TiltSeries, Tomogram, Trace
from picotome.report.figures import (
    draw_atoms,
    draw_calibration,
    draw_errors,
    draw_fourier,
    draw_series,
    draw_slices,
    draw_training,
)
from picotome.report.html import write_report

Figure = tuple[str, Path, str]

_ERRORS = "True atoms that are found within a distance: a curve ends at its recall, its dot is the RMSD."
_CALIBRATION = "Errors that the fit predicts against true ones, for atoms in order of the prediction."


class Judged(Protocol):
    """A held-out particle with what each stage made of it."""

    @property
    def name(self) -> str:
        """Short name, used in file names."""

    @property
    def pair(self) -> Pair:
        """Truth, series and tomograms."""

    @property
    def repaired(self) -> Tomogram:
        """What the network made of the degraded tomogram."""

    @property
    def scores(self) -> Mapping[str, Score]:
        """Score of each stage."""

    @property
    def traces(self) -> Mapping[str, Trace]:
        """Trace of each stage."""


def write_run_report(
    out: Path,
    *,
    summary: Mapping[str, Any],
    figures: Sequence[Figure],
    history: Sequence[Mapping[str, float]],
) -> Path:
    """Draw the training curves, add them to the figures of the particles and write ``out/report.html``."""
    path = out / "figures" / "training.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_training(path, history=history)
    caption = "Loss and atom scores on the validation particles; the best epoch is kept."
    report = out / "report.html"
    write_report(report, summary=summary, figures=[*figures, ("Training", path, caption)])
    return report


def _tilts_about_y(series: TiltSeries) -> NDArray[Any]:
    """(n,) tilts that show in the slice at ky = 0; of those about x it holds only a line."""
    if series.azimuth_deg is None:
        return series.tilt_deg
    about_y = series.azimuth_deg % 180.0 == 0.0
    return series.tilt_deg[about_y] if about_y.any() else series.tilt_deg


def draw_particle(folder: Path, item: Judged) -> list[Figure]:
    """Draw every figure of one held-out particle."""
    folder.mkdir(parents=True, exist_ok=True)
    pair, name = item.pair, item.name
    tomograms = {"degraded": pair.degraded, "repaired": item.repaired, "ideal": pair.ideal}
    slices, fourier = folder / f"{name}_slices.png", folder / f"{name}_fourier.png"
    errors, atoms = folder / f"{name}_errors.png", folder / f"{name}_atoms.png"
    images = folder / f"{name}_series.png"
    draw_series(images, series=pair.series)
    draw_slices(slices, **tomograms, title=name)
    draw_fourier(fourier, **tomograms, tilt_deg=_tilts_about_y(pair.series))
    draw_errors(errors, scores=item.scores)
    draw_atoms(atoms, specimen=pair.specimen, scores=item.scores)
    calibration = folder / f"{name}_calibration.png"
    drawn = draw_calibration(calibration, traces=item.traces, scores=item.scores)
    return [
        (f"{name}: tilt series", images, "Images as recorded, with their tilts."),
        (f"{name}: slices", slices, "Slices through the raw, the repaired and the ideal tomogram."),
        (f"{name}: Fourier slice", fourier, "Power at ky = 0; between the lines no image was recorded."),
        (f"{name}: errors", errors, _ERRORS),
        (f"{name}: atoms", atoms, "True atoms coloured by the error of their partner."),
        *([(f"{name}: calibration", calibration, _CALIBRATION)] if drawn else []),
    ]
