"""The fit of the image model to a tilt series: Levenberg-Marquardt with Fisher scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from picotome.trace.refinement.gauge import fix_gauge, gauge_directions
from picotome.trace.refinement.linearised import Linearised, Unknowns, linearise, transpose
from picotome.trace.refinement.model import Frame, ImageModel
from picotome.trace.refinement.newton import Normal, normal_equations, solve
from picotome.trace.refinement.noise import Noise, deviance, variance
from picotome.trace.refinement.unknowns import Free, moved, prior

_CG_STEPS, _CG_TOLERANCE = 60, 0.03
# Less damping than the least lets a step run along what the images hardly see (the probe's tail against the
# background), further than they are linear.
_DAMPING, _LEAST_DAMPING, _MORE, _LESS = 1e-3, 1e-4, 8.0, 0.2
_N_TRIES = 6


@dataclass(frozen=True, eq=False)
class Target:
    """What is fitted.

    Attributes
    ----------
    images
        (n_tilts, n_pixels) float32 padded images.
    inside
        (n_tilts, n_pixels) bool, false in the margin.
    frame
        Of the images.
    start
        The model that the user believes in: priors on geometry and probe are about it.
    noise
        Of the pixels.
    """

    images: Tensor
    inside: Tensor
    frame: Frame
    start: ImageModel
    noise: Noise


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit and where it ended.

    Attributes
    ----------
    model
        Of the smallest cost.
    cost
        −2 log likelihood above that of a perfect model, and the priors.
    n_steps
        Accepted steps.
    """

    model: ImageModel
    cost: float
    n_steps: int


def fit_images(
    model: ImageModel,
    target: Target,
    free: Free,
    *,
    n_steps: int,
    tolerance: float = 0.02,
    step_done: Callable[[float, float], None] | None = None,
) -> Fitted:
    """Fit the free unknowns until a step is small beside the error that noise leaves, and gains little.

    Each step solves the damped normal equations with the weights that the model's own expectation gives (not
    the noisy images': dark pixels would pull), and is taken if the likelihood rises.

    Parameters
    ----------
    tolerance
        Rms step of the atoms in units of their standard errors, everything else known, that is small.
    step_done
        Called after each accepted step with the cost and the rms move of the atoms in Å.
    """
    where = _linearise(model, target, free)
    cost = _cost(model, where, target, free)
    damping, done = _DAMPING, 0
    while done < n_steps:
        right, normal = _newton(model, where, target, free)
        for _ in range(_N_TRIES):
            trial = fix_gauge(moved(model, _solve(normal, right, damping), free), target.start, free)
            there = _linearise(trial, target, free)
            cost_there = _cost(trial, there, target, free)
            if cost_there < cost:
                break
            damping *= _MORE
        else:
            break
        walk_A = trial.positions_A - model.positions_A
        is_small = _in_standard_errors(walk_A, normal) < tolerance
        gained, cost = cost - cost_there, cost_there
        model, where, done = trial, there, done + 1
        damping = max(damping * _LESS, _LEAST_DAMPING)
        if step_done is not None:
            step_done(cost, float(walk_A.square().sum(dim=1).mean().sqrt()))
        # Less than half a unit of χ² is less than the noise in any one unknown.
        if is_small and gained < 0.5:
            break
    return Fitted(model, cost, done)


def expected_images(model: ImageModel, target: Target) -> Tensor:
    """(n_tilts, n_pixels) float32 padded images that a model predicts."""
    return linearise(model, target.frame, free_images=(), free_common=()).images


def pixel_weights(expected: Tensor, target: Target) -> Tensor:
    """(n_tilts, n_pixels) float32 inverse variance of each pixel, zero in the margin."""
    return target.inside / variance(expected, target.noise)


def _linearise(model: ImageModel, target: Target, free: Free) -> Linearised:
    return linearise(model, target.frame, free_images=free.images, free_common=free.common)


def _newton(model: ImageModel, where: Linearised, target: Target, free: Free) -> tuple[Unknowns, Normal]:
    """Right and left side of the normal equations."""
    weights = pixel_weights(where.images, target)
    offset, precision = prior(model, target.start, free)
    pull = transpose(where, (target.images - where.images) * weights)
    right = Unknowns(*(p - q * o for p, q, o in zip(pull, precision, offset, strict=True)))
    return right, normal_equations(where, weights, precision, gauge_directions(model, free))


def _solve(normal: Normal, right: Unknowns, damping: float) -> Unknowns:
    return solve(normal, right, damping=damping, tolerance=_CG_TOLERANCE, n_steps=_CG_STEPS)


def _in_standard_errors(walk_A: Tensor, normal: Normal) -> float:
    """Rms over the atoms of χ² / 3 of an (n, 3) move, each by its own block of the information."""
    squares = torch.einsum("ni,nij,nj->n", walk_A, normal.atoms[:, :3, :3], walk_A)
    return float((squares.mean() / 3.0).sqrt())


def _cost(model: ImageModel, where: Linearised, target: Target, free: Free) -> float:
    misfit = deviance(target.images, where.images, target.noise)[target.inside].double().sum()
    offset, precision = prior(model, target.start, free)
    return float(misfit + sum((q * o**2).sum() for q, o in zip(precision, offset, strict=True)))
