"""The bound against the scatter of the refinement, on images of the linear engine."""

from dataclasses import replace

import numpy as np
import pytest

from picotome.benchmark.gauge import tilt_error_left_deg
from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import RefinementConfig
from picotome.records import Trace
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.detection import add_counting_noise, add_readout_noise
from picotome.trace.refinement.bound import bound_positions
from picotome.trace.refinement.refine import refine_trace

FIXED = RefinementConfig(geometry=(), change_atoms=False)
FREE = RefinementConfig(geometry=("tilt", "turns", "shifts"), change_atoms=False)
DOSE_E_PER_A2 = 5e3


@pytest.fixture(scope="module")
def specimen(make_ball):
    return make_ball(40, seed=21)


@pytest.fixture(scope="module")
def make_linear(specimen):
    """Images without noise; geometry wrong or right."""

    def make(*, errors, **settings):
        acquisition = AcquisitionConfig(
            tilt_min_deg=-65.0,
            tilt_max_deg=65.0,
            n_tilts=11,
            dose_e_per_A2=None,
            tilt_error_rms_deg=0.3 * errors,
            shift_error_rms_A=0.2 * errors,
            **settings,
        )
        return simulate_series(
            specimen,
            engine="linear",
            volume=VolumeConfig(n_voxels=40, voxel_size_A=0.4),
            optics=OpticsConfig(source_size_A=0.3),
            acquisition=acquisition,
            seed=3,
            index=0,
        )

    return make


def noisy(series, seed, *, readout_e=0.0):
    rng = np.random.default_rng(seed)
    images = add_counting_noise(
        series.images,
        dose_e_per_A2=DOSE_E_PER_A2,
        pixel_size_A=series.pixel_size_A,
        rng=rng,
    )
    known = {"dose_e_per_A2": DOSE_E_PER_A2, "pixel_size_A": series.pixel_size_A}
    images = add_readout_noise(images, rms_e=readout_e, rng=rng, **known)
    truth = {**series.truth, "readout_noise_e": np.full(len(images), readout_e)}
    return replace(series, images=images, dose_e_per_A2=DOSE_E_PER_A2, truth=truth)


def start(specimen, seed):
    rng = np.random.default_rng(seed)
    n = len(specimen.positions_A)
    return Trace(
        specimen.positions_A + rng.normal(0, 0.06, (n, 3)),
        np.full(n, 0.06) * (1 + 0.01 * np.arange(n) / n),
        specimen.atomic_numbers,
        np.full(n, 0.45),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "readout_e"),
    [(FIXED, 0.0), (FIXED, 4.0), (FREE, 0.0)],
    ids=["geometry known", "readout noise", "geometry free"],
)
def test_refinement_scatters_as_the_bound_and_its_own_uncertainty_say(
    specimen, make_linear, rigid_error, config, readout_e
):
    """Monte Carlo: one specimen, sixteen draws of the noise."""
    errors = 1.0 if config is FREE else 0.0
    series = make_linear(errors=errors)
    found, predicted, squares, angles, brightness = [], [], [], [], []
    for seed in range(16):
        refined = refine_trace(
            start(specimen, seed),
            noisy(series, seed, readout_e=readout_e),
            elements=["Pt"],
            config=config,
            min_distance_A=1.8,
        )
        index = np.array(
            [np.linalg.norm(refined.trace.positions_A - p, axis=1).argmin() for p in specimen.positions_A]
        )
        assert len(set(index.tolist())) == len(specimen.positions_A)
        found_A = refined.trace.positions_A[index]
        difference_A = found_A - specimen.positions_A
        error_pm = 100 * (
            rigid_error(found_A, specimen.positions_A) if errors else difference_A - difference_A.mean(axis=0)
        )
        squares.append((error_pm**2).sum(axis=1).mean())
        found.append(error_pm)
        predicted.append(refined.trace.uncertainty_pm[index])
        brightness.append(refined.trace.intensities[index])
        if errors:
            angles.append(tilt_error_left_deg(refined.images, series) ** 2)
    bound = bound_positions(specimen, noisy(series, 0, readout_e=readout_e), config=config)
    assert bound.turns_removed is bool(errors)
    assert np.sqrt(np.mean(squares)) == pytest.approx(bound.crlb_pm, rel=0.1)
    axis_pm = np.sqrt(np.mean(np.square(found), axis=(0, 1)))
    np.testing.assert_allclose(axis_pm, bound.crlb_axis_pm, rtol=0.12)
    # The angles that are left beside a common turn reach their bound, too.
    if errors:
        assert np.sqrt(np.mean(angles)) == pytest.approx(bound.tilt_deg, rel=0.1)
    else:
        assert np.isnan(bound.tilt_deg)
    # And so does the brightness of the atoms, all of which are Pt; gains and probe are free, so each draw has
    # its own scale.
    relative = np.array(brightness) / np.mean(brightness, axis=1, keepdims=True)
    assert np.std(relative) == pytest.approx(np.sqrt(np.mean(bound.brightness_snr**-2.0)), rel=0.1)
    # Each atom's own estimate: right on average, along each axis, and for the good atoms as for the bad.
    z = np.array(found) / np.array(predicted)
    assert 0.85 < np.sqrt(np.mean(z**2)) < 1.15
    for axis in range(3):
        assert 0.85 < np.sqrt(np.mean(z[..., axis] ** 2)) < 1.15
    worse = np.array(predicted) > np.median(predicted)
    for part in (z[worse], z[~worse]):
        assert 0.85 < np.sqrt(np.mean(part**2)) < 1.15


def test_bound_falls_with_the_root_of_the_dose(specimen, make_linear):
    series = make_linear(errors=0.0)
    bounds = [
        bound_positions(specimen, series, config=FIXED, dose_e_per_A2=dose).crlb_pm
        for dose in (1e3, 1e4, 1e5)
    ]
    assert bounds[0] / bounds[1] == pytest.approx(np.sqrt(10.0), rel=0.02)
    assert bounds[1] / bounds[2] == pytest.approx(np.sqrt(10.0), rel=0.02)


def test_atoms_stand_out_with_the_root_of_the_dose(specimen, make_linear):
    series = make_linear(errors=0.0)
    faint, bright = (
        bound_positions(specimen, series, config=FIXED, dose_e_per_A2=dose).brightness_snr
        for dose in (1e3, 1e5)
    )
    np.testing.assert_allclose(bright / faint, 10.0, rtol=0.05)
    shared = FIXED.model_copy(update={"brightness": "element"})
    assert np.isnan(bound_positions(specimen, series, config=shared, dose_e_per_A2=1e4).brightness_snr).all()


def test_bound_from_noisy_images_is_that_from_noise_free_ones(specimen, make_linear):
    series = make_linear(errors=1.0)
    clean = bound_positions(specimen, series, config=FREE, dose_e_per_A2=DOSE_E_PER_A2)
    seen = bound_positions(specimen, noisy(series, 5), config=FREE)
    assert seen.crlb_pm == pytest.approx(clean.crlb_pm, rel=0.02)


def test_parts_of_the_bound_add_up(specimen, make_linear):
    bound = bound_positions(specimen, make_linear(errors=0.0), config=FIXED, dose_e_per_A2=1e4)
    assert bound.atom_pm.shape == (40, 3)
    assert bound.crlb_pm == pytest.approx(np.sqrt((bound.atom_pm**2).sum(axis=1).mean()))
    assert bound.crlb_pm == pytest.approx(np.sqrt(np.square(bound.crlb_axis_pm).sum()))
    assert bound.relative_error == 0.0
    # The missing wedge lies along the beam; the tilt axis is seen in every image.
    assert bound.crlb_axis_pm[1] < bound.crlb_axis_pm[0] < bound.crlb_axis_pm[2]


def test_what_is_unknown_makes_the_bound_larger(specimen, make_linear):
    series = make_linear(errors=1.0)
    geometries = ((), ("shifts",), ("tilt", "shifts"), ("tilt", "turns", "shifts"))
    bounds = [
        bound_positions(specimen, series, config=RefinementConfig(geometry=g), dose_e_per_A2=1e4).crlb_pm
        for g in geometries
    ]
    # Common turns are projected out of the last two, six freedoms instead of three: compare like with like.
    assert bounds[0] < bounds[1] and bounds[2] < bounds[3]


def test_background_makes_the_bound_larger(specimen, make_linear):
    dark, bright = (
        bound_positions(specimen, make_linear(errors=0.0, background=b), config=FIXED, dose_e_per_A2=1e4)
        for b in ((0.0, 0.0), (0.05, 0.05))
    )
    assert 1.05 * dark.crlb_pm < bright.crlb_pm


def test_readout_noise_costs_what_a_background_of_its_variance_costs(specimen, make_linear):
    """rms² electrons of background have the same variance in every pixel, and are known as well."""
    series, rms_e = make_linear(errors=0.0), 3.0
    read = replace(series, truth={**series.truth, "readout_noise_e": np.full(11, rms_e)})
    lit = replace(series, images=series.images + np.float32(rms_e**2 / (1e4 * series.pixel_size_A**2)))
    plain, by_readout, by_background = (
        bound_positions(specimen, each, config=FIXED, dose_e_per_A2=1e4).atom_pm
        for each in (series, read, lit)
    )
    np.testing.assert_allclose(by_readout, by_background, rtol=2e-3)
    assert (by_readout > 1.05 * plain).all()


def test_no_dose_is_an_error(specimen, make_linear):
    with pytest.raises(ValueError, match=r"states no dose_e_per_A2.*state it"):
        bound_positions(specimen, make_linear(errors=0.0), config=FIXED)
