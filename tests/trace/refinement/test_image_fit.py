from dataclasses import replace

import numpy as np
import pytest
import torch

from picotome.configs.schema import RefinementConfig
from picotome.trace.refinement.fit import expected_images, fit_images
from picotome.trace.refinement.focus import mirror_focus
from picotome.trace.refinement.linearised import FOCUS
from picotome.trace.refinement.unknowns import PROBE, free_unknowns, without_geometry

EVERYTHING = ("tilt", "turns", "shifts", "defocus")


def free_of(geometry=EVERYTHING, *, n_groups=1, **settings):
    return free_unknowns(RefinementConfig(geometry=geometry, **settings), n_groups=n_groups)


def away(model, truth, *, error_A=0.2, seed=1):
    """A model at nominal geometry whose atoms and probe are off."""
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randn(truth.positions_A.shape, generator=generator, dtype=torch.float64)
    return replace(
        model,
        positions_A=truth.positions_A + error_A / np.sqrt(3) * moves,
        brightness_A2=0.8 * truth.brightness_A2,
        core_A2=1.2 * truth.core_A2,
        tail_fraction=0.7 * truth.tail_fraction,
        background=torch.zeros_like(truth.background),
    )


@pytest.fixture
def case(make_ball, make_model, make_frame, make_target, tilt_deg):
    """What is, where the fit starts and what it fits: geometry, gains, probe and atoms all wrong."""
    specimen = make_ball(50, numbers=(46, 78), seed=5)
    truth = make_model(specimen, tilt_deg, rotation_deg=0.3, shift_A=0.2, defocus_A=10.0, gain=0.05)
    start = away(make_model(specimen, tilt_deg), truth)
    return truth, start, make_target(truth, start, make_frame((44, 44)), n_incident=1e5)


def fitted_from_both_sides(start, target, free):
    """Which side of the middle an image is focused on is no descent's to find."""
    there = fit_images(start, target, free, n_steps=60, tolerance=1e-5)
    mirrored, _ = mirror_focus(there.model, target)
    return fit_images(mirrored, target, free, n_steps=60, tolerance=1e-5)


def test_everything_wrong_returns_to_the_truth(case, rigid_error):
    truth, start, target = case
    fitted = fitted_from_both_sides(start, target, free_of())
    assert np.abs(rigid_error(fitted.model.positions_A.numpy(), truth.positions_A.numpy())).max() < 1e-3
    assert float(fitted.model.core_A2) == pytest.approx(float(truth.core_A2), rel=1e-3)
    assert float(fitted.model.tail_A2) == pytest.approx(float(truth.tail_A2), rel=1e-2)
    torch.testing.assert_close(
        fitted.model.gain / truth.gain, (fitted.model.gain / truth.gain).mean().expand(9), rtol=1e-3, atol=0.0
    )
    torch.testing.assert_close(fitted.model.background, truth.background, rtol=0.0, atol=2e-5)
    # In sight of the truth the cost, in units of χ², is that of rounding and of weak priors.
    assert fitted.cost < 50.0


def test_one_brightness_for_each_element(case, rigid_error):
    """The lighter element starts 1.5 times too bright."""
    truth, start, target = case
    light = truth.group == 0
    brightness = torch.where(light, 1.5 * truth.brightness_A2, truth.brightness_A2)
    start = replace(start, brightness_A2=brightness)
    fitted = fitted_from_both_sides(start, target, free_of(n_groups=2, brightness="element"))
    assert np.abs(rigid_error(fitted.model.positions_A.numpy(), truth.positions_A.numpy())).max() < 1e-3
    ratio = fitted.model.brightness_A2 / truth.brightness_A2
    torch.testing.assert_close(ratio, ratio.mean().expand(50), rtol=1e-3, atol=0.0)


def test_what_is_not_free_stays(case):
    _, start, target = case
    model = fit_images(start, target, free_of((), gain=False, background=False), n_steps=3).model
    for name in ("rotations", "shift_A", "defocus_A", "gain", "background"):
        assert torch.equal(getattr(model, name), getattr(start, name)), name
    aligned = fit_images(start, target, without_geometry(free_of()), n_steps=3).model
    for name in ("positions_A", "rotations", "defocus_A"):
        assert torch.equal(getattr(aligned, name), getattr(start, name)), name
    assert (aligned.shift_A != start.shift_A).all()


def test_each_step_lowers_the_cost(case):
    _, start, target = case
    costs = []
    fitted = fit_images(
        start, target, free_of(), n_steps=12, step_done=lambda cost, walk_A: costs.append(cost)
    )
    assert len(costs) == fitted.n_steps
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == fitted.cost < 0.01 * costs[0]


def test_the_margin_has_no_influence(case):
    _, start, target = case
    spoiled = replace(target, images=torch.where(target.inside, target.images, target.images + 10.0))
    found, same = (fit_images(start, t, free_of(), n_steps=3) for t in (target, spoiled))
    assert found.cost == same.cost
    assert torch.equal(found.model.positions_A, same.model.positions_A)


def test_nothing_is_modified(case):
    _, start, target = case
    before = {name: value.clone() for name, value in vars(start).items()}
    images = target.images.clone()
    fit_images(start, target, free_of(), n_steps=2)
    assert torch.equal(target.images, images)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(start, name), value, err_msg=name)


def test_the_probe_stays_possible(case):
    """Images of points: the widths end at their lower limit, not below."""
    truth, start, target = case
    tiny = replace(truth, core_A2=truth.core_A2 * 0 + 0.012, tail_fraction=truth.tail_fraction * 0)
    target = replace(target, images=expected_images(tiny, target) * target.inside)
    model = fit_images(start, target, free_of(()), n_steps=10).model
    assert 0.01 <= float(model.core_A2) <= 25.0
    assert 0.0 <= float(model.tail_fraction) <= 0.95
    assert float(model.spread) >= 0.0


def test_free_names():
    free = free_of(("tilt", "shifts"), n_groups=2, brightness="element", background=False)
    assert free.images == ("gain", "turn_y", "shift_x", "shift_y")
    assert free.common == (*PROBE, *FOCUS, "group_0", "group_1")
