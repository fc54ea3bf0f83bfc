from dataclasses import replace

import numpy as np
import pytest
import torch

from picotome.configs.schema import RefinementConfig
from picotome.geometry import tilt_rotations
from picotome.trace.refinement.covariance import fisher_information
from picotome.trace.refinement.gauge import fix_gauge, gauge_directions, is_movable, turnable_axes
from picotome.trace.refinement.linearised import FOCUS, Unknowns, forward, linearise
from picotome.trace.refinement.rotations import rotation_vector
from picotome.trace.refinement.unknowns import free_unknowns, moved

# What may be wrong with the geometry, and how many common motions that leaves open.
N_MOTIONS = {
    (): 0,
    ("tilt",): 1,
    ("turns",): 2,
    ("shifts", "defocus"): 3,
    ("tilt", "turns"): 3,
    ("tilt", "shifts", "defocus"): 4,
    ("tilt", "turns", "shifts"): 6,
    ("tilt", "turns", "shifts", "defocus"): 6,
}
each_geometry = pytest.mark.parametrize("geometry", N_MOTIONS, ids="+".join)


@pytest.fixture
def nominal(make_ball, make_model, tilt_deg):
    return make_model(make_ball(20, numbers=(46, 78)), tilt_deg, gain=0.1)


def free_of(geometry, **settings):
    return free_unknowns(RefinementConfig(geometry=geometry, **settings), n_groups=2)


def with_errors(nominal, free, *, size=1.0):
    """The nominal model with errors in what is free, and nowhere else."""
    rng = np.random.default_rng(5)
    widths = {"gain": 0.05, "background": 1e-4, "defocus": 10.0}
    widths |= dict.fromkeys(("turn_x", "turn_y", "turn_z"), 0.01) | dict.fromkeys(("shift_x", "shift_y"), 0.2)
    images = [rng.normal(0, widths[name] * size, len(nominal.gain)) for name in free.images]
    step = Unknowns(
        torch.zeros(len(nominal.positions_A), 4, dtype=torch.float64),
        torch.as_tensor(np.stack(images, axis=1)),
        torch.zeros(len(free.common), dtype=torch.float64),
    )
    return moved(nominal, step, free)


def images_of(model, frame):
    return linearise(model, frame, free_images=(), free_common=()).images


@each_geometry
def test_fixing_the_gauge_changes_no_image_and_leaves_no_common_error(nominal, make_frame, geometry):
    free, frame = free_of(geometry), make_frame()
    model = with_errors(nominal, free)
    fixed = fix_gauge(model, nominal, free)
    torch.testing.assert_close(images_of(fixed, frame), images_of(model, frame), rtol=0.0, atol=1e-6)
    assert float(torch.log(fixed.gain).mean()) == pytest.approx(0.0, abs=1e-12)
    errors = rotation_vector(fixed.rotations @ nominal.rotations.transpose(-1, -2))
    common = torch.einsum("tji,tj->ti", nominal.rotations, errors).mean(dim=0)
    assert common[list(turnable_axes(free))].abs().sum() < 1e-6
    if is_movable(free):
        seen = torch.einsum("tij,ti->j", fixed.rotations[:, :2], fixed.shift_A)
        assert seen.abs().max() < 1e-9
    again = fix_gauge(fixed, nominal, free)
    torch.testing.assert_close(again.positions_A, fixed.positions_A, rtol=0.0, atol=1e-6)


def test_a_common_motion_is_taken_back(nominal):
    """Specimen and microscope turned and moved together: the gauge gives the nominal model back."""
    free = free_of(("tilt", "turns", "shifts", "defocus"))
    turn = torch.as_tensor(tilt_rotations([2.0], np.array([[1.0, 0.5, -1.5]]))[0])
    move = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    rotations = nominal.rotations @ turn.T
    seen = torch.einsum("tij,j->ti", rotations, move)
    together = replace(
        nominal,
        positions_A=nominal.positions_A @ turn.T + move,
        rotations=rotations,
        shift_A=-seen[:, :2],
        defocus_A=seen[:, 2],
    )
    fixed = fix_gauge(together, nominal, free)
    for name in ("positions_A", "rotations", "shift_A", "defocus_A"):
        torch.testing.assert_close(getattr(fixed, name), getattr(nominal, name), rtol=0.0, atol=1e-5)


def test_atoms_that_are_held_are_not_moved(nominal):
    free = replace(free_of(("tilt", "turns", "shifts")), positions=False)
    model = with_errors(nominal, free)
    assert fix_gauge(model, nominal, free).positions_A is model.positions_A
    assert gauge_directions(model, free).shape[1] == 1


@each_geometry
@pytest.mark.parametrize("brightness", ["atom", "element"])
def test_gauge_directions_change_no_image(nominal, make_frame, geometry, brightness):
    free, frame = free_of(geometry, brightness=brightness), make_frame(reach=10)
    # Turns about some axes only are free exactly for small errors only.
    model = with_errors(nominal, free, size=1.0 if len(geometry) > 2 else 1e-3)
    there = linearise(model, frame, free_images=free.images, free_common=free.common)
    directions = gauge_directions(model, free)
    assert directions.shape[1] == N_MOTIONS[geometry] + 1
    n, k = 4 * len(model.positions_A), len(model.gain) * len(free.images)
    for direction in directions.T:
        change = Unknowns(
            direction[:n].reshape(-1, 4),
            direction[n : n + k].reshape(len(model.gain), -1),
            direction[n + k :],
        )
        atoms = forward(there, change._replace(images=0 * change.images, common=0 * change.common))
        common = forward(there, change._replace(images=0 * change.images, atoms=0 * change.atoms))
        parts = torch.linalg.norm(atoms) + torch.linalg.norm(common)
        assert parts > 0
        assert torch.linalg.norm(forward(there, change)) < 1e-4 * parts


def _only_focus(free):
    """Without the probe: a change of its width that looks like a move would be no exact one."""
    return replace(free, common=tuple(name for name in free.common if name in FOCUS))


@each_geometry
@pytest.mark.parametrize("gain", [True, False])
def test_there_are_no_other_directions(nominal, make_frame, geometry, gain):
    """The information of all that is free has as many zero eigenvalues as there are directions."""
    free = _only_focus(free_of(geometry, gain=gain))
    model = with_errors(nominal, free, size=1e-3)
    there = linearise(model, make_frame(reach=10), free_images=free.images, free_common=free.common)
    information = fisher_information(there, torch.ones_like(there.images))
    scale = 1.0 / np.sqrt(np.diag(information))
    eigenvalues = np.linalg.eigvalsh(information * scale[:, None] * scale)
    n_unseen = gauge_directions(model, free).shape[1]
    assert n_unseen == N_MOTIONS[geometry] + gain
    assert (eigenvalues[:n_unseen] < 1e-6).all()
    assert eigenvalues[n_unseen] > 1e-5
