"""The image model and all its derivatives at one point, and products with them.

Unknowns are three groups: of the atoms, (n, 4): x, y, z (Å) and brightness; of the images, (n_tilts, k);
common to all, (m,). Names of the second: gain, background, shift_x, shift_y, turn_x, turn_y, turn_z, defocus;
of the third: core, tail, tail_fraction, spread, and for the relative brightness of a group of atoms,
group_0, group_1 … Derivatives of the first live on the atoms' windows, those of the others are whole images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from picotome.trace.refinement.model import Frame, ImageModel, Spots, add_up, image_range, make_spots

N_ATOM = 4
# Windows of this many floats are worked on together.
_CHUNK = 2_000_000
_GROUP = "group_"


class Unknowns(NamedTuple):
    """A vector of unknowns, or of derivatives with them; see the module."""

    atoms: Tensor
    images: Tensor
    common: Tensor


@dataclass(frozen=True, eq=False)
class Linearised:
    """Images of a model and their derivatives.

    Attributes
    ----------
    images
        (n_tilts, n_pixels) float32 padded images.
    at
        (n_tilts, n, M) pixels of each atom's window.
    atoms
        (n_tilts, n, 4, M) float32 derivatives with the unknowns of the atoms.
    of_image
        (n_tilts, k, n_pixels) float32 derivatives with the unknowns of each image.
    common
        (n_tilts, m, n_pixels) float32 derivatives with the common unknowns.
    frame
        Of the images.
    """

    images: Tensor
    at: Tensor
    atoms: Tensor
    of_image: Tensor
    common: Tensor
    frame: Frame


def group_name(group: int) -> str:
    """Name of the relative brightness of a group of atoms."""
    return f"{_GROUP}{group}"


def is_group(name: str) -> bool:
    """Whether a common unknown is the relative brightness of a group."""
    return name.startswith(_GROUP)


def group_of(name: str) -> int:
    """Return which group's brightness an unknown is."""
    return int(name.removeprefix(_GROUP))


def linearise(
    model: ImageModel, frame: Frame, *, free_images: Sequence[str], free_common: Sequence[str]
) -> Linearised:
    """Linearise about a model, for the named unknowns of the images and the common ones."""
    n_tilts, n = len(model.gain), len(model.positions_A)
    window = (2 * frame.reach + 1) ** 2
    step = max(1, _CHUNK // max(1, n * window))
    parts = [
        _linearise_some(
            model, frame, slice(start, start + step), free_images=free_images, free_common=free_common
        )
        for start in range(0, n_tilts, step)
    ]
    images, at, atoms, of_image, common = (torch.cat(group) for group in zip(*parts, strict=True))
    return Linearised(images, at, atoms, of_image, common, frame)


def forward(derivatives: Linearised, change: Unknowns) -> Tensor:
    """(n_tilts, n_pixels) change of the images."""
    local = torch.matmul(change.atoms.float()[None, :, None, :], derivatives.atoms)[..., 0, :]
    images = add_up(derivatives.at, local, derivatives.frame)
    images += torch.einsum("tk,tkp->tp", change.images.float(), derivatives.of_image)
    images += torch.einsum("m,tmp->tp", change.common.float(), derivatives.common)
    return images


def transpose(derivatives: Linearised, images: Tensor) -> Unknowns:
    """Apply the exact adjoint of `forward` to (n_tilts, n_pixels) images."""
    picked = pick(images, derivatives.at)
    atoms = torch.matmul(derivatives.atoms, picked[..., None])[..., 0].double().sum(dim=0)
    of_image = torch.einsum("tkp,tp->tk", derivatives.of_image, images).double()
    common = torch.einsum("tmp,tp->tm", derivatives.common, images).double().sum(dim=0)
    return Unknowns(atoms, of_image, common)


def pick(images: Tensor, at: Tensor) -> Tensor:
    """(n_tilts, n, M) values of (n_tilts, n_pixels) images in the windows."""
    return torch.gather(images, 1, at.flatten(1)).reshape(at.shape)


def _linearise_some(
    model: ImageModel,
    frame: Frame,
    tilts: slice,
    *,
    free_images: Sequence[str],
    free_common: Sequence[str],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    part = image_range(model, tilts)
    spots = make_spots(part, frame, slice(None))
    strength = (part.gain[:, None] * part.brightness_A2)[..., None]
    # d value / d (posed x, y, z), and what a change of the posed position means for the position.
    slopes = torch.stack([spots.u, spots.v, spots.variance], dim=-2)
    beam = 2.0 * part.spread * (spots.posed_A[..., 2] - part.defocus_A[:, None])
    scale = torch.stack([torch.ones_like(beam), torch.ones_like(beam), beam], dim=-1) * strength
    turned = torch.einsum("tnk,tkj->tnjk", scale, part.rotations).float()
    brightness = part.gain.float()[:, None, None, None] * spots.value[..., None, :]
    atoms = torch.cat([torch.matmul(turned, slopes), brightness], dim=-2)
    signal = add_up(spots.at, strength.float() * spots.value, frame)
    images = signal + part.background.float()[:, None]
    of_image = {name: _of_image(name, part, spots, signal, scale, frame) for name in free_images}
    common = {name: _common(name, part, spots, strength, frame) for name in free_common}
    return images, spots.at, atoms, _stack(of_image, images), _stack(common, images)


def _of_image(
    name: str, part: ImageModel, spots: Spots, signal: Tensor, scale: Tensor, frame: Frame
) -> Tensor:
    if name == "gain":
        return signal / part.gain.float()[:, None]
    if name == "background":
        return torch.ones_like(signal)
    x, y, z = spots.posed_A.unbind(-1)
    # Turns act on the atoms about the origin of the image, before the shift.
    x, y = x - part.shift_A[:, :1], y - part.shift_A[:, 1:]
    none = torch.zeros_like(x)
    one = torch.ones_like(x)
    move = {
        "shift_x": (one, none, none),
        "shift_y": (none, one, none),
        "turn_x": (none, -z, y),
        "turn_y": (z, none, -x),
        "turn_z": (-y, x, none),
        "defocus": (none, none, -one),
    }[name]
    change = [(a * b)[..., None].float() for a, b in zip(move, scale.unbind(-1), strict=True)]
    local = change[0] * spots.u + change[1] * spots.v + change[2] * spots.variance
    return add_up(spots.at, local, frame)


def _common(name: str, part: ImageModel, spots: Spots, strength: Tensor, frame: Frame) -> Tensor:
    if name == "spread":
        distance = spots.posed_A[..., 2] - part.defocus_A[:, None]
        local = (strength * (distance**2)[..., None]).float() * spots.variance
    elif is_group(name):
        local = (strength * (part.group == group_of(name))[:, None]).float() * spots.value
    else:
        slope = {"core": spots.core, "tail": spots.tail, "tail_fraction": spots.difference}[name]
        local = strength.float() * slope
    return add_up(spots.at, local, frame)


def _stack(columns: dict[str, Tensor], images: Tensor) -> Tensor:
    if not columns:
        return images.new_zeros(len(images), 0, images.shape[1])
    return torch.stack(list(columns.values()), dim=1)
