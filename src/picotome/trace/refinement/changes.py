"""Atoms that the images do not support leave, and atoms that the residual calls for join."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.trace.brightness import Mixture, typical
from picotome.trace.peaks import thin_out
from picotome.trace.refinement.candidates import find_candidates
from picotome.trace.refinement.fit import Target, expected_images, fit_images, pixel_weights
from picotome.trace.refinement.linearised import linearise
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.operators import grams
from picotome.trace.refinement.support import (
    FAINTEST,
    fit_elements_beside_chance,
    is_likely_atom,
    n_chance,
    places_per_A3,
    stays_atom,
)
from picotome.trace.refinement.unknowns import Free, without_geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# So many times brighter than the typical atom (of the heavier elements, where there are several) is none.
_TOO_BRIGHT = 3.0
# Its neighbours have taken over part of the light of an atom that is missing: as much as this.
_LOST = 0.5
# Brightness is linear: two steps share out the light.
_SETTLING_STEPS = 2
# Refined neighbours may come a little closer than traced ones are allowed to be found.
_APART = 0.8


@dataclass(frozen=True, eq=False)
class Atoms:
    """What atoms of a model look like.

    Attributes
    ----------
    elements
        Log brightness of each element.
    n
        How many there are.
    n_false
        How many of the spots that have been chosen before are chance.
    n_chance
        How many spots of chance all the places have where more can be looked for.
    """

    elements: Mixture
    n: float
    n_false: float
    n_chance: float


@dataclass(frozen=True, eq=False)
class Change:
    """Who joined and who left.

    Attributes
    ----------
    model
        To be fitted again.
    n_added, n_removed
        How many joined and left.
    n_vouched
        How many stayed that the images alone would not have kept.
    """

    model: ImageModel
    n_added: int
    n_removed: int
    n_vouched: int


def change_atoms(
    model: ImageModel, target: Target, free: Free, numbers: Array, *, min_distance_A: float, joining: bool
) -> Change:
    """Remove unsupported atoms and add missing ones.

    An atom leaves if its brightness is more likely chance than an atom's (see
    `picotome.trace.refinement.support`), three times that of the typical one, or if it is closer than 0.8
    minimum distances to a brighter one. Of an atom that a network has given a `chance`, the images are asked
    about its place alone, with that chance to begin with. What those that left had of the light goes back to
    those that stay. One joins where the residual images then make it likelier than chance even though half of
    its light may have gone to its neighbours, and no other atom is within 0.8 minimum distances.
    """
    deviation = 1.0 / np.sqrt(np.maximum(_information(model, target), 1e-300))
    possible = _possible(model)
    atoms = _atoms(model, deviation, possible, numbers, _searched_A3(model, target, min_distance_A))
    supported = _supported(model, deviation, possible, atoms)
    kept = _apart(model, supported | _vouched(model, deviation, possible, atoms), min_distance_A)
    remaining = _only(model, kept)
    change = Change(remaining, 0, int((~kept).sum()), int((kept & ~supported).sum()))
    if not joining:
        return change
    if change.n_removed:
        # Else the light of each one that left, chance or not, would call for another in its place.
        remaining = fit_images(remaining, target, without_geometry(free), n_steps=_SETTLING_STEPS).model
    new_A, brightness = _missing(remaining, target, atoms, min_distance_A)
    if not len(new_A):
        return replace(change, model=remaining)
    return replace(change, model=_with(remaining, new_A, brightness), n_added=len(new_A))


def _possible(model: ImageModel) -> Array:
    """(n,) bool: brightness of one atom."""
    brightness = model.brightness_A2.cpu().numpy()
    possible: Array = (brightness > 0) & (brightness < _TOO_BRIGHT * typical(brightness))
    return possible


def _atoms(
    model: ImageModel, deviation: Array, possible: Array, numbers: Array, searched_A3: float
) -> Atoms | None:
    """None where nothing stands out of the noise."""
    brightness = model.brightness_A2.cpu().numpy()
    n_places = searched_A3 * places_per_A3(model)
    # Less than one of these is expected to be chance.
    certain = possible & (n_chance(brightness / deviation, n_places=n_places) < 1.0)
    if not certain.any():
        return None
    elements, n, n_false = fit_elements_beside_chance(brightness[possible], deviation[possible], numbers)
    return Atoms(
        elements, max(n, float(certain.sum())), n_false, float(n_chance(FAINTEST, n_places=n_places))
    )


def _searched_A3(model: ImageModel, target: Target, min_distance_A: float) -> float:
    """Volume of the field of view, as deep as there are atoms, where no other atom is."""
    low, high = _depth_A(model, min_distance_A)
    field_A2 = target.frame.shape[0] * target.frame.shape[1] * target.frame.pixel_size_A**2
    taken_A3 = len(model.positions_A) * 4.0 / 3.0 * math.pi * (_APART * min_distance_A) ** 3
    # Neighbours share what they take; half of it is theirs alone in the densest packing.
    return max(field_A2 * (high - low) - taken_A3, 0.5 * taken_A3)


def _depth_A(model: ImageModel, min_distance_A: float) -> tuple[float, float]:
    z_A = model.positions_A[:, 2]
    return float(z_A.min()) - min_distance_A, float(z_A.max()) + min_distance_A


def _supported(model: ImageModel, deviation: Array, possible: Array, atoms: Atoms | None) -> Array:
    """(n,) bool: by the images alone."""
    if atoms is None:
        return np.zeros(len(possible), dtype=bool)
    supported: Array = possible & is_likely_atom(
        model.brightness_A2.cpu().numpy(),
        deviation,
        elements=atoms.elements,
        n_atoms=atoms.n,
        n_false=atoms.n_false,
    )
    return supported


def _vouched(model: ImageModel, deviation: Array, possible: Array, atoms: Atoms | None) -> Array:
    """(n,) bool: a network has said so, and the images do not contradict it."""
    chance = model.chance.cpu().numpy()
    said: Array = possible & np.isfinite(chance)
    if atoms is None or not said.any():
        return np.zeros(len(chance), dtype=bool)
    brightness = model.brightness_A2.cpu().numpy()
    said[said] = stays_atom(brightness[said], deviation[said], elements=atoms.elements, chance=chance[said])
    return said


def _apart(model: ImageModel, kept: Array, min_distance_A: float) -> Array:
    """(n,) bool: those of `kept` that are not too close to a brighter one."""
    brightness = model.brightness_A2.cpu().numpy()
    kept = kept.copy()
    order = np.flatnonzero(kept)
    order = order[np.argsort(-brightness[order], kind="stable")]
    apart = thin_out(model.positions_A.cpu().numpy()[order], min_distance_A=_APART * min_distance_A)
    kept[order[~apart]] = False
    return kept


def _information(model: ImageModel, target: Target) -> Array:
    """(n,) inverse variance of each brightness, all else known."""
    there = linearise(model, target.frame, free_images=(), free_common=())
    weights = pixel_weights(there.images, target)
    light = grams(there.spots, there.shares, weights)[..., 0, 0]
    total = (there.gain[:, None].square() * light).double().sum(dim=0)
    information: Array = total.cpu().numpy()
    return information


def _missing(
    model: ImageModel, target: Target, atoms: Atoms | None, min_distance_A: float
) -> tuple[Array, Array]:
    """(m, 3) positions and (m,) brightness of atoms that the residual calls for."""
    from scipy.spatial import cKDTree

    if atoms is None:
        return np.zeros((0, 3)), np.zeros(0)
    expected = expected_images(model, target)
    weights = pixel_weights(expected, target)
    residual = target.images - expected
    # Where the model as a whole explains less than counting would, chance peaks are higher too.
    lit = weights > 0
    spread = float((residual[lit] ** 2 * weights[lit]).mean().clamp_min(1.0).sqrt())
    atoms_A = model.positions_A.cpu().numpy()
    depth_A = _depth_A(model, min_distance_A)
    found = find_candidates(residual, weights, model, target.frame, depth_A=depth_A)
    positions_A, significance, brightness = (part.cpu().numpy() for part in found)
    likely = is_likely_atom(
        brightness,
        spread * brightness / np.maximum(significance, 1e-9),
        elements=atoms.elements,
        n_atoms=atoms.n,
        n_false=atoms.n_chance,
        lost=_LOST,
    )
    positions_A, brightness = positions_A[likely], brightness[likely]
    if len(atoms_A) and len(positions_A):
        far = cKDTree(atoms_A).query(positions_A)[0] > _APART * min_distance_A
        positions_A, brightness = positions_A[far], brightness[far]
    apart = thin_out(positions_A, min_distance_A=min_distance_A)
    return positions_A[apart], brightness[apart]


def _only(model: ImageModel, kept: Array) -> ImageModel:
    chosen = torch.as_tensor(np.flatnonzero(kept), device=model.gain.device)
    return replace(
        model,
        positions_A=model.positions_A[chosen],
        brightness_A2=model.brightness_A2[chosen],
        group=model.group[chosen],
        chance=model.chance[chosen],
    )


def _with(model: ImageModel, positions_A: Array, brightness_A2: Array) -> ImageModel:
    device = model.gain.device
    # Its group is that of the atom most like it.
    more = torch.as_tensor(brightness_A2, dtype=torch.float64, device=device)
    nearest = (model.brightness_A2[None] - more[:, None]).abs().argmin(dim=1)
    return replace(
        model,
        positions_A=torch.cat([model.positions_A, torch.as_tensor(positions_A, device=device)]),
        brightness_A2=torch.cat([model.brightness_A2, more]),
        group=torch.cat([model.group, model.group[nearest]]),
        chance=torch.cat([model.chance, torch.full_like(more, math.nan)]),
    )
