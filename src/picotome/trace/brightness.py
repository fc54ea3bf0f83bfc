"""Brightness of peaks as a mixture: one class for each element, and one for peaks that are no atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# HAADF intensity goes as a power of Z that depends on the inner angle of the detector, 1.2 to 2 (Treacy,
# doi:10.1017/S1431927611012074).
_POWERS_OF_Z = (1.2, 1.4, 1.6, 1.8, 2.0)
_POWER, _POWER_SPREAD = 1.6, 0.3
_SPREADS = (0.05, 0.12, 0.25)
_N_OFFSETS, _N_QUANTILES = 40, 80
_N_ROUNDS = 100
_SMALLEST_SPREAD = 0.01
# So many imagined atoms pull the spread of each class to the common one.
_SPREAD_ATOMS = 5.0
_N_STARTS, _DISTINCT = 4, 0.3
# Weight of the prior that every listed element occurs, and the share that counts as absent.
_PRESENCE, _SMALL_SHARE = 1.0, 1e-3
# Log-likelihoods that differ by less are taken as equal.
_AMBIGUOUS = 3.0
# The class of non-atoms, as fractions of the lightest element's brightness: where its mean starts and the
# highest it may become; below the third, peaks (of noise, by the thousand) are not counted.
_FALSE_START, _FALSE_HIGHEST, _FALSE_LOWEST = 0.4, 0.65, 0.25
_FALSE_SPREAD = 0.3
# A gap in log brightness that a continuum of non-atoms does not have: a factor of two.
_CLEAR_GAP = math.log(2.0)
# The cut between atoms and non-atoms, as a fraction of the lightest element's brightness.
_LOWEST_CUT, _HIGHEST_CUT = 0.3, 0.8


@dataclass(frozen=True, eq=False)
class Mixture:
    """Normal classes on the logarithm of brightness, ascending in Z.

    Attributes
    ----------
    means, spreads, shares
        (k,) mean and standard deviation of log brightness, and fraction of the peaks.
    """

    means: Array
    spreads: Array
    shares: Array


def fit_elements(x: Array, numbers: Array) -> Mixture:
    """Fit one class per element to (n,) log brightnesses.

    Expectation maximisation (Dempster, Laird & Rubin, doi:10.1111/j.2517-6161.1977.tb01600.x) from the best
    of a grid of starts. A prior holds the means to brightness ∝ Z^e, e = 1.6 ± 0.3, so that a rare or absent
    element does not make the others split. Where the data cannot say which elements are present (one cluster,
    two elements), the heavier are taken.
    """
    return _fit(x, np.log(numbers), n_false=0)


def darkest_atom(brightness: Array, numbers: Array, *, nothing_below: float = 0.0) -> float:
    """Brightness below which a peak is more likely no atom.

    A class of non-atoms, dimmer than the lightest element, is added to the mixture of `fit_elements`. The cut
    lies where both are equally likely, and in any case between 0.3 and 0.8 of the lightest element's mean.
    Non-atoms are a continuum, the more of them the fainter: where a clear gap lies below the cut instead, as
    in an ideal tomogram, the peaks above the gap are faint atoms and the cut moves into it.

    Parameters
    ----------
    brightness
        (n,) positive heights or integrals, of atoms and of peaks that are none.
    numbers
        (k,) atomic numbers, ascending.
    nothing_below
        Brightness below which peaks have been left out of `brightness` before.
    """
    log_z = np.log(numbers)
    x = np.log(brightness)
    lowest = math.log(faintest_atom(brightness, numbers))
    faint = np.append(x, math.log(nothing_below)) if nothing_below > 0 else x
    x = x[x > lowest]
    mixture = _fit(x, log_z, n_false=1)
    grid = mixture.means[1] + np.linspace(math.log(_LOWEST_CUT), math.log(_HIGHEST_CUT), 101)
    false = members(grid, mixture)[0][:, 0] > 0.5
    cut = float(grid[np.flatnonzero(false)[-1]] if false.any() else grid[0])
    return math.exp(_into_gap(cut, np.sort(faint), lowest))


def fit_atoms(brightness: Array, numbers: Array, *, log_chance: Array) -> Mixture:
    """Fit one class per element to the (n,) positive brightnesses of spots of which some are chance.

    As `fit_elements`, beside a class of chance that is left out of the result: its shares add up to the part
    of the spots that are atoms. What chance looks like is known here and not fitted: among thousands of spots
    of noise, a class that is free to move leaves the faint ones to the lightest element.

    Parameters
    ----------
    brightness
        (n,) of atoms and of spots that are none.
    numbers
        (k,) atomic numbers, ascending.
    log_chance
        (n,) log of the density, of log brightness, that each spot would have if it were chance.
    """
    x = np.log(brightness)
    found = _fit(x, np.log(numbers), n_false=1, log_false=log_chance)
    return Mixture(found.means[1:], found.spreads[1:], found.shares[1:])


def _into_gap(cut: float, ordered: Array, lowest: float) -> float:
    """Move a cut (log brightness) into the widest clear gap below it whose upper edge is an atom's."""
    edges = ordered[: np.searchsorted(ordered, cut) + 1]
    widths = np.where(edges[1:] > lowest, np.diff(edges), 0.0)
    if not len(widths) or widths.max() < _CLEAR_GAP:
        return cut
    widest = int(widths.argmax())
    return min(cut, 0.5 * float(edges[widest] + edges[widest + 1]))


def typical(brightness: Array) -> float:
    """Brightness of a typical atom: the median, weighed by brightness² so that faint peaks do not count."""
    ordered = np.sort(np.maximum(brightness, 0.0))
    weights = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(weights, 0.5 * weights[-1])])


def expected_lightest(brightness: Array, numbers: Array) -> float:
    """Brightness expected of the lightest element, if a typical atom is of the heaviest."""
    return typical(brightness) * math.pow(numbers[0] / numbers[-1], _POWER)


def faintest_atom(brightness: Array, numbers: Array) -> float:
    """Brightness of what may still be an atom: a quarter of what is expected of the lightest element."""
    return _FALSE_LOWEST * expected_lightest(brightness, numbers)


def members(x: Array, mixture: Mixture, *, log_first: Array | None = None) -> tuple[Array, Array]:
    """(n, k) probabilities of the classes at (n,) log brightnesses, and (n,) log of the mixture's density.

    The first class is normal like the others, or of the (n,) log density `log_first`.
    """
    scaled = (x[:, None] - mixture.means) / mixture.spreads
    joint = np.log(mixture.shares / mixture.spreads) - 0.5 * scaled**2 - 0.5 * math.log(2 * math.pi)
    if log_first is not None:
        joint[:, 0] = np.log(mixture.shares[0]) + log_first
    highest = joint.max(axis=1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(joint - highest).sum(axis=1))
    return np.exp(joint - total[:, None]), total


def _fit(x: Array, log_z: Array, *, n_false: int, log_false: Array | None = None) -> Mixture:
    """The best of the mixtures that a few good starts lead to, or the heaviest of those that are as good."""
    found = [
        _maximise(x, log_z, start, n_false=n_false, log_false=log_false)
        for start in _starts(x, log_z, n_false)
    ]
    scores = [
        float(members(x, m, log_first=log_false)[1].sum()) + _log_prior(m, log_z, n_false) for m in found
    ]
    good = [m for m, score in zip(found, scores, strict=True) if score >= max(scores) - _AMBIGUOUS]
    return min(good, key=lambda m: float(m.means[-1]))


def _log_prior(mixture: Mixture, log_z: Array, n_false: int) -> float:
    """Elements that are listed most likely occur, and differ in brightness by a power of Z."""
    present = _PRESENCE * np.log(mixture.shares[n_false:] + _SMALL_SHARE).sum()
    powers = np.diff(mixture.means[n_false:]) / np.diff(log_z)
    return float(present - 0.5 * (((powers - _POWER) / _POWER_SPREAD) ** 2).sum())


def _starts(x: Array, log_z: Array, n_false: int) -> list[Mixture]:
    """The best mixtures of a grid that differ in where they see the heaviest element."""
    quantiles = np.quantile(x, (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES)
    found: list[tuple[float, Mixture]] = []
    for power in _POWERS_OF_Z if len(log_z) > 1 else (_POWER,):
        relative = power * (log_z - log_z[-1])
        # From "all atoms are of the heaviest element" to "all are of the lightest".
        heaviest = np.linspace(quantiles[0], quantiles[-1] - relative[0], _N_OFFSETS)
        means = heaviest[:, None] + np.append([relative[0] + math.log(_FALSE_START)] * n_false, relative)
        penalty = 0.5 * ((power - _POWER) / _POWER_SPREAD) ** 2
        for spread in _SPREADS:
            spreads = np.append([_FALSE_SPREAD] * n_false, np.full(len(log_z), spread))
            settled, shares, scores = _settle(quantiles, means, spreads)
            scores = scores * len(x) - penalty
            found += [
                (float(score), Mixture(mean, spreads, share))
                for score, mean, share in zip(scores, settled, shares, strict=True)
            ]
    best = max(score for score, _ in found)

    def rank(candidate: tuple[float, Mixture]) -> tuple[float, float]:
        """The better first; of the equally good those with the heaviest elements."""
        score, mixture = candidate
        return max(best - score, _AMBIGUOUS), float(mixture.means[-1])

    starts: list[Mixture] = []
    for _, mixture in sorted(found, key=rank):
        if all(abs(mixture.means[-1] - other.means[-1]) > _DISTINCT for other in starts):
            starts.append(mixture)
        if len(starts) == _N_STARTS:
            break
    return starts


def _settle(x: Array, means: Array, spreads: Array) -> tuple[Array, Array, Array]:
    """Let each of o starts shift its (o, k) means in common and choose its shares.

    Returns the (o, k) means and shares, and the (o,) mean log densities.
    """
    k = means.shape[1]
    shares = np.full(means.shape, 1.0 / k)
    for _ in range(3):
        distance = x[:, None] - means[:, None, :]
        # A floor, so that data beyond all classes are bad but comparable.
        kernel = (np.exp(-0.5 * (distance / spreads) ** 2) + 1e-12) / (spreads * math.sqrt(2 * math.pi))
        for _ in range(3):
            density = np.einsum("onk,ok->on", kernel, shares)
            shares = shares * np.einsum("onk,on->ok", kernel, 1.0 / density) / len(x)
            shares = (shares + 1e-4) / (1 + 1e-4 * k)
        density = np.einsum("onk,ok->on", kernel, shares)
        score = np.log(density).mean(axis=1)
        settled = means
        shift = np.einsum("onk,ok,on,onk->o", kernel, shares, 1.0 / density, distance) / len(x)
        means = means + shift[:, None]
    return settled, shares, score


def _maximise(x: Array, log_z: Array, mixture: Mixture, *, n_false: int, log_false: Array | None) -> Mixture:
    """Expectation maximisation; the first `n_false` (0 or 1) classes are no element, fitted or as it is."""
    previous = -math.inf
    for _ in range(_N_ROUNDS):
        member, density = members(x, mixture, log_first=log_false)
        if density.sum() - previous < 1e-6 * len(x):
            break
        previous = float(density.sum())
        means, spreads = mixture.means.copy(), mixture.spreads.copy()
        atoms = slice(n_false, None)
        means[atoms] = _held_means(x, member[:, atoms], mixture.spreads[atoms], log_z)
        spreads[atoms] = _held_spreads(x, member[:, atoms], means[atoms])
        if n_false and log_false is None:
            means[0], spreads[0] = _false_class(x, member[:, 0], means[1])
        shares = (member.sum(axis=0) + 0.5) / (len(x) + 0.5 * len(means))
        mixture = Mixture(means, spreads, shares)
    return mixture


def _held_means(x: Array, member: Array, spreads: Array, log_z: Array) -> Array:
    """Means of the elements; differences of neighbouring means are held to a power of Z."""
    weights = (member.sum(axis=0) + 1e-9) / spreads**2
    normal = np.diag(weights)
    right = (member * x[:, None]).sum(axis=0) / spreads**2 + 1e-9 * x.mean() / spreads**2
    for i, step in enumerate(np.diff(log_z)):
        stiffness = 1.0 / (_POWER_SPREAD * step) ** 2
        normal[i : i + 2, i : i + 2] += stiffness * np.array([[1.0, -1.0], [-1.0, 1.0]])
        right[i : i + 2] += stiffness * _POWER * step * np.array([-1.0, 1.0])
    means: Array = np.linalg.solve(normal, right)
    return means


def _held_spreads(x: Array, member: Array, means: Array) -> Array:
    squares = (member * (x[:, None] - means) ** 2).sum(axis=0)
    common = squares.sum() / max(float(member.sum()), 1e-9)
    variances = (squares + _SPREAD_ATOMS * common) / (member.sum(axis=0) + _SPREAD_ATOMS)
    spreads: Array = np.maximum(np.sqrt(variances), _SMALLEST_SPREAD)
    return spreads


def _false_class(x: Array, member: Array, lightest: float) -> tuple[float, float]:
    start = lightest + math.log(_FALSE_START)
    count = float(member.sum()) + _SPREAD_ATOMS
    mean = (float((member * x).sum()) + _SPREAD_ATOMS * start) / count
    mean = min(mean, lightest + math.log(_FALSE_HIGHEST))
    square = float((member * (x - mean) ** 2).sum()) + _SPREAD_ATOMS * _FALSE_SPREAD**2
    return mean, math.sqrt(square / count)
