import numpy as np
import pytest
import torch

from picotome.geometry import axis_A
from picotome.trace.refinement.linearised import FOCUS, Unknowns, forward, group_name, linearise, transpose
from picotome.trace.refinement.model import pose
from picotome.trace.refinement.unknowns import PROBE, Free, moved

IMAGES = ("gain", "background", "shift_x", "shift_y", "turn_x", "turn_y", "turn_z", "defocus")
COMMON = (*PROBE, *FOCUS, group_name(0), group_name(1))
FREE = Free(IMAGES, COMMON)
STEPS = {
    **dict.fromkeys(("gain", "shift_x", "shift_y", "core", "tail", "tail_fraction", group_name(0)), 1e-2),
    **dict.fromkeys(("turn_x", "turn_y", "turn_z"), 2e-3),
    group_name(1): 1e-2,
    "background": 1e-2,
    **dict.fromkeys(("defocus", *FOCUS), 0.5),
    "spread": 1e-5,
}


@pytest.fixture(scope="module")
def case(make_ball, make_model, make_frame):
    """Atoms up to and across the border of small images that are not square, far from focus."""
    specimen = make_ball(24, numbers=(46, 78), seed=3)
    model = make_model(
        specimen, np.array([-50.0, 10.0, 40.0]), rotation_deg=2.0, shift_A=0.3, defocus_A=40.0, gain=0.1
    )
    # Wide enough that what a window cuts off does not matter.
    return model, make_frame((19, 26), reach=12)


def derivatives(case):
    return linearise(*case, free_images=IMAGES, free_common=COMMON)


def one(case, *, atoms=None, images=None, common=None, size=1.0):
    model, _ = case
    change = Unknowns(
        torch.zeros(len(model.positions_A), 4, dtype=torch.float64),
        torch.zeros(len(model.gain), len(IMAGES), dtype=torch.float64),
        torch.zeros(len(COMMON), dtype=torch.float64),
    )
    for part, index in zip(change, (atoms, images, common), strict=True):
        if index is not None:
            part[index] = size
    return change


def images_of(model, frame):
    return linearise(model, frame, free_images=(), free_common=()).images


def assert_is_finite_difference(case, change_of, step):
    model, frame = case
    plus, minus = (images_of(moved(model, change_of(size), FREE), frame) for size in (step, -step))
    difference = (plus.double() - minus.double()) / (2.0 * step)
    found = forward(derivatives(case), change_of(1.0)).double()
    assert found.abs().max() > 0
    assert torch.linalg.norm(found - difference) < 2e-3 * torch.linalg.norm(difference)


def test_some_atoms_are_near_and_beyond_the_border(case):
    model, frame = case
    beyond = (pose(model)[..., :2].abs() - torch.tensor(frame.shape) * 0.2).amax(dim=-1)
    assert (beyond > 0).any() and ((beyond < 0) & (beyond > -1)).any()


def test_images_are_the_formula(case):
    model, frame = case
    x, y = (torch.as_tensor(axis_A(n, frame.pixel_size_A)) for n in frame.shape)
    expected = []
    for image, posed in enumerate(pose(model)):
        total = torch.full(frame.shape, float(model.background[image]), dtype=torch.float64)
        for (u, v, w), a in zip(posed, model.brightness_A2, strict=True):
            square = (x - u)[:, None] ** 2 + (y - v)[None] ** 2
            widening = model.spread * (w - model.defocus_A[image]) ** 2
            for share, part in (
                (1 - model.tail_fraction, model.core_A2),
                (model.tail_fraction, model.tail_A2),
            ):
                variance = part + widening
                spot = torch.exp(-0.5 * square / variance) / (2 * np.pi * variance)
                total += model.gain[image] * a * share * spot
        expected.append(total)
    expected = torch.stack(expected)
    reach = frame.reach
    found = images_of(model, frame).reshape(-1, *frame.padded)[:, reach:-reach, reach:-reach]
    assert (found - expected).abs().max() < 2e-5 * expected.max()


@pytest.mark.parametrize("unknown", range(4))
@pytest.mark.parametrize("atom", [0, 5, -1])
def test_derivatives_of_atoms_are_finite_differences(case, atom, unknown):
    assert_is_finite_difference(
        case, lambda size: one(case, atoms=(atom, unknown), size=size), 1e-2 if unknown < 3 else 1e-3
    )


@pytest.mark.parametrize("name", IMAGES)
def test_derivatives_of_images_are_finite_differences(case, name):
    for image in (0, 2):
        assert_is_finite_difference(
            case, lambda size, i=image: one(case, images=(i, IMAGES.index(name)), size=size), STEPS[name]
        )


@pytest.mark.parametrize("name", COMMON)
def test_common_derivatives_are_finite_differences(case, name):
    assert_is_finite_difference(
        case, lambda size: one(case, common=COMMON.index(name), size=size), STEPS[name]
    )


def test_transpose_is_the_adjoint(case):
    there = derivatives(case)
    generator = torch.Generator().manual_seed(1)
    change = Unknowns(*(torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in one(case)))
    images = torch.randn(there.images.shape, generator=generator)
    left = (forward(there, change).double() * images).sum()
    right = sum((a * b).sum() for a, b in zip(change, transpose(there, images), strict=True))
    scale = torch.linalg.norm(forward(there, change)) * torch.linalg.norm(images)
    assert abs(left - right) < 1e-6 * scale


def test_images_worked_on_in_parts_are_those_worked_on_at_once(case, monkeypatch):
    at_once = derivatives(case)
    change = one(case, atoms=(1, 2))
    monkeypatch.setattr("picotome.trace.refinement.operators._CHUNK", 1)
    in_parts = derivatives(case)
    for name in ("images", "of_image", "common"):
        torch.testing.assert_close(getattr(at_once, name), getattr(in_parts, name))
    torch.testing.assert_close(forward(at_once, change), forward(in_parts, change))
