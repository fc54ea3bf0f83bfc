"""What a training makes small: the squared error, in which every atom counts the same."""

from __future__ import annotations

import torch
from torch import Tensor

# Voxels on either side of an atom's centre that its peak is seen in: two are 1.8 sigma of the usual peak.
_REACH_VOXELS = 2
_INNER = slice(_REACH_VOXELS, -_REACH_VOXELS)
# What is fainter than this part of the brightest atom is no atom (O beside Ba has four times as much); than
# this part of the faintest, haze.
_NO_ATOM, _HAZE = 0.01, 0.1


def peak_weighted_error(repaired: Tensor, ideal: Tensor, *, peak_weight: float) -> Tensor:
    """Mean squared error in which a picometre counts the same at every atom, however faint it is.

    The squared error of a displaced or missing peak goes with the square of its brightness: one of Ni beside
    Pt is a thirtieth of one of Pt. So voxels that an atom of brightness v reaches, relative to the brightest,
    weigh 1 + w / v², those in the vacuum 1.

    An atom that is drawn where none is counts as much as one that is missed: v is that of the ideal volume or
    of the repaired one, whichever is larger. A place that is drawn fainter than the faintest atom of the
    ideal weighs as one of those does, so that the best that a network can do is to draw, where it is not
    sure, the chance of such an atom times its brightness.

    Shapes: (batch, 1, nx, ny, nz) both; each volume of a batch has its own brightest and faintest atom.
    """
    squared = (repaired.float() - ideal) ** 2
    weight = _weights(repaired.detach().float(), ideal, peak_weight) if peak_weight else squared.new_ones(())
    error: Tensor = (weight * squared).mean()
    return error


def _weights(repaired: Tensor, ideal: Tensor, peak_weight: float) -> Tensor:
    """Weight of each voxel, of the volumes' shape."""
    peaks = _largest_near(ideal)
    brightest = ideal.amax(dim=(2, 3, 4), keepdim=True).clamp_min(1e-12)
    # Tails of atoms beyond the border have their largest value at the border.
    inner, inner_peaks = (volumes[..., _INNER, _INNER, _INNER] for volumes in (ideal, peaks))
    is_peak = (inner == inner_peaks) & (inner > _NO_ATOM * brightest)
    faintest = torch.where(is_peak, inner, brightest).amin(dim=(2, 3, 4), keepdim=True)
    nearest = torch.maximum(peaks, _largest_near(repaired))
    drawn = nearest**2 / (nearest**2 + (_HAZE * faintest) ** 2)
    weights: Tensor = 1.0 + peak_weight * drawn * (brightest / torch.maximum(nearest, faintest)) ** 2
    return weights


def _largest_near(volumes: Tensor) -> Tensor:
    """Largest value within the reach of an atom, (batch, 1, nx, ny, nz); one axis after the other."""
    edge = 2 * _REACH_VOXELS + 1
    for kernel in ((edge, 1, 1), (1, edge, 1), (1, 1, edge)):
        volumes = torch.nn.functional.max_pool3d(
            volumes, kernel, stride=1, padding=tuple(k // 2 for k in kernel)
        )
    return volumes
