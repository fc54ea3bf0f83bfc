from dataclasses import replace

import pytest
import torch

from picotome.configs.schema import RefinementConfig
from picotome.trace.refinement.fit import fit_images
from picotome.trace.refinement.focus import mirror_focus
from picotome.trace.refinement.unknowns import free_unknowns


@pytest.fixture
def case(make_ball, make_model, make_frame, make_target, tilt_deg):
    """Every second image starts on the wrong side of focus; the particle's middle is not at the origin."""
    specimen = make_ball(40, seed=2)
    truth = make_model(specimen, tilt_deg, defocus_A=20.0)
    truth = replace(
        truth, positions_A=truth.positions_A + torch.tensor([0.5, 0.2, -1.0], dtype=torch.float64)
    )
    wrong = truth.defocus_A.clone()
    wrong[::2] *= -1
    start = replace(truth, defocus_A=wrong)
    return truth, start, make_target(truth, start, make_frame((44, 44)), n_incident=1600.0)


def test_images_on_the_wrong_side_change_it(case):
    truth, start, target = case
    mirrored, n = mirror_focus(start, target)
    assert n >= 3
    right = mirrored.defocus_A * truth.defocus_A > 0
    assert right[truth.defocus_A.abs() > 8.0].all()
    assert mirrored.positions_A is start.positions_A


def test_the_truth_is_left_alone(case):
    truth, _, target = case
    same, n = mirror_focus(truth, target)
    assert n == 0
    assert torch.equal(same.defocus_A, truth.defocus_A)


def test_no_descent_changes_sides_but_the_mirror_does(case, rigid_error):
    truth, start, target = case
    free = free_unknowns(RefinementConfig(geometry=("tilt", "turns", "shifts", "defocus")), n_groups=1)
    stuck = fit_images(start, target, free, n_steps=20).model
    found = fit_images(mirror_focus(stuck, target)[0], target, free, n_steps=20).model
    error, without = (
        abs(rigid_error(m.positions_A.numpy(), truth.positions_A.numpy())).max() for m in (found, stuck)
    )
    assert error < 1e-3 < 0.3 * without
