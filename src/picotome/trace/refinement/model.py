"""The image model: what a tilt series should look like, given atoms, a probe and the geometry.

Atom i, posed at (u, v, w) in image t (see `picotome.geometry`), adds

    g_t a_i [(1 − f) G(σ_c² + κ (w − d_t)²) + f G(σ_t² + κ (w − d_t)²)](x − u, y − v),

with G(σ²) a normalised two-dimensional Gaussian; a constant b_t is added to the image, and, where the optics
are known, the interference of atoms that nearly share a column (`picotome.trace.refinement.interference`).
The probe has a core and a tail, both wider away from the plane of focus d_t (a geometric cone of semi-angle α
has κ = α² / 4). The pixel is part of the probe.
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
    chance
        (n,) how likely a network holds each for an atom; NaN where none has said so.
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
    interference
        (n_tilts, n_pixels) float32 padded images that coherent waves would add, at a gain of 1; zero where
        the optics are not known.
    coherence
        () share of that which is there.
    """

    positions_A: Tensor
    brightness_A2: Tensor
    group: Tensor
    chance: Tensor
    core_A2: Tensor
    tail_A2: Tensor
    tail_fraction: Tensor
    spread: Tensor
    rotations: Tensor
    shift_A: Tensor
    defocus_A: Tensor
    gain: Tensor
    background: Tensor
    interference: Tensor
    coherence: Tensor


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
    """Every atom in some images, on its window: the factors along x and y, not the window itself.

    Attributes
    ----------
    corner
        (n_tilts, n) index of the first pixel of each window into a flattened padded image.
    x, y
        (n_tilts, n, 2, 3, edge) float32, for core and tail of the probe: a normalised one-dimensional
        Gaussian, its derivative with the position (1/Å) and with the variance (1/Å²).
    posed_A
        (n_tilts, n, 3) float64 posed atoms.
    frame
        Of the images.
    """

    corner: Tensor
    x: Tensor
    y: Tensor
    posed_A: Tensor
    frame: Frame


def pose(model: ImageModel) -> Tensor:
    """(n_tilts, n, 3) atoms as each image sees them."""
    posed = torch.einsum("tij,nj->tni", model.rotations, model.positions_A)
    posed[..., :2] += model.shift_A[:, None, :]
    return posed


def make_spots(model: ImageModel, frame: Frame) -> Spots:
    """Draw every atom in every image, with the derivatives."""
    posed = pose(model)
    x, row = _along(posed[..., 0], frame, axis=0)
    y, column = _along(posed[..., 1], frame, axis=1)
    widening = model.spread * (posed[..., 2] - model.defocus_A[:, None]) ** 2
    variance_A2 = torch.stack([model.core_A2 + widening, model.tail_A2 + widening], dim=-1)
    return Spots(
        corner=row * frame.padded[1] + column,
        x=_factors(x, variance_A2),
        y=_factors(y, variance_A2),
        posed_A=posed,
        frame=frame,
    )


def some_spots(spots: Spots, tilts: slice) -> Spots:
    """Return the spots in some of the images."""
    return replace(
        spots,
        corner=spots.corner[tilts],
        x=spots.x[tilts],
        y=spots.y[tilts],
        posed_A=spots.posed_A[tilts],
    )


def draw_spots(spots: Spots, weights: Tensor) -> Tensor:
    """(n_tilts, n, M) windows, flattened.

    Parameters
    ----------
    weights
        (n_tilts, n, 2, 4) float32, for core and tail: how much of the spot itself, and of its derivatives
        with the position along x, along y, and with the variance.
    """
    light, u, v, wider = (w[..., None] for w in weights.unbind(-1))
    x, x_slope, x_growth = spots.x.unbind(-2)
    y, y_slope, y_growth = spots.y.unbind(-2)
    # (light + u ∂x + wider ∂²x) y + x (v ∂y + wider ∂²y): four products of factors, two for each part.
    left = torch.cat([light * x + u * x_slope + wider * x_growth, x], dim=-2)
    right = torch.cat([y, v * y_slope + wider * y_growth], dim=-2)
    return torch.einsum("tnki,tnkj->tnij", left, right).flatten(-2)


def plain_windows(spots: Spots, shares: Tensor) -> Tensor:
    """(n_tilts, n, 4, M) spots of unit light, and their derivatives, in the order of `draw_spots`."""
    x, x_slope, x_growth = (spots.x * shares[:, None, None]).unbind(-2)
    y, y_slope, y_growth = spots.y.unbind(-2)
    wider = torch.cat([x_growth, x], dim=-2), torch.cat([y, y_growth], dim=-2)
    products = ((x, y), (x_slope, y), (x, y_slope), wider)
    return torch.stack([torch.einsum("tnki,tnkj->tnij", *pair) for pair in products], dim=2).flatten(-2)


def weigh_windows(spots: Spots, windows: Tensor) -> Tensor:
    """Apply the adjoint of `draw_spots`: (n_tilts, n, 2, 4) sums of (n_tilts, n, M) windows."""
    edge = spots.x.shape[-1]
    # Every product of a factor along x and one along y, of core and of tail.
    square = windows.reshape(*windows.shape[:-1], edge, edge)
    along_y = torch.matmul(square, spots.y.flatten(2, 3).transpose(-1, -2))
    sums = torch.matmul(spots.x.flatten(2, 3), along_y).reshape(*spots.corner.shape, 2, 3, 2, 3)
    own = torch.diagonal(sums, dim1=2, dim2=4).movedim(-1, 2)
    return torch.stack([own[..., 0, 0], own[..., 1, 0], own[..., 0, 1], own[..., 2, 0] + own[..., 0, 2]], -1)


def window_pixels(spots: Spots) -> Tensor:
    """(n_tilts, n, M) index of each pixel of the windows into a flattened padded image."""
    steps = torch.arange(spots.x.shape[-1], device=spots.corner.device)
    within = (steps[:, None] * spots.frame.padded[1] + steps).flatten()
    return spots.corner[..., None] + within


def image_range(model: ImageModel, tilts: slice) -> ImageModel:
    """Return the model of some of the images."""
    per_image = ("rotations", "shift_A", "defocus_A", "gain", "background", "interference")
    return replace(model, **{name: getattr(model, name)[tilts] for name in per_image})


def add_up(spots: Spots, windows: Tensor) -> Tensor:
    """(n_tilts, n_pixels) sum of (n_tilts, n, M) windows over the atoms, on padded images."""
    n_pixels = spots.frame.padded[0] * spots.frame.padded[1]
    images = torch.zeros(len(windows), n_pixels, dtype=windows.dtype, device=windows.device)
    return images.scatter_add_(1, window_pixels(spots).flatten(1), windows.flatten(1))


def pick(images: Tensor, spots: Spots) -> Tensor:
    """(n_tilts, n, M) values of (n_tilts, n_pixels) images in the windows."""
    at = window_pixels(spots)
    return torch.gather(images, 1, at.flatten(1)).reshape(at.shape)


def pad_images(images: Tensor, frame: Frame) -> Tensor:
    """(n_tilts, n_pixels) padded images of (n_tilts, nx, ny) images."""
    reach = frame.reach
    return torch.nn.functional.pad(images, (reach, reach, reach, reach)).flatten(1)


def _along(position_A: Tensor, frame: Frame, *, axis: int) -> tuple[Tensor, Tensor]:
    """Distances (…, edge) of the window's pixels from the atom, and the first one's index, padded."""
    n, pixel_A = frame.shape[axis], frame.pixel_size_A
    origin = float(A_to_index([0.0], (n,), pixel_A)[0])
    centre = torch.round(position_A / pixel_A + origin).clamp(0, n - 1)
    steps = torch.arange(-frame.reach, frame.reach + 1, device=position_A.device)
    distance_A = (centre[..., None] + steps - origin) * pixel_A - position_A[..., None]
    # The margin is as wide as a window reaches: that of an atom at pixel 0 starts at padded pixel 0.
    return distance_A, centre.long()


def _factors(distance_A: Tensor, variance_A2: Tensor) -> Tensor:
    """(…, 2, 3, edge) float32 Gaussians of (…, edge) distances and (…, 2) variances, with derivatives."""
    variance_A2 = variance_A2[..., None]
    distance_A = distance_A[..., None, :]
    square = distance_A**2 / variance_A2
    value = torch.exp(-0.5 * square) / torch.sqrt(2.0 * math.pi * variance_A2)
    slope = value * distance_A / variance_A2
    growth = value * (square - 1.0) / (2.0 * variance_A2)
    return torch.stack([value.float(), slope.float(), growth.float()], dim=-2)
