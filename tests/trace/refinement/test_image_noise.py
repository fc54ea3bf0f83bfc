import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from picotome.trace.refinement.noise import (
    COUNTS_FLOOR,
    Noise,
    deviance,
    estimate_floor,
    estimate_misfit,
    estimate_noise,
    variance,
)

level = st.floats(1e-3, 1.0)
counts = st.floats(10.0, 1e4)
misfits = st.one_of(st.just(0.0), st.floats(1e-4, 0.3))


def of_image(*misfits):
    """ε of each image, as `Noise` wants it."""
    return torch.tensor(misfits, dtype=torch.float64)[:, None] if any(misfits) else None


def double(*values):
    return torch.tensor([values], dtype=torch.float64)


@given(level, level, counts, st.floats(0.0, 0.1), misfits)
def test_deviance_has_the_slope_of_the_weights(image, expected, n_incident, floor, misfit):
    noise = Noise(n_incident, floor + 0.5 / n_incident, of_image(misfit))
    h = 1e-5 * expected
    plus, minus = (deviance(double(image), double(expected + s * h), noise) for s in (1, -1))
    slope = float((plus - minus) / (2 * h))
    wanted = -2.0 * (image - expected) / float(variance(double(expected), noise))
    assert slope == pytest.approx(wanted, rel=1e-4, abs=1e-3 * n_incident * 1e-2)


@given(level, counts, misfits, st.floats(0.0, 0.1), st.floats(0.0, 0.1))
def test_variance_is_counting_and_misfit(expected, n_incident, misfit, floor, more):
    noise = Noise(n_incident, floor, of_image(misfit), floor + more)
    wanted = (expected + floor) / n_incident + misfit**2 * (expected + floor + more) ** 2
    assert float(variance(double(expected), noise)) == pytest.approx(wanted, rel=1e-9)


@given(level, level, counts, misfits)
def test_deviance_is_zero_for_a_perfect_model_only(image, expected, n_incident, misfit):
    noise = Noise(n_incident, 0.5 / n_incident, of_image(misfit))
    assert float(deviance(double(image), double(image), noise)) == pytest.approx(0.0, abs=1e-9)
    assert float(deviance(double(image), double(expected), noise)) >= -1e-9


@given(counts, misfits)
def test_single_precision_is_enough_for_half_a_unit(n_incident, misfit):
    """The fit stops where it gains less than half: the cost of all pixels must be known that well."""
    noise = Noise(n_incident, 0.5 / n_incident, of_image(misfit))
    rng = np.random.default_rng(0)
    expected = torch.as_tensor(rng.uniform(0.0, 0.3, (1, 100_000))).float()
    seen = torch.as_tensor(rng.poisson(expected.double() * n_incident) / n_incident).float()
    single = deviance(seen, expected, noise).double().sum()
    exact = deviance(seen.double(), expected.double(), noise).sum()
    assert float(single - exact) == pytest.approx(0.0, abs=0.25)


def simulate(*, n_incident, floor, misfit, seed=0):
    rng = np.random.default_rng(seed)
    expected = 0.3 * rng.beta(0.4, 1.5, (6, 20_000))
    seen = expected * (1.0 + np.reshape(misfit, (-1, 1)) * rng.normal(size=expected.shape))
    seen = rng.poisson(np.maximum(seen, 0.0) * n_incident) / n_incident
    seen = seen + rng.normal(size=expected.shape) * np.sqrt(floor / n_incident)
    return torch.as_tensor(seen).float(), torch.as_tensor(expected).float()


@pytest.mark.parametrize("misfit", [0.0, 0.1])
@pytest.mark.parametrize("unit", [1.0, 300.0])
def test_unknown_noise_is_recovered(unit, misfit):
    images, expected = simulate(n_incident=500.0, floor=0.02, misfit=misfit)
    inside = torch.ones_like(images, dtype=torch.bool)
    noise = estimate_noise(images * unit, expected * unit, inside)
    assert noise.n_incident * unit == pytest.approx(500.0, rel=0.1)
    assert noise.floor / unit == pytest.approx(0.02, rel=0.2)
    found = 0.0 if noise.misfit is None else noise.misfit.numpy()
    assert found == pytest.approx(np.full((6, 1), misfit), abs=0.02)


def vacuum(level, *, n_incident, rms_e):
    """Six recorded images of a level per pixel, and which pixels are dark: those of the first half."""
    rng, size = np.random.default_rng(3), (6, *level.shape)
    seen = rng.poisson(level * n_incident, size) + rms_e * rng.normal(size=size)
    dark = torch.zeros(size, dtype=torch.bool)
    dark[:, : len(level) // 2] = True
    return torch.as_tensor(seen / n_incident).flatten(1), dark.flatten(1)


@pytest.mark.parametrize("rms_e", [0.0, 0.7, 5.0])
def test_what_a_detector_adds_is_measured_in_the_dark(rms_e):
    level = np.full((200, 120), 1e-5)
    level[100:] = np.random.default_rng(4).random((100, 120))
    images, dark = vacuum(level, n_incident=500.0, rms_e=rms_e)
    floor = estimate_floor(images, dark, 500.0, shape=level.shape)
    assert 500.0 * floor == pytest.approx(COUNTS_FLOOR + rms_e**2, rel=0.03)
    # Too few pixels to say.
    dark[1:], dark[:, 5 * 120 :] = False, False
    assert estimate_floor(images, dark, 500.0, shape=level.shape) == pytest.approx(COUNTS_FLOOR / 500.0)


@pytest.mark.parametrize("n_incident", [500.0, 1e7])
@pytest.mark.parametrize("rms_e", [0.0, 5.0])
def test_smooth_light_in_the_dark_is_no_noise(rms_e, n_incident):
    x, y = np.meshgrid(np.linspace(0.0, 1.0, 100), np.linspace(0.0, 1.0, 120), indexing="ij")
    level = 0.01 + 0.02 * np.sin(2 * x) ** 2 * y
    images, dark = vacuum(level, n_incident=n_incident, rms_e=rms_e)
    floor = estimate_floor(images, dark, n_incident, shape=level.shape)
    # What counting itself scatters by.
    error = 0.03 * (level.max() * n_incident + rms_e**2)
    assert n_incident * floor == pytest.approx(COUNTS_FLOOR + rms_e**2, abs=error)


@pytest.mark.parametrize("misfit", [0.0, 0.03, 0.1])
def test_what_counting_does_not_explain_is_recovered(misfit):
    images, expected = simulate(n_incident=5000.0, floor=1e-4, misfit=misfit)
    found = estimate_misfit(images, expected, expected > 0.02, Noise(5000.0, 1e-4))
    assert found.shape == (6, 1)
    assert found.numpy() == pytest.approx(misfit, rel=0.05, abs=0.005)


def test_each_image_has_its_own_misfit():
    misfits = np.array([0.02, 0.02, 0.08, 0.03, 0.12, 0.02])
    images, expected = simulate(n_incident=2e5, floor=1e-4, misfit=misfits)
    found = estimate_misfit(images, expected, expected > 0.02, Noise(2e5, 1e-4))
    assert found[:, 0].numpy() == pytest.approx(misfits, rel=0.1)


def test_at_a_low_dose_images_share_what_is_known():
    """Each image's own estimate would scatter by ± 0.04 and more."""
    images, expected = simulate(n_incident=30.0, floor=1e-2, misfit=0.05)
    inside = expected > 0.02
    alone = [estimate_misfit(images[[t]], expected[[t]], inside[[t]], Noise(30.0, 1e-2)) for t in range(6)]
    together = estimate_misfit(images, expected, inside, Noise(30.0, 1e-2))
    assert float(together.std()) < 0.5 * float(torch.stack(alone).std())


def test_only_pixels_inside_count():
    images, expected = simulate(n_incident=500.0, floor=0.01, misfit=0.05)
    inside = torch.ones_like(images, dtype=torch.bool)
    inside[:, :1000] = False
    spoiled = torch.where(inside, images, images + 100.0)
    noise = Noise(500.0, 0.01)
    found, wanted = (estimate_noise(seen, expected, inside) for seen in (spoiled, images))
    assert (found.n_incident, found.floor) == (wanted.n_incident, wanted.floor)
    found, wanted = (estimate_misfit(seen, expected, inside, noise) for seen in (spoiled, images))
    assert torch.equal(found, wanted)


def test_images_without_noise_still_get_a_finite_weight():
    _, expected = simulate(n_incident=500.0, floor=0.01, misfit=0.0)
    noise = estimate_noise(expected.clone(), expected, torch.ones_like(expected, dtype=torch.bool))
    assert torch.isfinite(1.0 / variance(expected, noise)).all()
