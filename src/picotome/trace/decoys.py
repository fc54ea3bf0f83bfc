"""The cut between atoms and what a network drew by mistake.

A network draws faintly what it is unsure of, atoms and non-atoms alike, so that no gap is between them. But
far below an atom's brightness nearly all peaks are non-atoms, the more of them the fainter; their number
further up follows from there. The cut is where half of the peaks of one brightness are non-atoms: a local
false discovery rate with the null estimated from the data (Efron, J. Am. Stat. Assoc. 99, 96 (2004),
doi:10.1198/016214504000000089).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.trace.brightness import expected_lightest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Where peaks are taken to be non-atoms, as fractions of the brightness expected of the lightest element.
FAINTEST = 0.12
_NO_ATOMS_BELOW = 0.35
# The scale on which non-atoms become fewer: that of so many imagined ones, and its largest value.
_SCALE, _IMAGINED, _LARGEST_SCALE = 0.1, 5.0, 0.5
_N_ROUNDS = 100
_HIGHEST_CUT, _N_GRID = 1.35, 200


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a network has drawn: all peaks, and the law of those that are no atoms.

    Attributes
    ----------
    unit
        Brightness expected of the lightest element.
    relative
        (n,) brightness of all peaks in that unit.
    n_false, scale
        How many non-atoms are brighter than `FAINTEST`, and the scale on which they become fewer.
    """

    unit: float
    relative: Array
    n_false: float
    scale: float

    @property
    def darkest_atom(self) -> float:
        """Brightness below which a peak is more likely no atom."""
        grid = np.exp(np.linspace(math.log(FAINTEST), math.log(_HIGHEST_CUT), _N_GRID))
        mostly_false = np.flatnonzero(self._true_share(grid) < 0.5)
        return self.unit * float(grid[mostly_false[-1]] if len(mostly_false) else FAINTEST)

    def chance(self, brightness: Array) -> Array:
        """(m,) part of the peaks as bright as these that are atoms."""
        return self._true_share(np.maximum(brightness / self.unit, FAINTEST))

    def _true_share(self, at: Array) -> Array:
        false = self.n_false / self.scale * np.exp(-(at - FAINTEST) / self.scale)
        share: Array = np.clip(1.0 - false / np.maximum(_density(at, self.relative), 1e-300), 0.0, 1.0)
        return share


def drawn_peaks(brightness: Array, numbers: Array) -> Drawn:
    """Tell atoms from non-atoms among the peaks of a repaired tomogram.

    Parameters
    ----------
    brightness
        (n,) positive integrals of all peaks down to `FAINTEST` of the lightest element's or below.
    numbers
        (k,) atomic numbers, ascending.
    """
    unit = expected_lightest(brightness, numbers)
    relative = brightness / unit
    return Drawn(unit, relative, *_non_atoms(relative))


def _non_atoms(relative: Array) -> tuple[float, float]:
    """Fit an exponential law to the faint peaks: how many non-atoms are above `FAINTEST`, and their scale.

    Maximum likelihood of an exponential law that is seen up to `_NO_ATOMS_BELOW` only, with some imagined
    peaks: there the mean excess is scale − range / (exp(range / scale) − 1).
    """
    excess = relative[(relative > FAINTEST) & (relative < _NO_ATOMS_BELOW)] - FAINTEST
    seen = _NO_ATOMS_BELOW - FAINTEST
    mean = (float(excess.sum()) + _IMAGINED * _SCALE) / (len(excess) + _IMAGINED)
    scale = _SCALE
    for _ in range(_N_ROUNDS if len(excess) else 0):
        scale = min(mean + seen / math.expm1(seen / scale), _LARGEST_SCALE)
    return len(excess) / -math.expm1(-seen / scale), scale


def _density(at: Array, relative: Array) -> Array:
    """(m,) peaks per unit of relative brightness, from a Gaussian window in its logarithm.

    Its width goes as n^(-1/5), for a spread of about e (Silverman, Density Estimation for Statistics and Data
    Analysis, 1986, equation 3.31): with few peaks a narrower one would count their noise.
    """
    x = np.log(relative[relative > 0.5 * FAINTEST])
    width = 0.9 * max(len(x), 1) ** -0.2
    window = np.exp(-0.5 * ((np.log(at)[:, None] - x) / width) ** 2)
    density: Array = window.sum(axis=1) / (width * math.sqrt(2 * math.pi) * at)
    return density
