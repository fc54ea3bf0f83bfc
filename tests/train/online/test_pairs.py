"""Online pairs must be the stored ones: the same numbers without noise, the same law with it."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from picotome.configs import load_recipe
from picotome.datasets.pairs import make_pair
from picotome.recon.normalise import tomogram_scale
from picotome.train.online.images import record_images
from picotome.train.online.pairs import blind_scale, make_pairs
from picotome.train.online.plans import LAST_PARTICLE, plan_pair

CPU = torch.device("cpu")
SMALL = [
    "optics.abtem={}",
    "acquisition.n_tilts=7",
    "reconstruction.n_iterations=10",
    "training_set.specimens=[{kind: core_shell, core: Pd, shell: Pt, diameter_A: [9, 12], "
    "shell_thickness_A: 2.5}]",
]
NO_NOISE = "acquisition.dose_e_per_A2=null"


def recipe(*settings):
    return load_recipe("smoke", [*SMALL, *settings])


def online(chosen, numbers):
    plans = [plan_pair(chosen, number) for number in numbers]
    return [tuple(v.numpy() for v in p) for p in make_pairs(plans, recipe=chosen, device=CPU)]


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [
            "acquisition.tilt_error_rms_deg=[0.2, 0.4]",
            "acquisition.shift_error_rms_A=0.2",
            "acquisition.defocus_rms_A=10",
            "acquisition.gain_rms={log: [0.02, 0.1]}",
        ],
        ["optics.c30_um=3", "optics.focal_spread_A=15", "optics.linear.default_debye_waller_A2=[0.3, 0.9]"],
        [
            "optics.linear.saturation=[0.1, 0.2]",
            "optics.linear.lens_strength_A2=0.02",
            "optics.linear.extra_blur_A={normal: [0.1, 0.3]}",
        ],
        [
            "acquisition.background=[0.01, 0.05]",
            "acquisition.background_rms=0.3",
            "acquisition.background_slope_rms=0.5",
        ],
        ["acquisition.missing_fraction=0.3", "acquisition.tilt_jitter_rms_deg=1"],
        ["training_set.tilt_max_deg=[50, 65]", "acquisition.tilt_offset_deg=[-20, 20]"],
        ["training_set.tilt_step_deg=[10, 30]"],
    ],
    ids=["plain", "errors", "optics", "linear", "background", "tilts", "wedge", "steps"],
)
def test_without_noise_a_pair_is_the_stored_one(settings):
    chosen = recipe(NO_NOISE, *settings)
    numbers = (0, 1)
    for number, (degraded, ideal) in zip(numbers, online(chosen, numbers), strict=True):
        stored = make_pair(chosen, "train", number)
        for found, wanted in ((degraded, stored.degraded.volume), (ideal, stored.ideal.volume)):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * wanted.max())
        assert float(blind_scale(torch.from_numpy(degraded))) == pytest.approx(
            tomogram_scale(stored.degraded.volume), rel=1e-4
        )


def test_a_batch_changes_no_pair():
    """Particles of other sizes and wedges beside it, and the noise, leave a pair as it is."""
    chosen = recipe("training_set.tilt_max_deg=[50, 70]")
    together = online(chosen, (0, 1, 2))
    for number, (degraded, ideal) in enumerate(together):
        ((alone, ideal_alone),) = online(chosen, (number,))
        np.testing.assert_allclose(degraded, alone, rtol=0, atol=1e-5 * alone.max())
        np.testing.assert_allclose(ideal, ideal_alone, rtol=0, atol=1e-6 * ideal.max())
    assert not np.array_equal(together[0][1], together[1][1])


def noise_of(chosen, number, stored):
    """Recorded over noise-free images, times the incident electrons: counts beyond their mean."""
    silent = chosen.model_copy(
        update={"acquisition": chosen.acquisition.model_copy(update={"dose_e_per_A2": None})}
    )
    clean = make_pair(silent, "train", number).series.images
    plan = plan_pair(chosen, number)
    if stored:
        images = make_pair(chosen, "train", number).series.images
    else:
        bare = make_pair(recipe(NO_NOISE), "train", number).series.images
        images = record_images(
            torch.from_numpy(bare), plan, seed=chosen.seed, pixel_size_A=chosen.volume.voxel_size_A
        ).numpy()
    return (images - clean) * plan.incident_e, clean * plan.incident_e


@pytest.mark.parametrize("stored", [True, False])
def test_noise_has_the_mean_and_the_variance_of_counting(stored):
    readout_e = 1.5
    chosen = recipe("acquisition.dose_e_per_A2=500", f"acquisition.readout_noise_e={readout_e}")
    noise, expected = noise_of(chosen, 0, stored)
    variance = expected + readout_e**2
    n = noise.size
    assert abs(noise.mean()) < 4 * np.sqrt(variance.mean() / n)
    relative = noise**2 / variance
    # Fourth moment of Poisson and normal together, at most 3 + 1 / mean for each.
    assert relative.mean() == pytest.approx(1.0, abs=4 * relative.std() / np.sqrt(n))
    # Both brightness ranges by themselves: the law, not only its mean.
    bright = expected > np.quantile(expected, 0.9)
    for part in (bright, ~bright):
        chi2 = relative[part]
        assert chi2.mean() == pytest.approx(1.0, abs=4 * chi2.std() / np.sqrt(chi2.size))


def test_noise_depends_on_the_particle_alone():
    chosen = recipe()
    first, again, other = (online(chosen, (number,))[0][0] for number in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    stored = make_pair(chosen, "train", 3).degraded.volume
    # Noise of its own: not the stored pair once more.
    assert np.abs(first - stored).max() > 1e-3 * stored.max()


@pytest.mark.slow
def test_both_modes_have_one_distribution():
    """Statistics of 20 particles each, which no mode has in common, by Kolmogorov and Smirnov."""
    chosen = recipe("acquisition.dose_e_per_A2=[500, 5000]", "acquisition.gain_rms=0.05")
    n = 20
    fresh = online(chosen, range(1000, 1000 + n))
    stored = [make_pair(chosen, "train", number) for number in range(n)]
    known = [(pair.degraded.volume, pair.ideal.volume) for pair in stored]

    def numbers(degraded, ideal):
        scale = tomogram_scale(degraded)
        dark = degraded[ideal < 1e-3 * ideal.max()] / scale
        return {
            "scale": scale,
            "mean": degraded.mean(),
            "spread": (degraded / scale).std(),
            "largest": degraded.max() / scale,
            "dark": dark.std(),
            "median": np.median(degraded[ideal > 0.5 * ideal.max()]) / scale,
            "error": np.sqrt(np.mean((degraded - ideal) ** 2)) / scale,
            "ideal": ideal.sum(),
        }

    online_rows, stored_rows = ([numbers(*pair) for pair in pairs] for pairs in (fresh, known))
    for name in online_rows[0]:
        found, wanted = ([row[name] for row in rows] for rows in (online_rows, stored_rows))
        assert ks_2samp(found, wanted).pvalue > 0.001, name
        error = np.hypot(np.std(found, ddof=1), np.std(wanted, ddof=1)) / np.sqrt(n)
        assert abs(np.mean(found) - np.mean(wanted)) < 4 * error, name
    # Histograms of all voxels: the two modes differ no more than two halves of one mode do.
    edges = np.quantile(
        np.concatenate([d.ravel() / tomogram_scale(d) for d, _ in known]), np.linspace(0, 1, 41)
    )
    edges = np.unique(edges[1:-1])

    def histogram(pairs):
        rows = [np.histogram(d / tomogram_scale(d), [-np.inf, *edges, np.inf])[0] / d.size for d, _ in pairs]
        return np.array(rows)

    of_fresh, of_known = histogram(fresh), histogram(known)
    error = np.hypot(of_fresh.std(axis=0, ddof=1), of_known.std(axis=0, ddof=1)) / np.sqrt(n)
    assert (np.abs(of_fresh.mean(axis=0) - of_known.mean(axis=0)) < 4.5 * error + 1e-4).all()


def test_what_cannot_be_built_has_a_stand_in(monkeypatch):
    from picotome.train.online import plans

    chosen = recipe()
    build = plans.build_particle

    def failing(chosen, split, number):
        if number == 2:
            raise ValueError("no room")
        return build(chosen, split, number)

    monkeypatch.setattr(plans, "build_particle", failing)
    assert plan_pair(chosen, 2).number == LAST_PARTICLE + 2
    assert plan_pair(chosen, 1).number == 1
    with pytest.raises(ValueError, match="train less long"):
        plan_pair(chosen, LAST_PARTICLE)


def test_an_empty_tomogram_is_refused():
    with pytest.raises(ValueError, match="no electron was counted"):
        blind_scale(torch.zeros(4, 4, 4))
