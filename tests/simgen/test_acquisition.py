import numpy as np
import pytest

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.geometry import axis_A
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.detection import add_counting_noise, draw_dose, draw_gain
from picotome.simgen.exposures import (
    Imperfection,
    draw_defocus_error,
    draw_geometry_errors,
    draw_imperfection,
)

VOLUME = VolumeConfig(n_voxels=48, voxel_size_A=0.4)
OPTICS = OpticsConfig()
BAD = Imperfection(tilt_error_rms_deg=0.3, shift_error_rms_A=0.2, defocus_rms_A=15.0, gain_rms=0.1)
PT = Specimen(positions_A=np.array([[0.0, 0.0, 4.0]]), atomic_numbers=np.array([78]))


def series(specimen=PT, seed=1, index=0, engine="linear", optics=OPTICS, progress=None, **acquisition):
    return simulate_series(
        specimen,
        engine=engine,
        volume=VOLUME,
        optics=optics,
        acquisition=AcquisitionConfig(**{"n_tilts": 5, "dose_e_per_A2": None, **acquisition}),
        seed=seed,
        index=index,
        progress=progress,
    )


def centroid_A(image):
    # Only the core of the peak: its tails reach beyond the field of view.
    axis = axis_A(len(image), VOLUME.voxel_size_A)
    core = np.clip(image - 0.1 * image.max(), 0, None)
    return np.array([core.sum(axis=1) @ axis, core.sum(axis=0) @ axis]) / core.sum()


def test_atom_above_the_axis_moves_to_positive_x_at_positive_tilt():
    result = series(tilt_min_deg=-60, tilt_max_deg=60)
    found = np.array([centroid_A(image) for image in result.images])
    np.testing.assert_allclose(found[:, 0], 4.0 * np.sin(np.deg2rad(result.tilt_deg)), atol=0.02)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=0.02)


def test_images_show_the_geometry_errors_that_truth_reports():
    clean = series()
    result = series(tilt_error_rms_deg=3.0, shift_error_rms_A=0.5)
    shift, error = result.truth["shift_error_A"], np.deg2rad(result.truth["tilt_error_deg"])
    moved = np.array([centroid_A(image) for image in result.images])
    moved -= np.array([centroid_A(image) for image in clean.images])
    z = 4.0 * np.cos(np.deg2rad(result.tilt_deg))
    x = 4.0 * np.sin(np.deg2rad(result.tilt_deg))
    # To first order a rotation by e moves r by e × r.
    np.testing.assert_allclose(moved[:, 0], shift[:, 0] + error[:, 1] * z, atol=0.05)
    np.testing.assert_allclose(moved[:, 1], shift[:, 1] + error[:, 2] * x - error[:, 0] * z, atol=0.05)
    assert np.abs(moved).max() > 0.3


def test_geometry_errors_have_the_stated_rms():
    tilts, shifts = draw_geometry_errors(BAD, 1000, np.random.default_rng(3))
    np.testing.assert_allclose(tilts.std(axis=0), 0.3, rtol=0.1)
    np.testing.assert_allclose(shifts.std(axis=0), 0.2, rtol=0.1)


def test_counting_noise_has_the_mean_and_variance_of_its_dose():
    expected, dose, pixel = 0.02, 3000.0, 0.4
    noisy = add_counting_noise(
        np.full((400, 400), expected), dose_e_per_A2=dose, pixel_size_A=pixel, rng=np.random.default_rng(0)
    )
    counts = noisy * dose * pixel**2
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)
    variance = expected / (dose * pixel**2)
    n = noisy.size
    assert abs(noisy.mean() - expected) < 5 * np.sqrt(variance / n)
    assert abs(noisy.var() / variance - 1) < 5 * np.sqrt(2 / n) + 0.005


def test_noise_comes_on_top_of_the_noise_free_images():
    clean, noisy = series(), series(dose_e_per_A2=1e4)
    counted = clean.images > 5 / (1e4 * 0.16)
    z = ((noisy.images - clean.images) / np.sqrt(clean.images / (1e4 * 0.16)))[counted]
    assert len(z) > 50
    assert abs(z.mean()) < 5 / np.sqrt(len(z))
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2.2 / len(z))
    assert clean.dose_e_per_A2 is None
    assert noisy.dose_e_per_A2 == 1e4


def test_dose_is_drawn_log_uniform():
    config = AcquisitionConfig(dose_e_per_A2=(1e2, 1e4))
    rng = np.random.default_rng(0)
    doses = np.array([draw_dose(config, rng) for _ in range(2000)])
    assert doses.min() >= 1e2
    assert doses.max() <= 1e4
    assert abs((doses < 1e3).mean() - 0.5) < 0.05


def test_background_is_a_fraction_of_the_brightest_pixel():
    clean, lifted = series(), series(background=(0.1, 0.1))
    np.testing.assert_allclose(lifted.images - clean.images, 0.1 * clean.images.max(), rtol=1e-3)
    np.testing.assert_allclose(lifted.truth["background"], np.full(5, 0.1 * clean.images.max()), rtol=1e-6)
    np.testing.assert_array_equal(clean.truth["background"], np.zeros(5))


def test_an_image_is_gain_times_atoms_plus_background():
    clean, seen = series(), series(background=(0.0, 0.1), gain_rms=0.2)
    gain, background = seen.truth["gain"][:, None, None], seen.truth["background"][:, None, None]
    np.testing.assert_allclose(seen.images, gain * clean.images + background, rtol=1e-5)
    assert np.ptp(background) > 0.01 * background.mean() > 0


def test_defocus_is_drawn_around_the_set_value_and_shown():
    optics = OPTICS.model_copy(update={"defocus_A": 12.0})
    many = draw_defocus_error(BAD, 1000, np.random.default_rng(3))
    np.testing.assert_allclose([many.mean(), many.std()], [0.0, 15.0], atol=1.5)
    np.testing.assert_array_equal(series(optics=optics).truth["defocus_A"], 12.0)
    np.testing.assert_array_equal(series().truth["defocus_A"], 0.0)
    result = series(optics=optics, defocus_rms_A=15.0)
    defocus_A = result.truth["defocus_A"]
    assert defocus_A.std() > 3.0
    for i in range(len(defocus_A)):
        set_so = series(optics=OPTICS.model_copy(update={"defocus_A": defocus_A[i]})).images[i]
        np.testing.assert_allclose(result.images[i], set_so, atol=0.01 * set_so.max())
    assert np.ptp(result.images.max(axis=(1, 2))) > 0.1 * result.images.max()


def test_defocus_leaves_all_other_draws_as_they_were():
    settings = {
        "dose_e_per_A2": (1e3, 1e4),
        "tilt_error_rms_deg": 0.3,
        "shift_error_rms_A": 0.1,
        "gain_rms": 0.1,
        "background": (0.0, 0.1),
    }
    sharp, blurred = series(**settings), series(**settings, defocus_rms_A=15.0)
    assert sharp.dose_e_per_A2 == blurred.dose_e_per_A2
    for name in ("tilt_error_deg", "shift_error_A", "gain"):
        np.testing.assert_array_equal(sharp.truth[name], blurred.truth[name])
    fraction = [run.truth["background"] / run.truth["gain"] for run in (sharp, blurred)]
    assert np.ptp(fraction[0]) < 1e-12 and np.ptp(fraction[1]) < 1e-12


def test_same_seed_same_series_and_no_other():
    settings = {"dose_e_per_A2": 1e3, "tilt_error_rms_deg": 0.3, "shift_error_rms_A": 0.1}
    first, again = series(**settings), series(**settings)
    np.testing.assert_array_equal(first.images, again.images)
    for other in (series(index=1, **settings), series(seed=2, **settings)):
        assert not np.array_equal(first.images, other.images)
        assert not np.array_equal(first.truth["shift_error_A"], other.truth["shift_error_A"])


def test_changing_the_dose_leaves_the_geometry():
    first = series(shift_error_rms_A=0.1, dose_e_per_A2=1e3)
    second = series(shift_error_rms_A=0.1, dose_e_per_A2=None)
    np.testing.assert_array_equal(first.truth["shift_error_A"], second.truth["shift_error_A"])


def test_progress_counts_the_images():
    calls = []
    series(progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 5) for i in range(1, 6)]


def test_record_describes_the_series():
    result = series()
    assert result.images.shape == (5, 48, 48)
    assert result.images.dtype == np.float32
    assert (result.pixel_size_A, result.engine) == (0.4, "linear")
    np.testing.assert_array_equal(result.tilt_deg, np.linspace(-65, 65, 5))


@pytest.mark.parametrize("engine", ["linear", "prism", "multislice"])
@pytest.mark.parametrize(
    ("positions_A", "message"),
    [
        ([[0.0, 9.3, 0.0]], "field of view"),
        ([[np.nan, 0, 0]], "field of view"),
        (np.zeros((0, 3)), "0 atoms"),
    ],
)
def test_impossible_specimens_are_refused(engine, positions_A, message):
    positions_A = np.array(positions_A)
    specimen = Specimen(positions_A=positions_A, atomic_numbers=np.full(len(positions_A), 78))
    with pytest.raises(ValueError, match=message):
        series(specimen, engine=engine)


def test_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine is 'kirkland'"):
        series(engine="kirkland")


def test_gain_changes_brightness_from_image_to_image_and_is_recorded():
    plain, uneven = series(), series(gain_rms=0.1)
    ratio = uneven.images.sum(axis=(1, 2)) / plain.images.sum(axis=(1, 2))
    np.testing.assert_allclose(ratio, uneven.truth["gain"], rtol=1e-5)
    assert ratio.std() > 0.01
    np.testing.assert_array_equal(plain.truth["gain"], 1.0)
    many = draw_gain(BAD.gain_rms, 1000, np.random.default_rng(3))
    np.testing.assert_allclose(np.log(many).std(), 0.1, rtol=0.1)


def test_one_number_means_what_it_always_meant_to_the_last_bit():
    result = series(index=4, tilt_error_rms_deg=0.3, shift_error_rms_A=0.2, defocus_rms_A=15.0, gain_rms=0.1)

    def normal(stage, *shape):
        return stream(1, 4, stage).normal(size=shape)

    geometry = stream(1, 4, "geometry")
    np.testing.assert_array_equal(result.truth["tilt_error_deg"], geometry.normal(size=(5, 3)) * 0.3)
    np.testing.assert_array_equal(result.truth["shift_error_A"], geometry.normal(size=(5, 2)) * 0.2)
    np.testing.assert_array_equal(result.truth["defocus_A"], normal("defocus", 5) * 15.0)
    np.testing.assert_array_equal(result.truth["gain"], np.exp(normal("gain", 5) * 0.1))


def test_each_particle_draws_its_own_imperfection_and_knows_no_other():
    wide = AcquisitionConfig(
        tilt_error_rms_deg=(0.0, 0.6), shift_error_rms_A=(0.1, 0.4), defocus_rms_A=(5, 15), gain_rms=(0, 0.1)
    )
    drawn = [draw_imperfection(wide, stream(1, index, "imperfection")) for index in range(400)]
    for key in ("tilt_error_rms_deg", "shift_error_rms_A", "defocus_rms_A", "gain_rms"):
        low, high = getattr(wide, key)
        values = np.array([getattr(each, key) for each in drawn])
        assert low <= values.min() and values.max() <= high
        # The mean of a uniform law, to four standard errors.
        assert abs(values.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * len(values))
    narrow = wide.model_copy(update={"shift_error_rms_A": (0.25, 0.25)})
    again = draw_imperfection(narrow, stream(1, 7, "imperfection"))
    assert again.shift_error_rms_A == 0.25
    for key in ("tilt_error_rms_deg", "defocus_rms_A", "gain_rms"):
        assert getattr(again, key) == getattr(drawn[7], key)


def test_a_range_only_scales_the_errors_of_a_series():
    one, drawn = series(shift_error_rms_A=1.0), series(shift_error_rms_A=(0.1, 0.4))
    ratio = drawn.truth["shift_error_A"] / one.truth["shift_error_A"]
    assert np.ptp(ratio) < 1e-12
    assert 0.1 <= ratio.mean() <= 0.4
