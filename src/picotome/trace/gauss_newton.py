"""One damped Gauss-Newton step of a sum of Gaussians, with all overlaps between neighbours.

Unknowns are five per atom, (n, 5): height, centre and log width; and three in common, (3,): log shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.trace.gaussians import GaussianSum, Windows, add_up, local_jacobian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Unknowns = tuple[Array, Array]

# An inexact inner solution costs a step more here and there, and saves most of the time of each.
_CG_STEPS, _CG_TOLERANCE = 30, 3e-2
# log w_i moves the three log sigmas of one atom together: (seven local, five own) parameters.
_OWN = np.zeros((7, 5))
_OWN[[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 4, 4]] = 1.0


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Jᵀ J of a model, in parts.

    Attributes
    ----------
    windows, jacobian
        Voxels of the atoms and (n, 7, M) derivatives there.
    blocks
        (n, 5, 5) diagonal blocks of single atoms.
    shared_diagonal
        (3,) diagonal of the shared shape.
    prior
        Weight of (log w)² in the cost.
    shape
        Of the volume.
    """

    windows: Windows
    jacobian: Array
    blocks: Array
    shared_diagonal: Array
    prior: float
    shape: tuple[int, ...]


def linearise(
    model: GaussianSum, windows: Windows, residual: Array, *, width_spread: float
) -> NormalEquations:
    """Set up the normal equations; the prior on log w is weighed by the variance of the residual."""
    jacobian = local_jacobian(model, windows)
    local = np.matmul(jacobian, jacobian.transpose(0, 2, 1)).astype(np.float64)
    variance = float((residual.ravel()[windows.at] ** 2).mean(dtype=np.float64))
    return NormalEquations(
        windows=windows,
        jacobian=jacobian,
        blocks=_OWN.T @ local @ _OWN,
        shared_diagonal=np.einsum("nkk->k", local)[4:],
        prior=variance / width_spread**2,
        shape=residual.shape,
    )


def solve(normal: NormalEquations, model: GaussianSum, residual: Array, *, damping: float) -> Unknowns:
    """Solve (Jᵀ J + damping · diagonal) step = Jᵀ residual by preconditioned conjugate gradients."""
    own, shared = _transpose(normal, residual)
    own[:, 4] -= normal.prior * np.log(model.widths)
    diagonal = np.einsum("nkk->nk", normal.blocks)
    # A faint peak has next to no slope: without a floor its block is singular.
    penalty = damping * (diagonal + 1e-3 * np.median(diagonal, axis=0)) + 1e-30
    penalty[:, 4] += normal.prior
    shared_penalty = damping * normal.shared_diagonal + 1e-30
    inverse = np.linalg.inv(normal.blocks + np.einsum("nk,kl->nkl", penalty, np.eye(5)))
    shared_inverse = 1.0 / (normal.shared_diagonal + shared_penalty)

    def precondition(r: Unknowns) -> Unknowns:
        return np.einsum("nkl,nl->nk", inverse, r[0]), shared_inverse * r[1]

    def multiply(d: Unknowns) -> Unknowns:
        a, b = _transpose(normal, _forward(normal, d))
        return a + penalty * d[0], b + shared_penalty * d[1]

    return _conjugate_gradients(multiply, precondition, (own, shared))


def _forward(normal: NormalEquations, step: Unknowns) -> Array:
    """J step: the change of the volume."""
    own, shared = step
    local = (own @ _OWN.T).astype(np.float32)
    local[:, 4:] += shared.astype(np.float32)
    return add_up(normal.windows, np.matmul(local[:, None, :], normal.jacobian)[:, 0], normal.shape)


def _transpose(normal: NormalEquations, volume: Array) -> Unknowns:
    """Jᵀ volume."""
    picked = volume.ravel()[normal.windows.at]
    local = np.matmul(normal.jacobian, picked[:, :, None])[:, :, 0].astype(np.float64)
    return local @ _OWN, local[:, 4:].sum(axis=0)


def _conjugate_gradients(
    multiply: Callable[[Unknowns], Unknowns], precondition: Callable[[Unknowns], Unknowns], right: Unknowns
) -> Unknowns:
    x: Unknowns = (np.zeros_like(right[0]), np.zeros_like(right[1]))
    r = right
    d = precondition(r)
    rho = first = _dot(r, d)
    for _ in range(_CG_STEPS):
        if rho <= first * _CG_TOLERANCE**2:
            break
        q = multiply(d)
        alpha = rho / _dot(d, q)
        x, r = _add(x, alpha, d), _add(r, -alpha, q)
        z = precondition(r)
        rho, previous = _dot(r, z), rho
        d = _add(z, rho / previous, d)
    return x


def _add(a: Unknowns, factor: float, b: Unknowns) -> Unknowns:
    return a[0] + factor * b[0], a[1] + factor * b[1]


def _dot(a: Unknowns, b: Unknowns) -> float:
    return float((a[0] * b[0]).sum() + (a[1] * b[1]).sum())
