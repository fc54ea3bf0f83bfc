"""Atoms that the images do not support leave, and atoms that the residual calls for join."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.trace.brightness import darkest_atom, typical
from picotome.trace.peaks import thin_out
from picotome.trace.refinement.candidates import find_candidates
from picotome.trace.refinement.fit import Target, expected_images, pixel_weights
from picotome.trace.refinement.linearised import linearise
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.operators import grams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# How many standard deviations of the noise a new atom must explain, and one that stays. Among some 1e5
# independent places, chance reaches four.
_SIGNIFICANT, _SUPPORTED = 5.0, 4.0
# So many times brighter than the typical atom (of the heavier elements, where there are several) is none.
_TOO_BRIGHT = 3.0
# Its neighbours have taken over part of its light: this fraction of the cut is enough until it is fitted.
_DIM = 0.5
# Refined neighbours may come a little closer than traced ones are allowed to be found.
_APART = 0.8


def change_atoms(
    model: ImageModel, target: Target, numbers: Array, *, min_distance_A: float, joining: bool
) -> tuple[ImageModel, int, int]:
    """Remove unsupported atoms and add missing ones.

    An atom leaves if it is dimmer than the cut between atoms and non-atoms (see `darkest_atom`), explains
    less than four standard deviations of the noise, is three times brighter than the typical one, or closer
    than 0.8 minimum distances to a brighter one. One joins where the residual images agree on it by at least
    five standard deviations, it has half the brightness of the cut, and no other atom is within 0.8 minimum
    distances.

    Returns
    -------
    model
        To be fitted again.
    n_added, n_removed
        How many joined and left.
    """
    kept, cut = _supported(model, target, numbers, min_distance_A)
    remaining = _only(model, kept)
    if not joining:
        return remaining, 0, int((~kept).sum())
    new_A, brightness = _missing(remaining, target, cut, min_distance_A)
    if len(new_A):
        remaining = _with(remaining, new_A, brightness)
    return remaining, len(new_A), int((~kept).sum())


def _supported(
    model: ImageModel, target: Target, numbers: Array, min_distance_A: float
) -> tuple[Array, float]:
    """(n,) bool, and the lowest brightness of an atom."""
    brightness = model.brightness_A2.cpu().numpy()
    possible = (brightness > 0) & (brightness < _TOO_BRIGHT * typical(brightness))
    possible &= brightness * np.sqrt(_information(model, target)) > _SUPPORTED
    cut = darkest_atom(brightness[possible], numbers) if possible.any() else 0.0
    kept = possible & (brightness > cut)
    order = np.flatnonzero(kept)
    order = order[np.argsort(-brightness[order], kind="stable")]
    apart = thin_out(model.positions_A.cpu().numpy()[order], min_distance_A=_APART * min_distance_A)
    kept[order[~apart]] = False
    return kept, cut


def _information(model: ImageModel, target: Target) -> Array:
    """(n,) inverse variance of each brightness, all else known."""
    there = linearise(model, target.frame, free_images=(), free_common=())
    weights = pixel_weights(there.images, target)
    light = grams(there.spots, there.shares, weights)[..., 0, 0]
    total = (there.gain[:, None].square() * light).double().sum(dim=0)
    information: Array = total.cpu().numpy()
    return information


def _missing(model: ImageModel, target: Target, cut: float, min_distance_A: float) -> tuple[Array, Array]:
    """(m, 3) positions and (m,) brightness of atoms that the residual calls for."""
    from scipy.spatial import cKDTree

    expected = expected_images(model, target)
    weights = pixel_weights(expected, target)
    residual = target.images - expected
    # Where the model as a whole explains less than counting would, chance peaks are higher too.
    lit = weights > 0
    spread = float((residual[lit] ** 2 * weights[lit]).mean().clamp_min(1.0).sqrt())
    atoms_A = model.positions_A.cpu().numpy()
    depth_A = (float(atoms_A[:, 2].min()) - min_distance_A, float(atoms_A[:, 2].max()) + min_distance_A)
    found = find_candidates(residual, weights, model, target.frame, depth_A=depth_A)
    positions_A, significance, brightness = (part.cpu().numpy() for part in found)
    likely = (significance > _SIGNIFICANT * spread) & (brightness > _DIM * cut)
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
    )
