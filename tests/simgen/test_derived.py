"""Many series from one simulation: what is drawn later must not be told from what was simulated so."""

import numpy as np
import pytest

from picotome.configs import load_recipe
from picotome.configs.imaging import AcquisitionConfig, SimulationConfig
from picotome.geometry import tilt_rotations
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.derived import choose_images, derive_series, noise_free, shift_images, tilt_errors_deg
from picotome.simgen.engines import ENGINES
from picotome.simgen.particles import build_specimen

_RECIPE = load_recipe("smoke", ["optics.abtem={}"])
_VOLUME, _OPTICS = _RECIPE.volume, _RECIPE.optics
_WIDE = SimulationConfig(tilt_min_deg=-70, tilt_max_deg=70, tilt_step_deg=2)


@pytest.fixture(scope="module")
def specimen():
    return build_specimen(_RECIPE.specimens[0], volume=_VOLUME, rng=stream(1, 0, "build"))


def simulate(specimen, acquisition, *, engine="linear", optics=_OPTICS, index=0):
    return simulate_series(
        specimen, engine=engine, volume=_VOLUME, optics=optics, acquisition=acquisition, seed=3, index=index
    )


def derive(simulated, specimen, acquisition, *, index=1):
    return derive_series(simulated, specimen, volume=_VOLUME, acquisition=acquisition, seed=3, index=index)


def test_a_series_at_simulated_tilts_is_what_the_engine_makes_of_them(specimen):
    plan = AcquisitionConfig(tilt_min_deg=-60, tilt_max_deg=60, n_tilts=7, dose_e_per_A2=None)
    derived = derive(simulate(specimen, noise_free(plan, _WIDE)), specimen, plan)
    direct = simulate(specimen, plan, index=1)
    np.testing.assert_array_equal(derived.images, direct.images)
    np.testing.assert_allclose(derived.tilt_deg, direct.tilt_deg, atol=1e-12)
    assert np.abs(derived.truth["tilt_error_deg"]).max() < 1e-12


def test_what_is_recorded_explains_the_images(specimen):
    """With every error on, the engine at the recorded truth makes the derived images again."""
    plan = AcquisitionConfig(
        tilt_min_deg=-60,
        tilt_max_deg=60,
        n_tilts=9,
        dose_e_per_A2=None,
        tilt_error_rms_deg=0.5,
        shift_error_rms_A=0.4,
        defocus_rms_A=10,
        gain_rms=0.1,
        background=0.05,
    )
    series = derive(simulate(specimen, noise_free(plan, _WIDE)), specimen, plan)
    truth = series.truth
    direct = ENGINES["linear"](
        specimen,
        rotations=tilt_rotations(series.tilt_deg, truth["tilt_error_deg"]),
        shifts_A=truth["shift_error_A"],
        defocus_A=truth["defocus_A"],
        volume=_VOLUME,
        optics=_OPTICS,
        rng=stream(3, 0, "engine"),
    )
    recorded = (series.images - truth["background"][:, None, None]) / truth["gain"][:, None, None]
    assert np.abs(truth["shift_error_A"]).max() > 0.5
    assert np.ptp(truth["defocus_A"]) > 5
    assert np.linalg.norm(recorded - direct) < 5e-3 * np.linalg.norm(direct)


def test_errors_are_as_large_as_asked_and_told_tilts_lie_near_the_plan(specimen):
    plan = AcquisitionConfig(
        tilt_min_deg=-65, tilt_max_deg=65, n_tilts=21, tilt_error_rms_deg=0.3, dose_e_per_A2=None
    )
    simulated = simulate(specimen, noise_free(plan, _WIDE))
    planned_deg = np.linspace(-65, 65, 21)
    errors, strayed = [], []
    for index in range(40):
        series = derive(simulated, specimen, plan, index=index)
        errors.append(series.truth["tilt_error_deg"][:, 1])
        strayed.append(series.tilt_deg - planned_deg)
    rms_deg = np.sqrt(np.mean(np.square(errors)))
    # 840 normal numbers: their rms is known to 2.4 %.
    assert rms_deg == pytest.approx(0.3, rel=0.08)
    # Half a step is 1°, but simulated tilts err, too.
    assert np.abs(strayed).max() < 2.0
    assert np.sqrt(np.mean(np.square(strayed))) == pytest.approx(2.0 / np.sqrt(12.0), rel=0.3)


def test_a_wedge_may_point_anywhere_within_the_simulation(specimen):
    plan = AcquisitionConfig(
        tilt_min_deg=-50, tilt_max_deg=50, n_tilts=11, tilt_offset_deg=(-20, 20), dose_e_per_A2=None
    )
    simulated = simulate(specimen, noise_free(plan, _WIDE))
    middles_deg = []
    for index in range(20):
        series = derive(simulated, specimen, plan, index=index)
        drawn_deg = np.linspace(-50, 50, 11) + simulate(specimen, plan, index=index).tilt_deg[0] + 50
        assert np.abs(series.tilt_deg - drawn_deg).max() <= 1.0 + 1e-9
        middles_deg.append(series.tilt_deg.mean())
    assert min(middles_deg) < -12 and max(middles_deg) > 12


@pytest.mark.parametrize("engine", ["linear", pytest.param("prism", marks=pytest.mark.slow)])
def test_a_shifted_image_is_that_of_the_shifted_specimen(specimen, engine):
    shifts_A = np.array([[0.37, -0.61]])
    optics = load_recipe("smoke").optics
    options = {"volume": _VOLUME, "optics": optics, "defocus_A": np.zeros(1)}
    rotations = tilt_rotations([-20.0])
    still, moved = (
        ENGINES[engine](specimen, rotations=rotations, shifts_A=s, rng=stream(0, 0, "engine"), **options)
        for s in (0.0 * shifts_A, shifts_A)
    )
    found = shift_images(still, shifts_A=shifts_A, pixel_size_A=_VOLUME.voxel_size_A)
    assert np.linalg.norm(found - moved) < 5e-3 * np.linalg.norm(moved)
    assert np.linalg.norm(still - moved) > 0.2 * np.linalg.norm(moved)


def test_shifts_do_not_wrap_and_zero_shifts_change_no_bit():
    images = np.zeros((1, 16, 16), dtype=np.float32)
    images[0, 14:, 5] = 1.0
    assert shift_images(images, shifts_A=np.zeros((1, 2)), pixel_size_A=0.5) is images
    moved = shift_images(images, shifts_A=np.array([[2.0, 0.0]]), pixel_size_A=0.5)
    assert moved[0, :10].max() < 0.05
    back = shift_images(images, shifts_A=np.array([[-2.0, 0.0]]), pixel_size_A=0.5)
    np.testing.assert_allclose(back[0, 10:12, 5], 1.0, atol=1e-4)


def test_no_image_is_taken_twice():
    chosen = choose_images(np.array([0.0, 2.0, 4.0]), wanted_deg=np.array([1.9, 2.1]))
    assert len(set(chosen.tolist())) == 2
    assert 1 in chosen
    with pytest.raises(ValueError, match="tilt_step_deg"):
        choose_images(np.array([0.0]), wanted_deg=np.array([0.0, 1.0]))


def test_told_tilts_and_errors_compose_to_the_true_rotations():
    rng = stream(0, 0, "turns")
    tilt_deg, error_deg = rng.uniform(-70, 70, 30), rng.normal(size=(30, 3))
    told_deg = tilt_deg + rng.normal(size=30)
    true = tilt_rotations(tilt_deg, error_deg)
    found = tilt_rotations(told_deg, tilt_errors_deg(true, tilt_deg=told_deg))
    np.testing.assert_allclose(found, true, atol=1e-12)
