import numpy as np
import pytest
from scipy.optimize import least_squares

from picotome.geometry import axis_A
from picotome.records import Tomogram
from picotome.trace import gauss_newton
from picotome.trace.fit import fit_peaks
from picotome.trace.gauss_newton import linearise, solve
from picotome.trace.gaussians import GaussianSum, local_jacobian, make_windows, render

VOXEL_A = 0.4
SHAPE = (26, 27, 28)


def model(*, n=6, seed=0, shape_A=(0.45, 0.5, 0.7)):
    """Close neighbours: about 2 Å apart, where the tails of the long axis overlap."""
    rng = np.random.default_rng(seed)
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])[:n]
    return GaussianSum(
        positions_A=corners * 1.0 + rng.normal(0, 0.1, (n, 3)),
        amplitudes=rng.uniform(0.3, 1.0, n),
        shape_A=np.array(shape_A),
        widths=np.exp(rng.normal(0, 0.05, n)),
    )


def exact_volume(truth, shape=SHAPE):
    axes = np.meshgrid(*[axis_A(n, VOXEL_A) for n in shape], indexing="ij")
    volume = np.zeros(shape)
    for p, a, w in zip(truth.positions_A, truth.amplitudes, truth.widths, strict=True):
        exponent = sum(((axes[k] - p[k]) / (w * truth.shape_A[k])) ** 2 for k in range(3))
        volume += a * np.exp(-0.5 * exponent)
    return volume


def tomogram(volume):
    return Tomogram(volume=volume.astype(np.float32), voxel_size_A=VOXEL_A, kind="degraded")


def test_rendering_is_the_formula_up_to_the_cut_off_tails():
    truth = model()
    difference = render(truth, SHAPE, VOXEL_A) - exact_volume(truth)
    assert np.abs(difference).max() < len(truth.amplitudes) * np.exp(-0.5 * 3.5**2)


@pytest.mark.parametrize("parameter", range(7))
def test_derivatives_are_finite_differences(parameter):
    truth = model(n=2)
    h = 1e-3

    def moved(sign):
        positions_A, amplitudes = truth.positions_A.copy(), truth.amplitudes.copy()
        shape_A = truth.shape_A.copy()
        if parameter == 0:
            amplitudes = amplitudes + sign * h
        elif parameter < 4:
            positions_A[:, parameter - 1] += sign * h
        else:
            shape_A[parameter - 4] *= np.exp(sign * h)
        return GaussianSum(positions_A, amplitudes, shape_A, truth.widths)

    windows = make_windows(truth, SHAPE, VOXEL_A)
    derivative = local_jacobian(truth, windows)[:, parameter]
    up, down = moved(1), moved(-1)
    for atom in range(2):
        only = [GaussianSum(m.positions_A[[atom]], m.amplitudes[[atom]], m.shape_A, m.widths[[atom]])
                for m in (up, down)]  # fmt: skip
        slope = (exact_volume(only[0]) - exact_volume(only[1])).ravel() / (2 * h)
        np.testing.assert_allclose(derivative[atom], slope[windows.at[atom]], atol=2e-4)


def test_a_step_solves_the_dense_normal_equations(monkeypatch):
    monkeypatch.setattr(gauss_newton, "_CG_TOLERANCE", 1e-7)
    monkeypatch.setattr(gauss_newton, "_CG_STEPS", 500)
    truth = model()
    residual = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    windows = make_windows(truth, SHAPE, VOXEL_A)
    normal = linearise(truth, windows, residual, width_spread=0.1)
    own, shared = solve(normal, truth, residual, damping=1e-7)
    n = len(truth.amplitudes)
    local = np.zeros((residual.size, n, 7))
    for i in range(n):
        np.add.at(local[:, i], windows.at[i], normal.jacobian[i].T.astype(np.float64))
    dense = np.concatenate([local[:, :, :4], local[:, :, 4:].sum(axis=-1, keepdims=True)], axis=-1).reshape(
        -1, 5 * n
    )
    dense = np.concatenate([dense, local[:, :, 4:].sum(axis=1)], axis=1)
    prior = np.zeros((n, 5 * n + 3))
    prior[np.arange(n), 5 * np.arange(n) + 4] = np.sqrt(normal.prior)
    right = np.concatenate([residual.ravel(), -np.sqrt(normal.prior) * np.log(truth.widths)])
    expected = np.linalg.lstsq(np.concatenate([dense, prior]), right, rcond=None)[0]
    np.testing.assert_allclose(np.append(own.ravel(), shared), expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_neighbours_do_not_pull(seed):
    truth = model(n=8, seed=seed)
    start_A = truth.positions_A + np.random.default_rng(seed).normal(0, 0.12, (8, 3))
    fit = fit_peaks(tomogram(exact_volume(truth)), positions_A=start_A, width_spread=1.0)
    assert fit.converged
    assert np.abs(fit.model.positions_A - truth.positions_A).max() < 0.01
    np.testing.assert_allclose(fit.model.amplitudes, truth.amplitudes, rtol=0.03)
    sigma_A = fit.model.widths[:, None] * fit.model.shape_A
    np.testing.assert_allclose(sigma_A, truth.widths[:, None] * truth.shape_A, rtol=0.03)


def test_the_fit_is_least_squares():
    """SciPy's minimiser on the same noisy voxels, without windows, lands on the same atoms."""
    truth = model(n=2, seed=3)
    noisy = exact_volume(truth) + np.random.default_rng(0).normal(0, 0.02, SHAPE)

    def residuals(p):
        guess = GaussianSum(p[:6].reshape(2, 3), p[6:8], np.exp(p[8:11]), np.ones(2))
        return (exact_volume(guess) - noisy).ravel()

    start = np.concatenate([truth.positions_A.ravel(), truth.amplitudes, np.log(truth.shape_A)])
    expected = least_squares(residuals, start).x[:6].reshape(2, 3)
    fit = fit_peaks(tomogram(noisy), positions_A=truth.positions_A + 0.1, width_spread=1e-4, tolerance_A=1e-6)
    assert np.abs(fit.model.positions_A - expected).max() < 2e-3


def test_the_width_prior_keeps_noise_out_of_the_integrals():
    truth = model(n=8)
    truth = GaussianSum(truth.positions_A, np.ones(8), truth.shape_A, np.ones(8))
    squares = {0.02: 0.0, 10.0: 0.0}
    for seed in range(6):
        noise = np.random.default_rng(seed).normal(0, 0.1, SHAPE)
        for width_spread in squares:
            fit = fit_peaks(
                tomogram(exact_volume(truth) + noise),
                positions_A=truth.positions_A,
                width_spread=width_spread,
            ).model
            squares[width_spread] += np.var(fit.amplitudes * fit.widths**3)
    assert squares[0.02] < 0.8 * squares[10.0]


def test_an_atom_at_the_border_is_fitted_from_the_half_that_is_inside():
    edge_A = axis_A(SHAPE[0], VOXEL_A)[0]
    truth = GaussianSum(np.array([[edge_A + 0.1, 0.3, -0.2]]), np.ones(1), np.full(3, 0.5), np.ones(1))
    fit = fit_peaks(tomogram(exact_volume(truth)), positions_A=truth.positions_A + 0.1)
    assert np.abs(fit.model.positions_A - truth.positions_A).max() < 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions_A": np.zeros((0, 3))}, "at least one atom"),
        ({"positions_A": np.zeros((2, 2))}, r"shape \(2, 2\)"),
        ({"positions_A": np.full((1, 3), np.nan)}, "not finite"),
        ({"positions_A": np.full((1, 3), 50.0)}, "outside the volume"),
        ({"positions_A": np.zeros((1, 3)), "width_spread": 0.0}, "width_spread is 0"),
        ({"positions_A": np.zeros((1, 3)), "n_steps": 0}, "n_steps is 0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_peaks(tomogram(exact_volume(model())), **arguments)
