"""Which unknowns are free, how far they are expected to be off, and how a step changes a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from picotome.configs.schema import RefinementConfig
from picotome.trace.refinement.linearised import (
    COHERENCE,
    FOCUS,
    N_ATOM,
    Unknowns,
    group_name,
    group_of,
    is_group,
)
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.rotations import rotation, rotation_vector

_GEOMETRY = {
    "tilt": ("turn_y",),
    "turns": ("turn_x", "turn_z"),
    "shifts": ("shift_x", "shift_y"),
    "defocus": ("defocus",),
}
PROBE = ("core", "tail", "tail_fraction", "spread")
# Weak priors (standard deviations), so wide that they matter only where the images say nothing: geometry in
# rad and Å, the probe in Å², its spread about that of a 30 mrad cone.
_WIDTH = {
    "gain": 0.5,
    "shift_x": 3.0,
    "shift_y": 3.0,
    "turn_x": 0.05,
    "turn_y": 0.05,
    "turn_z": 0.05,
    "defocus": 50.0,
    "core": 0.3,
    "tail": 1.0,
    "tail_fraction": 0.3,
    "spread": 2e-4,
    COHERENCE: 1.0,
    **dict.fromkeys(FOCUS, 20.0),
}
# Variance per squared distance from focus of a cone of 30 mrad: α² / 4.
SPREAD = 2.2e-4
# In units of the usual atom's.
_BRIGHTNESS = 2.0
# An atom moves no further in one step: beyond, the linearised images mean nothing.
_LONGEST_A = 0.25
_NARROWEST_A2, _WIDEST_A2 = 0.01, 25.0
_FIXED = 1e30


@dataclass(frozen=True)
class Free:
    """Names of the free unknowns.

    Attributes
    ----------
    images, common
        See `picotome.trace.refinement.linearised`.
    positions
        Whether atoms may move.
    brightness
        Whether each atom has a brightness of its own, or all of a group share one; then `common` names the
        groups.
    """

    images: tuple[str, ...]
    common: tuple[str, ...] = PROBE
    positions: bool = True
    brightness: Literal["atom", "element"] = "atom"


def free_unknowns(config: RefinementConfig, *, n_groups: int) -> Free:
    """Return what a configuration sets free, for atoms in some groups (elements)."""
    images = [name for key in ("gain", "background") if getattr(config, key) for name in (key,)]
    for part in _GEOMETRY:
        if part in config.geometry:
            images.extend(_GEOMETRY[part])
    groups = tuple(group_name(k) for k in range(n_groups)) if config.brightness == "element" else ()
    # Where shifts are free nothing says where the specimen stands to the focus, if that is not free anyway.
    focus = FOCUS if "shifts" in config.geometry and "defocus" not in config.geometry else ()
    return Free(tuple(images), PROBE + focus + groups, brightness=config.brightness)


def with_coherence(free: Free) -> Free:
    """The same, and how coherent waves of neighbours are."""
    return replace(free, common=(*free.common, COHERENCE))


def of_atoms(free: Free) -> Free:
    """The same, with a brightness for each atom."""
    common = tuple(name for name in free.common if not is_group(name))
    return replace(free, common=common, brightness="atom")


def without_geometry(free: Free) -> Free:
    """Only shifts, gain, background and probe: what aligns images to atoms that stay where they are."""
    images = tuple(name for name in free.images if not name.startswith(("turn", "defocus")))
    common = tuple(name for name in free.common if name not in FOCUS)
    return replace(free, images=images, common=common, positions=False)


def with_known_spread(free: Free) -> Free:
    """Everything but how the probe spreads away from focus."""
    return replace(free, common=tuple(name for name in free.common if name != "spread"))


def prior(model: ImageModel, start: ImageModel, free: Free) -> tuple[Unknowns, Unknowns]:
    """Distance of the unknowns from their expectation, and the precision of that, in the shape of a step."""
    turn = rotation_vector(model.rotations @ start.rotations.transpose(-1, -2))
    images = {
        "gain": model.gain - 1.0,
        "background": torch.zeros_like(model.gain),
        "shift_x": model.shift_A[:, 0],
        "shift_y": model.shift_A[:, 1],
        "turn_x": turn[:, 0],
        "turn_y": turn[:, 1],
        "turn_z": turn[:, 2],
        "defocus": model.defocus_A,
    }
    common = {
        "core": model.core_A2 - start.core_A2,
        "tail": model.tail_A2 - start.tail_A2,
        "tail_fraction": model.tail_fraction - start.tail_fraction,
        "spread": model.spread - SPREAD,
        COHERENCE: model.coherence - start.coherence,
        **dict(zip(FOCUS, _focus_A(model), strict=True)),
    }
    atoms = model.positions_A.new_zeros(len(model.positions_A), N_ATOM)
    held = atoms.clone()
    if not free.positions:
        held[:, :3] = _FIXED
    # No atom is many times brighter than the others, however little the images say of it.
    usual = start.brightness_A2.median()
    atoms[:, 3] = model.brightness_A2 - usual
    held[:, 3] = (_BRIGHTNESS * usual) ** -2
    if free.brightness == "element":
        atoms[:, 3], held[:, 3] = 0.0, _FIXED
    nothing = torch.zeros_like(model.core_A2)
    offset = Unknowns(
        atoms,
        _columns(images, free.images, model.gain),
        torch.stack([common.get(name, nothing) for name in free.common]),
    )
    precision = Unknowns(
        held,
        _precision(free.images, model.gain).expand_as(offset.images),
        _precision(free.common, model.gain),
    )
    return offset, precision


def moved(model: ImageModel, step: Unknowns, free: Free) -> ImageModel:
    """Return the model after a step; variances, gains and shares stay within what is possible."""
    image = {name: step.images[:, k] for k, name in enumerate(free.images)}
    common = {name: step.common[k] for k, name in enumerate(free.common)}
    none, nothing = torch.zeros_like(model.gain), torch.zeros_like(model.core_A2)

    def of(*names: str) -> Tensor:
        return torch.stack([image.get(name, none) for name in names], dim=-1)

    brighter = torch.ones_like(model.brightness_A2)
    for name, change in common.items():
        if is_group(name):
            brighter[model.group == group_of(name)] += change
    focus_A = torch.stack([common.get(name, nothing) for name in FOCUS])
    return replace(
        model,
        positions_A=model.positions_A + step.atoms[:, :3].clamp(-_LONGEST_A, _LONGEST_A),
        brightness_A2=model.brightness_A2 * brighter + step.atoms[:, 3],
        rotations=rotation(of("turn_x", "turn_y", "turn_z")) @ model.rotations,
        shift_A=model.shift_A + of("shift_x", "shift_y"),
        defocus_A=model.defocus_A + image.get("defocus", none) + model.rotations[:, 2] @ focus_A,
        gain=(model.gain + image.get("gain", none)).clamp_min(0.05),
        background=model.background + image.get("background", none),
        core_A2=(model.core_A2 + common.get("core", nothing)).clamp(_NARROWEST_A2, _WIDEST_A2),
        tail_A2=(model.tail_A2 + common.get("tail", nothing)).clamp(_NARROWEST_A2, _WIDEST_A2),
        tail_fraction=(model.tail_fraction + common.get("tail_fraction", nothing)).clamp(0.0, 0.95),
        spread=(model.spread + common.get("spread", nothing)).clamp_min(0.0),
        coherence=model.coherence + common.get(COHERENCE, nothing),
    )


def _focus_A(model: ImageModel) -> Tensor:
    """(3,) the point closest to all planes of focus; where it is undetermined, the one nearest the origin."""
    beams = model.rotations[:, 2]
    normal = beams.T @ beams + 1e-3 * torch.eye(3, dtype=beams.dtype, device=beams.device)
    point: Tensor = torch.linalg.solve(normal, beams.T @ model.defocus_A)
    return point


def _columns(values: dict[str, Tensor], names: tuple[str, ...], like: Tensor) -> Tensor:
    return torch.stack([values[name] for name in names], dim=1) if names else like.new_zeros(len(like), 0)


def _precision(names: tuple[str, ...], like: Tensor) -> Tensor:
    return like.new_tensor([_WIDTH[name] ** -2 if name in _WIDTH else 0.0 for name in names])
