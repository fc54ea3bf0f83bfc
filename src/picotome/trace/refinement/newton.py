"""One damped Gauss-Newton step on the sparse normal equations, by preconditioned conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from picotome.trace.refinement.linearised import Linearised, Unknowns, atom_windows, forward, transpose
from picotome.trace.refinement.model import pick


@dataclass(frozen=True, eq=False)
class Normal:
    """JᵀWJ in parts.

    Attributes
    ----------
    derivatives
        J.
    weights
        (n_tilts, n_pixels) W, zero outside the images.
    atoms, images, common
        Diagonal blocks (n, 4, 4), (n_tilts, k, k) and (m, m), float64.
    prior
        Precision of each unknown about its start, same shapes as the unknowns.
    """

    derivatives: Linearised
    weights: Tensor
    atoms: Tensor
    images: Tensor
    common: Tensor
    prior: Unknowns


def normal_equations(derivatives: Linearised, weights: Tensor, prior: Unknowns) -> Normal:
    """Collect the diagonal blocks of JᵀWJ."""
    atoms = torch.zeros_like(prior.atoms).unsqueeze(-1).repeat(1, 1, prior.atoms.shape[1])
    for tilts, spots, basis, parts in atom_windows(derivatives):
        picked = pick(weights[tilts], spots)[..., None, :]
        gram = torch.matmul(basis * picked, basis.transpose(-1, -2))
        atoms += torch.matmul(torch.matmul(parts, gram), parts.transpose(-1, -2)).double().sum(dim=0)
    weighted = derivatives.of_image * weights[:, None, :]
    images = torch.matmul(weighted, derivatives.of_image.transpose(-1, -2)).double()
    weighted = derivatives.common * weights[:, None, :]
    common = torch.matmul(weighted, derivatives.common.transpose(-1, -2)).double().sum(dim=0)
    return Normal(derivatives, weights, atoms, images, common, prior)


def solve(normal: Normal, right: Unknowns, *, damping: float, tolerance: float, n_steps: int) -> Unknowns:
    """Solve (JᵀWJ + prior + damping · diagonal) step = right."""
    diagonal = Unknowns(*(torch.diagonal(block, dim1=-2, dim2=-1) for block in _blocks(normal)))
    penalty = Unknowns(*(damping * d + p for d, p in zip(diagonal, normal.prior, strict=True)))
    inverse = [
        torch.linalg.inv(block + torch.diag_embed(p + 1e-12 * d + 1e-30))
        for block, p, d in zip(_blocks(normal), penalty, diagonal, strict=True)
    ]

    def precondition(r: Unknowns) -> Unknowns:
        return Unknowns(*(torch.matmul(i, x[..., None])[..., 0] for i, x in zip(inverse, r, strict=True)))

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


def _add(a: Unknowns, factor: float, b: Unknowns) -> Unknowns:
    return Unknowns(*(x + factor * y for x, y in zip(a, b, strict=True)))


def _dot(a: Unknowns, b: Unknowns) -> float:
    return float(sum((x * y).sum() for x, y in zip(a, b, strict=True)))
