"""The image model: what a tilt series should look like, given atoms, a probe and the geometry.

Atom i, posed at (u, v, w) in image t (see `picotome.geometry`), adds

    g_t a_i [(1 − f) G(σ_c² + κ (w − d_t)²) + f G(σ_t² + κ (w − d_t)²)](x − u, y − v),

with G(σ²) a normalised two-dimensional Gaussian; a constant b_t is added to the image. The probe has a core
and a tail, both wider away from the plane of focus d_t (a geometric cone of semi-angle α has κ = α² / 4). The
pixel is part of the probe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from picotome.geometry import A_to_index


@dataclass(frozen=True, eq=False)
class ImageModel:
    """Everything that determines the images; float64.

    Attributes
    ----------
    positions_A
        (n, 3) atoms relative to the origin.
    brightness_A2
        (n,) integral of each atom's spot, image unit × Å².
    group
        (n,) int64: atoms that may share one brightness (an element).
    core_A2, tail_A2
        () variances of the two parts of the probe in focus, Å².
    tail_fraction
        () share of the tail in the integral.
    spread
        () κ, variance gained per squared distance from focus.
    rotations
        (n_tilts, 3, 3): ``posed = positions @ R.T``.
    shift_A
        (n_tilts, 2) added to x and y afterwards.
    defocus_A
        (n_tilts,) plane of focus, relative to the origin along the beam.
    gain, background
        (n_tilts,) of each image.
    """

    positions_A: Tensor
    brightness_A2: Tensor
    group: Tensor
    core_A2: Tensor
    tail_A2: Tensor
    tail_fraction: Tensor
    spread: Tensor
    rotations: Tensor
    shift_A: Tensor
    defocus_A: Tensor
    gain: Tensor
    background: Tensor


@dataclass(frozen=True)
class Frame:
    """The pixels of a series, and how far an atom's window reaches.

    Attributes
    ----------
    shape
        (nx, ny) of an image.
    pixel_size_A
        Edge of a pixel.
    reach
        A window has 2 · reach + 1 pixels on each side, centred on the pixel of the atom.
    """

    shape: tuple[int, int]
    pixel_size_A: float
    reach: int

    @property
    def padded(self) -> tuple[int, int]:
        """Shape with a margin wide enough for the window of any atom inside the image."""
        return self.shape[0] + 2 * self.reach, self.shape[1] + 2 * self.reach


@dataclass(frozen=True, eq=False)
class Spots:
    """Every atom in some images, on its window of M pixels.

    Attributes
    ----------
    at
        (n_tilts, n, M) index of each pixel into a flattened padded image.
    value
        (n_tilts, n, M) image of each atom at gain 1 and brightness 1.
    u, v, variance
        Derivatives of `value` with the position along x and y (1/Å) and with the variance of both parts of
        the probe (1/Å²).
    core, tail
        Derivatives with the variance of one part alone.
    difference
        Derivative with the tail fraction.
    posed_A
        (n_tilts, n, 3) float64 posed atoms.
    """

    at: Tensor
    value: Tensor
    u: Tensor
    v: Tensor
    variance: Tensor
    core: Tensor
    tail: Tensor
    difference: Tensor
    posed_A: Tensor


def pose(model: ImageModel) -> Tensor:
    """(n_tilts, n, 3) atoms as each image sees them."""
    posed = torch.einsum("tij,nj->tni", model.rotations, model.positions_A)
    posed[..., :2] += model.shift_A[:, None, :]
    return posed


def make_spots(model: ImageModel, frame: Frame, tilts: slice) -> Spots:
    """Draw every atom in some images, with its derivatives."""
    part = image_range(model, tilts)
    posed = pose(part)
    x, x_at = _along(posed[..., 0], frame, axis=0)
    y, y_at = _along(posed[..., 1], frame, axis=1)
    widening = part.spread * (posed[..., 2] - part.defocus_A[:, None]) ** 2
    core_x, core_y = _factors(x, part.core_A2 + widening), _factors(y, part.core_A2 + widening)
    tail_x, tail_y = _factors(x, part.tail_A2 + widening), _factors(y, part.tail_A2 + widening)
    share = float(part.tail_fraction)

    def mix(core: Tensor, tail: Tensor) -> Tensor:
        return ((1.0 - share) * core + share * tail).flatten(-2)

    core_value, tail_value = _outer(core_x[0], core_y[0]), _outer(tail_x[0], tail_y[0])
    core = _outer(core_x[2], core_y[0]) + _outer(core_x[0], core_y[2])
    tail = _outer(tail_x[2], tail_y[0]) + _outer(tail_x[0], tail_y[2])
    width = frame.padded[1]
    return Spots(
        at=(x_at[..., :, None] * width + y_at[..., None, :]).flatten(-2),
        value=mix(core_value, tail_value),
        u=mix(_outer(core_x[1], core_y[0]), _outer(tail_x[1], tail_y[0])),
        v=mix(_outer(core_x[0], core_y[1]), _outer(tail_x[0], tail_y[1])),
        variance=mix(core, tail),
        core=(1.0 - share) * core.flatten(-2),
        tail=share * tail.flatten(-2),
        difference=(tail_value - core_value).flatten(-2),
        posed_A=posed,
    )


def image_range(model: ImageModel, tilts: slice) -> ImageModel:
    """Return the model of some of the images."""
    per_image = ("rotations", "shift_A", "defocus_A", "gain", "background")
    return replace(model, **{name: getattr(model, name)[tilts] for name in per_image})


def add_up(spots_at: Tensor, values: Tensor, frame: Frame) -> Tensor:
    """(n_tilts, n_pixels) sum of (n_tilts, n, M) windows over the atoms, on padded images."""
    n_pixels = frame.padded[0] * frame.padded[1]
    images = torch.zeros(len(values), n_pixels, dtype=values.dtype, device=values.device)
    return images.scatter_add_(1, spots_at.flatten(1), values.flatten(1))


def pad_images(images: Tensor, frame: Frame) -> Tensor:
    """(n_tilts, n_pixels) padded images of (n_tilts, nx, ny) images."""
    reach = frame.reach
    return torch.nn.functional.pad(images, (reach, reach, reach, reach)).flatten(1)


def _along(position_A: Tensor, frame: Frame, *, axis: int) -> tuple[Tensor, Tensor]:
    """Distances (…, m) of the window's pixels from the atom, and their indices in a padded image."""
    n, pixel_A = frame.shape[axis], frame.pixel_size_A
    origin = float(A_to_index([0.0], (n,), pixel_A)[0])
    centre = torch.round(position_A / pixel_A + origin).clamp(0, n - 1)
    steps = torch.arange(-frame.reach, frame.reach + 1, device=position_A.device)
    at = centre[..., None] + steps
    distance_A = (at - origin) * pixel_A - position_A[..., None]
    return distance_A, at.long() + frame.reach


def _factors(distance_A: Tensor, variance_A2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One-dimensional Gaussian (…, m), its derivatives with the position and with the variance; float32."""
    variance_A2 = variance_A2[..., None]
    square = distance_A**2 / variance_A2
    value = torch.exp(-0.5 * square) / torch.sqrt(2.0 * math.pi * variance_A2)
    slope = value * distance_A / variance_A2
    growth = value * (square - 1.0) / (2.0 * variance_A2)
    return value.float(), slope.float(), growth.float()


def _outer(x: Tensor, y: Tensor) -> Tensor:
    return x[..., :, None] * y[..., None, :]
