from dataclasses import replace

import numpy as np
import pytest

from picotome.configs.schema import RefinementConfig
from picotome.records import TiltSeries, Trace
from picotome.trace.refinement.checks import find_in_view
from picotome.trace.refinement.refine import refine_trace


@pytest.fixture
def good(make_ball, make_model, make_frame, make_series, make_trace, tilt_deg):
    specimen = make_ball(60, seed=6)
    series = make_series(make_model(specimen, tilt_deg), tilt_deg, make_frame((48, 48)), dose_e_per_A2=1e4)
    return make_trace(specimen), series


@pytest.fixture
def no_work(monkeypatch):
    """Errors come before any fit."""

    def started(*args, **settings):
        raise AssertionError("the long work has begun")

    monkeypatch.setattr("picotome.trace.refinement.refine.fit_images", started)


def refused(trace, series, match, *, elements=("Pt",), **settings):
    with pytest.raises(ValueError, match=match):
        refine_trace(
            trace, series, elements=elements, config=RefinementConfig(**settings), min_distance_A=1.8
        )


def only_images(series, kept):
    return replace(series, images=series.images[kept], tilt_deg=series.tilt_deg[kept])


pytestmark = pytest.mark.usefixtures("no_work")


def test_the_good_case_is_not_refused(good):
    with pytest.raises(AssertionError, match="has begun"):
        refine_trace(*good, elements=["Pt"], config=RefinementConfig(), min_distance_A=1.8)


def test_empty_trace(good):
    _, series = good
    nothing = np.zeros(0)
    refused(Trace(np.zeros((0, 3)), nothing, nothing, nothing), series, "the trace has no atoms")


@pytest.mark.parametrize("name", ["positions_A", "intensities"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_trace_that_is_not_finite(good, name, value):
    trace, series = good
    spoiled = getattr(trace, name).copy()
    spoiled[3] = value
    refused(replace(trace, **{name: spoiled}), series, f"trace.{name} has values that are not finite")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_images_that_are_not_finite(good, value):
    trace, series = good
    images = series.images.copy()
    images[2, 5, 5] = images[7, 0, 0] = value
    refused(trace, replace(series, images=images), r"images \[2, 7\] have values that are not finite")


def test_tilts_that_are_not_finite(good):
    trace, series = good
    refused(
        trace, replace(series, tilt_deg=series.tilt_deg * np.nan), "tilt_deg has values that are not finite"
    )


def test_as_many_tilts_as_images(good):
    trace, series = good
    refused(trace, replace(series, tilt_deg=series.tilt_deg[1:]), r"\(9, 48, 48\) but there are 8 tilts")


@pytest.mark.parametrize("kept", [[0, 8], [0]])
def test_too_few_images(good, kept):
    trace, series = good
    refused(trace, only_images(series, kept), f"{len(kept)} images at different tilts.*at least 3 over 20°")


def test_too_few_different_tilts(good):
    """Many images, but only two angles: the tilt between them could be any."""
    trace, series = good
    twice = TiltSeries(
        np.repeat(series.images[[2, 6]], 4, axis=0), np.repeat(series.tilt_deg[[2, 6]], 4), 0.4, 1e4
    )
    refused(trace, twice, "2 images at different tilts over 60°")


def test_too_small_a_span(good):
    trace, series = good
    refused(trace, replace(series, tilt_deg=series.tilt_deg / 10.0), "9 images at different tilts over 12°")


def test_atoms_outside_the_field_of_view(good):
    trace, series = good
    positions_A = trace.positions_A.copy()
    positions_A[:2, 1] += 20.0
    refused(
        replace(trace, positions_A=positions_A),
        series,
        r"2 of 60 atoms of the trace are outside the field of view \(19.2 × 19.2 Å\)",
    )


def test_the_field_of_view_ends_at_the_edges_of_its_pixels(good):
    """Which are not alike on both sides of the origin: an even axis has one pixel more before it."""
    trace, series = good
    across_A = (-9.79, 9.39, -9.81, 9.41)
    edge = replace(trace, positions_A=np.array([[0.0, y_A, 0.0] for y_A in across_A]))
    assert find_in_view(edge, series).tolist() == [True, True, False, False]


def test_fewer_pixels_with_signal_than_unknowns(good):
    trace, series = good
    many = replace(
        trace,
        **{
            k: np.repeat(getattr(trace, k), 60, axis=0)
            for k in ("positions_A", "intensities", "atomic_numbers", "sigma_A")
        },
    )
    refused(many, series, r"14\d\d\d unknowns \(3600 atoms, 9 images\) but only \d+ pixels with signal")


def test_dark_images(good):
    trace, series = good
    refused(trace, replace(series, images=np.zeros_like(series.images)), "unknowns")


@pytest.mark.parametrize("change", ["shuffled", "mirrored", "turned", "moved", "another"])
def test_trace_and_series_that_do_not_belong_together(good, change, make_ball):
    trace, series = good
    positions_A = {
        "shuffled": np.random.default_rng(0).permuted(trace.positions_A, axis=0),
        "mirrored": trace.positions_A * [-1, 1, 1],
        "turned": trace.positions_A[:, [1, 2, 0]],
        "moved": trace.positions_A + np.array([1.4, 0.7, 1.0]),
        "another": make_ball(60, seed=99).positions_A,
    }[change]
    # Shifts that are free would make up for a move.
    geometry = ("tilt", "turns") if change == "moved" else ("tilt", "turns", "shifts")
    refused(
        replace(trace, positions_A=positions_A),
        series,
        "share no atomic detail with the series.*belong together",
        geometry=geometry,
    )


def test_elements_that_do_not_exist(good):
    refused(*good, "chemical symbols", elements=("Xy",))
