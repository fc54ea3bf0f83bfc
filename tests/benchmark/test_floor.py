"""What is left without noise: next to nothing where the image model is right, and more where it is not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from picotome.benchmark.floor import FLOOR_KEYS, column_overlap, depth_A, find_floor, no_floor
from picotome.benchmark.page import floor_table
from picotome.datasets.series import read_series
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, TiltSeries
from picotome.report.floor import draw_floor
from picotome.trace.surface import find_surface


@pytest.fixture(scope="module")
def scene(tiny_plan):
    return tiny_plan.scenes[0]


@pytest.fixture(scope="module")
def made(scene, series_cache):
    return read_series(scene.series, series_cache)


def test_a_run_writes_the_floor(finished):
    out, result = finished
    assert json.loads((out / "floor.json").read_text()) == result.floors
    assert [floor["imperfection"] for floor in result.floors] == ["none", "middle"]
    for floor in result.floors:
        assert set(floor) == set(FLOOR_KEYS)
        # The linear engine draws what the model draws, but for the shape of its atoms.
        assert 0.0 < floor["floor_pm"] < 1.0
        assert floor["floor_pm"] ** 2 == pytest.approx(sum(pm**2 for pm in floor["floor_axis_pm"]))
        assert floor["floor_pm"] ** 2 == pytest.approx(np.mean(np.square(floor["error_pm"])), rel=1e-2)
    assert imread(out / "floor.png").shape[2] == 4


def test_images_that_no_sum_of_spots_explains_have_a_floor(scene, made):
    """Light comes and goes over 5 Å along x, in every other image four times as much."""
    specimen, clean = made
    wave = np.sin(2.0 * np.pi * 0.4 * np.arange(40) / 5.0)[:, None]
    images = clean.images * (1.0 + 0.05 * wave)
    images[::2] = clean.images[::2] * (1.0 + 0.2 * wave)
    spoiled = find_floor(scene, specimen, replace(clean, images=images.astype(np.float32)))
    assert spoiled["floor_pm"] > 2.0 * find_floor(scene, specimen, clean)["floor_pm"]
    misfit = np.array(spoiled["misfit_image"])
    assert misfit[::2].min() > misfit[1::2].max()


def test_overlap_counts_the_atoms_of_a_column():
    """A row of four along the beam: each has three others in front or behind, and none from the side."""
    row = Specimen(np.array([[0.0, 0.0, z] for z in (-6.0, -2.0, 2.0, 6.0)]), np.full(4, 78))
    series = TiltSeries(np.zeros((2, 8, 8), np.float32), np.array([0.0, 90.0]), 0.4)
    assert column_overlap(row, series).tolist() == [3.0, 0.0]
    # The true angles count, not the nominal ones.
    turned = replace(row, positions_A=row.positions_A @ tilt_rotations(np.array([20.0]))[0])
    wrong = replace(series, truth={"tilt_error_deg": np.array([[0.0, 20.0, 0.0], [0.0, 0.0, 0.0]])})
    assert column_overlap(turned, wrong).tolist() == [3.0, 0.0]


def test_depth_is_zero_at_the_surface(made):
    specimen, _ = made
    surface = find_surface(specimen.positions_A)
    depth = depth_A(specimen.positions_A, surface)
    assert (depth[surface] == 0.0).all() and (depth[~surface] > 1.5).all()


def test_a_scene_without_images_is_a_line(scene, finished, tmp_path):
    _, result = finished
    header, lines = floor_table([*result.floors, no_floor(scene, note="the box is too small")])
    assert "the box is too small" in lines[-1]
    assert {len(line) for line in lines} == {len(header)}
    draw_floor(tmp_path / "one.png", floors=result.floors[:1])
    draw_floor(tmp_path / "two.png", floors=result.floors)
    assert not np.array_equal(imread(tmp_path / "one.png"), imread(tmp_path / "two.png"))
