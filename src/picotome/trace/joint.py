"""Positions that two estimates say together: the images', and a network's, each by what it is worth.

A refined position is unbiased and as wrong as the noise makes it. A network's leans on what particles look
like: where electrons are few it is the better one, where the specimen is unlike all that it has learned the
worse, and it does not know which. Both come from the same images, so that their errors go together.

How much the network is worth can be measured without the truth. Let r and n be the two positions of an atom,
with errors e_r and e_n. Of all r + w (n − r) the one with w = (σ_r² − c) / D has the smallest error, where
σ_r² = E[e_r²], c = E[e_r e_n] and D = E[(n − r)²]. D is seen. Noise of a known size that is added to the
images moves both positions: by how much tells σ_r², and how much they move together tells c (Stein's lemma,
doi:10.1214/aos/1176345632, by a random probe: Ramani, Blu & Unser, doi:10.1109/TIP.2008.2001404). A network
that is wrong of its own accord, rather than by the noise, makes D large and w small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.records import Trace
from picotome.trace.matching import match_atoms, rotation_onto
from picotome.trace.species import by_element
from picotome.units import PM_PER_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# No square of a length counts for more than this many times that which four in five are below.
_QUANTILE, _MOST = 0.8, 2.0
# The mean of such squares of a normal vector, over its variance along an axis: without that limit it is 3.
_COUNTED_CHI2 = 2.944
# One in a thousand squares is larger.
_FAR_CHI2 = 16.266
# Fewer atoms of an element are judged together with all others.
_FEWEST = 20
# Beyond this, Å, a displacement says less of how the two traces lie to each other.
_FAR_A = 0.15


@dataclass(frozen=True)
class Worth:
    """What the two estimates of a class of atoms are worth, all in pm over three axes.

    Attributes
    ----------
    n_atoms
        That both estimates have.
    images_pm
        Error of the refined positions.
    apart_pm
        Distance of the two estimates, rms.
    shared_pm
        Root of the covariance of their errors, 0 where it is not positive.
    network_weight
        Part of the way from the refined position to the network's that is gone.
    joint_pm
        Error of the positions where that leads.
    """

    n_atoms: int
    images_pm: float
    apart_pm: float
    shared_pm: float
    network_weight: float
    joint_pm: float


@dataclass(frozen=True, eq=False)
class Joint:
    """Atoms where images and network together place them.

    Attributes
    ----------
    trace
        The refined one with joint positions, their `uncertainty_pm`, and `network_weight`.
    worth
        For each element.
    """

    trace: Trace
    worth: Mapping[str, Worth]


def join_positions(
    refined: Trace,
    network: Trace,
    *,
    disturbed: tuple[Trace, Trace],
    added_noise: float,
    min_distance_A: float,
) -> Joint:
    """Move refined atoms towards a network's by what the network is worth, element by element.

    Spreads are mean squares in which the few atoms that noise has carried off count for no more than atoms
    that are far out.

    Parameters
    ----------
    refined
        Atoms as the images place them, with `uncertainty_pm`.
    network
        Atoms of the repaired tomogram, in whatever position and rotation to the refined ones.
    disturbed
        Both once more, from images with more noise.
    added_noise
        Standard deviation of the noise that these have more, over that of the noise that all have.
    min_distance_A
        Atoms are never much closer: places of two traces that are, are of the same atom.

    Returns
    -------
    Joint
        Atoms that the network does not have stay where the images place them. An element with fewer than 20
        atoms that all four traces have shares the numbers of all atoms; if these are fewer, nothing moves.

    Raises
    ------
    ValueError
        If the refined trace has no uncertainties, or the added noise is not positive.
    """
    if refined.uncertainty_pm is None:
        raise ValueError("the refined trace has no uncertainty_pm; give the trace of `refine_trace`")
    if added_noise <= 0.0:
        raise ValueError(f"added_noise is {added_noise:g}; allowed is more than 0")
    start_A = refined.positions_A

    def on_refined(trace: Trace) -> Array:
        return _carried_onto(start_A, trace.positions_A, radius_A=min_distance_A)

    to_network_A = on_refined(network) - start_A
    refined_moves_A, network_moves_A = (
        (on_refined(trace) - before_A) / added_noise
        for trace, before_A in zip(disturbed, (start_A, start_A + to_network_A), strict=True)
    )
    drawn = np.isfinite(to_network_A).all(axis=1)
    known = drawn & np.isfinite(refined_moves_A + network_moves_A).all(axis=1)
    weight, scale = np.zeros(len(start_A)), np.ones(len(start_A))
    worth: dict[str, Worth] = {}
    for symbol, mask in by_element(refined.atomic_numbers).items():
        judged = known & mask if np.count_nonzero(known & mask) >= _FEWEST else known
        found = _worth(to_network_A[judged], refined_moves_A[judged], network_moves_A[judged])
        if found is None:
            continue
        worth[symbol] = found
        weight[mask & drawn] = found.network_weight
        # Where electrons are few an atom hops: noise moves it further than a fit, which sees slopes, expects.
        fit_pm = float(np.sqrt(np.square(refined.uncertainty_pm[judged]).sum(axis=1).mean()))
        scale[mask & drawn] = found.joint_pm / min(found.images_pm, fit_pm)
    trace = replace(
        refined,
        positions_A=start_A + weight[:, None] * np.nan_to_num(to_network_A),
        uncertainty_pm=refined.uncertainty_pm * scale[:, None],
        network_weight=weight,
    )
    return Joint(trace, worth)


def _worth(to_network_A: Array, refined_A: Array, network_A: Array) -> Worth | None:
    if len(to_network_A) < _FEWEST:
        return None
    apart_A2, images_A2 = _variance_A2(to_network_A), _variance_A2(refined_A)
    shared_A2 = _covariance_A2(refined_A, network_A)
    gained_A2 = max(images_A2 - shared_A2, 0.0)
    weight = min(gained_A2 / apart_A2, 1.0) if apart_A2 > 0.0 else 0.0
    images_pm, apart_pm, shared_pm, joint_pm = (
        float(np.sqrt(3.0 * max(value_A2, 0.0))) * PM_PER_A
        # Where the way to the network ends, its error is at most what both have in common.
        for value_A2 in (images_A2, apart_A2, shared_A2, images_A2 - weight * gained_A2)
    )
    return Worth(len(to_network_A), images_pm, apart_pm, shared_pm, weight, joint_pm)


def _variance_A2(vectors_A: Array) -> float:
    """Variance along an axis of (n, 3) vectors, among which a few may be of another kind.

    A median would resist these better, but atoms of one element differ in their errors, and it is the large
    ones that count.
    """
    squares_A2 = np.square(vectors_A).sum(axis=1)
    most_A2 = _MOST * np.quantile(squares_A2, _QUANTILE)
    return float(np.minimum(squares_A2, most_A2).mean()) / _COUNTED_CHI2


def _covariance_A2(a_A: Array, b_A: Array) -> float:
    """Covariance along an axis of two lots of (n, 3) vectors, without those that are far out in either."""
    usual = np.ones(len(a_A), dtype=bool)
    for vectors_A in (a_A, b_A):
        usual &= np.square(vectors_A).sum(axis=1) <= _FAR_CHI2 * _variance_A2(vectors_A)
    return float(np.mean(a_A[usual] * b_A[usual])) if usual.any() else 0.0


def _carried_onto(to_A: Array, found_A: Array, *, radius_A: float) -> Array:
    """(n, 3) found positions of the atoms `to_A`, moved onto them as a rigid whole; NaN where none is.

    Images place a specimen but for what all of their angles and shifts have in common.
    """
    carried_A = np.full_like(to_A, np.nan)
    there, here = match_atoms(to_A, found_A, radius_A=radius_A)
    if len(there) < _FEWEST:
        return carried_A
    a, b = to_A[there], found_A[here]
    square_A2 = np.square(a - b).sum(axis=1)
    weights = np.minimum(1.0, _FAR_A**2 / np.maximum(square_A2, 1e-12))
    a_mean, b_mean = (np.average(x, axis=0, weights=weights) for x in (a, b))
    rotation = rotation_onto(a - a_mean, b - b_mean, weights=weights)
    carried_A[there] = (b - b_mean) @ rotation.T + a_mean
    return carried_A
