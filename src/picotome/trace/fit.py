"""All atoms at once: a sum of Gaussians fitted to a tomogram by damped Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.geometry import A_to_index
from picotome.trace.gaussians import GaussianSum, Windows, add_up, local_jacobian, make_windows
from picotome.trace.peaks import check_tomogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import Tomogram

    Array = NDArray[Any]

# Bounds of one step, so that a poor start cannot throw an atom into its neighbour.
_LARGEST_STEP_A = 0.3
_LARGEST_LOG_STEP = 0.3
_SIGMA_RANGE_A = (0.15, 1.5)
_WIDTH_RANGE = (0.5, 2.0)

_FIRST_DAMPING = 1e-3
_SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-7, 1e4
# Relative decrease of the squared residual below which a step is not worth its time.
_SMALLEST_GAIN = 1e-4
_CG_STEPS, _CG_TOLERANCE = 30, 3e-2


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
        Whether the last step was below the tolerance.
    """

    model: GaussianSum
    residual: Array
    n_steps: int
    converged: bool


@dataclass(frozen=True, eq=False)
class _Normal:
    """The normal equations at one model: five parameters per atom (A, p, log w), and three of log s."""

    windows: Windows
    jacobian: Array
    blocks: Array
    shared_diagonal: Array
    prior: float
    shape: tuple[int, ...]


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
    its logarithm, weighed against the residual: in a clean volume the prior vanishes.

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
        The fit has converged when the rms step of the atoms is below this, Å.

    Raises
    ------
    ValueError
        If the tomogram is not usable (see `check_tomogram`), or the positions are not (n, 3) with n > 0, finite
        and inside the volume.
    """
    check_tomogram(tomogram)
    positions_A = np.array(positions_A, dtype=np.float64)
    _check_start(positions_A, tomogram)
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
    middle = volume[tuple(index.T)].astype(np.float64)
    index = index[middle >= max(np.median(middle), 1e-12 * volume.max())]
    middle = volume[tuple(index.T)].astype(np.float64)
    shape_A = np.full(3, voxel_A)
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        sides = [volume[tuple((index + s * step).T)].astype(np.float64) for s in (-1, 1)]
        usable = (middle > 0) & (sides[0] > 0) & (sides[1] > 0)
        if usable.any():
            log_ratio = np.log(middle[usable] ** 2 / (sides[0][usable] * sides[1][usable]))
            shape_A[axis] = voxel_A / np.sqrt(max(np.median(log_ratio), 1e-3))
    clipped: Array = np.clip(shape_A, *_SIGMA_RANGE_A)
    return clipped


def _check_start(positions_A: Array, tomogram: Tomogram) -> None:
    if positions_A.ndim != 2 or positions_A.shape[1] != 3 or not len(positions_A):
        raise ValueError(f"positions_A has shape {positions_A.shape}; allowed is (n, 3) with at least one atom")
    index = A_to_index(positions_A, tomogram.volume.shape, tomogram.voxel_size_A)
    inside = np.isfinite(index) & (index > -0.5) & (index < np.array(tomogram.volume.shape) - 0.5)
    n_outside = int((~inside.all(axis=1)).sum())
    if n_outside:
        raise ValueError(
            f"positions_A holds {n_outside} positions outside the volume or not finite; "
            f"allowed are positions in Å relative to voxel n // 2"
        )


def _value_at(tomogram: Tomogram, positions_A: Array) -> Array:
    index = np.rint(A_to_index(positions_A, tomogram.volume.shape, tomogram.voxel_size_A)).astype(int)
    values: Array = tomogram.volume[tuple(index.T)].astype(np.float64)
    return values


def _descend(
    tomogram: Tomogram, model: GaussianSum, width_spread: float, n_steps: int, tolerance_A: float
) -> PeakFit:
    volume = np.asarray(tomogram.volume, dtype=np.float32)
    voxel_A = tomogram.voxel_size_A
    windows = make_windows(model, volume.shape, voxel_A)
    residual = _residual(volume, model, windows)
    normal: _Normal | None = None
    damping, converged, step = _FIRST_DAMPING, False, 0
    for step in range(1, n_steps + 1):
        if normal is None:
            normal = _linearise(model, windows, residual, width_spread)
        candidate = _take_step(model, _solve(model, normal, residual, damping), tomogram)
        moved_A = _rms_step_A(model, candidate)
        new_windows = make_windows(candidate, volume.shape, voxel_A)
        new_residual = _residual(volume, candidate, new_windows)
        gain = 1.0 - _cost(candidate, new_residual, normal.prior) / _cost(model, residual, normal.prior)
        if gain >= 0:
            model, windows, residual, normal = candidate, new_windows, new_residual, None
            damping = max(damping / 10, _SMALLEST_DAMPING)
        else:
            damping = max(damping, 1e-3) * 10
        converged = moved_A < tolerance_A or 0 <= gain < _SMALLEST_GAIN
        if converged or damping > _LARGEST_DAMPING:
            break
    return PeakFit(model=model, residual=residual, n_steps=step, converged=converged)


def _residual(volume: Array, model: GaussianSum, windows: Windows) -> Array:
    bright = windows.values * model.amplitudes.astype(np.float32)[:, None]
    residual: Array = volume - add_up(windows, bright, volume.shape)
    return residual


def _cost(model: GaussianSum, residual: Array, prior: float) -> float:
    squares = float(np.einsum("i,i->", residual.ravel(), residual.ravel(), dtype=np.float64))
    return 1e-30 + squares + prior * float((np.log(model.widths) ** 2).sum())


def _rms_step_A(before: GaussianSum, after: GaussianSum) -> float:
    """Rms move of the atoms, weighed by height²: faint false peaks wander without end."""
    squares = ((after.positions_A - before.positions_A) ** 2).sum(axis=1)
    weights = before.amplitudes**2
    return float(np.sqrt((weights * squares).sum() / max(float(weights.sum()), 1e-300)))


def _linearise(model: GaussianSum, windows: Windows, residual: Array, width_spread: float) -> _Normal:
    jacobian = local_jacobian(model, windows)
    local = np.matmul(jacobian, jacobian.transpose(0, 2, 1)).astype(np.float64)
    # log w moves the three log sigmas of one atom together, log s_k moves one log sigma of all atoms.
    gather = np.zeros((7, 5))
    gather[[0, 1, 2, 3], [0, 1, 2, 3]] = 1.0
    gather[4:, 4] = 1.0
    variance = float((residual.ravel()[windows.at] ** 2).mean(dtype=np.float64))
    return _Normal(
        windows=windows,
        jacobian=jacobian,
        blocks=gather.T @ local @ gather,
        shared_diagonal=np.einsum("nkk->k", local)[4:],
        prior=variance / width_spread**2,
        shape=residual.shape,
    )


def _solve(model: GaussianSum, normal: _Normal, residual: Array, damping: float) -> tuple[Array, Array]:
    """Solve the damped normal equations: (n, 5) steps of A, p, log w, and (3,) steps of log s."""
    own, shared = _transpose(normal, residual)
    own[:, 4] -= normal.prior * np.log(model.widths)
    penalty = np.einsum("nkk->nk", normal.blocks).copy()
    # A dim peak has next to no slope: without a floor its matrix is singular.
    penalty = damping * (penalty + 1e-3 * np.median(penalty, axis=0) + 1e-30)
    penalty[:, 4] += normal.prior
    shared_penalty = damping * normal.shared_diagonal + 1e-30
    inverse = np.linalg.inv(normal.blocks + np.einsum("nk,kl->nkl", penalty, np.eye(5)))
    shared_inverse = 1.0 / (normal.shared_diagonal + shared_penalty)

    def precondition(r: tuple[Array, Array]) -> tuple[Array, Array]:
        return np.einsum("nkl,nl->nk", inverse, r[0]), shared_inverse * r[1]

    def multiply(d: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = _transpose(normal, _forward(normal, *d))
        return a + penalty * d[0], b + shared_penalty * d[1]

    return _conjugate_gradients(multiply, precondition, (own, shared))


def _forward(normal: _Normal, own: Array, shared: Array) -> Array:
    local = np.concatenate([own[:, :4], own[:, 4:] + shared], axis=1).astype(np.float32)
    return add_up(normal.windows, np.matmul(local[:, None, :], normal.jacobian)[:, 0], normal.shape)


def _transpose(normal: _Normal, residual: Array) -> tuple[Array, Array]:
    picked = residual.ravel()[normal.windows.at]
    local = np.matmul(normal.jacobian, picked[:, :, None])[:, :, 0].astype(np.float64)
    own = np.concatenate([local[:, :4], local[:, 4:].sum(axis=1, keepdims=True)], axis=1)
    return own, local[:, 4:].sum(axis=0)


def _conjugate_gradients(multiply: Any, precondition: Any, right: tuple[Array, Array]) -> tuple[Array, Array]:
    x = [np.zeros_like(part) for part in right]
    r = [part.copy() for part in right]
    z = precondition(r)
    d = [part.copy() for part in z]
    rho = rho_first = _dot(r, z)
    for _ in range(_CG_STEPS):
        if rho <= rho_first * _CG_TOLERANCE**2:
            break
        q = multiply(d)
        alpha = rho / _dot(d, q)
        for i in range(2):
            x[i] += alpha * d[i]
            r[i] -= alpha * q[i]
        z = precondition(r)
        rho, previous = _dot(r, z), rho
        for i in range(2):
            d[i] = z[i] + (rho / previous) * d[i]
    return x[0], x[1]


def _dot(a: Any, b: Any) -> float:
    return float((a[0] * b[0]).sum() + (a[1] * b[1]).sum())


def _take_step(model: GaussianSum, step: tuple[Array, Array], tomogram: Tomogram) -> GaussianSum:
    own, shared = step
    move = own[:, 1:4]
    length = np.linalg.norm(move, axis=1, keepdims=True)
    move = move * np.minimum(1.0, _LARGEST_STEP_A / np.maximum(length, 1e-12))
    log_w = np.clip(own[:, 4], -_LARGEST_LOG_STEP, _LARGEST_LOG_STEP)
    log_s = np.clip(shared, -_LARGEST_LOG_STEP, _LARGEST_LOG_STEP)
    low, high = (np.array([-0.49] * 3), np.array(tomogram.volume.shape) - 0.51)
    from picotome.geometry import index_to_A

    bounds_A = [index_to_A(i, tomogram.volume.shape, tomogram.voxel_size_A) for i in (low, high)]
    return replace(
        model,
        positions_A=np.clip(model.positions_A + move, *bounds_A),
        amplitudes=model.amplitudes + own[:, 0],
        widths=np.clip(model.widths * np.exp(log_w), *_WIDTH_RANGE),
        shape_A=np.clip(model.shape_A * np.exp(log_s), *_SIGMA_RANGE_A),
    )
