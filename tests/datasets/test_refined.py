"""Pairs whose tomogram is that of a refined geometry."""

import numpy as np
import pytest

from picotome.configs import load_recipe
from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import RefinedConfig
from picotome.datasets.naming import identities_of
from picotome.datasets.pairs import elements_of, learned_fit, make_pair, reconstruction_of
from picotome.datasets.refined import guess_fit
from picotome.recon.alignment import common_move
from picotome.recon.solvers import reconstruct
from picotome.records import TiltSeries
from picotome.trace.scoring import score_trace
from picotome.trace.tracing import trace_tomogram

EXACT = {
    "tilt_error_rms_deg": [0, 0],
    "shift_error_rms_A": [0, 0],
    "defocus_error_rms_A": [0, 0],
    "gain_error_rms": [0, 0],
}


def recipe_with(**refined):
    """Pairs of a particle imaged badly, all of them with a refined geometry unless told otherwise."""
    recipe = load_recipe("quickstart", ["volume.n_voxels=56", "training.patch_voxels=48"])
    acquisition = recipe.acquisition.model_copy(
        update={
            "dose_e_per_A2": (1e5, 1e5),
            "tilt_error_rms_deg": (1.0, 1.0),
            "shift_error_rms_A": (0.4, 0.4),
            "gain_rms": (0.05, 0.05),
            "background": (0.02, 0.02),
        }
    )
    small = recipe.training_set.specimens[0].model_copy(update={"diameter_A": (13.0, 13.0)})
    chosen = recipe.training_set.model_copy(
        update={
            "acquisition": acquisition,
            "specimens": (small,),
            "tilt_max_deg": None,
            "refined": RefinedConfig(**{"share": 1.0, **refined}),
        }
    )
    return recipe.model_copy(update={"acquisition": acquisition, "training_set": chosen})


def series_of(n, seed=0):
    rng = np.random.default_rng(seed)
    truth = {
        "tilt_error_deg": rng.normal(size=(n, 3)),
        "shift_error_A": rng.normal(size=(n, 2)),
        "defocus_A": 20 * rng.normal(size=n),
        "gain": np.exp(0.05 * rng.normal(size=n)),
        "background": rng.random(n),
    }
    return TiltSeries(np.zeros((n, 4, 4), np.float32), np.linspace(-60, 60, n), 0.4, truth=truth)


def test_errors_are_as_large_as_told():
    series, told = series_of(4000), {"tilt_error_deg": 0.3, "shift_error_A": 0.04, "defocus_A": 5.0}
    config = RefinedConfig(
        tilt_error_rms_deg=0.3, shift_error_rms_A=0.04, defocus_error_rms_A=5.0, gain_error_rms=0.02
    )
    fit = guess_fit(series, config=config, optics=OpticsConfig(), rng=np.random.default_rng(1))
    for name, rms in told.items():
        left = getattr(fit, name) - series.truth[name]
        assert np.sqrt((left**2).mean(axis=0)) == pytest.approx(rms, rel=0.05), name
    assert np.std(np.log(fit.gain / series.truth["gain"])) == pytest.approx(0.02, rel=0.05)
    assert np.log(fit.gain).mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(fit.background, series.truth["background"])


def test_the_share_is_that_of_the_pairs():
    recipe = recipe_with(share=0.3)
    series = series_of(3)
    drawn = [learned_fit(recipe, "train", index, series=series) is not None for index in range(400)]
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.07)
    # Held-out particles are scored as a user's series would be.
    assert learned_fit(recipe, "held_out", 0, series=series) is None


@pytest.fixture(scope="module")
def exact():
    recipe = recipe_with(**EXACT)
    return recipe, make_pair(recipe, "train", 0)


def centre_A(tomogram, specimen, recipe):
    trace = trace_tomogram(tomogram, elements=elements_of(specimen), config=recipe.tracing)
    return np.asarray(trace.positions_A).mean(axis=0)


def test_a_pair_of_exact_geometry_is_more_precise_than_one_as_told(exact):
    recipe, pair = exact
    config = reconstruction_of(recipe).model_copy(update={"align": True})
    told = reconstruct(pair.series, config=config)
    known_pm, told_pm = (
        score_trace(
            trace_tomogram(tomogram, elements=elements_of(pair.specimen), config=recipe.tracing),
            pair.specimen,
            config=recipe.scoring,
        ).rmsd_pm
        for tomogram in (pair.degraded, told)
    )
    assert known_pm < 0.7 * told_pm


def test_the_ideal_shows_the_atoms_where_the_tomogram_has_them(exact):
    recipe, pair = exact
    move_A = common_move(pair.series, pair.series.truth["shift_error_A"])
    assert np.linalg.norm(move_A) > 0.05
    # The geometry is known, and so nothing has moved in either.
    for tomogram in (pair.degraded, pair.ideal):
        moved_A = centre_A(tomogram, pair.specimen, recipe) - pair.specimen.positions_A.mean(axis=0)
        assert np.abs(moved_A).max() < 0.02


def test_an_error_of_the_shifts_moves_the_ideal_with_the_tomogram():
    recipe = recipe_with(**{**EXACT, "shift_error_rms_A": [0.1, 0.1]})
    seen_A, wanted_A = [], []
    for index in range(4):
        pair = make_pair(recipe, "train", index)
        still_A = pair.specimen.positions_A.mean(axis=0)
        seen_A.append(centre_A(pair.degraded, pair.specimen, recipe) - still_A)
        wanted_A.append(centre_A(pair.ideal, pair.specimen, recipe) - still_A)
    # What is not common to the images blurs, and the centres of a blurred particle's atoms scatter.
    assert np.vdot(seen_A, wanted_A) / np.vdot(wanted_A, wanted_A) == pytest.approx(1, abs=0.3)


def test_a_pair_is_known_by_its_share_and_errors():
    plain = recipe_with()
    none = plain.model_copy(update={"training_set": plain.training_set.model_copy(update={"refined": None})})
    names = {
        identities_of(recipe)("train", 3)
        for recipe in (none, plain, recipe_with(share=0.5), recipe_with(gain_error_rms=0.1))
    }
    assert len(names) == 4
    assert identities_of(none)("held_out", 3) == identities_of(plain)("held_out", 3)


def test_a_solver_that_knows_no_turns_is_refused():
    settings = ["training_set.refined={share: 0.5}", "reconstruction.solver=wbp"]
    with pytest.raises(ValueError, match=r"training_set\.refined.*'wbp'.*sirt"):
        load_recipe("quickstart", settings)
