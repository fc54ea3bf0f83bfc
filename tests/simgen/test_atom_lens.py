import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from picotome.simgen.atom_lens import lens_factors

KNOBS = {"strength_A2": 0.036, "width_A": 0.11, "wavelength_A": 0.0197}


def column(n: int, *, step_A: float = 2.8) -> np.ndarray:
    """(n, 3) a row of atoms along the beam."""
    return np.stack([np.zeros(n), np.zeros(n), step_A * np.arange(n)], axis=1)


def test_an_atom_with_nothing_before_it_is_as_bright_as_a_free_one():
    atoms_A = np.random.default_rng(0).uniform(-6, 6, (40, 3))
    factors = lens_factors(atoms_A, **KNOBS)
    assert factors[atoms_A[:, 2].argmin()] == 1.0
    assert (lens_factors(np.array([[0, 0, 0], [4.0, 0, 10]]), **KNOBS) == 1.0).all()
    assert (lens_factors(atoms_A, **{**KNOBS, "strength_A2": 0.0}) == 1.0).all()


def test_what_happens_to_the_beam_does_not_depend_on_order_place_or_turn_about_the_beam():
    rng = np.random.default_rng(1)
    atoms_A = rng.uniform(-5, 5, (60, 3))
    expected = lens_factors(atoms_A, **KNOBS)
    assert np.ptp(expected) > 0.05
    order = rng.permutation(60)
    np.testing.assert_allclose(lens_factors(atoms_A[order], **KNOBS), expected[order])
    turned_A = Rotation.from_rotvec([0, 0, 1.1]).apply(atoms_A) + np.array([3.0, -2.0, 7.0])
    np.testing.assert_allclose(lens_factors(turned_A, **KNOBS), expected)


@pytest.mark.parametrize("depth_A", [3.0, 12.0])
def test_a_weak_lens_moves_electrons_and_loses_none(depth_A):
    step_A = 0.02
    x = np.arange(-2, 2, step_A)
    places = [np.array([[0, 0, 0], [rho, 0, depth_A]]) for rho in x[x >= 0]]
    weak = {**KNOBS, "strength_A2": 1e-5}
    change = np.array([lens_factors(pair, **weak)[1] - 1.0 for pair in places])
    rho = x[x >= 0]
    # Over the plane, ring by ring.
    total, moved = (2 * np.pi * step_A * (rho * c).sum() for c in (change, np.abs(change)))
    assert abs(total) < 0.02 * moved


def test_a_row_of_atoms_draws_the_beam_in_and_loses_it_again():
    factors = lens_factors(column(14), **{**KNOBS, "strength_A2": 0.003})
    assert factors[1] > 1.0
    brightest = int(factors.argmax())
    assert 1 <= brightest < 13
    assert (np.diff(factors[brightest:]) < 0).all()


def test_no_atom_is_darker_than_black():
    rng = np.random.default_rng(2)
    atoms_A = np.concatenate([column(60), rng.normal(scale=0.4, size=(60, 3)) + column(60)])
    factors = lens_factors(atoms_A, **{**KNOBS, "strength_A2": 0.2})
    assert (factors >= 0).all() and factors.min() < 0.3
