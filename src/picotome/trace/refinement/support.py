"""Atom or chance: whether a spot is an atom, given how many spots of chance there are.

Noise alone, searched for its brightest places, has maxima, too. Where the residual images, filtered with the
probe and summed along the lines through a point, are Z standard deviations high, Z is a Gaussian field over
the specimen, and the expected number of its maxima above t in a volume V is that of its Euler characteristic,

    N(t) = V √det Λ (2π)⁻² (t² − 1) exp(−t² / 2),

with Λ the covariance of the gradient of Z (Adler 1981, doi:10.1137/1.9780898718980; Worsley et al. 1992,
doi:10.1038/jcbfm.1992.127). An atom is more likely than chance where the density of atoms at its brightness
is above that of such maxima.

Where all places were looked at, N is known. The spots of a trace have been chosen before: how many of them
are chance is seen in their brightness, of which chance has this distribution and atoms that of their
elements. A trace that has been judged once has little chance left, and is not judged as if it had all.

A network that has learned what particles look like need not search: it has a chance for each of its atoms
before the images are asked again, and they are asked about one place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.trace.brightness import Mixture, faintest_atom, fit_atoms
from picotome.trace.refinement.model import ImageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FAINTEST = 2.5
"""In standard deviations. Below, the formula does not count maxima; nothing so faint is an atom."""

# Nobody is surer than this.
_SUREST = 1e-6


def places_per_A3(model: ImageModel) -> float:
    """√det Λ / (2π)²: how many independent places there are to look for an atom, 1/Å³.

    Λ is that of the probe's own correlation in an image, and the mean over the images of what they see of
    each direction.
    """
    share = float(model.tail_fraction)
    parts = ((1.0 - share, float(model.core_A2)), (share, float(model.tail_A2)))
    light = roughness = 0.0
    for a, first in parts:
        for b, second in parts:
            # Integrals over the plane of the probe squared, and of its slope squared.
            light += a * b / (first + second)
            roughness += a * b / (first + second) ** 2
    across = model.rotations[:, :2, :]
    seen = torch.einsum("tij,tik->jk", across, across) / len(across)
    return math.sqrt(float(torch.linalg.det(seen * roughness / light))) / (2.0 * math.pi) ** 2


def n_chance(significance: Array | float, *, n_places: float) -> Array:
    """(n,) expected maxima of noise of at least so many standard deviations, in so many places."""
    t = np.maximum(significance, FAINTEST)
    expected: Array = n_places * (t**2 - 1.0) * np.exp(-0.5 * t**2)
    return expected


def fit_elements_beside_chance(
    brightness: Array, deviation: Array, numbers: Array
) -> tuple[Mixture, float, float]:
    """Return what elements look like among (n,) spots, and how many of these are atoms and how many chance.

    Spots too faint to be an atom, beside the noise or beside the others, do not count.
    """
    t = brightness / deviation
    bright = (t > FAINTEST) & (brightness > faintest_atom(brightness, numbers))
    # Per log brightness.
    log_chance = _log_chance(t[bright]) + np.log(t[bright])
    elements = fit_atoms(brightness[bright], numbers, log_chance=log_chance)
    n_bright, share = float(bright.sum()), float(elements.shares.sum())
    return elements, share * n_bright, (1.0 - share) * n_bright


def is_likely_atom(
    brightness: Array,
    deviation: Array,
    *,
    elements: Mixture,
    n_atoms: float,
    n_false: float,
    lost: float = 0.0,
) -> Array:
    """(n,) bool: whether spots are atoms more likely than not.

    Parameters
    ----------
    brightness, deviation
        (n,) of each spot, and the standard deviation that noise gives it.
    elements
        Log brightness of atoms.
    n_atoms
        How many atoms are expected.
    n_false
        How many spots of chance are expected that are bright enough to count: see `n_chance` where all places
        were looked at, `fit_elements_beside_chance` where someone has chosen before.
    lost
        Up to this part of an atom's light may be missing from its spot.
    """
    t = brightness / deviation
    chance = math.log(n_false) + _log_chance(np.maximum(t, FAINTEST)) - np.log(deviation)
    atoms = math.log(n_atoms) + _log_density(brightness, deviation, elements, lost=lost)
    likely: Array = (t > FAINTEST) & (atoms > chance)
    return likely


def stays_atom(brightness: Array, deviation: Array, *, elements: Mixture, chance: Array) -> Array:
    """(n,) bool: whether what a network holds for atoms, at a (n,) `chance`, still is with the images asked.

    Either there is an atom, as bright as atoms are, or nothing, as bright as noise. The network has seen the
    same images, by way of the tomogram: those that agree with it are counted twice, so that only a
    contradiction says anything new.
    """
    sure = np.clip(chance, _SUREST, 1.0 - _SUREST)
    nothing = -np.log(deviation * math.sqrt(2.0 * math.pi)) - 0.5 * (brightness / deviation) ** 2
    odds = np.log(sure / (1.0 - sure)) + _log_density(brightness, deviation, elements) - nothing
    stays: Array = odds > 0.0
    return stays


def _log_chance(t: Array) -> Array:
    """(n,) log of the density of t of maxima of noise, among those above the faintest that counts."""
    density: Array = np.log(t**3 - 3.0 * t) - 0.5 * t**2 - np.log(n_chance(FAINTEST, n_places=1.0))
    return density


def _log_density(brightness: Array, deviation: Array, elements: Mixture, *, lost: float = 0.0) -> Array:
    """(n,) log of the density of an atom's brightness, seen with noise."""
    shares = elements.shares / elements.shares.sum()
    means = np.exp(elements.means)
    # Noise widens a class for spots that noise widens more than most.
    widths = np.maximum(means * elements.spreads, deviation[:, None])
    nearest = np.clip(means, brightness[:, None], brightness[:, None] / (1.0 - lost))
    with np.errstate(divide="ignore"):
        classes = np.log(shares / widths / math.sqrt(2.0 * math.pi)) - 0.5 * ((nearest - means) / widths) ** 2
    density: Array = np.logaddexp.reduce(classes, axis=1)
    return density
