"""Freedoms that the images cannot fix: moving or turning specimen and microscope together, and their scale.

Each is removed explicitly: errors of the geometry have no common part, gains a geometric mean of 1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from picotome.trace.refinement.linearised import FOCUS, N_ATOM, is_group
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.rotations import rotation, rotation_vector
from picotome.trace.refinement.unknowns import Free


def turnable_axes(free: Free) -> tuple[int, ...]:
    """Axes of the specimen about which it may turn together with the free geometry."""
    axes = {1} if "turn_y" in free.images else set()
    if {"turn_x", "turn_z"} <= set(free.images):
        axes |= {0, 2}
    return tuple(sorted(axes))


def is_movable(free: Free) -> bool:
    """Whether specimen and images may move together."""
    return free.positions and {"shift_x", "shift_y"} <= set(free.images)


def fix_gauge(model: ImageModel, start: ImageModel, free: Free) -> ImageModel:
    """Return the model that gives the same images and whose errors have no common part."""
    if "gain" in free.images:
        mean = torch.exp(torch.log(model.gain).mean())
        model = replace(model, gain=model.gain / mean, brightness_A2=model.brightness_A2 * mean)
    if not free.positions:
        return model
    if turnable_axes(free):
        model = _fix_turn(model, start.rotations, turnable_axes(free))
    return _fix_move(model, free) if is_movable(free) else model


def gauge_directions(model: ImageModel, free: Free) -> Tensor:
    """(4 n + n_tilts k + m, g) changes of the unknowns that leave the images as they are.

    Unknowns in the order atoms, images, common.
    """
    directions = []
    if "gain" in free.images:
        brighter, images, common = _no_change(model, free)
        if free.brightness == "atom":
            brighter[:, 3] = model.brightness_A2
        else:
            common[[k for k, name in enumerate(free.common) if is_group(name)]] = 1.0
        images[:, free.images.index("gain")] = -model.gain
        directions.append(_flat(brighter, images, common))
    identity = torch.eye(3, dtype=model.gain.dtype, device=model.gain.device)
    for axis in turnable_axes(free) if free.positions else ():
        atoms, images, common = _no_change(model, free)
        atoms[:, :3] = torch.linalg.cross(identity[axis].expand_as(model.positions_A), model.positions_A)
        _set(images, free, ("turn_x", "turn_y", "turn_z"), -model.rotations[:, :, axis])
        directions.append(_flat(atoms, images, common))
    for axis in range(3) if is_movable(free) else ():
        atoms, images, common = _no_change(model, free)
        atoms[:, axis] = 1.0
        _set(images, free, ("shift_x", "shift_y", "defocus"), -model.rotations[:, :, axis] * _seen(model))
        if FOCUS[axis] in free.common:
            common[free.common.index(FOCUS[axis])] = 1.0
        directions.append(_flat(atoms, images, common))
    n = N_ATOM * len(model.positions_A) + len(model.gain) * len(free.images) + len(free.common)
    return torch.stack(directions, dim=1) if directions else model.gain.new_zeros(n, 0)


def _seen(model: ImageModel) -> Tensor:
    """The plane of focus follows a common move; it is measured the other way round."""
    return model.gain.new_tensor([1.0, 1.0, -1.0])


def _no_change(model: ImageModel, free: Free) -> tuple[Tensor, Tensor, Tensor]:
    like = model.gain
    return (
        like.new_zeros(len(model.positions_A), N_ATOM),
        like.new_zeros(len(like), len(free.images)),
        like.new_zeros(len(free.common)),
    )


def _flat(atoms: Tensor, images: Tensor, common: Tensor) -> Tensor:
    return torch.cat([atoms.flatten(), images.flatten(), common])


def _set(images: Tensor, free: Free, names: tuple[str, ...], values: Tensor) -> None:
    for k, name in enumerate(names):
        if name in free.images:
            images[:, free.images.index(name)] = values[:, k]


def _fix_turn(model: ImageModel, nominal: Tensor, axes: tuple[int, ...]) -> ImageModel:
    allowed = model.gain.new_zeros(3)
    allowed[list(axes)] = 1.0
    # Rotations do not add up, but nearly do for small errors: the second round leaves nothing.
    for _ in range(2):
        errors = rotation_vector(model.rotations @ nominal.transpose(-1, -2))
        turn = rotation(torch.einsum("tji,tj->ti", nominal, errors).mean(dim=0) * allowed)
        model = replace(model, positions_A=model.positions_A @ turn.T, rotations=model.rotations @ turn.T)
    return model


def _fix_move(model: ImageModel, free: Free) -> ImageModel:
    rows = model.rotations[:, :2, :]
    # The normal equations: LAPACK's least squares do not repeat to the last bit.
    normal = torch.einsum("tij,tik->jk", rows, rows)
    move = torch.linalg.solve(normal, torch.einsum("tij,ti->j", rows, model.shift_A))
    seen = torch.einsum("tij,j->ti", model.rotations, move)
    return replace(
        model,
        positions_A=model.positions_A + move,
        shift_A=model.shift_A - seen[:, :2],
        defocus_A=model.defocus_A + seen[:, 2],
    )
