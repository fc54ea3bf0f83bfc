"""All atoms at once: a sum of Gaussians fitted to a tomogram by damped Gauss-Newton."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.geometry import A_to_index, index_to_A
from picotome.trace.gauss_newton import NormalEquations, linearise, solve
from picotome.trace.gaussians import GaussianSum, Windows, add_up, make_windows
from picotome.trace.peaks import check_tomogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import Tomogram

    Array = NDArray[Any]

# Bounds of one step, so that a poor start cannot throw an atom into its neighbour.
_LARGEST_STEP_A = 0.3
_LARGEST_LOG_STEP = 0.3
_SIGMA_RANGE_A = (0.15, 1.2)
_WIDTH_RANGE = (0.5, 2.0)

_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-3, 1e-7, 1e4
# Relative decrease of the squared residual below which a step is not worth its time.
_SMALLEST_GAIN = 1e-4


@dataclass(frozen=True, eq=False)
class PeakFit:
    """A fitted sum of Gaussians.

    Attributes
    ----------
    model
        The sum.
    residual
        (nx, ny, nz) float32, volume minus model.
    n_steps
        Steps that were tried.
    converged
        Whether a further step would change next to nothing.
    """

    model: GaussianSum
    residual: Array
    n_steps: int
    converged: bool


def fit_peaks(
    tomogram: Tomogram,
    *,
    positions_A: Array,
    shape_A: Array | None = None,
    width_spread: float = 0.02,
    n_steps: int = 20,
    tolerance_A: float = 1e-3,
) -> PeakFit:
    """Fit height, position and width of all atoms together, and one shape that they share.

    The model is V(r) = Σ_i A_i exp(−½ Σ_k (r_k − p_ik)² / (w_i s_k)²). The shape s has three components
    because the missing wedge lengthens all atoms alike (along z, by 1.4 at ± 65°; Midgley & Weyland,
    doi:10.1016/S0304-3991(03)00105-0), while the width w_i of each atom is held near 1 by a normal prior on
    its logarithm, weighed against the residual: in a clean volume the prior vanishes, in a noisy one it keeps
    the noise of the width out of the integral.

    Neighbours are treated exactly: each step solves the normal equations of all atoms by conjugate gradients,
    preconditioned by the blocks of single atoms, under Levenberg damping (Nocedal & Wright, Numerical
    Optimization, doi:10.1007/978-0-387-40065-5, ch. 10).

    Parameters
    ----------
    tomogram
        The volume.
    positions_A
        (n, 3) start relative to the origin, within about a standard deviation of the truth.
    shape_A
        (3,) start of the shared standard deviations, Å; by default from the curvature of the volume at
        the start positions.
    width_spread
        Standard deviation of log w_i that the prior allows.
    n_steps
        Largest number of steps.
    tolerance_A
        The fit has converged when the rms step of the atoms is below this, Å, or the squared residual falls
        by less than 1e-4 of itself.

    Raises
    ------
    ValueError
        If the tomogram is not usable (see `check_tomogram`), the positions are not (n, 3) with n > 0, finite
        and inside the volume, or a number that must be positive is not.
    """
    check_tomogram(tomogram)
    positions_A = np.array(positions_A, dtype=np.float64)
    _check_start(positions_A, tomogram)
    for name, value in (("width_spread", width_spread), ("n_steps", n_steps), ("tolerance_A", tolerance_A)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; allowed is a number above 0")
    if shape_A is None:
        shape_A = estimate_shape(tomogram, positions_A=positions_A)
    start = GaussianSum(
        positions_A=positions_A,
        amplitudes=_value_at(tomogram, positions_A),
        shape_A=np.asarray(shape_A, dtype=np.float64),
        widths=np.ones(len(positions_A)),
    )
    return _descend(tomogram, start, width_spread, n_steps, tolerance_A)


def estimate_shape(tomogram: Tomogram, *, positions_A: Array) -> Array:
    """(3,) standard deviations in Å of the brighter half of the peaks along x, y and z.

    Three equidistant samples of a Gaussian give its width wherever its centre is:
    1/σ² = ln(V₀² / V₋ V₊), in voxels. The median over atoms is taken.
    """
    volume, voxel_A = tomogram.volume, tomogram.voxel_size_A
    index = np.rint(A_to_index(positions_A, volume.shape, voxel_A)).astype(int)
    index = np.clip(index, 1, np.array(volume.shape) - 2)
    height = volume[tuple(index.T)].astype(np.float64)
    bright = height >= np.median(height)
    index, height = index[bright], height[bright]
    shape_A = np.full(3, voxel_A)
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        low, high = (volume[tuple((index + s * step).T)].astype(np.float64) for s in (-1, 1))
        usable = (height > 0) & (low > 0) & (high > 0)
        if usable.any():
            log_ratio = np.log(height[usable] ** 2 / (low[usable] * high[usable]))
            shape_A[axis] = voxel_A / math.sqrt(max(float(np.median(log_ratio)), 1e-3))
    clipped: Array = np.clip(shape_A, *_SIGMA_RANGE_A)
    return clipped


def _check_start(positions_A: Array, tomogram: Tomogram) -> None:
    if positions_A.ndim != 2 or positions_A.shape[1] != 3 or not len(positions_A):
        raise ValueError(
            f"positions_A has shape {positions_A.shape}; allowed is (n, 3) with at least one atom"
        )
    index = A_to_index(positions_A, tomogram.volume.shape, tomogram.voxel_size_A)
    inside = np.isfinite(index) & (index > -0.5) & (index < np.array(tomogram.volume.shape) - 0.5)
    n_outside = int((~inside.all(axis=1)).sum())
    if n_outside:
        raise ValueError(
            f"positions_A holds {n_outside} positions outside the volume or not finite; "
            f"allowed are positions in Å relative to the middle of the volume"
        )


def _value_at(tomogram: Tomogram, positions_A: Array) -> Array:
    index = np.rint(A_to_index(positions_A, tomogram.volume.shape, tomogram.voxel_size_A)).astype(int)
    values: Array = tomogram.volume[tuple(index.T)].astype(np.float64)
    return values


def _descend(
    tomogram: Tomogram, model: GaussianSum, width_spread: float, n_steps: int, tolerance_A: float
) -> PeakFit:
    volume = np.asarray(tomogram.volume, dtype=np.float32)
    windows = make_windows(model, volume.shape, tomogram.voxel_size_A)
    residual = _residual(volume, model, windows)
    normal: NormalEquations | None = None
    damping, converged, tried = _FIRST_DAMPING, False, 0
    while tried < n_steps and not converged and damping < _LARGEST_DAMPING:
        tried += 1
        if normal is None:
            normal = linearise(model, windows, residual, width_spread=width_spread)
        step = solve(normal, model, residual, damping=damping)
        new_model = _move(model, step, tomogram)
        new_windows = make_windows(new_model, volume.shape, tomogram.voxel_size_A)
        new_residual = _residual(volume, new_model, new_windows)
        gain = 1.0 - _cost(new_model, new_residual, normal.prior) / _cost(model, residual, normal.prior)
        converged = _rms_move_A(model, new_model) < tolerance_A or 0 <= gain < _SMALLEST_GAIN
        if gain >= 0:
            model, windows, residual, normal = new_model, new_windows, new_residual, None
            damping = max(damping / 10, _SMALLEST_DAMPING)
        else:
            damping = 10 * max(damping, _FIRST_DAMPING)
    return PeakFit(model=model, residual=residual, n_steps=tried, converged=converged)


def _residual(volume: Array, model: GaussianSum, windows: Windows) -> Array:
    bright = windows.values * model.amplitudes.astype(np.float32)[:, None]
    residual: Array = volume - add_up(windows, bright, volume.shape)
    return residual


def _cost(model: GaussianSum, residual: Array, prior: float) -> float:
    squares = float(np.einsum("i,i->", residual.ravel(), residual.ravel(), dtype=np.float64))
    return 1e-30 + squares + prior * float((np.log(model.widths) ** 2).sum())


def _rms_move_A(before: GaussianSum, after: GaussianSum) -> float:
    """Rms move of the atoms, weighed by height²: faint false peaks wander without end."""
    squares = ((after.positions_A - before.positions_A) ** 2).sum(axis=1)
    weights = before.amplitudes**2
    return math.sqrt(float((weights * squares).sum()) / max(float(weights.sum()), 1e-300))


def _move(model: GaussianSum, step: tuple[Array, Array], tomogram: Tomogram) -> GaussianSum:
    own, shared = step
    move_A = own[:, 1:4]
    length_A = np.linalg.norm(move_A, axis=1, keepdims=True)
    move_A = move_A * np.minimum(1.0, _LARGEST_STEP_A / np.maximum(length_A, 1e-12))
    log_w = np.clip(own[:, 4], -_LARGEST_LOG_STEP, _LARGEST_LOG_STEP)
    log_s = np.clip(shared, -_LARGEST_LOG_STEP, _LARGEST_LOG_STEP)
    shape = tomogram.volume.shape
    corners = (np.full(3, -0.49), np.array(shape) - 0.51)
    low_A, high_A = (index_to_A(corner, shape, tomogram.voxel_size_A) for corner in corners)
    return GaussianSum(
        positions_A=np.clip(model.positions_A + move_A, low_A, high_A),
        amplitudes=model.amplitudes + own[:, 0],
        shape_A=np.clip(model.shape_A * np.exp(log_s), *_SIGMA_RANGE_A),
        widths=np.clip(model.widths * np.exp(log_w), *_WIDTH_RANGE),
    )
