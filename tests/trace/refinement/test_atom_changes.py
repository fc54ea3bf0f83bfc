from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from picotome.configs.schema import RefinementConfig
from picotome.trace.peaks import thin_out
from picotome.trace.refinement.candidates import find_candidates
from picotome.trace.refinement.changes import change_atoms
from picotome.trace.refinement.covariance import covariance
from picotome.trace.refinement.fit import expected_images, fit_images, pixel_weights
from picotome.trace.refinement.model import pad_images
from picotome.trace.refinement.refine import refine_trace
from picotome.trace.refinement.unknowns import free_unknowns, without_geometry

SYMBOLS = {28: "Ni", 46: "Pd", 78: "Pt"}
CONFIG = RefinementConfig(geometry=("shifts",))
FAINT_DOSE_E_PER_A2 = 150.0


@pytest.fixture
def series_and_trace(make_ball, make_model, make_frame, make_series, make_trace, tilt_deg):
    def make(n_atoms=40, *, numbers=(78,), dose_e_per_A2=1e4, seed=6):
        specimen = make_ball(n_atoms, numbers=numbers, seed=seed)
        model = make_model(specimen, tilt_deg, gain=0.03)
        series = make_series(model, tilt_deg, make_frame((44, 44)), dose_e_per_A2=dose_e_per_A2)
        return specimen, series, make_trace(specimen, error_A=0.05)

    return make


def refine(trace, series, elements, config=CONFIG):
    return refine_trace(trace, series, elements=elements, config=config, min_distance_A=1.8)


def only(trace, kept):
    return replace(
        trace,
        **{
            name: getattr(trace, name)[kept]
            for name in ("positions_A", "intensities", "atomic_numbers", "sigma_A")
        },
    )


def with_one_more(trace, position_A, *, brightness=1.0):
    one = {
        "positions_A": position_A,
        "intensities": brightness * trace.intensities.mean(),
        "atomic_numbers": 78,
        "sigma_A": 0.45,
    }
    return replace(trace, **{k: np.append(getattr(trace, k), [v], axis=0) for k, v in one.items()})


def without_first(model):
    return replace(
        model,
        positions_A=model.positions_A[1:],
        brightness_A2=model.brightness_A2[1:],
        group=model.group[1:],
        chance=model.chance[1:],
    )


def distances_A(refined, specimen):
    """Of each true atom to the nearest found one, common move removed."""
    found_A = refined.trace.positions_A
    nearest = cKDTree(found_A).query(specimen.positions_A)[1]
    shift_A = np.median(found_A[nearest] - specimen.positions_A, axis=0)
    return cKDTree(found_A - shift_A).query(specimen.positions_A)[0]


def test_a_right_trace_stays_as_it_is(series_and_trace):
    specimen, series, trace = series_and_trace()
    refined = refine(trace, series, ["Pt"])
    assert (refined.images.n_added, refined.images.n_removed) == (0, 0)
    assert len(refined.trace.positions_A) == len(specimen.positions_A)


@pytest.mark.parametrize("missing", [0, 17, 39])
def test_a_missing_atom_is_found(series_and_trace, missing):
    specimen, series, trace = series_and_trace()
    refined = refine(only(trace, np.arange(40) != missing), series, ["Pt"])
    assert (refined.images.n_added, refined.images.n_removed) == (1, 0)
    assert distances_A(refined, specimen)[missing] < 0.3
    assert (refined.trace.support > 100.0).all()


def test_a_false_atom_is_removed(series_and_trace):
    """In a gap of the lattice, and outside the particle."""
    specimen, series, trace = series_and_trace()
    outside = specimen.positions_A[-1] * 1.4
    refined = refine(with_one_more(trace, outside, brightness=0.5), series, ["Pt"])
    assert (refined.images.n_added, refined.images.n_removed) == (0, 1)
    assert len(refined.trace.positions_A) == 40
    assert distances_A(refined, specimen).max() < 0.2


def test_without_changes_the_support_of_a_false_atom_is_small(series_and_trace):
    specimen, series, trace = series_and_trace()
    outside = specimen.positions_A[-1] * 1.4
    config = CONFIG.model_copy(update={"change_atoms": False})
    refined = refine(with_one_more(trace, outside, brightness=0.5), series, ["Pt"], config)
    assert (refined.images.n_added, refined.images.n_removed) == (0, 0)
    support = np.sort(refined.trace.support)
    assert len(support) == 41
    assert support[0] < 25.0 < 0.2 * support[1]


def test_support_is_what_the_images_lose_without_the_atom(
    make_ball, make_model, make_frame, make_target, tilt_deg
):
    """A second way: fit again without it, and take the difference of the costs."""
    truth = make_model(make_ball(12), tilt_deg)
    # On a bright background the weights do not depend on whether the atom is there.
    truth = replace(truth, background=truth.background + 0.5)
    target = make_target(truth, truth, make_frame((40, 40)), n_incident=1600.0)
    free = free_unknowns(RefinementConfig(geometry=(), gain=False), n_groups=1)
    without = fit_images(without_first(truth), target, free, n_steps=20).cost
    with_it = fit_images(truth, target, free, n_steps=20).cost
    variance = covariance(truth, target, free).brightness[0]
    support = float(truth.brightness_A2[0]) ** 2 / variance
    assert support == pytest.approx(without - with_it, rel=0.15)


def test_a_heavy_minority_among_light_atoms_stays(series_and_trace):
    """Pt is more than three times as bright as Ni, which most atoms are."""
    specimen, series, trace = series_and_trace(40, numbers=(28, 28, 28, 78))
    assert (specimen.atomic_numbers == 28).mean() > 0.6
    refined = refine(trace, series, ["Ni", "Pt"])
    assert (refined.images.n_added, refined.images.n_removed) == (0, 0)
    nearest = cKDTree(refined.trace.positions_A).query(specimen.positions_A)[1]
    assert (refined.trace.atomic_numbers[nearest] == specimen.atomic_numbers).all()


def test_faint_atoms_stay_on_the_word_of_a_network(series_and_trace):
    """Ni that stands 3 σ above the noise: chance alone makes such spots, but not where the network said."""
    specimen, series, trace = series_and_trace(40, numbers=(28, 78), dose_e_per_A2=FAINT_DOSE_E_PER_A2)
    alone = refine(trace, series, ["Ni", "Pt"])
    vouched = refine(replace(trace, chance=np.full(40, 0.95)), series, ["Ni", "Pt"])
    assert alone.trace.chance is None and alone.images.n_vouched == 0
    assert vouched.images.n_vouched >= 5
    assert len(vouched.trace.positions_A) >= len(alone.trace.positions_A) + 5
    assert (distances_A(vouched, specimen) < 0.75).sum() >= (distances_A(alone, specimen) < 0.75).sum() + 4
    assert (vouched.trace.chance == 0.95).all()


def test_where_the_images_are_clear_no_network_is_believed(series_and_trace):
    specimen, series, trace = series_and_trace()
    outside = specimen.positions_A[-1] * 1.4
    wrong = replace(with_one_more(trace, outside, brightness=0.5), chance=np.full(41, 0.99))
    refined = refine(wrong, series, ["Pt"])
    assert (refined.images.n_removed, refined.images.n_vouched) == (1, 0)
    assert distances_A(refined, specimen).max() < 0.2


def test_a_missing_light_atom_among_heavy_ones_is_found(series_and_trace):
    specimen, series, trace = series_and_trace(40, numbers=(46, 78))
    missing = int(np.flatnonzero(specimen.atomic_numbers == 46)[3])
    refined = refine(only(trace, np.arange(40) != missing), series, ["Pd", "Pt"])
    assert (refined.images.n_added, refined.images.n_removed) == (1, 0)
    assert distances_A(refined, specimen)[missing] < 0.3


def test_nobody_joins_the_last_round(
    series_and_trace, make_model, make_frame, make_target, tilt_deg, make_ball
):
    specimen = make_ball(20)
    truth = make_model(specimen, tilt_deg)
    target = make_target(truth, truth, make_frame((44, 44)), n_incident=1600.0)
    fewer = without_first(truth)
    for joining, n_added in ((True, 1), (False, 0)):
        change = change_atoms(
            fewer,
            target,
            free_unknowns(RefinementConfig(geometry=()), n_groups=1),
            np.array([78]),
            min_distance_A=1.8,
            joining=joining,
        )
        assert (change.n_added, change.n_removed) == (n_added, 0)
        assert len(change.model.positions_A) == 19 + n_added


def test_the_light_of_those_that_leave_calls_for_no_others(
    make_model, make_frame, make_target, make_series, tilt_deg, make_ball
):
    """Six times as many spots of noise as atoms, as tracing leaves them: those where noise added light."""
    specimen, frame, dose_e_per_A2 = make_ball(150, numbers=(28, 78)), make_frame((56, 56)), 1e3
    truth = make_model(specimen, tilt_deg)
    images = make_series(truth, tilt_deg, frame, dose_e_per_A2=dose_e_per_A2).images
    target = make_target(truth, truth, frame, n_incident=dose_e_per_A2 * frame.pixel_size_A**2)
    target = replace(target, images=pad_images(torch.as_tensor(images), frame))
    places_A = np.random.default_rng(0).uniform(-9.0, 9.0, (40_000, 3))
    places_A = places_A[cKDTree(specimen.positions_A).query(places_A)[0] > 1.2]
    noise_A = torch.as_tensor(places_A[thin_out(places_A, min_distance_A=1.0)])
    nothing = torch.full((len(noise_A),), 1e-3, dtype=torch.float64)
    model = replace(
        truth,
        positions_A=torch.cat([truth.positions_A, noise_A]),
        brightness_A2=torch.cat([truth.brightness_A2, nothing]),
        group=torch.cat([truth.group, torch.zeros(len(noise_A), dtype=torch.int64)]),
        chance=torch.cat([truth.chance, nothing * np.nan]),
    )
    free = without_geometry(free_unknowns(RefinementConfig(geometry=()), n_groups=2))
    for _ in range(3):
        model = fit_images(model, target, free, n_steps=3).model
        lit = model.brightness_A2 > 0.0
        parts = ("positions_A", "brightness_A2", "group", "chance")
        model = replace(model, **{name: getattr(model, name)[lit] for name in parts})
    assert len(model.positions_A) > 900
    change = change_atoms(model, target, free, np.array([28, 78]), min_distance_A=1.8, joining=True)
    assert change.n_removed > 900
    # 106 where their light is not shared out first.
    assert change.n_added <= 20


def test_refined_atoms_stand_the_next_judgement(make_ball, make_model, make_frame, make_series, make_trace):
    """Ni beside Pt, which the images hardly see: what has been judged is not judged as if searched."""
    tilt_deg = np.linspace(-65.0, 65.0, 15)
    n_once = n_twice = 0
    for seed in range(3):
        specimen = make_ball(60, numbers=(28, 78), seed=seed)
        series = make_series(
            make_model(specimen, tilt_deg),
            tilt_deg,
            make_frame((48, 48)),
            dose_e_per_A2=250.0,
            seed=seed,
        )
        trace = make_trace(specimen, error_A=0.1, seed=seed)
        once = refine(trace, series, ["Ni", "Pt"], RefinementConfig(geometry=()))
        twice = refine(once.trace, series, ["Ni", "Pt"], RefinementConfig(geometry=()))
        n_once, n_twice = n_once + len(once.trace.positions_A), n_twice + len(twice.trace.positions_A)
    # Judged as if searched for in all places: 127 and 113 of 180.
    assert n_once >= 155
    assert n_twice >= 0.95 * n_once


def test_best_candidate_is_the_missing_atom(make_ball, make_model, make_frame, make_target, tilt_deg):
    """Its place to a fraction of a pixel, its brightness, and how significant it is."""
    truth = make_model(make_ball(15), tilt_deg, rotation_deg=1.0, shift_A=0.4)
    target = make_target(truth, truth, make_frame((44, 40)), n_incident=1600.0)
    rest = without_first(truth)
    expected = expected_images(rest, target)
    weights = pixel_weights(expected, target)
    positions_A, significance, brightness_A2 = find_candidates(
        target.images - expected, weights, rest, target.frame, depth_A=(-8.0, 8.0)
    )
    assert torch.linalg.norm(positions_A[0] - truth.positions_A[0]) < 0.3
    assert float(brightness_A2[0]) == pytest.approx(float(truth.brightness_A2[0]), rel=0.2)
    gain = ((target.images - expected) ** 2 * weights).sum().sqrt()
    assert float(significance[0]) == pytest.approx(float(gain), rel=0.15)
    assert (significance.diff() <= 0).all()
