"""Atom or chance: whether a spot is an atom, given all the places where it was looked for.

Noise alone, searched for its brightest places, has maxima, too. Where the residual images, filtered with the
probe and summed along the lines through a point, are Z standard deviations high, Z is a Gaussian field over
the specimen, and the expected number of its maxima above t in a volume V is that of its Euler characteristic,

    N(t) = V √det Λ (2π)⁻² (t² − 1) exp(−t² / 2),

with Λ the covariance of the gradient of Z (Adler 1981, doi:10.1137/1.9780898718980; Worsley et al. 1992,
doi:10.1038/jcbfm.1992.127). An atom is more likely than chance where the density of atoms at its brightness
is above that of such maxima.

A network that has learned what particles look like need not search: it has a chance for each of its atoms
before the images are asked again, and they are asked about one place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.trace.refinement.model import ImageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.trace.brightness import Mixture

    Array = NDArray[Any]

# Below, the formula does not count maxima; nothing so faint is an atom.
_FAINTEST = 2.5
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


def n_chance(significance: Array, *, n_places: float) -> Array:
    """(n,) expected maxima of noise of at least so many standard deviations, in so many places."""
    t = np.maximum(significance, _FAINTEST)
    expected: Array = n_places * (t**2 - 1.0) * np.exp(-0.5 * t**2)
    return expected


def is_likely_atom(
    brightness: Array,
    deviation: Array,
    *,
    elements: Mixture,
    n_atoms: float,
    n_places: float,
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
    n_places
        In how many places they were looked for; see `places_per_A3`.
    lost
        Up to this part of an atom's light may be missing from its spot.
    """
    t = brightness / deviation
    counted = np.maximum(t, _FAINTEST)
    chance = np.log(n_places * (counted**3 - 3.0 * counted) / deviation) - 0.5 * counted**2
    atoms = math.log(n_atoms) + _log_density(brightness, deviation, elements, lost=lost)
    likely: Array = (t > _FAINTEST) & (atoms > chance)
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
