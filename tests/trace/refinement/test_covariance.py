from dataclasses import replace

import numpy as np
import pytest
import torch

from picotome.configs.schema import RefinementConfig
from picotome.trace.refinement import covariance as module
from picotome.trace.refinement.covariance import covariance, fisher_information, rigid_motions
from picotome.trace.refinement.fit import pixel_weights
from picotome.trace.refinement.gauge import gauge_directions, turnable_axes
from picotome.trace.refinement.linearised import Unknowns, forward, linearise
from picotome.trace.refinement.unknowns import free_unknowns

EVERYTHING = ("tilt", "turns", "shifts")


def free_of(geometry, n_groups=2, **settings):
    return free_unknowns(RefinementConfig(geometry=geometry, **settings), n_groups=n_groups)


@pytest.fixture
def case(make_ball, make_model, make_frame, make_target):
    def make(n_atoms=8, n_images=4, *, n_incident=1600.0, shape=(24, 28)):
        tilt_deg = np.linspace(-55.0, 60.0, n_images)
        specimen = make_ball(n_atoms, numbers=(46, 78), seed=4)
        model = make_model(specimen, tilt_deg, rotation_deg=0.3, shift_A=0.2, gain=0.05)
        return model, make_target(model, model, make_frame(shape), n_incident=n_incident, misfit=0.02)

    return make


def dense_jacobian(there, n_atoms, n_images, free):
    """Column by column; unknowns in the order atoms, images, common."""
    columns = []
    n_each = (4 * n_atoms, n_images * len(free.images), len(free.common))
    for index in range(sum(n_each)):
        unit = torch.zeros(sum(n_each), dtype=torch.float64)
        unit[index] = 1.0
        atoms, images, common = unit.split(n_each)
        change = Unknowns(atoms.reshape(n_atoms, 4), images.reshape(n_images, -1), common)
        columns.append(forward(there, change).double().flatten())
    return torch.stack(columns, dim=1).numpy()


@pytest.mark.parametrize("brightness", ["atom", "element"])
def test_information_is_that_of_the_dense_jacobian(case, brightness):
    model, target = case()
    free = free_of(EVERYTHING, brightness=brightness)
    there = linearise(model, target.frame, free_images=free.images, free_common=free.common)
    weights = pixel_weights(there.images, target)
    jacobian = dense_jacobian(there, 8, 4, free)
    expected = jacobian.T @ (weights.double().numpy().ravel()[:, None] * jacobian)
    scale = np.sqrt(np.diag(expected))
    found = fisher_information(there, weights)
    np.testing.assert_allclose(found / scale / scale[:, None], expected / scale / scale[:, None], atol=1e-5)


def test_pixels_outside_say_nothing(case):
    model, target = case()
    free = free_of(())
    there = linearise(model, target.frame, free_images=free.images, free_common=free.common)
    information = fisher_information(there, pixel_weights(there.images, target))
    nothing = fisher_information(there, torch.zeros_like(there.images))
    assert np.abs(nothing).max() == 0.0 < information.diagonal().min()


@pytest.mark.parametrize("geometry", [(), ("shifts",), ("tilt", "shifts"), EVERYTHING])
def test_covariance_is_the_inverse_beside_the_common_motions(case, geometry):
    """A second way: the pseudo-inverse on what is not a common motion, with no penalty on the gauge."""
    model, target = case(12, 7)
    free = free_of(geometry)
    found = covariance(model, target, free)
    assert found.relative_error == 0.0
    there = linearise(model, target.frame, free_images=free.images, free_common=free.common)
    information = fisher_information(there, pixel_weights(there.images, target))
    scale = 1.0 / np.sqrt(np.diag(information))
    unseen = np.linalg.qr(gauge_directions(model, free).numpy() / scale[:, None])[0]
    values, vectors = np.linalg.eigh(information * scale[:, None] * scale + 1e6 * unseen @ unseen.T)
    inverse = (vectors / values) @ vectors.T * scale[:, None] * scale
    at = (np.arange(12)[:, None] * 4 + np.arange(3)).ravel()
    rigid = rigid_motions(model.positions_A.numpy(), turns=bool(turnable_axes(free)))
    keep = np.eye(36) - rigid @ rigid.T
    expected = (keep @ inverse[np.ix_(at, at)] @ keep).reshape(12, 3, 12, 3)
    for atom in range(12):
        np.testing.assert_allclose(
            found.positions_A2[atom], expected[atom, :, atom], rtol=2e-3, atol=1e-3 * expected[0, 0, 0, 0]
        )


def test_more_unknowns_make_it_larger(case):
    model, target = case(12, 7)
    sizes = [
        np.einsum("nii->", covariance(model, target, replace(free_of(g), common=c)).positions_A2)
        for g, c in (((), ()), ((), free_of(()).common), (("shifts",), free_of(()).common))
    ]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("geometry", [(), EVERYTHING], ids=["geometry known", "free"])
def test_sampled_agrees_with_exact_within_the_stated_error(case, geometry, monkeypatch):
    model, target = case(30, 9, shape=(36, 36))
    free = free_of(geometry)
    exact = covariance(model, target, free)
    monkeypatch.setattr(module, "_LARGEST_EXACT", 0)
    done = []
    sampled = covariance(model, target, free, progress=lambda n, of: done.append((n, of)))
    total, wanted = (np.sqrt(np.einsum("nii->", c.positions_A2)) for c in (sampled, exact))
    assert 0.0 < sampled.relative_error < 0.1
    assert abs(total / wanted - 1.0) < 3.0 * sampled.relative_error
    each = np.einsum("nii->n", sampled.positions_A2) / np.einsum("nii->n", exact.positions_A2)
    assert np.sqrt(each).std() < 0.3
    assert np.sqrt(sampled.brightness / exact.brightness).mean() == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(sampled.turn_rad, exact.turn_rad, rtol=0.3)
    assert np.isnan(exact.turn_rad) == (not geometry)
    assert done[-1][0] == done[-1][1] == len(done)


def test_rigid_motions_are_orthonormal_and_rigid():
    positions_A = np.random.default_rng(0).normal(0, 5, (10, 3))
    for turns, n in ((False, 3), (True, 6)):
        rigid = rigid_motions(positions_A, turns=turns)
        np.testing.assert_allclose(rigid.T @ rigid, np.eye(n), atol=1e-12)
        distances = np.linalg.norm(positions_A[:, None] - positions_A, axis=-1)
        for motion in rigid.T:
            moved = positions_A + 1e-5 * motion.reshape(-1, 3)
            np.testing.assert_allclose(np.linalg.norm(moved[:, None] - moved, axis=-1), distances, atol=1e-9)


def test_atoms_on_top_of_each_other_are_an_error(case):
    model, target = case(8, 5)
    positions_A = model.positions_A.clone()
    positions_A[1] = positions_A[0]
    with pytest.raises(ValueError, match=r"do not determine all unknowns.*refinement\.geometry"):
        covariance(replace(model, positions_A=positions_A), target, free_of(()))


def test_the_same_tilt_again_and_again_is_an_error(case):
    model, target = case(8, 5)
    model = replace(model, rotations=model.rotations[:1].expand(5, 3, 3))
    with pytest.raises(ValueError, match="do not determine all unknowns"):
        covariance(model, target, replace(free_of(()), common=()))


def test_focus_of_a_probe_that_does_not_spread_is_no_error(case):
    model, target = case(12, 7)
    model = replace(model, spread=torch.zeros_like(model.spread))
    with_focus, without = (
        covariance(model, target, free_of(g)) for g in (("shifts", "defocus"), ("shifts",))
    )
    np.testing.assert_allclose(with_focus.positions_A2, without.positions_A2, rtol=1e-6)
