"""The image model and all its derivatives at one point, and products with them.

Unknowns are three groups: of the atoms, (n, 4): x, y, z (Å) and brightness; of the images, (n_tilts, k);
common to all, (m,). Names of the second: gain, background, shift_x, shift_y, turn_x, turn_y, turn_z, defocus;
of the third: core, tail, tail_fraction, spread; focus_x, focus_y, focus_z, a point in the specimen's frame
that all images are focused on; coherence; and for the relative brightness of a group of atoms, group_0,
group_1 … Derivatives of the first live on the atoms' windows and are kept as factors along x and y; those of
the others are whole images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from picotome.trace.refinement.model import Frame, ImageModel, Spots, image_range, make_spots, plain_windows
from picotome.trace.refinement.operators import chunks, draw, each_chunk, weigh

N_ATOM = 4
_GROUP = "group_"
FOCUS = ("focus_x", "focus_y", "focus_z")
COHERENCE = "coherence"


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
    spots
        The atoms, as factors; the derivatives with their unknowns follow from these and the next.
    slope
        (n_tilts, n, 3) float32 what moving a spot by 1 Å along x, y and the beam adds of its derivatives with
        x, y and the variance.
    rotations
        (n_tilts, 3, 3) float32.
    gain
        (n_tilts,) float32.
    shares
        (2,) float32 of core and tail.
    of_image
        (n_tilts, k, n_pixels) float32 derivatives with the unknowns of each image.
    common
        (n_tilts, m, n_pixels) float32 derivatives with the common unknowns.
    """

    images: Tensor
    spots: Spots
    slope: Tensor
    rotations: Tensor
    gain: Tensor
    shares: Tensor
    of_image: Tensor
    common: Tensor


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
    parts = [
        _linearise_some(image_range(model, tilts), frame, free_images=free_images, free_common=free_common)
        for tilts in chunks(
            len(model.gain), len(model.positions_A), 2 * frame.reach + 1, device=model.gain.device
        )
    ]
    images, corner, x, y, posed_A, slope, of_image, common = (
        torch.cat(group) for group in zip(*parts, strict=True)
    )
    return Linearised(
        images=images,
        spots=Spots(corner, x, y, posed_A, frame),
        slope=slope,
        rotations=model.rotations.float(),
        gain=model.gain.float(),
        shares=_shares(model),
        of_image=of_image,
        common=common,
    )


def forward(derivatives: Linearised, change: Unknowns) -> Tensor:
    """(n_tilts, n_pixels) change of the images."""
    move_A, brighter = change.atoms[:, :3].float(), change.atoms[:, 3].float()
    moved = torch.einsum("tij,nj->tni", derivatives.rotations, move_A) * derivatives.slope
    light = derivatives.gain[:, None, None] * brighter[:, None]
    weights = torch.cat([light, moved], dim=-1)[..., None, :] * derivatives.shares[:, None]
    images = draw(derivatives.spots, weights)
    images += torch.einsum("tk,tkp->tp", change.images.float(), derivatives.of_image)
    images += torch.einsum("m,tmp->tp", change.common.float(), derivatives.common)
    return images


def transpose(derivatives: Linearised, images: Tensor) -> Unknowns:
    """Apply the exact adjoint of `forward` to (n_tilts, n_pixels) images."""
    sums = (weigh(derivatives.spots, images) * derivatives.shares[:, None]).sum(dim=-2)
    moved = sums[..., 1:] * derivatives.slope
    move = torch.einsum("tij,tni->tnj", derivatives.rotations, moved)
    light = derivatives.gain[:, None] * sums[..., 0]
    atoms = torch.cat([move, light[..., None]], dim=-1).double().sum(dim=0)
    of_image = torch.einsum("tkp,tp->tk", derivatives.of_image, images).double()
    common = torch.einsum("tmp,tp->tm", derivatives.common, images).double().sum(dim=0)
    return Unknowns(atoms, of_image, common)


def atom_parts(derivatives: Linearised, tilts: slice = slice(None)) -> Tensor:
    """(n_tilts, n, 4, 4) float32: the derivatives with an atom's unknowns are ``parts @ windows``.

    The windows are those of `picotome.trace.refinement.model.plain_windows`.
    """
    slope, rotations = derivatives.slope[tilts], derivatives.rotations[tilts]
    parts = slope.new_zeros(*slope.shape[:2], N_ATOM, N_ATOM)
    parts[:, :, :3, 1:] = (slope[..., None] * rotations[:, None]).transpose(-1, -2)
    parts[:, :, 3, 0] = derivatives.gain[tilts, None]
    return parts


def atom_windows(derivatives: Linearised) -> Iterator[tuple[slice, Spots, Tensor, Tensor]]:
    """Give the derivatives with the unknowns of the atoms, some images at a time.

    Yields
    ------
    tilts, spots
        Which images.
    basis
        (n_tilts, n, 4, M) float32 windows; see `picotome.trace.refinement.model.plain_windows`.
    parts
        (n_tilts, n, 4, 4) float32: the derivatives are ``parts @ basis``.
    """
    for tilts, spots in each_chunk(derivatives.spots, times=N_ATOM):
        yield tilts, spots, plain_windows(spots, derivatives.shares), atom_parts(derivatives, tilts)


def _shares(model: ImageModel) -> Tensor:
    return torch.stack([1.0 - model.tail_fraction, model.tail_fraction]).float()


def _linearise_some(
    part: ImageModel, frame: Frame, *, free_images: Sequence[str], free_common: Sequence[str]
) -> tuple[Tensor, ...]:
    spots = make_spots(part, frame)
    strength = part.gain[:, None] * part.brightness_A2
    signal = _draw(spots, part, light=strength)
    signal += (part.gain * part.coherence).float()[:, None] * part.interference
    images = signal + part.background.float()[:, None]
    beam = 2.0 * part.spread * (spots.posed_A[..., 2] - part.defocus_A[:, None])
    slope = torch.stack([torch.ones_like(beam), torch.ones_like(beam), beam], dim=-1) * strength[..., None]
    of_image = {name: _of_image(name, part, spots, signal, slope) for name in free_images}
    common = {name: _common(name, part, spots, strength, slope) for name in free_common}
    return (
        images,
        spots.corner,
        spots.x,
        spots.y,
        spots.posed_A,
        slope.float(),
        _stack(of_image, images),
        _stack(common, images),
    )


def _draw(
    spots: Spots,
    part: ImageModel,
    *,
    light: Tensor | None = None,
    moved: Tensor | None = None,
    wider: Tensor | None = None,
    shares: Tensor | None = None,
) -> Tensor:
    """Images of (n_tilts, n) light, (n_tilts, n, 3) moves along x, y and in variance, or a wider probe."""
    weights = torch.zeros(*spots.corner.shape, 4, dtype=torch.float64, device=spots.corner.device)
    if light is not None:
        weights[..., 0] = light
    if moved is not None:
        weights[..., 1:] = moved
    if wider is not None:
        weights[..., 3] = wider
    shares = _shares(part) if shares is None else shares
    return draw(spots, weights.float()[..., None, :] * shares[:, None])


def _of_image(name: str, part: ImageModel, spots: Spots, signal: Tensor, slope: Tensor) -> Tensor:
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
    return _draw(spots, part, moved=torch.stack(move, dim=-1) * slope)


def _common(name: str, part: ImageModel, spots: Spots, strength: Tensor, slope: Tensor) -> Tensor:
    if name in FOCUS:
        return _draw(spots, part, wider=-slope[..., 2] * part.rotations[:, 2, FOCUS.index(name)][:, None])
    if name == "spread":
        return _draw(spots, part, wider=strength * (spots.posed_A[..., 2] - part.defocus_A[:, None]) ** 2)
    if is_group(name):
        return _draw(spots, part, light=strength * (part.group == group_of(name)))
    if name == COHERENCE:
        return part.gain.float()[:, None] * part.interference
    core, tail = _shares(part)
    none, one = torch.zeros_like(core), torch.ones_like(core)
    if name == "tail_fraction":
        return _draw(spots, part, light=strength, shares=torch.stack([-one, one]))
    of_part = {"core": torch.stack([core, none]), "tail": torch.stack([none, tail])}[name]
    return _draw(spots, part, wider=strength, shares=of_part)


def _stack(columns: dict[str, Tensor], images: Tensor) -> Tensor:
    if not columns:
        return images.new_zeros(len(images), 0, images.shape[1])
    return torch.stack(list(columns.values()), dim=1)
