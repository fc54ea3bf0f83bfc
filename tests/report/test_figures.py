"""Every figure is a PNG that shows what it was given, and hard cases do not stop a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from picotome.configs.schema import ScoringConfig
from picotome.geometry import axis_A
from picotome.records import Score, Specimen, TiltSeries, Tomogram, Trace
from picotome.report import figures
from picotome.report.canvas import scale_bar_A
from picotome.report.volumes import wedge_edges
from picotome.trace.scoring import score_trace

VOXEL_A = 0.5
N = 32


def make_specimen(n: int = 40, seed: int = 0) -> Specimen:
    grid = np.stack(np.meshgrid(*[np.arange(-1, 3) * 2.8] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    numbers = np.where(np.arange(n) % 3, 78, 46)
    return Specimen(positions_A=grid[:n] - 1.4, atomic_numbers=numbers, description="a piece of $crystal")


def make_trace(specimen: Specimen, error_A: float, *, lost: int = 0) -> Trace:
    rng = np.random.default_rng(1)
    kept = specimen.positions_A[lost:]
    n = len(kept)
    return Trace(
        positions_A=kept + rng.normal(size=kept.shape) * error_A,
        intensities=rng.normal(10, 1, n),
        atomic_numbers=specimen.atomic_numbers[lost:],
        sigma_A=np.full(n, 0.5),
        uncertainty_pm=np.full((n, 3), 100.0 * error_A),
    )


def make_tomogram(specimen: Specimen, kind: Any, *, sigma_A: float = 0.8) -> Tomogram:
    axis = axis_A(N, VOXEL_A)
    parts = [np.exp(-0.5 * ((axis[:, None] - column) / sigma_A) ** 2) for column in specimen.positions_A.T]
    volume = np.einsum("xi,yi,zi->xyz", *parts).astype(np.float32)
    return Tomogram(volume=volume, voxel_size_A=VOXEL_A, kind=kind)


def make_series(n_images: int = 5, shape: tuple[int, int] = (24, 30)) -> TiltSeries:
    images = np.random.default_rng(2).random((n_images, *shape)).astype(np.float32)
    return TiltSeries(images=images, tilt_deg=np.linspace(-60, 60, n_images), pixel_size_A=0.4)


def make_scores(specimen: Specimen) -> dict[str, Score]:
    return {
        stage: score_trace(make_trace(specimen, error_A, lost=lost), specimen, config=ScoringConfig())
        for stage, error_A, lost in (("raw", 0.08, 3), ("unet", 0.03, 0))
    }


def draw_calibration(path: Path) -> None:
    traces = {"raw": make_trace(SPECIMEN, 0.1), "refined": make_trace(SPECIMEN, 0.02)}
    traces["raw"] = replace(traces["raw"], uncertainty_pm=None)
    scores = {stage: score_trace(trace, SPECIMEN, config=ScoringConfig()) for stage, trace in traces.items()}
    assert figures.draw_calibration(path, traces=traces, scores=scores)


def make_history(n_epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 1.0 / (epoch + 1),
            "validation_loss": 1.1 / (epoch + 1),
            "rmsd_pm": 20.0 / (epoch + 1),
            "recall": 0.9,
            "precision": 0.8,
        }
        for epoch in range(n_epochs)
    ]


SPECIMEN = make_specimen()
TOMOGRAMS = {kind: make_tomogram(SPECIMEN, kind) for kind in ("degraded", "repaired", "ideal")}
NOTHING = Trace(np.zeros((0, 3)), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0))
NOT_KNOWN = replace(
    make_trace(SPECIMEN, 0.1), atomic_numbers=np.zeros(40, dtype=np.int64), intensities=np.full(40, np.nan)
)
NO_MATCH = {"raw": score_trace(NOTHING, SPECIMEN, config=ScoringConfig())}

DRAWINGS: dict[str, Callable[[Path], None]] = {
    "slices": lambda path: figures.draw_slices(path, **TOMOGRAMS, title="a $ b_{ <i>"),
    "fourier": lambda path: figures.draw_fourier(path, **TOMOGRAMS, tilt_deg=np.linspace(-65.0, 65.0, 21)),
    "fourier of a full series": lambda path: figures.draw_fourier(
        path, **TOMOGRAMS, tilt_deg=np.linspace(-90.0, 90.0, 37)
    ),
    "errors": lambda path: figures.draw_errors(path, scores=make_scores(SPECIMEN)),
    "errors of nothing": lambda path: figures.draw_errors(path, scores=NO_MATCH),
    "atoms": lambda path: figures.draw_atoms(path, specimen=SPECIMEN, scores=make_scores(SPECIMEN)),
    "atoms none of them found": lambda path: figures.draw_atoms(path, specimen=SPECIMEN, scores=NO_MATCH),
    "atom alone": lambda path: figures.draw_specimen(path, specimen=make_specimen(1)),
    "calibration": draw_calibration,
    "training": lambda path: figures.draw_training(path, history=make_history(12)),
    "training of one epoch": lambda path: figures.draw_training(path, history=make_history(1)),
    "series": lambda path: figures.draw_series(path, series=make_series()),
    "series of many": lambda path: figures.draw_series(path, series=make_series(90, (12, 12))),
    "specimen": lambda path: figures.draw_specimen(path, specimen=SPECIMEN),
    "tomogram": lambda path: figures.draw_tomogram(path, tomogram=TOMOGRAMS["degraded"]),
    "tomogram that is flat": lambda path: figures.draw_tomogram(
        path, tomogram=Tomogram(np.zeros((16, 20, 24), np.float32), 0.4, "degraded")
    ),
    "trace": lambda path: figures.draw_trace(path, trace=make_trace(SPECIMEN, 0.1)),
    "trace of unknown elements": lambda path: figures.draw_trace(path, trace=NOT_KNOWN),
    "trace of nothing": lambda path: figures.draw_trace(path, trace=NOTHING),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_figure_is_a_png_with_something_on_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    DRAWINGS[name](path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.03
    assert [item.name for item in path.parent.iterdir()] == ["figure.png"], "nothing temporary is left"


def test_every_figure_is_tested() -> None:
    drawn = {f"draw_{name}" for name in ("slices", "fourier", "atoms", "training", "series", "specimen")}
    drawn |= {"draw_tomogram", "draw_trace", "draw_errors", "draw_calibration"}
    assert drawn == set(figures.__all__)


def test_no_calibration_is_drawn_where_nothing_was_predicted(tmp_path: Path) -> None:
    trace = replace(make_trace(SPECIMEN, 0.1), uncertainty_pm=None)
    score = score_trace(trace, SPECIMEN, config=ScoringConfig())
    assert not figures.draw_calibration(tmp_path / "c.png", traces={"raw": trace}, scores={"raw": score})
    assert not list(tmp_path.iterdir())


def test_a_figure_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    small = Tomogram(np.ones((4, 4, 4), np.float32), VOXEL_A, "ideal")
    with pytest.raises(ValueError, match=r"tomograms have shapes .*\(4, 4, 4\)"):
        figures.draw_slices(path, degraded=TOMOGRAMS["degraded"], repaired=small, ideal=small, title="")
    assert path.read_bytes() == b"old"


def test_slices_go_through_the_atom_and_keep_their_orientation(tmp_path: Path) -> None:
    place_A = np.array([-2.0, 2.0, 4.0])
    one = Specimen(positions_A=place_A[None], atomic_numbers=np.array([78]))
    figures.draw_tomogram(tmp_path / "a.png", tomogram=make_tomogram(one, "ideal"))
    pixels = imread(tmp_path / "a.png")[..., :3].mean(axis=2)
    black = pixels < 0.02
    rows, columns = (np.flatnonzero(black.mean(axis=axis) > 0.4) for axis in (1, 0))
    panels = np.split(columns, np.flatnonzero(np.diff(columns) > 20) + 1)
    assert len(panels) == 3
    for panel, (across, up) in zip(panels, ((0, 1), (0, 2), (1, 2)), strict=True):
        # Without the lower part, where the scale bar is.
        shown = pixels[rows[0] + 3 : (rows[0] + rows[-1]) // 2, panel[0] + 3 : panel[-1] - 3]
        down, right = np.argwhere(shown > 0.9).mean(axis=0) + 3
        edge_A = N * VOXEL_A
        right_A = right / len(panel) * edge_A - (edge_A + VOXEL_A) / 2
        up_A = (1 - down / (rows[-1] - rows[0] + 1)) * edge_A - (edge_A + VOXEL_A) / 2
        assert right_A == pytest.approx(place_A[across], abs=0.3)
        assert up_A == pytest.approx(place_A[up], abs=0.3)


def test_the_edges_of_the_wedge_are_where_the_outer_images_measure() -> None:
    tilt_deg = np.arange(-40.0, 71.0, 5.0)
    for (k_x, k_z), tilt in zip(wedge_edges(tilt_deg), (-40.0, 70.0), strict=True):
        # A plane wave across x' of that tilt: its only Fourier component lies on the edge.
        k = 0.25
        x, z = np.meshgrid(axis_A(64, VOXEL_A), axis_A(64, VOXEL_A), indexing="ij")
        across = x * np.cos(np.deg2rad(tilt)) + z * np.sin(np.deg2rad(tilt))
        wave = np.cos(2 * np.pi * k * across) * np.hanning(64)[:, None] * np.hanning(64)
        power = np.abs(np.fft.fftshift(np.fft.fft2(wave))) ** 2
        frequency = np.fft.fftshift(np.fft.fftfreq(64, VOXEL_A))
        i, j = np.unravel_index(np.argmax(power), power.shape)
        cross = frequency[i] * k_z - frequency[j] * k_x
        assert abs(cross) < 0.02, "the brightest component lies on the edge"
    assert wedge_edges(np.arange(-90.0, 90.0, 5.0)) == []


def test_the_scale_bar_is_a_round_third_of_the_picture() -> None:
    extents_A = np.geomspace(4.0, 2000.0, 200)
    lengths = np.array([scale_bar_A(extent) for extent in extents_A])
    assert np.all(lengths <= 0.35 * extents_A)
    assert np.all(lengths > 0.13 * extents_A)


def test_matplotlib_settings_and_pyplot_are_left_alone(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.draw_training(tmp_path / "a.png", history=make_history(3))
    assert dict(matplotlib.rcParams) == before


def test_importing_the_figures_draws_in_no_heavy_library() -> None:
    import subprocess
    import sys

    heavy = ("matplotlib", "torch", "abtem", "dask")
    code = f"import sys, picotome.report.figures; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
