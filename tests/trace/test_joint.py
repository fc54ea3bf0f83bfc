"""The second judge is the truth, which `join_positions` never sees."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from picotome.records import Trace
from picotome.trace.joint import join_positions

RNG_SEED = 5
N = 600
ADDED = 0.5


def lattice(rng):
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 3.9
    return grid[rng.permutation(len(grid))[:N]].astype(float)


def trace_at(positions_A, numbers, sigma_A):
    n = len(positions_A)
    return Trace(
        positions_A=positions_A,
        intensities=np.ones(n),
        atomic_numbers=numbers,
        sigma_A=np.full(n, 0.4),
        uncertainty_pm=np.full((n, 3), 100 * sigma_A),
    )


def two_estimates(*, images_A, prior_A, own_A=0.0, seed=RNG_SEED, turned=True):
    """Atoms `prior_A` off a lattice: images add noise to them, a network draws these towards the lattice.

    A network that knows `prior_A` shrinks as it must; `own_A` are errors that it makes without any noise.
    """
    rng = np.random.default_rng(seed)
    ideal_A = lattice(rng)
    true_A = ideal_A + prior_A * rng.normal(size=ideal_A.shape)
    numbers = np.full(N, 78)
    noise, more = rng.normal(size=(2, *true_A.shape))
    own = own_A * rng.normal(size=true_A.shape)
    kept = prior_A**2 / (prior_A**2 + images_A**2)
    turn, shift_A = Rotation.from_euler("xyz", [0.4, -0.3, 0.2], degrees=True), np.array([0.1, -0.05, 0.2])

    def pair(draw):
        seen_A = true_A + images_A * draw
        drawn_A = ideal_A + kept * (seen_A - ideal_A) + own
        return (
            trace_at(seen_A, numbers, images_A),
            trace_at(turn.apply(drawn_A) + shift_A if turned else drawn_A, numbers, images_A),
        )

    return true_A, *pair(noise), pair(noise + ADDED * more)


def rmsd_pm(positions_A, true_A):
    a, b = positions_A - positions_A.mean(0), true_A - true_A.mean(0)
    rotation, _ = Rotation.align_vectors(b, a)
    return 100 * np.sqrt(np.square(rotation.apply(a) - b).sum(1).mean())


def stated_pm(trace):
    return np.sqrt(np.square(trace.uncertainty_pm).sum(1).mean())


@pytest.mark.parametrize("images_A", [0.03, 0.08, 0.2])
@pytest.mark.parametrize("own_A", [0.0, 0.04, 0.15])
def test_together_they_are_as_good_as_the_best_mixture(images_A, own_A):
    true_A, refined, network, disturbed = two_estimates(images_A=images_A, prior_A=0.08, own_A=own_A)
    joint = join_positions(refined, network, disturbed=disturbed, added_noise=ADDED, min_distance_A=1.8)
    drawn_A = two_estimates(images_A=images_A, prior_A=0.08, own_A=own_A, turned=False)[2].positions_A
    mixtures = [
        rmsd_pm(refined.positions_A + w * (drawn_A - refined.positions_A), true_A)
        for w in np.linspace(0, 1, 21)
    ]
    found = rmsd_pm(joint.trace.positions_A, true_A)
    assert found <= 1.03 * min(mixtures)
    worth = joint.worth["Pt"]
    assert worth.images_pm == pytest.approx(mixtures[0], rel=0.1)
    # It is a difference of what the images and what both have: known to a part of the larger of them.
    assert worth.joint_pm**2 == pytest.approx(found**2, abs=0.1 * worth.images_pm**2)
    fit_pm = np.sqrt(3) * 100 * images_A
    assert stated_pm(joint.trace) == pytest.approx(worth.joint_pm * max(1.0, fit_pm / worth.images_pm))
    assert worth.n_atoms == N


def test_a_fit_that_expects_too_little_is_not_believed():
    """Noise moves atoms three times as far as the fit says: what is left is as large as ever."""
    _, refined, network, disturbed = two_estimates(images_A=0.2, prior_A=0.08)
    humble, proud = (
        join_positions(
            replace(refined, uncertainty_pm=part * refined.uncertainty_pm),
            network,
            disturbed=disturbed,
            added_noise=ADDED,
            min_distance_A=1.8,
        ).trace
        for part in (1.0, 1.0 / 3.0)
    )
    assert stated_pm(proud) == pytest.approx(stated_pm(humble), rel=0.1)


def test_a_network_that_is_wrong_of_its_own_accord_is_not_followed():
    true_A, refined, network, disturbed = two_estimates(images_A=0.03, prior_A=0.01, own_A=0.3)
    joint = join_positions(refined, network, disturbed=disturbed, added_noise=ADDED, min_distance_A=1.8)
    assert joint.worth["Pt"].network_weight < 0.03
    assert rmsd_pm(joint.trace.positions_A, true_A) < 1.01 * rmsd_pm(refined.positions_A, true_A)


def test_each_element_has_a_weight_of_its_own():
    """Ni in noise, Pt not: by a common weight one of them would lose."""
    _, loud, loud_network, loud_again = two_estimates(images_A=0.2, prior_A=0.05)
    _, quiet, quiet_network, quiet_again = two_estimates(images_A=0.01, prior_A=0.05, seed=6)
    away_A = np.array([100.0, 0, 0])

    def both(a, b):
        joined = {
            name: np.concatenate([getattr(a, name), getattr(b, name)])
            for name in ("intensities", "sigma_A", "uncertainty_pm")
        }
        return Trace(
            positions_A=np.concatenate([a.positions_A, b.positions_A + away_A]),
            atomic_numbers=np.repeat([28, 78], N),
            **joined,
        )

    joint = join_positions(
        both(loud, quiet),
        both(loud_network, quiet_network),
        disturbed=(both(loud_again[0], quiet_again[0]), both(loud_again[1], quiet_again[1])),
        added_noise=ADDED,
        min_distance_A=1.8,
    )
    assert list(joint.worth) == ["Ni", "Pt"]
    assert joint.worth["Ni"].network_weight > 0.9
    assert np.array_equal(joint.trace.network_weight[:N], np.full(N, joint.worth["Ni"].network_weight))
    assert joint.worth["Ni"].images_pm > 10 * joint.worth["Pt"].images_pm


def test_atoms_that_the_network_does_not_have_stay_where_the_images_place_them():
    _, refined, network, disturbed = two_estimates(images_A=0.1, prior_A=0.05)
    some = slice(50, None)
    fewer = trace_at(network.positions_A[some], network.atomic_numbers[some], 0.1)
    joint = join_positions(refined, fewer, disturbed=disturbed, added_noise=ADDED, min_distance_A=1.8)
    assert np.array_equal(joint.trace.positions_A[:50], refined.positions_A[:50])
    assert np.array_equal(joint.trace.uncertainty_pm[:50], refined.uncertainty_pm[:50])
    assert not joint.trace.network_weight[:50].any() and joint.trace.network_weight[50:].all()
    assert len(joint.trace.positions_A) == N


def test_an_atom_that_noise_has_carried_off_is_still_the_same_atom():
    """Two atoms are never 1.8 Å apart; where the network is trusted, it has its place back."""
    true_A, refined, network, disturbed = two_estimates(images_A=0.2, prior_A=0.05)
    strayed_A = refined.positions_A.copy()
    strayed_A[7] = true_A[7] + [0.9, -0.9, 0.9]
    joint = join_positions(
        replace(refined, positions_A=strayed_A),
        network,
        disturbed=disturbed,
        added_noise=ADDED,
        min_distance_A=1.8,
    )
    weight = joint.worth["Pt"].network_weight
    assert weight > 0.9
    assert np.linalg.norm(joint.trace.positions_A[7] - true_A[7]) < 1.6 * (1 - weight) + 0.25


def test_atoms_that_err_unlike_one_another_count_by_how_far_they_err():
    """Half of the atoms carry nine tenths of the error: a median would not see it."""
    rng = np.random.default_rng(RNG_SEED)
    true_A, numbers = lattice(rng), np.full(N, 78)
    spread_A = np.where(np.arange(N) % 2 == 0, 0.15, 0.05)[:, None]
    noise, more = spread_A * rng.normal(size=(2, N, 3))
    network = trace_at(true_A + 0.05 * rng.normal(size=true_A.shape), numbers, 0.1)
    joint = join_positions(
        trace_at(true_A + noise, numbers, 0.1),
        network,
        disturbed=(trace_at(true_A + noise + ADDED * more, numbers, 0.1), network),
        added_noise=ADDED,
        min_distance_A=1.8,
    )
    sizes = {"images_pm": spread_A, "apart_pm": np.hypot(spread_A, 0.05)}
    for key, sigma_A in sizes.items():
        assert getattr(joint.worth["Pt"], key) == pytest.approx(
            100 * np.sqrt(3 * np.mean(sigma_A**2)), rel=0.15
        )


def test_too_few_atoms_tell_nothing():
    _, refined, network, disturbed = two_estimates(images_A=0.1, prior_A=0.05)
    few = [trace_at(t.positions_A[:19], t.atomic_numbers[:19], 0.1) for t in (refined, network, *disturbed)]
    joint = join_positions(few[0], few[1], disturbed=(few[2], few[3]), added_noise=ADDED, min_distance_A=1.8)
    assert joint.worth == {}
    assert np.array_equal(joint.trace.positions_A, few[0].positions_A)


def test_what_cannot_be_weighed_is_refused():
    _, refined, network, disturbed = two_estimates(images_A=0.1, prior_A=0.05)
    with pytest.raises(ValueError, match="uncertainty_pm"):
        join_positions(
            replace(refined, uncertainty_pm=None),
            network,
            disturbed=disturbed,
            added_noise=ADDED,
            min_distance_A=1.8,
        )
    with pytest.raises(ValueError, match=r"added_noise is 0.*more than 0"):
        join_positions(refined, network, disturbed=disturbed, added_noise=0.0, min_distance_A=1.8)
