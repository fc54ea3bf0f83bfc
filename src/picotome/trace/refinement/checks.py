"""Refuse what cannot be refined before any long work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from picotome.geometry import index_to_A, tilt_rotations
from picotome.records import TiltSeries, Trace
from picotome.trace.refinement.fit import Target, expected_images
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.unknowns import Free

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_FEWEST_IMAGES = 3
_SMALLEST_SPAN_DEG = 20.0
# Chance is a few hundredths; noise at 1e3 e/Å² leaves half of the correlation of a good trace.
_SMALLEST_CORRELATION = 0.2
_SMOOTH_A = 2.0
_LIT = 0.02
_MOST_OUTSIDE = 0.01


def check_refinable(trace: Trace, series: TiltSeries, free: Free) -> None:
    """Check what can be checked without computing an image.

    Raises
    ------
    ValueError
        See `picotome.trace.refinement.refine.refine_trace`.
    """
    if not len(trace.positions_A):
        raise ValueError("the trace has no atoms; there is nothing to refine")
    for name, array in (("trace.positions_A", trace.positions_A), ("trace.intensities", trace.intensities)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite (NaN or infinite)")
    images = series.images
    if images.ndim != 3 or len(images) != len(series.tilt_deg):
        raise ValueError(
            f"images have shape {images.shape} but there are {len(series.tilt_deg)} tilts; allowed is one "
            "image (nx, ny) for each tilt"
        )
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
    if bad.size:
        raise ValueError(f"images {bad.tolist()} have values that are not finite (NaN or infinite)")
    if not np.isfinite(series.tilt_deg).all():
        raise ValueError("tilt_deg has values that are not finite")
    span_deg = float(np.ptp(series.tilt_deg))
    # Two views fit any angle between them; only a third says which it is.
    n_different = len(np.unique(np.round(series.tilt_deg)))
    if n_different < _FEWEST_IMAGES or span_deg < _SMALLEST_SPAN_DEG:
        raise ValueError(
            f"the series has {n_different} images at different tilts over {span_deg:g}°; the depth of an "
            f"atom needs at least {_FEWEST_IMAGES} over {_SMALLEST_SPAN_DEG:g}°"
        )
    _check_inside(trace, series)
    lit = int((images > _LIT * images.max()).sum())
    n_unknowns = 4 * len(trace.positions_A) + len(images) * len(free.images) + len(free.common)
    if lit < n_unknowns:
        raise ValueError(
            f"{n_unknowns} unknowns ({len(trace.positions_A)} atoms, {len(images)} images) but only {lit} "
            "pixels with signal; record more images, or free less of the geometry (refinement.geometry)"
        )


def check_belonging(model: ImageModel, target: Target) -> None:
    """Check that the atoms look like the images, in their atomic detail and not only in their outline.

    Raises
    ------
    ValueError
        If the correlation between model and images, both without what is smooth over 2 Å, is below 0.2.
    """
    expected = _detail(expected_images(model, target), target)
    seen = _detail(target.images, target)
    norm = float(expected.norm() * seen.norm())
    correlation = float((expected * seen).sum()) / norm if norm > 0 else 0.0
    if not correlation >= _SMALLEST_CORRELATION:
        raise ValueError(
            f"the images that the trace predicts share no atomic detail with the series (correlation "
            f"{correlation:.2f}; allowed is {_SMALLEST_CORRELATION} or more): do trace and series belong "
            "together, in the same orientation and with the same origin?"
        )


def _detail(images: Tensor, target: Target) -> Tensor:
    """Images without their smooth part: minus the mean over about 2 × 2 Å."""
    reach = max(1, round(_SMOOTH_A / target.frame.pixel_size_A / 2.0))
    shaped = images.reshape(len(images), 1, *target.frame.padded)
    smooth = torch.nn.functional.avg_pool2d(shaped, 2 * reach + 1, stride=1, padding=reach)
    return (shaped - smooth).flatten(1)[target.inside]


def find_in_view(trace: Trace, series: TiltSeries) -> Array:
    """(n,) bool: atoms inside the field of view of one image at least, out to the edges of its pixels.

    Atoms in the corners of the box may leave it at high tilt.
    """
    shape = series.images.shape[1:]
    corners = (np.full(2, -0.5), np.array(shape) - 0.5)
    low_A, high_A = (index_to_A(corner, shape, series.pixel_size_A) for corner in corners)
    rotations = tilt_rotations(series.tilt_deg, azimuth_deg=series.azimuth_deg)
    across_A = np.einsum("tij,nj->tni", rotations[:, :2], trace.positions_A)
    in_view: Array = ((across_A >= low_A) & (across_A <= high_A)).all(axis=-1).any(axis=0)
    return in_view


def _check_inside(trace: Trace, series: TiltSeries) -> None:
    """A few peaks of noise may lie in corners that no image shows; more are a trace of something else."""
    in_view = find_in_view(trace, series)
    n_outside = len(in_view) - int(in_view.sum())
    if n_outside > _MOST_OUTSIDE * len(in_view):
        width_A, height_A = (n * series.pixel_size_A for n in series.images.shape[1:])
        raise ValueError(
            f"{n_outside} of {len(in_view)} atoms of the trace are outside the field of view "
            f"({width_A:.1f} × {height_A:.1f} Å) of every image; give the series that the trace was made from"
        )
