"""The number of chance maxima against noise that is searched, and what that makes of faint atoms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from picotome.configs.schema import RefinementConfig
from picotome.records import Trace
from picotome.trace.brightness import fit_elements
from picotome.trace.refinement.candidates import find_candidates
from picotome.trace.refinement.model import Frame
from picotome.trace.refinement.refine import refine_trace
from picotome.trace.refinement.support import (
    FAINTEST,
    fit_elements_beside_chance,
    is_likely_atom,
    n_chance,
    places_per_A3,
    stays_atom,
)

EDGE = 48


def test_noise_has_as_many_maxima_as_the_formula_says(make_ball, make_model):
    """On pixels that are fine beside the probe; between coarse ones the tops are missed."""
    tilt_deg = np.linspace(-65.0, 65.0, 15)
    model = make_model(make_ball(5), tilt_deg)
    frame = Frame((80, 80), 0.2, 12)
    ones = torch.ones(len(tilt_deg), frame.padded[0] * frame.padded[1])
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(8):
        noise = torch.randn(ones.shape, generator=generator)
        positions_A, significance, _ = find_candidates(noise, ones, model, frame, depth_A=(-4.0, 4.0))
        # Where every image sees the place.
        inside = (positions_A.abs() < torch.tensor([4.0, 6.0, 3.9])).all(dim=1)
        found.append(significance[inside].numpy())
    n_places = 8.0 * 12.0 * 7.8 * places_per_A3(model)
    expected = float(n_chance(np.array([3.0]), n_places=n_places)[0])
    counted = np.array([(s > 3.0).sum() for s in found])
    error = np.sqrt(expected / len(counted))
    # Interpolation between pixels lowers the tops a little.
    assert 0.75 * expected - 3.0 * error < counted.mean() < expected + 3.0 * error


def test_places_are_those_of_one_gaussian_probe(make_ball, make_model):
    """By hand: a probe of variance v, seen along z only where tilted; det Λ = Π seen / (2 v)."""
    tilt_deg = np.linspace(-60.0, 60.0, 7)
    model = replace(make_model(make_ball(5), tilt_deg), tail_fraction=torch.tensor(0.0, dtype=torch.float64))
    cosine2 = (np.cos(np.deg2rad(tilt_deg)) ** 2).mean()
    determinant = cosine2 * (1.0 - cosine2) / (2.0 * float(model.core_A2)) ** 3
    assert places_per_A3(model) == pytest.approx(np.sqrt(determinant) / (2 * np.pi) ** 2, rel=1e-6)


def test_more_chance_asks_for_more_light():
    elements = fit_elements(np.random.default_rng(0).normal(0.0, 0.05, 200), np.array([78]))
    deviation = np.full(100, 0.2)
    faint = np.linspace(0.5, 1.0, 100)

    def n_likely(n_false):
        likely = is_likely_atom(faint, deviation, elements=elements, n_atoms=100.0, n_false=n_false)
        assert (np.diff(likely.astype(int)) >= 0).all()
        return likely.sum()

    assert n_likely(10.0) > n_likely(1e3) > n_likely(1e5)


def test_elements_are_found_among_more_chance_than_atoms():
    """Ni, Pd and Pt at 1e3 e/Å² in a particle of thousands: the lightest stands 4.5 σ out of noise maxima."""
    rng = np.random.default_rng(0)
    deviation = 0.12
    means = np.array([0.55, 1.0, 1.9])
    atoms = np.concatenate([rng.normal(mean, deviation, 400) for mean in means])
    # Heights of noise maxima, drawn from their own distribution.
    t = np.linspace(1.8, 7.0, 4000)
    density = (t**3 - 3.0 * t) * np.exp(-0.5 * t**2)
    chance = deviation * rng.choice(t, 8000, p=density / density.sum())
    brightness = np.concatenate([atoms, chance])
    elements, n_atoms, n_false = fit_elements_beside_chance(
        brightness, np.full(len(brightness), deviation), np.array([28, 46, 78])
    )
    np.testing.assert_allclose(np.exp(elements.means), means, rtol=0.06)
    np.testing.assert_allclose(elements.shares / elements.shares.sum(), 1 / 3, atol=0.05)
    assert n_atoms == pytest.approx(1200, rel=0.05)
    assert n_false == pytest.approx((chance > FAINTEST * deviation).sum(), rel=0.05)


def test_the_images_overrule_a_network_where_they_contradict_it():
    """A spread of one tenth about a brightness of 1, by hand: Bayes' rule for two Gaussians."""
    elements = fit_elements(np.random.default_rng(0).normal(0.0, 0.1, 2000), np.array([78]))
    deviation = np.full(3, 0.3)
    # Halfway between atom and nothing, a little less, and none at all.
    brightness = np.array([0.5, 0.4, 0.0])

    def stays(chance):
        return stays_atom(brightness, deviation, elements=elements, chance=np.full(3, chance)).tolist()

    # log odds of the images: (2 b − 1) / (2 · 0.3²) = 0.0, −1.1 and −5.6.
    assert stays(0.6) == [True, False, False]
    assert stays(0.9) == [True, True, False]
    assert stays(0.999) == [True, True, True]
    assert stays(0.4) == [False, False, False]


def test_false_and_lost_atoms_of_faint_elements_are_few(
    make_ball, make_model, make_frame, make_series, make_trace
):
    """Pd under Pt, a tenth missing and a tenth too many at the start; counted over several particles."""
    tilt_deg = np.linspace(-65.0, 65.0, 15)
    n_true = n_found = n_right = 0
    for seed in range(3):
        specimen = make_ball(60, numbers=(46, 78), seed=seed)
        series = make_series(
            make_model(specimen, tilt_deg),
            tilt_deg,
            make_frame((EDGE, EDGE)),
            dose_e_per_A2=3e2,
            seed=seed,
        )
        rng = np.random.default_rng(seed)
        trace = make_trace(specimen, error_A=0.1, seed=seed)
        kept = rng.permutation(60) >= 6
        outside_A = rng.normal(0.0, 1.0, (200, 3))
        outside_A *= rng.uniform(3.0, 8.0, (200, 1)) / np.linalg.norm(outside_A, axis=1, keepdims=True)
        apart = cKDTree(specimen.positions_A).query(outside_A)[0] > 1.5
        false_A = outside_A[apart][:6]
        start = Trace(
            np.concatenate([trace.positions_A[kept], false_A]),
            np.concatenate([trace.intensities[kept], np.full(6, 0.02)]),
            np.concatenate([trace.atomic_numbers[kept], np.full(6, 46)]),
            np.full(60, 0.45),
        )
        refined = refine_trace(
            start, series, elements=["Pd", "Pt"], config=RefinementConfig(geometry=()), min_distance_A=1.8
        )
        near = cKDTree(refined.trace.positions_A).query(specimen.positions_A)[0] < 0.75
        n_true, n_right, n_found = n_true + 60, n_right + near.sum(), n_found + len(refined.trace.positions_A)
    assert n_right / n_true >= 0.98
    assert n_right / n_found >= 0.98
