"""How far a pixel may be from its expectation, and the likelihood that follows.

The variance of a pixel that expects m is (m + r) / N + ε² m²: N incident electrons in a pixel (counting), a
floor r (half a count, and what the detector adds) and a part ε of the signal that no sum of spots explains
(channelling).
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
        ε.
    """

    n_incident: float
    floor: float
    misfit: float = 0.0


def variance(expected: Tensor, noise: Noise) -> Tensor:
    """Variance of each pixel."""
    safe = expected.clamp_min(0.0) + noise.floor
    return safe / noise.n_incident + (noise.misfit * safe) ** 2


def deviance(images: Tensor, expected: Tensor, noise: Noise) -> Tensor:
    """Twice the negative log quasi-likelihood of each pixel, above that of a perfect model.

    Its derivative with the expectation is −2 (image − expected) / variance: Poisson without `misfit`,
    negative binomial with it (Wedderburn 1974, doi:10.1093/biomet/61.3.439).
    """
    seen = (images + noise.floor).clamp_min(1e-3 * noise.floor)
    safe = expected.clamp_min(0.0) + noise.floor
    kappa = noise.n_incident * noise.misfit**2
    if kappa <= 0.0:
        return 2.0 * noise.n_incident * (seen * torch.log(seen / safe) - (seen - safe))
    # A logarithm of the quotient would lose all digits where κ is small.
    ratio = torch.log1p(kappa * (seen - safe) / (1.0 + kappa * safe))
    return 2.0 * noise.n_incident * (seen * torch.log(seen / safe) - (seen + 1.0 / kappa) * ratio)


def estimate_misfit(images: Tensor, expected: Tensor, inside: Tensor, noise: Noise) -> float:
    """ε from the residuals that counting does not explain, by moments over the pixels `inside`."""
    safe = expected.clamp_min(0.0) + noise.floor
    excess = ((images - expected) ** 2 - safe / noise.n_incident)[inside].sum()
    return float(torch.sqrt((excess / (safe**2)[inside].sum()).clamp_min(0.0)))


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
    return Noise(n_incident=float(1.0 / linear), floor=float(floor), misfit=math.sqrt(quadratic))
