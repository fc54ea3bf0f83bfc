import itertools

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from picotome.trace.matching import match_atoms, match_translated, rotation_onto


def brute_force(true_A, found_A, radius_A):
    """(most pairs, least sum of squares) over all one-to-one pairings."""
    squares = ((true_A[:, None] - found_A) ** 2).sum(axis=-1)
    best = (0, 0.0)
    n, m = squares.shape
    for k in range(1, min(n, m) + 1):
        for rows in itertools.combinations(range(n), k):
            for columns in itertools.permutations(range(m), k):
                chosen = squares[list(rows), list(columns)]
                if (chosen <= radius_A**2).all() and (k > best[0] or chosen.sum() < best[1]):
                    best = (k, chosen.sum())
    return best


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 5), st.floats(0.2, 2.0))
def test_the_assignment_is_the_best_there_is(seed, n, m, radius_A):
    rng = np.random.default_rng(seed)
    true_A, found_A = rng.uniform(0, 2, (n, 3)), rng.uniform(0, 2, (m, 3))
    true, found = match_atoms(true_A, found_A, radius_A=radius_A)
    assert len(set(true.tolist())) == len(set(found.tolist())) == len(true)
    squares = ((true_A[true] - found_A[found]) ** 2).sum(axis=-1)
    assert (squares <= radius_A**2).all()
    most, least = brute_force(true_A, found_A, radius_A)
    assert len(true) == most
    assert squares.sum() == pytest.approx(least, abs=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_matching_is_symmetric_and_blind_to_order(seed):
    rng = np.random.default_rng(seed)
    true_A, found_A = rng.uniform(0, 5, (40, 3)), rng.uniform(0, 5, (50, 3))
    order = rng.permutation(50)
    pairs = set(zip(*(p.tolist() for p in match_atoms(true_A, found_A, radius_A=1.0)), strict=True))
    true, found = match_atoms(true_A, found_A[order], radius_A=1.0)
    assert {(i, int(order[j])) for i, j in zip(true.tolist(), found.tolist(), strict=True)} == pairs
    found, true = match_atoms(found_A, true_A, radius_A=1.0)
    assert set(zip(true.tolist(), found.tolist(), strict=True)) == pairs


def test_an_atom_exactly_on_its_site_counts():
    true, found = match_atoms(np.zeros((1, 3)), np.zeros((1, 3)), radius_A=0.75)
    assert true.tolist() == found.tolist() == [0]


def test_one_more_pair_is_worth_any_distance():
    # 0 - 0.5 alone would be the closest pair, but leaves the atoms at 1.2 and -0.7 without partners.
    true_A = np.array([[0.0, 0, 0], [1.2, 0, 0]])
    found_A = np.array([[0.5, 0, 0], [-0.7, 0, 0]])
    true, found = match_atoms(true_A, found_A, radius_A=0.75)
    assert list(zip(true.tolist(), found.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("offset_A", [(0.5, 0.0, 0.0), (0.3, -0.3, 0.3), (0.0, 0.0, -0.65)])
def test_a_common_translation_is_found(pt, offset_A):
    found_A = pt.positions_A + offset_A + np.random.default_rng(0).normal(0, 0.1, pt.positions_A.shape)
    match = match_translated(pt.positions_A, found_A, radius_A=0.75)
    assert len(match.true) == len(pt.positions_A)
    np.testing.assert_array_equal(match.true, match.found)
    np.testing.assert_allclose(match.translation_A, offset_A, atol=0.03)


def test_wrong_pairs_do_not_pull_the_translation(pt):
    rng = np.random.default_rng(0)
    false_A = pt.positions_A[:60] + rng.uniform(0.3, 0.6, (60, 3))
    found_A = np.concatenate([pt.positions_A[60:], false_A])
    match = match_translated(pt.positions_A, found_A, radius_A=0.75)
    right = match.true >= 60
    residual_A = found_A[match.found] - pt.positions_A[match.true]
    np.testing.assert_allclose(match.translation_A, residual_A.mean(axis=0), atol=1e-9)
    assert right.sum() == len(pt.positions_A) - 60


def test_no_jump_to_the_next_lattice_site():
    """A crystal moved by a lattice vector lies on itself; the search must not step back a whole vector."""
    crystal = bulk("Pt", cubic=True).repeat(4)
    vector_A = crystal.cell[0] / 8 + crystal.cell[1] / 8
    found_A = crystal.positions + vector_A
    match = match_translated(crystal.positions, found_A, radius_A=0.75)
    assert np.linalg.norm(match.translation_A) < 1e-6
    assert 0.5 * len(crystal) < len(match.true) < len(crystal)
    assert (match.true != match.found).all()


def test_no_more_than_the_radius_is_taken_off(pt):
    for length_A in np.linspace(0.5, 3.0, 11):
        found_A = pt.positions_A + np.array([length_A, 0.0, 0.0])
        match = match_translated(pt.positions_A, found_A, radius_A=0.75)
        assert np.linalg.norm(match.translation_A) <= 0.75 + 1e-9


@pytest.mark.parametrize("weighted", [False, True])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_rotation_is_that_of_another_judge(weighted, seed):
    """SciPy solves the same problem by quaternions."""
    rng = np.random.default_rng(seed)
    from_A = rng.normal(size=(12, 3))
    to_A = Rotation.random(rng=rng).apply(from_A) + 0.2 * rng.normal(size=from_A.shape)
    weights = rng.uniform(0.1, 1.0, size=12) if weighted else None
    from_A, to_A = (x - np.average(x, axis=0, weights=weights) for x in (from_A, to_A))
    expected = Rotation.align_vectors(to_A, from_A, weights=weights)[0].as_matrix()
    np.testing.assert_allclose(rotation_onto(to_A, from_A, weights=weights), expected, atol=1e-7)


def test_a_mirror_image_is_turned_and_not_reflected():
    from_A = np.random.default_rng(2).normal(size=(9, 3))
    from_A -= from_A.mean(axis=0)
    rotation = rotation_onto(from_A * [1, 1, -1], from_A)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_nothing_matches_nothing():
    some, none = np.zeros((2, 3)), np.zeros((0, 3))
    for a, b in ((some, none), (none, some), (none, none), (some, some + 9)):
        match = match_translated(a, b, radius_A=0.75)
        assert len(match.true) == len(match.found) == 0
        assert match.translation_A.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("true_A", "found_A", "radius_A", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), 0.75, "true_A has shape"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), 0.75, "found_A holds NaN"),
        (np.zeros((2, 3)), np.zeros((2, 3)), 0.0, "radius_A is 0"),
    ],
)
def test_bad_input_is_refused(true_A, found_A, radius_A, message):
    with pytest.raises(ValueError, match=message):
        match_atoms(true_A, found_A, radius_A=radius_A)
