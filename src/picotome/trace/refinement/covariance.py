"""How far noise moves the atoms: the inverse of the Fisher information, and with it the Cramér-Rao bound.

The Fisher information of the image model is JᵀWJ, with W the inverse variance of each pixel. Its inverse is
the smallest covariance that an unbiased estimate of the unknowns can have (Rao 1945,
doi:10.1007/978-1-4612-0919-5_16), and near the minimum also the covariance of the fit. Small particles are
inverted exactly; of large ones the covariance is sampled: with ε white, (JᵀWJ)⁻¹ JᵀW^½ ε has exactly the
wanted covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from picotome.compiled import compiled
from picotome.trace.refinement.fit import Target, pixel_weights
from picotome.trace.refinement.gauge import gauge_directions, turnable_axes
from picotome.trace.refinement.linearised import N_ATOM, Linearised, atom_windows, linearise, transpose
from picotome.trace.refinement.model import ImageModel, pick, some_spots
from picotome.trace.refinement.newton import Normal, normal_equations, solve
from picotome.trace.refinement.unknowns import Free, prior

Array = NDArray[Any]
Progress = Callable[[int, int], None]

# Unknowns up to which the information matrix is inverted as a whole: 0.5 GB.
_LARGEST_EXACT = 8000
_N_SAMPLES, _SAMPLE_STEPS, _SAMPLE_TOLERANCE = 12, 300, 1e-2
_TINY = 1e-300
_TURNS = ("turn_x", "turn_y", "turn_z")
# Variance of a coordinate, in units of what it would be were all else known, that single precision cannot
# tell from infinity.
_UNDETERMINED = 1e5


@dataclass(frozen=True, eq=False)
class Covariance:
    """What noise does to the atoms.

    Attributes
    ----------
    positions_A2
        (n, 3, 3) covariance of each position, common motions removed.
    brightness
        (n,) variance of each brightness.
    turn_rad
        Standard error of the angles of the images that are free (rms over images and axes), common turns
        removed; NaN where none is free.
    relative_error
        Of a root mean square over all atoms; of a single atom's, about 0.2. 0 where exact.
    """

    positions_A2: Array
    brightness: Array
    turn_rad: float
    relative_error: float


class Motions(NamedTuple):
    """Common motions, and where the angles are among the unknowns of the images.

    Attributes
    ----------
    atoms
        (3 n, 3 or 6) orthonormal moves and turns of all atoms.
    angles
        (a,) indices of the free angles into the flattened unknowns of the images.
    turns
        (a, ≤ 3) orthonormal changes of those that follow a common turn.
    """

    atoms: Array
    angles: Array
    turns: Array


def covariance(
    model: ImageModel, target: Target, free: Free, *, progress: Progress | None = None
) -> Covariance:
    """Covariance of the atoms of a model, with everything in `free` unknown.

    Common motions (and turns, where the geometry is free to follow) are projected out.

    Raises
    ------
    ValueError
        If the images do not determine the unknowns.
    """
    derivatives = linearise(model, target.frame, free_images=free.images, free_common=free.common)
    weights = pixel_weights(derivatives.images, target)
    positions_A = model.positions_A.cpu().numpy()
    motions = Motions(rigid_motions(positions_A, turns=bool(turnable_axes(free))), *_turns(model, free))
    n_unknowns = N_ATOM * len(positions_A) + len(model.gain) * len(free.images) + len(free.common)
    gauge = gauge_directions(model, free)
    if n_unknowns <= _LARGEST_EXACT:
        information = fisher_information(derivatives, weights)
        if free.brightness == "element":
            fixed = np.arange(3, N_ATOM * len(positions_A), N_ATOM)
            information[fixed], information[:, fixed] = 0.0, 0.0
            information[fixed, fixed] = 1.0
        return _exact(information, motions, gauge.cpu().numpy())
    _, precision = prior(model, target.start, free)
    return _sampled(normal_equations(derivatives, weights, precision, gauge), motions, progress=progress)


def fisher_information(derivatives: Linearised, weights: Tensor) -> Array:
    """(4 n + n_tilts k + m,)² dense JᵀWJ, unknowns in the order atoms, images, common."""
    n_tilts, n, _ = derivatives.slope.shape
    k, m = derivatives.of_image.shape[1], derivatives.common.shape[1]
    n_atoms, n_images = N_ATOM * n, n_tilts * k
    information = np.zeros((n_atoms + n_images + m,) * 2)
    every = slice(n_atoms + n_images, None)
    columns = torch.cat([derivatives.of_image, derivatives.common], dim=1)
    weighted = columns * weights.float()[:, None, :]
    frame = derivatives.spots.frame
    for tilts, spots, basis, parts in atom_windows(derivatives):
        windows = torch.matmul(parts, basis)
        _add_pairs(
            information,
            windows.cpu().numpy(),
            weights[tilts].float().cpu().numpy(),
            spots.corner.cpu().numpy(),
            frame.padded[1],
            2 * frame.reach + 1,
        )
        for number, tilt in enumerate(range(n_tilts)[tilts]):
            own = slice(n_atoms + tilt * k, n_atoms + (tilt + 1) * k)
            one = some_spots(spots, slice(number, number + 1))
            picked = torch.stack([pick(c[None], one)[0] for c in weighted[tilt]], dim=-1)
            cross = torch.matmul(windows[number], picked).reshape(n_atoms, k + m).double().cpu().numpy()
            information[:n_atoms, own] += cross[:, :k]
            information[:n_atoms, every] += cross[:, k:]
    for tilt in range(n_tilts):
        own = slice(n_atoms + tilt * k, n_atoms + (tilt + 1) * k)
        gram = columns[tilt].double().cpu().numpy() @ weighted[tilt].double().cpu().numpy().T
        information[own, own] += gram[:k, :k]
        information[own, every] += gram[:k, k:]
        information[every, own] += gram[k:, :k]
        information[every, every] += gram[k:, k:]
    information[n_atoms:, :n_atoms] = information[:n_atoms, n_atoms:].T
    return information


@compiled
def _add_pairs(
    information: Array, atoms: Array, weights: Array, corner: Array, width: int, edge: int
) -> None:
    n_tilts, n = corner.shape
    block = np.zeros((4, 4))
    for t in range(n_tilts):
        for i in range(n):
            row_i, column_i = corner[t, i] // width, corner[t, i] % width
            for j in range(i, n):
                down = corner[t, j] // width - row_i
                right = corner[t, j] % width - column_i
                if abs(down) >= edge or abs(right) >= edge:
                    continue
                block[:] = 0.0
                for r in range(max(0, down), min(edge, edge + down)):
                    at = (row_i + r) * width + column_i
                    for c in range(max(0, right), min(edge, edge + right)):
                        w = weights[t, at + c]
                        if w == 0.0:
                            continue
                        here = r * edge + c
                        there = (r - down) * edge + c - right
                        for a in range(4):
                            x = w * atoms[t, i, a, here]
                            for b in range(4):
                                block[a, b] += x * atoms[t, j, b, there]
                for a in range(4):
                    for b in range(4):
                        information[4 * i + a, 4 * j + b] += block[a, b]
                        if i != j:
                            information[4 * j + b, 4 * i + a] += block[a, b]


def _exact(information: Array, motions: Motions, gauge: Array) -> Covariance:
    from scipy.linalg.lapack import dpotrf, dpotri

    rigid = motions.atoms
    n = len(rigid) // 3
    # The focus of a probe that does not spread changes nothing, not even what is known of the rest.
    idle = n * N_ATOM + np.flatnonzero(np.diag(information)[n * N_ATOM :] <= 0.0)
    information[idle, idle] = 1.0
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information), _TINY))
    information *= scale[:, None]
    information *= scale
    if gauge.shape[1]:
        # What no image sees gets some information, and is taken out of the result again.
        unseen = np.linalg.qr(gauge / scale[:, None])[0]
        information += unseen @ unseen.T
    at = (np.arange(n)[:, None] * N_ATOM + np.arange(3)).ravel()
    factor, failed = dpotrf(information.T, lower=False, overwrite_a=True)
    inverse, _ = dpotri(factor, lower=False, overwrite_c=True)
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    is_singular = failed or not inverse.diagonal()[at].max() < _UNDETERMINED
    if is_singular:
        raise ValueError(
            "the images do not determine all unknowns (their information matrix is singular): free less of "
            "the geometry (refinement.geometry), or check for atoms on top of each other"
        )
    brightness = inverse.diagonal()[3 : n * N_ATOM : N_ATOM] * scale[3 : n * N_ATOM : N_ATOM] ** 2
    positions = inverse[np.ix_(at, at)] * scale[at][:, None] * scale[at]
    seen = positions @ rigid
    positions += rigid @ (rigid.T @ seen) @ rigid.T - rigid @ seen.T - seen @ rigid.T
    blocks = positions.reshape(n, 3, n, 3)[np.arange(n), :, np.arange(n), :]
    angles = n * N_ATOM + motions.angles
    turns = inverse[np.ix_(angles, angles)] * scale[angles][:, None] * scale[angles]
    # The trace of P C P, with P what leaves out common turns.
    square = np.trace(turns) - np.trace(motions.turns.T @ turns @ motions.turns)
    return Covariance(
        positions_A2=blocks,
        brightness=brightness.copy(),
        turn_rad=_root_mean(float(square), len(angles)),
        relative_error=0.0,
    )


def _sampled(normal: Normal, motions: Motions, *, progress: Progress | None) -> Covariance:
    rigid = motions.atoms
    n = len(rigid) // 3
    generator = torch.Generator(device=normal.weights.device).manual_seed(0)
    samples, brightness, turned = [], [], 0.0
    for number in range(_N_SAMPLES):
        white = torch.randn(normal.weights.shape, generator=generator, device=normal.weights.device)
        right = transpose(normal.derivatives, white * normal.weights.sqrt())
        step = solve(normal, right, damping=0.0, tolerance=_SAMPLE_TOLERANCE, n_steps=_SAMPLE_STEPS)
        move = step.atoms[:, :3].cpu().numpy().ravel()
        samples.append((move - rigid @ (rigid.T @ move)).reshape(n, 3))
        brightness.append(step.atoms[:, 3].cpu().numpy())
        turn = step.images.cpu().numpy().ravel()[motions.angles]
        turned += float(np.square(turn).sum() - np.square(motions.turns.T @ turn).sum()) / _N_SAMPLES
        if progress is not None:
            progress(number + 1, _N_SAMPLES)
    drawn = np.stack(samples)
    blocks = np.einsum("sni,snj->nij", drawn, drawn) / _N_SAMPLES
    total = np.square(drawn).sum(axis=(1, 2))
    error = 0.5 * float(total.std(ddof=1) / total.mean()) / math.sqrt(_N_SAMPLES)
    return Covariance(
        positions_A2=blocks,
        brightness=np.square(np.stack(brightness)).mean(axis=0),
        turn_rad=_root_mean(turned, len(motions.angles)),
        relative_error=error,
    )


def _turns(model: ImageModel, free: Free) -> tuple[Array, Array]:
    """`angles` and `turns` of `Motions`."""
    n_tilts, k = len(model.gain), len(free.images)
    names = [name for name in _TURNS if name in free.images]
    columns = [free.images.index(name) for name in names]
    angles = (np.arange(n_tilts)[:, None] * k + np.array(columns, dtype=np.int64)).ravel()
    axes = turnable_axes(free)
    follow = model.rotations[:, [_TURNS.index(name) for name in names]][:, :, list(axes)].cpu().numpy()
    common = follow.reshape(len(angles), len(axes))
    return angles, np.linalg.qr(common)[0] if common.size else common


def _root_mean(total: float, n: int) -> float:
    return math.sqrt(max(total, 0.0) / n) if n else math.nan


def rigid_motions(positions_A: Array, *, turns: bool) -> Array:
    """(3 n, 3 or 6) orthonormal moves (and small turns) of all atoms together."""
    n = len(positions_A)
    moves = np.tile(np.eye(3), (n, 1))
    if not turns:
        scaled: Array = moves / np.sqrt(n)
        return scaled
    centred = positions_A - positions_A.mean(axis=0)
    spins = np.stack([np.cross(axis, centred).ravel() for axis in np.eye(3)], axis=1)
    orthonormal: Array = np.linalg.qr(np.hstack([moves, spins]))[0]
    return orthonormal
