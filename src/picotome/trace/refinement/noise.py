"""How far a pixel may be from its expectation, and the likelihood that follows.

The variance of a pixel that expects m is (m + r) / N + ε² (m + q)²: N incident electrons in a pixel
(counting), a floor r (a twentieth of a count, and what the detector adds) and a part ε of the signal that no
sum of spots explains (channelling). Each image has its own ε: beside a zone axis or a lattice plane seen edge
on it is several times that of an image far from any. In dark pixels it is the tails of bright spots that are
not explained: q keeps them from being trusted without limit where counting noise is small.

As a function of m this is again (m + r') / N' + ε² (m + r')², with

    1 / N' = √(1 / N² + 4 ε² (q − r) / N),   r' = 2 (r / N + ε² q²) / (1 / N + 2 ε² q + 1 / N'),

so that the likelihood is that of a negative binomial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_N_CLASSES = 30
# Keeps the logarithm finite. At 1e3 e/Å² a pixel counts less than one electron beside an atom at the surface:
# half a count more than that, and faint atoms would seem to be noise.
COUNTS_FLOOR = 0.05
# Their variance is known to 7 %.
_FEWEST_DARK = 400
_DETAIL = ((0.0, -0.25, 0.0), (-0.25, 1.0, -0.25), (0.0, -0.25, 0.0))


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
    misfit_floor
        q, image unit; never below r.
    """

    n_incident: float
    floor: float
    misfit: Tensor | None = None
    misfit_floor: float = 0.0


def variance(expected: Tensor, noise: Noise) -> Tensor:
    """Variance of each pixel of (n_tilts, n_pixels) images."""
    if noise.misfit is None:
        return (expected.clamp_min(0.0) + noise.floor) / noise.n_incident
    n_incident, floor, misfit = _binomial(noise, noise.misfit, expected)
    safe = expected.clamp_min(0.0) + floor
    return safe / n_incident + (misfit * safe) ** 2


def deviance(images: Tensor, expected: Tensor, noise: Noise) -> Tensor:
    """Twice the negative log quasi-likelihood of each pixel, above that of a perfect model.

    Its derivative with the expectation is −2 (image − expected) / variance: Poisson without `misfit`,
    negative binomial with it (Wedderburn 1974, doi:10.1093/biomet/61.3.439).
    """
    if noise.misfit is None:
        seen = (images + noise.floor).clamp_min(1e-3 * noise.floor)
        safe = expected.clamp_min(0.0) + noise.floor
        return 2.0 * noise.n_incident * (seen * torch.log(seen / safe) - (seen - safe))
    n_incident, floor, misfit = _binomial(noise, noise.misfit, expected)
    seen = torch.maximum(images + floor, 1e-3 * floor)
    safe = expected.clamp_min(0.0) + floor
    kappa = n_incident * misfit**2
    # An image that counting explains is the limit of κ = 0.
    some = torch.where(kappa > 0.0, kappa, torch.ones_like(kappa))
    # A logarithm of the quotient would lose all digits where κ is small.
    ratio = torch.log1p(some * (seen - safe) / (1.0 + some * safe))
    fall = torch.where(kappa > 0.0, (seen + 1.0 / some) * ratio, seen - safe)
    return 2.0 * n_incident * (seen * torch.log(seen / safe) - fall)


def _binomial(noise: Noise, misfit: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """N', r' and ε of each image, (n_tilts, 1); see the module."""
    square, floor, dark = misfit.double().square(), noise.floor, _dark(noise)
    each = 1.0 / noise.n_incident
    slope = torch.sqrt(each**2 + 4.0 * square * (dark - floor) * each)
    merged = 2.0 * (floor * each + square * dark**2) / (each + 2.0 * square * dark + slope)
    return (1.0 / slope).to(like.dtype), merged.to(like.dtype), misfit.to(like.dtype)


def _dark(noise: Noise) -> float:
    return max(noise.misfit_floor, noise.floor)


def estimate_misfit(images: Tensor, expected: Tensor, inside: Tensor, noise: Noise) -> Tensor:
    """(n_tilts, 1) float64 ε from the residuals that counting does not explain, over the pixels `inside`.

    Moments give ε² of each image, and of all together. An image's own estimate counts as far as the spread of
    them exceeds what noise does to one (empirical Bayes; Morris 1983, doi:10.1080/01621459.1983.10477920): at
    a low dose all images get the common ε.
    """
    safe = expected.clamp_min(0.0).double()
    counting = (safe + noise.floor) * inside / noise.n_incident
    power = ((safe + _dark(noise)) * inside).square().sum(dim=1)
    power = power.clamp_min(torch.finfo(torch.float64).tiny)
    excess = (((images - expected).double() * inside).square() - counting).sum(dim=1)
    common = excess.sum() / power.sum()
    each = excess / power
    # Of a squared residual: twice its own squared variance.
    error = 2.0 * counting.square().sum(dim=1) / power.square()
    between = ((each - common).square() - error).mean().clamp_min(0.0)
    own = between / (between + error).clamp_min(torch.finfo(torch.float64).tiny)
    return (common + own * (each - common)).clamp_min(0.0).sqrt()[:, None]


def estimate_floor(images: Tensor, dark: Tensor, n_incident: float, *, shape: tuple[int, int]) -> float:
    """r of images of known dose: `COUNTS_FLOOR`, and the variance in `dark` pixels beyond that of counting.

    That is what the detector's readout adds to every pixel; anybody can measure it beside a specimen. Of each
    dark pixel the mean of its four neighbours is taken away: readout differs from pixel to pixel, while far
    tails of spots, or a support, are smooth, and at a high dose would pass for a noise that drowns all atoms.
    Too few such pixels say nothing.

    Parameters
    ----------
    images, dark
        (n_tilts, n_pixels) of images of a `shape`.
    """
    seen = images.reshape(-1, 1, *shape).double() * n_incident
    bright = ~dark.reshape(-1, 1, *shape)
    # A pixel counts where all its neighbours are dark, too.
    counts = torch.nn.functional.max_pool2d(bright.float(), 3, stride=1) == 0
    n_dark = int(counts.sum())
    added = 0.0
    if n_dark >= _FEWEST_DARK:
        detail = torch.nn.functional.conv2d(seen, seen.new_tensor(_DETAIL)[None, None])[counts]
        variance = detail.square().mean() / sum(k * k for row in _DETAIL for k in row)
        added = float(variance - seen[:, :, 1:-1, 1:-1][counts].mean().clamp_min(0.0))
    return (COUNTS_FLOOR + max(added, 0.0)) / n_incident


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
    return Noise(
        n_incident=float(1.0 / linear), floor=float(floor), misfit=misfit if quadratic > 0.0 else None
    )
