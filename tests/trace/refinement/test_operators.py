"""Compiled loops against batches of windows; and the whole refinement on a GPU, where there is one."""

import numpy as np
import pytest
import torch

from picotome.configs.schema import RefinementConfig
from picotome.trace.refinement import operators
from picotome.trace.refinement.model import make_spots
from picotome.trace.refinement.refine import refine_trace


@pytest.fixture(params=[1, 6])
def spots(request, make_ball, make_model, make_frame, tilt_deg):
    model = make_model(make_ball(15, seed=3), tilt_deg, rotation_deg=1.0, shift_A=0.3, defocus_A=20.0)
    return make_spots(model, make_frame((33, 30), reach=request.param))


@pytest.fixture
def both(monkeypatch):
    """A function's result as compiled, and as batches."""

    def make(function, *arguments):
        compiled = function(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(operators, "_is_compiled", lambda spots: False)
            return compiled, function(*arguments)

    return make


def test_compiled_loops_do_what_batches_of_windows_do(spots, both):
    generator = torch.Generator().manual_seed(0)
    n_pixels = spots.frame.padded[0] * spots.frame.padded[1]
    weights = torch.randn(*spots.corner.shape, 2, 4, generator=generator)
    images = torch.rand(len(spots.corner), n_pixels, generator=generator)
    for function, arguments in (
        (operators.draw, (weights,)),
        (operators.weigh, (images,)),
        (operators.grams, (torch.tensor([0.8, 0.2]), images)),
    ):
        compiled, batches = both(function, spots, *arguments)
        assert compiled.shape == batches.shape and compiled.abs().max() > 0
        torch.testing.assert_close(compiled, batches, rtol=1e-4, atol=1e-5 * float(batches.abs().max()))


def refined(case, device):
    trace, series = case
    config = RefinementConfig(geometry=("tilt", "turns", "shifts"))
    return refine_trace(
        trace, series, elements=["Pd", "Pt"], config=config, min_distance_A=1.8, device=device
    )


@pytest.fixture
def case(make_ball, make_model, make_frame, make_series, make_trace, tilt_deg):
    specimen = make_ball(40, numbers=(46, 78), seed=12)
    truth = make_model(specimen, tilt_deg, rotation_deg=0.3, shift_A=0.2, gain=0.05)
    series = make_series(truth, tilt_deg, make_frame((40, 40)), dose_e_per_A2=1e4)
    return make_trace(specimen, error_A=0.1), series


def assert_same(one, two):
    assert len(one.trace.positions_A) == len(two.trace.positions_A)
    order = np.linalg.norm(one.trace.positions_A[:, None] - two.trace.positions_A, axis=-1).argmin(axis=1)
    assert len(set(order.tolist())) == len(order)
    # Far below the errors that noise leaves: rounding, and where either fit stops.
    errors_A = one.trace.positions_A - two.trace.positions_A[order]
    assert np.sqrt(np.mean(errors_A**2)) < 0.1 * np.sqrt(np.mean(one.trace.uncertainty_pm**2)) / 100.0
    np.testing.assert_array_equal(one.trace.atomic_numbers, two.trace.atomic_numbers[order])


def test_batches_of_windows_refine_to_the_same_atoms(case, both):
    """What a GPU computes, computed here."""
    assert_same(*both(refined, case, "cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_gpu_refines_to_the_same_atoms(case):
    assert_same(refined(case, "cpu"), refined(case, "cuda"))


def test_pytorch_gets_its_threads_back():
    """Also where the work fails."""
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), operators.one_torch_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before
