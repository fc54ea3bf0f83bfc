"""Where a fit begins: the images as a target, and the model that atoms and nominal tilts make."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from picotome.geometry import tilt_rotations
from picotome.records import TiltSeries
from picotome.trace.refinement.first_probe import CORE_SIGMA_A, TAIL_FRACTION, TAIL_SIGMA_A
from picotome.trace.refinement.fit import Target, expected_images
from picotome.trace.refinement.model import Frame, ImageModel, pad_images
from picotome.trace.refinement.noise import COUNTS_FLOOR, Noise
from picotome.trace.refinement.unknowns import SPREAD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# A window reaches so far: the tail of a probe beyond it is background.
_REACH_A = 2.4
_LARGEST_SHIFT_A = 2.0
# Images of unknown dose start as if their brightest pixel held so many electrons.
_COUNTS_UNKNOWN = 100.0


def begin(
    positions_A: Array,
    brightness_A2: Array,
    *,
    atomic_numbers: Array,
    series: TiltSeries,
    numbers: Array,
    chance: Array | None = None,
    device: str = "cpu",
) -> tuple[Target, ImageModel]:
    """Put images and atoms into the form that the fit works on.

    Parameters
    ----------
    positions_A, brightness_A2, atomic_numbers
        (n, 3), (n,) and (n,) atoms.
    series
        Images, nominal tilts and dose.
    numbers
        (k,) atomic numbers that occur, ascending: groups of one brightness.
    chance
        (n,) what a network has said of the atoms; see `picotome.records.Trace`.
    """

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float64), device=device)

    pixel_A = series.pixel_size_A
    shape = (series.images.shape[1], series.images.shape[2])
    frame = Frame(shape, pixel_A, math.ceil(_REACH_A / pixel_A))
    images = torch.as_tensor(np.asarray(series.images, dtype=np.float32), device=device)
    inside = pad_images(torch.ones_like(images), frame) > 0
    padded = pad_images(images, frame)
    none = tensor(np.zeros(len(images)))
    model = ImageModel(
        positions_A=tensor(positions_A),
        brightness_A2=tensor(brightness_A2),
        group=torch.as_tensor(_groups(atomic_numbers, numbers), device=device),
        chance=tensor(chance if chance is not None else np.full(len(positions_A), np.nan)),
        core_A2=tensor(CORE_SIGMA_A**2 + pixel_A**2 / 12.0),
        tail_A2=tensor(TAIL_SIGMA_A**2),
        tail_fraction=tensor(TAIL_FRACTION),
        spread=tensor(SPREAD),
        rotations=tensor(tilt_rotations(series.tilt_deg, azimuth_deg=series.azimuth_deg)),
        shift_A=tensor(np.zeros((len(images), 2))),
        defocus_A=none,
        gain=none + 1.0,
        background=none,
        interference=torch.zeros_like(padded),
        coherence=tensor(1.0),
    )
    n_incident = _COUNTS_UNKNOWN / float(images.max())
    if series.dose_e_per_A2 is not None:
        n_incident = series.dose_e_per_A2 * pixel_A**2
    noise = Noise(n_incident, COUNTS_FLOOR / n_incident)
    return Target(padded, inside, frame, model, noise), model


def find_shifts(model: ImageModel, target: Target) -> ImageModel:
    """Shift the model's images to where they correlate best with the recorded ones, to the pixel.

    Neighbouring columns are hardly two shifts of a badly aligned image apart: a descent from no shift would
    end at the wrong one. The outline of the particle tells them apart.
    """
    height, width = target.frame.padded
    expected, seen = (
        (images * target.inside).reshape(-1, height, width)
        for images in (expected_images(model, target), target.images)
    )
    contrast = expected - expected.mean(dim=(1, 2), keepdim=True)
    spectrum = torch.fft.rfft2(seen) * torch.fft.rfft2(contrast).conj()
    likeness = torch.fft.irfft2(spectrum, s=(height, width))
    reach = round(_LARGEST_SHIFT_A / target.frame.pixel_size_A)
    steps = torch.arange(-reach, reach + 1, device=likeness.device)
    near = likeness[:, steps][:, :, steps].flatten(1).argmax(dim=1)
    found = torch.stack([steps[near // len(steps)], steps[near % len(steps)]], dim=1)
    return replace(model, shift_A=model.shift_A + found * target.frame.pixel_size_A)


def _groups(atomic_numbers: Array, numbers: Array) -> Array:
    """(n,) int64 index of each atom's element; the heaviest where it is not known."""
    group = np.searchsorted(numbers, atomic_numbers).clip(0, len(numbers) - 1)
    group[~np.isin(atomic_numbers, numbers)] = len(numbers) - 1
    return group.astype(np.int64)
