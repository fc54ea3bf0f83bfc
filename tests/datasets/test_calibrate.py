from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from picotome.configs.imaging import LinearConfig, OpticsConfig, VolumeConfig
from picotome.configs.loading import load_recipe
from picotome.configs.specimens import AlloySpecimen
from picotome.datasets import calibrate
from picotome.datasets.calibrate import calibrate_file
from picotome.report.engine_calibration import calibration_lines
from picotome.simgen.calibration import WaveImages, deviation, fit_linear, linear_images, with_linear
from picotome.simgen.engines import ENGINES
from picotome.simgen.particles import build_specimen

VOLUME = VolumeConfig(n_voxels=48, voxel_size_A=0.4)
REST = LinearConfig(default_debye_waller_A2=(0.0, 0.0))
OPTICS = OpticsConfig(source_size_A=0.3, linear=REST)
TRUE = LinearConfig(
    default_debye_waller_A2=(0.0, 0.0),
    brightness_A2={"Pt": 0.019, "Ni": 0.0052},
    extra_blur_A=(0.12, 0.12),
    lens_strength_A2=(0.04, 0.04),
    lens_width_A=0.2,
)
ALLOY = AlloySpecimen(kind="alloy", composition={"Pt": 0.5, "Ni": 0.5}, diameter_A=(12.0, 12.0))


def images_of(linear: LinearConfig, *, n: int, seed: int) -> WaveImages:
    """Images by the linear engine itself, in random orientations, in the place of a wave engine's."""
    specimen = build_specimen(ALLOY, volume=VOLUME, rng=np.random.default_rng(seed))
    rotations = Rotation.random(n, random_state=seed).as_matrix()
    wave = WaveImages(specimen, rotations, np.zeros(n), np.zeros((n, 48, 48)))
    return replace(wave, images=linear_images(wave, volume=VOLUME, optics=with_linear(OPTICS, linear)))


@pytest.fixture(scope="module")
def found() -> LinearConfig:
    return fit_linear([images_of(TRUE, n=4, seed=1)], volume=VOLUME, optics=OPTICS)


def test_the_knobs_that_made_the_images_are_found(found):
    assert found.brightness_A2["Pt"] == pytest.approx(0.019, rel=0.01)
    assert found.brightness_A2["Ni"] == pytest.approx(0.0052, rel=0.02)
    assert found.extra_blur_A[0] == pytest.approx(0.12, abs=0.005)
    # The prior pulls the lens towards what is usual (0.036 Å², 0.11 Å); the images pull harder.
    assert found.lens_strength_A2[0] == pytest.approx(0.04, abs=0.005)
    assert found.lens_width_A == pytest.approx(0.2, abs=0.025)


def test_what_was_found_holds_for_a_particle_that_was_not_fitted(found):
    other = [images_of(TRUE, n=3, seed=2)]
    before = deviation(other, volume=VOLUME, optics=OPTICS)
    after = deviation(other, volume=VOLUME, optics=with_linear(OPTICS, found))
    assert before.rms > 0.05
    assert after.rms < 0.01


def test_a_gain_of_an_image_is_told_from_its_shape():
    wave = images_of(REST, n=2, seed=3)
    louder = replace(wave, images=wave.images * np.array([1.1, 0.9])[:, None, None])
    told = deviation([louder], volume=VOLUME, optics=OPTICS)
    np.testing.assert_allclose(told.gain, [1.1, 0.9], rtol=1e-5)
    np.testing.assert_allclose(told.each, [0.1 / 1.1, 0.1 / 0.9], rtol=1e-4)
    np.testing.assert_allclose(told.each_free, 0.0, atol=1e-5)


def test_no_images_and_dark_images_are_refused():
    with pytest.raises(ValueError, match="0 images"):
        fit_linear([], volume=VOLUME, optics=OPTICS)
    dark = replace(images_of(REST, n=2, seed=4), images=np.zeros((2, 48, 48)))
    with pytest.raises(ValueError, match="dark"):
        fit_linear([dark], volume=VOLUME, optics=OPTICS)


def stand_in(linear):
    """Image with the linear engine and knobs that the recipe does not know: a fast wave engine."""

    def image(specimen, *, optics, **rest):
        return ENGINES["linear"](specimen, optics=with_linear(optics, linear), **rest)

    return image


@pytest.fixture
def recipe():
    kinds = '[{"kind": "wulff", "element": "Pt", "diameter_A": [12, 12]}]'
    sets = [f"specimens={kinds}", f"training_set.specimens={kinds}", "optics.source_size_A=0.3"]
    return load_recipe("smoke", sets)


def test_a_calibration_is_judged_on_images_that_it_has_not_seen(recipe, monkeypatch, tmp_path):
    brighter = LinearConfig(default_debye_waller_A2=(0.0, 0.0), brightness_A2={"Pt": 0.03})
    monkeypatch.setitem(calibrate.ENGINES, "prism", stand_in(brighter))
    result = calibrate_file(recipe, out=tmp_path / "c.yaml", n_images=4)
    assert result.improved
    assert [len(result.after[name].each) for name in ("fitted", "held out")] == [4, 2]
    assert result.after["held out"].rms < 0.03 < result.before["held out"].rms
    written = load_recipe(str(tmp_path / "c.yaml")).optics.linear
    assert written == result.linear
    assert written.brightness_A2["Pt"] == pytest.approx(0.03, rel=0.05)
    assert f"{result.after['held out'].rms:.1%}" in (tmp_path / "c.yaml").read_text("utf-8")


def test_a_fit_that_is_no_better_on_images_held_out_is_not_kept(recipe, monkeypatch, tmp_path):
    # The images are those of the recipe's own knobs, so that no fit comes closer.
    monkeypatch.setitem(calibrate.ENGINES, "prism", stand_in(recipe.optics.linear))
    result = calibrate_file(recipe, out=tmp_path / "c.yaml", n_images=2)
    assert not result.improved
    assert load_recipe(str(tmp_path / "c.yaml")) == recipe
    assert "optics.linear is as it was" in (tmp_path / "c.yaml").read_text("utf-8")
    assert "as they were" in calibration_lines(result)


@pytest.mark.parametrize(
    ("out", "engine", "n_images", "words"),
    [
        ("c.txt", "prism", None, r"\.yaml"),
        ("c.yaml", "linear", None, "prism or multislice"),
        ("c.yaml", "prism", 0, "1 or more"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_any_image(
    recipe, tmp_path, out, engine, n_images, words
):
    with pytest.raises(ValueError, match=words):
        calibrate_file(recipe, out=tmp_path / out, engine=engine, n_images=n_images)
    assert not (tmp_path / out).exists()
