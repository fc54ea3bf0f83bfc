"""How far a pixel may be from its expectation, and the likelihood that follows.

The variance of a pixel that expects m is (m + r) / N + ε² m²: N incident electrons in a pixel (counting), a
floor r (half a count, and what the detector adds) and a part ε of the signal that no sum of spots explains
(channelling). Each image has its own ε: beside a zone axis or a lattice plane seen edge on it is several times
that of an image far from any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_N_CLASSES = 30


@dataclass(frozen=True)
class Noise:
    """Parameters of the variance; see the module.

    Attributes
    ----------
    n_incident
        N, per pixel.
    floor
        r, image unit.
    misfit
        (n_tilts, 1) ε of each image; None without any.
    """

    n_incident: float
    floor: float
    misfit: Tensor | None = None


def variance(expected: Tensor, noise: Noise) -> Tensor:
    """Variance of each pixel of (n_tilts, n_pixels) images."""
    safe = expected.clamp_min(0.0) + noise.floor
    counting = safe / noise.n_incident
    return counting if noise.misfit is None else counting + (noise.misfit.to(safe.dtype) * safe) ** 2


def deviance(images: Tensor, expected: Tensor, noise: Noise) -> Tensor:
    """Twice the negative log quasi-likelihood of each pixel, above that of a perfect model.

    Its derivative with the expectation is −2 (image − expected) / variance: Poisson without `misfit`,
    negative binomial with it (Wedderburn 1974, doi:10.1093/biomet/61.3.439).
    """
    seen = (images + noise.floor).clamp_min(1e-3 * noise.floor)
    safe = expected.clamp_min(0.0) + noise.floor
    rise = seen * torch.log(seen / safe)
    if noise.misfit is None:
        return 2.0 * noise.n_incident * (rise - (seen - safe))
    kappa = (noise.n_incident * noise.misfit**2).to(safe.dtype)
    # An image that counting explains is the limit of κ = 0.
    some = torch.where(kappa > 0.0, kappa, torch.ones_like(kappa))
    # A logarithm of the quotient would lose all digits where κ is small.
    ratio = torch.log1p(some * (seen - safe) / (1.0 + some * safe))
    return 2.0 * noise.n_incident * (rise - torch.where(kappa > 0.0, (seen + 1.0 / some) * ratio, seen - safe))


def estimate_misfit(images: Tensor, expected: Tensor, inside: Tensor, noise: Noise) -> Tensor:
    """(n_tilts, 1) float64 ε from the residuals that counting does not explain, over the pixels `inside`.

    Moments give ε² of each image, and of all together. An image's own estimate counts as far as the spread of
    them exceeds what noise does to one (empirical Bayes; Morris 1983, doi:10.1080/01621459.1983.10477920): at
    a low dose all images get the common ε.
    """
    safe = (expected.clamp_min(0.0) + noise.floor).double() * inside
    counting = safe / noise.n_incident
    power = safe.square().sum(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    excess = (((images - expected).double() * inside).square() - counting).sum(dim=1)
    common = excess.sum() / power.sum()
    each = excess / power
    # Of a squared residual: twice its own squared variance.
    error = 2.0 * counting.square().sum(dim=1) / power.square()
    between = ((each - common).square() - error).mean().clamp_min(0.0)
    own = between / (between + error).clamp_min(torch.finfo(torch.float64).tiny)
    return (common + own * (each - common)).clamp_min(0.0).sqrt()[:, None]


def estimate_noise(images: Tensor, expected: Tensor, inside: Tensor) -> Noise:
    """Estimate the whole variance from residuals, for images of unknown dose: non-negative least squares.

    Pixels are put into classes of equal expectation, and the mean square residual of each is explained by a
    constant, a part proportional to the expectation and one to its square.
    """
    from scipy.optimize import nnls

    m = expected[inside].double().clamp_min(0.0).cpu().numpy()
    square = ((images - expected)[inside].double() ** 2).cpu().numpy()
    classes = np.array_split(np.argsort(m, kind="stable"), _N_CLASSES)
    mean_m = np.array([m[c].mean() for c in classes])
    mean_square = np.array([square[c].mean() for c in classes])
    # Images without any noise, too, get some.
    least = max(1e-6 * float(mean_square.max()), 1e-12 * float(mean_m.max()) ** 2)
    scale = 1.0 / np.maximum(mean_square, least)
    design = np.stack([np.ones_like(mean_m), mean_m, mean_m**2], axis=1)
    constant, linear, quadratic = nnls(design * scale[:, None], mean_square * scale)[0]
    # Without any counting noise the images still need a finite weight.
    linear = max(linear, 1e-6 * float(mean_m.max()))
    floor = max(constant / linear, 1e-4 * float(mean_m.max()))
    misfit = torch.full((len(images), 1), math.sqrt(quadratic), dtype=torch.float64, device=images.device)
    return Noise(n_incident=float(1.0 / linear), floor=float(floor), misfit=misfit if quadratic > 0.0 else None)
