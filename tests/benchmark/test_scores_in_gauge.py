"""What no image can see is no error; everything else is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from picotome.benchmark.gauge import errors_in_gauge, score_in_gauge, tilt_error_left_deg
from picotome.configs.schema import ScoringConfig
from picotome.geometry import tilt_rotations
from picotome.records import ImageFit, Specimen, TiltSeries, Trace
from picotome.trace.scoring import score_trace

CONFIG = ScoringConfig()
NUMBERS = ("rmsd_pm", "median_pm", "surface_rmsd_pm", "core_rmsd_pm")


@pytest.fixture(params=range(3))
def found(request):
    """A specimen of two elements, and a trace that is 10 pm off along each axis and lacks two atoms."""
    rng = np.random.default_rng(request.param)
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3) * 2.8] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    true_A = grid + rng.normal(scale=0.05, size=grid.shape)
    numbers = np.where(rng.random(len(grid)) < 0.5, 28, 78)
    kept = np.arange(2, len(grid))
    trace_A = (true_A + rng.normal(scale=0.1, size=grid.shape))[kept]
    ones = np.ones(len(kept))
    return Specimen(true_A, numbers), Trace(trace_A, ones, numbers[kept], 0.4 * ones)


def moved(trace, *, turn_deg=(0.0, 0.0, 0.0), shift_A=(0.0, 0.0, 0.0)):
    turn = Rotation.from_rotvec(turn_deg, degrees=True)
    return replace(trace, positions_A=turn.apply(trace.positions_A) + shift_A)


def numbers_of(errors):
    return [getattr(errors, key) for key in NUMBERS] + list(errors.rmsd_species_pm.values())


def test_a_rigid_motion_is_no_error_where_the_geometry_is_free(found):
    specimen, trace = found
    score, errors = score_in_gauge(trace, specimen, config=CONFIG, gauge="rigid")
    shifted = moved(trace, turn_deg=(0.9, -0.6, 1.2), shift_A=(0.1, -0.2, 0.3))
    score_there, errors_there = score_in_gauge(shifted, specimen, config=CONFIG, gauge="rigid")
    np.testing.assert_allclose(numbers_of(errors_there), numbers_of(errors), rtol=1e-9)
    assert (score_there.recall, score_there.precision) == (score.recall, score.precision)
    assert score.recall == (len(specimen.positions_A) - 2) / len(specimen.positions_A)


def test_a_turn_is_an_error_where_the_geometry_is_known(found):
    specimen, trace = found
    _, errors = score_in_gauge(trace, specimen, config=CONFIG, gauge="translation")
    _, shifted = score_in_gauge(
        moved(trace, shift_A=(0.1, -0.2, 0.3)), specimen, config=CONFIG, gauge="translation"
    )
    np.testing.assert_allclose(numbers_of(shifted), numbers_of(errors), rtol=1e-9)
    _, turned = score_in_gauge(
        moved(trace, turn_deg=(0.0, 0.0, 2.0)), specimen, config=CONFIG, gauge="translation"
    )
    # 2° at the 4.8 Å rms of the atoms' distance from the axis.
    lever_A = np.sqrt(np.square(specimen.positions_A[:, :2]).sum(axis=1).mean())
    assert turned.rmsd_pm**2 - errors.rmsd_pm**2 == pytest.approx(
        (np.deg2rad(2.0) * lever_A * 100) ** 2, rel=0.2
    )


def test_the_numbers_are_those_of_the_score(found):
    specimen, trace = found
    trace = moved(trace, turn_deg=(0.9, -0.6, 1.2), shift_A=(0.1, -0.2, 0.3))
    score = score_trace(trace, specimen, config=CONFIG)
    plain = errors_in_gauge(trace, specimen, score, gauge="translation")
    for key in NUMBERS:
        assert getattr(plain, key) == pytest.approx(getattr(score, key))
    assert plain.rmsd_species_pm == pytest.approx(score.rmsd_species_pm)
    assert errors_in_gauge(trace, specimen, score, gauge="rigid").rmsd_pm == pytest.approx(
        score.rigid_rmsd_pm
    )


def test_a_turn_that_hides_atoms_is_taken_back_before_they_are_counted(found):
    specimen, trace = found
    _, errors = score_in_gauge(trace, specimen, config=CONFIG, gauge="rigid")
    turned = moved(trace, turn_deg=(0.0, 6.0, 0.0))
    assert score_trace(turned, specimen, config=CONFIG).recall < 0.9
    score, there = score_in_gauge(turned, specimen, config=CONFIG, gauge="rigid")
    assert score.recall == (len(specimen.positions_A) - 2) / len(specimen.positions_A)
    assert there.rmsd_pm == pytest.approx(errors.rmsd_pm)


@pytest.mark.parametrize("gauge", ["translation", "rigid"])
@pytest.mark.parametrize("n_found", [0, 1, 2])
def test_too_few_atoms_have_no_error_or_a_finite_one(found, gauge, n_found):
    specimen, trace = found
    few = replace(
        trace, **{key: getattr(trace, key)[:n_found] for key in ("positions_A", "intensities", "sigma_A")}
    )
    few = replace(few, atomic_numbers=trace.atomic_numbers[:n_found])
    score, errors = score_in_gauge(few, specimen, config=CONFIG, gauge=gauge)
    assert score.recall == n_found / len(specimen.positions_A)
    assert np.isnan(errors.rmsd_pm) == (n_found == 0 or gauge == "rigid")


def image_fit(rotations, tilt_deg):
    errors = rotations @ np.swapaxes(tilt_rotations(tilt_deg), 1, 2)
    nothing = np.zeros(len(tilt_deg))
    return ImageFit(
        tilt_error_deg=Rotation.from_matrix(errors).as_euler("xyz", degrees=True),
        shift_error_A=np.zeros((len(tilt_deg), 2)),
        defocus_A=nothing,
        gain=nothing + 1,
        background=nothing,
        core_sigma_A=0.4,
        tail_sigma_A=1.0,
        tail_fraction=0.1,
        spread=0.0,
        misfit=0.0,
        chi2=1.0,
        n_added=0,
        n_removed=0,
        n_steps=1,
    )


@pytest.fixture
def series():
    tilt_deg = np.linspace(-65, 65, 41)
    truth = {"tilt_error_deg": np.random.default_rng(4).normal(scale=0.6, size=(41, 3))}
    return TiltSeries(np.zeros((41, 2, 2)), tilt_deg, 0.4, truth=truth)


@pytest.mark.parametrize("turn_deg", [(0.0, 0.0, 0.0), (1.0, -2.0, 0.5)])
@pytest.mark.parametrize("left_deg", [0.0, 0.2])
def test_a_common_turn_of_the_specimen_is_no_tilt_error(series, turn_deg, left_deg):
    true = tilt_rotations(series.tilt_deg, series.truth["tilt_error_deg"])
    common = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    error_deg = np.random.default_rng(5).normal(scale=left_deg, size=(41, 3))
    errors = Rotation.from_rotvec(error_deg, degrees=True).as_matrix()
    found = image_fit(errors @ true @ common, series.tilt_deg)
    expected = left_deg * np.sqrt(1 - 1 / 41)
    assert tilt_error_left_deg(found, series) == pytest.approx(expected, rel=0.15, abs=1e-9)


def test_nominal_angles_leave_the_whole_error(series):
    nominal = image_fit(tilt_rotations(series.tilt_deg), series.tilt_deg)
    assert tilt_error_left_deg(nominal, series) == pytest.approx(0.6, rel=0.15)
