from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from picotome.configs.schema import RefinementConfig
from picotome.geometry import tilt_rotations
from picotome.trace.refinement.refine import refine_trace

GEOMETRY = ("tilt", "turns", "shifts")
SYMBOLS = ("Pd", "Pt")


def refine(trace, series, *, progress=None, elements=SYMBOLS, **settings):
    config = RefinementConfig(**settings)
    return refine_trace(
        trace, series, elements=elements, config=config, min_distance_A=1.8, progress=progress
    )


@pytest.fixture
def case(make_ball, make_model, make_frame, make_series, make_trace, tilt_deg):
    """Truth, series and trace; everything is wrong by default."""

    def make(*, shape=(40, 40), dose_e_per_A2=1e4, reach=6, n_atoms=40, **errors):
        errors = errors or {"rotation_deg": 0.3, "shift_A": 0.2, "gain": 0.05}
        specimen = make_ball(n_atoms, numbers=(46, 78), seed=12)
        truth = make_model(specimen, tilt_deg, **errors)
        series = make_series(truth, tilt_deg, make_frame(shape, reach), dose_e_per_A2=dose_e_per_A2)
        return truth, series, make_trace(specimen, error_A=0.1)

    return make


def in_unit(trace, factor):
    return replace(trace, intensities=trace.intensities * factor)


def in_order(refined, truth):
    """(n, 3) found atoms, and their index, in the order of the true ones."""
    from scipy.spatial import cKDTree

    index = cKDTree(refined.trace.positions_A).query(truth.positions_A.numpy())[1]
    assert len(set(index.tolist())) == len(index) == len(refined.trace.positions_A)
    return refined.trace.positions_A[index], index


def test_atoms_and_geometry_are_found(case, rigid_error):
    truth, series, trace = case(dose_e_per_A2=1e5)
    refined = refine(trace, series, geometry=GEOMETRY)
    found_A, index = in_order(refined, truth)
    error_pm = 100 * np.linalg.norm(rigid_error(found_A, truth.positions_A.numpy()), axis=1)
    assert np.sqrt(np.mean(error_pm**2)) < 2.0
    numbers = np.where(truth.group.numpy() == 0, 46, 78)
    assert (refined.trace.atomic_numbers[index] == numbers).all()
    assert refined.trace.uncertainty_pm.shape == (40, 3) and refined.trace.support.shape == (40,)
    assert (np.diff(refined.trace.intensities) <= 0).all()
    # What it learned of the images, up to a common turn.
    learned = refined.images
    found = Rotation.from_matrix(tilt_rotations(series.tilt_deg, learned.tilt_error_deg))
    left = found.inv() * Rotation.from_matrix(truth.rotations.numpy())
    left_deg = np.rad2deg((left * left.mean().inv()).as_rotvec())
    assert np.sqrt(np.mean(left_deg**2)) < 0.1
    ratio = learned.gain / truth.gain.numpy()
    assert np.std(ratio) < 0.01 and np.mean(np.log(learned.gain)) == pytest.approx(0.0, abs=1e-9)
    assert learned.core_sigma_A == pytest.approx(0.4, abs=0.01)
    assert learned.chi2 == pytest.approx(1.0, abs=0.15)
    assert learned.misfit < 0.02


def test_geometry_that_is_not_refined_costs_precision(case, rigid_error):
    truth, series, trace = case(dose_e_per_A2=1e5)
    errors = []
    for geometry in ((), GEOMETRY):
        found_A, _ = in_order(refine(trace, series, geometry=geometry), truth)
        errors.append(np.sqrt(np.mean(rigid_error(found_A, truth.positions_A.numpy()) ** 2)))
    assert errors[1] < 0.5 * errors[0]


def test_focus_on_either_side_is_found(case, rigid_error):
    truth, series, trace = case(dose_e_per_A2=1e5, defocus_A=20.0, shift_A=0.2)
    learned = refine(trace, series, geometry=("shifts", "defocus")).images
    clear = truth.defocus_A.abs().numpy() > 10.0
    assert clear.sum() >= 4
    assert (learned.defocus_A * truth.defocus_A.numpy() > 0)[clear].all()


def test_what_the_model_misses_is_not_taken_for_the_detectors_noise(case, rigid_error):
    """Uneven light of a support, at a dose at which counting noise is none."""
    truth, series, trace = case(dose_e_per_A2=None, defocus_A=20.0, shift_A=0.2, rotation_deg=0.3)
    slope = np.linspace(0.0, 0.1, 40)[:, None] * series.images.max()
    series = replace(series, images=series.images + slope.astype(np.float32), dose_e_per_A2=1e8)
    refined = refine(trace, series, geometry=(*GEOMETRY, "defocus"), change_atoms=False)
    found_A, _ = in_order(refined, truth)
    assert np.sqrt(np.mean(rigid_error(found_A, truth.positions_A.numpy()) ** 2)) < 0.08
    assert refined.images.misfit > 0.05


@pytest.mark.parametrize("shape", [(41, 41), (39, 44), (36, 41)])
def test_other_sizes_give_the_same_atoms(case, shape):
    """Without noise, and with windows that hold the whole probe as the images do."""
    settings = {"geometry": ("shifts",), "change_atoms": False, "n_steps": 60}
    positions_A = []
    for size in ((40, 40), shape):
        truth, series, trace = case(shape=size, dose_e_per_A2=None, shift_A=0.2)
        series = replace(series, dose_e_per_A2=1e6)
        positions_A.append(in_order(refine(trace, series, **settings), truth)[0])
    assert np.abs(positions_A[0] - positions_A[1]).max() < 1e-4


def test_a_peak_that_no_image_shows_leaves(case):
    """As if it had never been there, and counted; one in a hundred, and the trace is of something else."""
    _, series, trace = case(shape=(56, 56), n_atoms=110)
    astray = replace(
        trace,
        positions_A=np.vstack([trace.positions_A, [0.0, 12.0, 0.0]]),
        intensities=np.append(trace.intensities, trace.intensities.mean()),
        atomic_numbers=np.append(trace.atomic_numbers, 46),
        sigma_A=np.append(trace.sigma_A, 0.5),
    )
    without, refined = refine(trace, series), refine(astray, series)
    np.testing.assert_array_equal(refined.trace.positions_A, without.trace.positions_A)
    assert refined.images.n_removed == without.images.n_removed + 1


def test_the_same_twice_is_the_same_to_the_last_bit(case):
    _, series, trace = case()
    before = trace.positions_A.copy(), series.images.copy()
    one, two = (refine(trace, series, geometry=GEOMETRY) for _ in range(2))
    for record in ("trace", "images"):
        for name, value in vars(getattr(one, record)).items():
            np.testing.assert_array_equal(value, getattr(getattr(two, record), name))
    np.testing.assert_array_equal(trace.positions_A, before[0])
    np.testing.assert_array_equal(series.images, before[1])


def test_unit_of_imported_images_does_not_matter(case):
    """Unknown dose and another unit: the noise is estimated, the atoms are the same."""
    truth, series, trace = case(shift_A=0.2)
    unknown = replace(series, dose_e_per_A2=None)
    known_A, one_A, two_A = (
        in_order(refine(t, s, geometry=("shifts",)), truth)[0]
        for t, s in (
            (trace, series),
            (trace, unknown),
            (in_unit(trace, 500.0), replace(unknown, images=unknown.images * 500.0)),
        )
    )
    assert np.abs(one_A - two_A).max() < 1e-4
    assert np.sqrt(np.mean((one_A - known_A) ** 2)) < 0.003


def test_pedestal_of_imported_images_is_background(case, rigid_error):
    truth, series, trace = case(shift_A=0.2)
    imported = replace(series, images=series.images * 500.0 + 70.0, dose_e_per_A2=None)
    refined = refine(in_unit(trace, 500.0), imported, geometry=("shifts",))
    found_A, _ = in_order(refined, truth)
    assert np.sqrt(np.mean(rigid_error(found_A, truth.positions_A.numpy()) ** 2)) < 0.03
    assert refined.images.background == pytest.approx(np.full(9, 70.5), abs=0.5)


def test_one_brightness_per_element(case, rigid_error):
    truth, series, trace = case(shift_A=0.1)
    refined = refine(trace, series, geometry=("shifts",), brightness="element", change_atoms=False)
    found_A, index = in_order(refined, truth)
    assert len(np.unique(np.round(refined.trace.intensities, 12))) == 2
    assert np.sqrt(np.mean(rigid_error(found_A, truth.positions_A.numpy()) ** 2)) < 0.04
    assert (refined.trace.atomic_numbers[index] == np.where(truth.group.numpy() == 0, 46, 78)).all()


def test_progress_rises_to_its_end(case):
    _, series, trace = case()
    seen = []
    refine(trace, series, geometry=GEOMETRY, progress=lambda done, most: seen.append((done, most)))
    done = [d for d, _ in seen]
    assert done == sorted(done) and seen[-1][0] == seen[-1][1]
    assert len({most for _, most in seen}) == 1
