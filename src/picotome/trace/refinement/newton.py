"""One damped Gauss-Newton step on the sparse normal equations, by preconditioned conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from picotome.trace.refinement.linearised import Linearised, Unknowns, atom_parts, forward, transpose
from picotome.trace.refinement.operators import grams


@dataclass(frozen=True, eq=False)
class Normal:
    """JᵀWJ in parts.

    Attributes
    ----------
    derivatives
        J.
    weights
        (n_tilts, n_pixels) W, zero outside the images.
    atoms
        (n, 4, 4) diagonal blocks, float64.
    images, across, common
        (n_tilts, k, k), (n_tilts, k, m) and (m, m): what images and common unknowns share, float64.
    prior
        Precision of each unknown about its start, same shapes as the unknowns.
    gauge
        (4 n + n_tilts k + m, g) changes that no image sees; see `picotome.trace.refinement.gauge`.
    """

    derivatives: Linearised
    weights: Tensor
    atoms: Tensor
    images: Tensor
    across: Tensor
    common: Tensor
    prior: Unknowns
    gauge: Tensor


def normal_equations(derivatives: Linearised, weights: Tensor, prior: Unknowns, gauge: Tensor) -> Normal:
    """Collect the diagonal blocks of JᵀWJ."""
    parts = atom_parts(derivatives)
    gram = grams(derivatives.spots, derivatives.shares, weights)
    atoms = torch.matmul(torch.matmul(parts, gram), parts.transpose(-1, -2)).double().sum(dim=0)
    weighted = derivatives.of_image * weights[:, None, :]
    images = torch.matmul(weighted, derivatives.of_image.transpose(-1, -2)).double()
    across = torch.matmul(weighted, derivatives.common.transpose(-1, -2)).double()
    weighted = derivatives.common * weights[:, None, :]
    common = torch.matmul(weighted, derivatives.common.transpose(-1, -2)).double().sum(dim=0)
    return Normal(derivatives, weights, atoms, images, across, common, prior, gauge)


def solve(normal: Normal, right: Unknowns, *, damping: float, tolerance: float, n_steps: int) -> Unknowns:
    """Solve (JᵀWJ + prior + damping · diagonal) step = right, among the steps without any gauge.

    A step along the gauge gains nothing, and far along it the images are not linear: it would be taken back,
    or spoil the rest of the step.
    """
    diagonal = Unknowns(*(torch.diagonal(block, dim1=-2, dim2=-1) for block in _blocks(normal)))
    penalty = Unknowns(*(damping * d + p for d, p in zip(diagonal, normal.prior, strict=True)))
    atoms = _inverse(normal.atoms, penalty.atoms, diagonal.atoms)
    geometry = _inverse(
        _geometry(normal),
        torch.cat([penalty.images.flatten(), penalty.common]),
        torch.cat([diagonal.images.flatten(), diagonal.common]),
    )

    without_gauge = _gauge_projector(normal.gauge, diagonal)

    def precondition(r: Unknowns) -> Unknowns:
        r = without_gauge(r, True)
        own = torch.matmul(atoms, r.atoms[..., None])[..., 0]
        rest = geometry @ torch.cat([r.images.flatten(), r.common])
        n_images = r.images.numel()
        step = Unknowns(own, rest[:n_images].reshape(r.images.shape), rest[n_images:])
        return without_gauge(step, False)

    def multiply(d: Unknowns) -> Unknowns:
        images = forward(normal.derivatives, d)
        images *= normal.weights
        product = transpose(normal.derivatives, images)
        return Unknowns(*(a + p * x for a, p, x in zip(product, penalty, d, strict=True)))

    step = Unknowns(*(torch.zeros_like(x) for x in right))
    r = right
    d = precondition(r)
    rho = first = _dot(r, d)
    for _ in range(n_steps):
        if rho <= first * tolerance**2:
            return step
        q = multiply(d)
        alpha = rho / _dot(d, q)
        step, r = _add(step, alpha, d), _add(r, -alpha, q)
        z = precondition(r)
        rho, previous = _dot(r, z), rho
        d = _add(z, rho / previous, d)
    return step


def _blocks(normal: Normal) -> tuple[Tensor, Tensor, Tensor]:
    return normal.atoms, normal.images, normal.common


def _geometry(normal: Normal) -> Tensor:
    """(n_tilts k + m,)² all of JᵀWJ but the atoms: the probe's tail hides in backgrounds and gains."""
    n_tilts, k, m = normal.across.shape
    whole = normal.common.new_zeros(n_tilts * k + m, n_tilts * k + m)
    for t, own in enumerate(normal.images):
        whole[t * k : (t + 1) * k, t * k : (t + 1) * k] = own
    whole[: n_tilts * k, n_tilts * k :] = normal.across.flatten(0, 1)
    whole[n_tilts * k :, : n_tilts * k] = normal.across.flatten(0, 1).T
    whole[n_tilts * k :, n_tilts * k :] = normal.common
    return whole


def _gauge_projector(gauge: Tensor, diagonal: Unknowns) -> Callable[[Unknowns, bool], Unknowns]:
    """What takes the gauge out of a step, or (its transpose) out of a right-hand side.

    What is left is the shortest of the steps that make the same images, each unknown measured by how well
    the images know it.
    """
    scaled = gauge * torch.cat([part.flatten() for part in diagonal])[:, None]
    inverse = torch.linalg.inv(gauge.T @ scaled)

    def project(vector: Unknowns, transposed: bool) -> Unknowns:
        flat = torch.cat([part.flatten() for part in vector])
        along, across = (scaled, gauge) if transposed else (gauge, scaled)
        flat = flat - along @ (inverse @ (across.T @ flat))
        parts = torch.split(flat, [part.numel() for part in vector])
        return Unknowns(*(part.reshape(like.shape) for part, like in zip(parts, vector, strict=True)))

    return project


def _inverse(block: Tensor, penalty: Tensor, diagonal: Tensor) -> Tensor:
    inverse: Tensor = torch.linalg.inv(block + torch.diag_embed(penalty + 1e-12 * diagonal + 1e-30))
    return inverse


def _add(a: Unknowns, factor: float, b: Unknowns) -> Unknowns:
    return Unknowns(*(x + factor * y for x, y in zip(a, b, strict=True)))


def _dot(a: Unknowns, b: Unknowns) -> float:
    return float(sum((x * y).sum() for x, y in zip(a, b, strict=True)))
