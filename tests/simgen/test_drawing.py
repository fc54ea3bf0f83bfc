"""Laws of ranges, held against scipy's distributions."""

import numpy as np
import pytest
from scipy import stats

from picotome.configs.fields import Spread
from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import Recipe
from picotome.configs.specimens import WulffSpecimen
from picotome.datasets.plan import particle_plan
from picotome.records import Specimen
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.drawing import draw_from, settle

LAWS = {
    "uniform": stats.uniform(2.0, 6.0),
    "log": stats.loguniform(2.0, 8.0),
    "normal": stats.truncnorm(-2.0, 2.0, loc=5.0, scale=1.5),
}


@pytest.mark.parametrize("law", sorted(LAWS))
def test_each_law_is_the_one_of_its_name(law):
    rng = np.random.default_rng(1)
    drawn = np.array([draw_from(Spread((2.0, 8.0), law), rng=rng) for _ in range(2000)])
    assert stats.kstest(drawn, LAWS[law].cdf).pvalue > 0.01
    assert drawn.min() >= 2.0 and drawn.max() <= 8.0


def test_settling_leaves_plain_ranges_and_fixes_the_others():
    text = {
        "kind": "wulff",
        "diameter_A": {"log": [10, 20]},
        "modifiers": [{"kind": "strain", "xx": {"normal": [0, 0.02]}}],
    }
    config = WulffSpecimen.model_validate(text)
    settled = settle(config, rng=np.random.default_rng(0))
    low, high = settled.diameter_A
    assert low == high and 10 < low < 20
    low, high = settled.modifiers[0].xx
    assert low == high and 0 < low < 0.02
    assert settle(settled, rng=np.random.default_rng(0)) is settled


def drawn_series(n, *, optics=None, **acquisition):
    atom = Specimen(positions_A=np.zeros((1, 3)), atomic_numbers=np.array([78]))
    for index in range(n):
        yield simulate_series(
            atom,
            engine="linear",
            volume=VolumeConfig(n_voxels=16),
            optics=OpticsConfig.model_validate(optics or {}),
            acquisition=AcquisitionConfig.model_validate({"n_tilts": 2, **acquisition}),
            seed=5,
            index=index,
        )


@pytest.mark.parametrize("law", sorted(LAWS))
def test_a_law_of_the_dose_is_what_the_series_follow(law):
    doses = [series.dose_e_per_A2 for series in drawn_series(100, dose_e_per_A2={law: [2, 8]})]
    assert stats.kstest(doses, LAWS[law].cdf).pvalue > 0.01
    assert law == min(LAWS, key=lambda name: stats.kstest(doses, LAWS[name].cdf).statistic)


def test_a_law_of_an_errors_size_is_what_the_series_follow():
    # A log range over four decades: half of the particles lie below its geometric middle, not 1 in 100.
    shifts = [
        np.abs(series.truth["shift_error_A"]).mean()
        for series in drawn_series(60, shift_error_rms_A={"log": [1e-4, 1.0]}, dose_e_per_A2=None)
    ]
    assert 18 <= sum(shift < 1e-2 for shift in shifts) <= 42


def test_a_law_of_the_optics_is_what_the_series_follow():
    blur = {"linear": {"extra_blur_A": {"log": [1e-3, 1.0]}}}
    sharp = next(drawn_series(1, dose_e_per_A2=None)).images.max()
    peaks = [series.images.max() for series in drawn_series(60, optics=blur, dose_e_per_A2=None)]
    # Below 0.03 Å a blur hardly dims the peak.
    assert 18 <= sum(peak > 0.99 * sharp for peak in peaks) <= 42


def test_a_law_of_one_knob_leaves_what_others_draw_as_it_was():
    plain = next(drawn_series(1, shift_error_rms_A=[0.1, 0.2], gain_rms=0.1))
    lawful = next(
        drawn_series(1, shift_error_rms_A=[0.1, 0.2], gain_rms=0.1, background={"normal": [0, 0.1]})
    )
    for name in ("shift_error_A", "gain"):
        np.testing.assert_array_equal(plain.truth[name], lawful.truth[name])
    assert plain.truth["background"].max() == 0.0 < lawful.truth["background"].max()


def test_a_law_of_the_training_wedge_is_what_particles_follow():
    training = {"tilt_max_deg": {"normal": [50, 80]}, "n_train": 200}
    recipe = Recipe.model_validate({"name": "laws", "training_set": training})
    widest = [particle_plan(recipe, "train", index)[2].tilt_max_deg for index in range(200)]
    assert stats.kstest(widest, stats.truncnorm(-2, 2, loc=65, scale=7.5).cdf).pvalue > 0.01
    assert stats.kstest(widest, stats.uniform(50, 30).cdf).pvalue < 0.01
