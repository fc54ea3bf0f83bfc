"""From a traced specimen to a refined one: atoms, probe and geometry, fitted to all images at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import RefinementConfig
from picotome.records import ImageFit, TiltSeries, Trace
from picotome.trace.refinement.changes import change_atoms
from picotome.trace.refinement.checks import check_belonging, check_refinable, find_in_view
from picotome.trace.refinement.covariance import covariance
from picotome.trace.refinement.fit import Fitted, Target, expected_images, fit_images
from picotome.trace.refinement.focus import mirror_focus
from picotome.trace.refinement.gauge import is_movable
from picotome.trace.refinement.interference import lens_of, with_interference
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.noise import estimate_floor, estimate_misfit, estimate_noise, variance
from picotome.trace.refinement.operators import one_torch_thread
from picotome.trace.refinement.start import begin, find_shifts
from picotome.trace.refinement.unknowns import (
    Free,
    free_unknowns,
    of_atoms,
    with_coherence,
    with_known_spread,
    without_geometry,
)
from picotome.trace.species import assign_species, parse_elements
from picotome.units import PM_PER_A

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[Any]
    Progress = Callable[[int, int], None]

_ALIGN_STEPS = 4
# In standard errors: well enough to judge atoms by.
_COARSE_STEPS, _COARSE = 8, 0.1
_N_ROUNDS = 3
_N_MIRRORS = 2
# Pixels above this part of the brightest hold signal.
_LIT = 0.02
# Beyond the windows of all atoms by this much no atom is missing, either.
_VACUUM_A = 2.0


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined trace.

    Attributes
    ----------
    trace
        With `uncertainty_pm` and `support`.
    images
        What was learned of the images.
    noise_rms
        (n_tilts, n_x, n_y) standard deviation of each pixel by counting and detector, in image units.
    """

    trace: Trace
    images: ImageFit
    noise_rms: Array


@one_torch_thread()
def refine_trace(
    trace: Trace,
    series: TiltSeries,
    *,
    elements: Sequence[str],
    config: RefinementConfig,
    min_distance_A: float,
    optics: OpticsConfig | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Refined:
    """Fit atoms, probe and geometry to all images at once.

    Atoms that no image shows leave first, if they are few.

    1. Shifts (first to the pixel, by correlation), gains, probe and brightness, with the atoms where they
       were traced.
    2. Everything that `config` sets free; where the focus is, on either side of the middle (see
       `mirror_focus`).
    3. Atoms that the images do not support leave, atoms that the residual calls for join, and everything is
       fitted again; at most three rounds. Where a network has said how likely each is an atom (`chance`), the
       images are asked about that place alone; else how many are chance is fitted to all of them. Who joins
       has been searched for in all places.
    4. The last fit, and elements from the brightness.

    Before 1, 2 and 4 the part of the signal that the model leaves unexplained is measured and enters the
    weights.

    Parameters
    ----------
    trace
        Atoms to start from, within some tenths of Å.
    series
        Images and nominal tilts. With `dose_e_per_A2` counting noise is known, and what the detector adds is
        measured in the vacuum; without it all is estimated.
    elements
        Chemical symbols that occur.
    config
        What is free.
    min_distance_A
        Atoms are never much closer.
    optics
        Energy, aperture and detector: with them, the interference of atoms that nearly share a column is part
        of the model, drawn anew before each fit of everything.
    device
        Where torch computes.
    progress
        Called with (steps done, most steps).

    Raises
    ------
    ValueError
        If there is nothing to refine, trace and series do not belong together, more than 1 % of the atoms
        are outside of every image, there are fewer pixels with signal than unknowns, or the geometry is
        singular.
    """
    numbers = parse_elements(elements)
    free = free_unknowns(config, n_groups=len(numbers))
    lens = lens_of(optics, numbers) if optics is not None else None
    if lens is not None:
        free = with_coherence(free)
    check_refinable(trace, series, free)
    in_view = find_in_view(trace, series)
    n_added, n_removed, n_vouched = 0, len(in_view) - int(in_view.sum()), 0
    target, model = begin(
        trace.positions_A[in_view],
        trace.intensities[in_view],
        atomic_numbers=trace.atomic_numbers[in_view],
        series=series,
        numbers=numbers,
        chance=trace.chance[in_view] if trace.chance is not None else None,
        device=device,
    )
    if is_movable(free):
        model = find_shifts(model, target)
    check_belonging(model, target)
    n_mirrors = _N_MIRRORS if "defocus" in free.images else 0
    most = _ALIGN_STEPS + (1 + n_mirrors + _N_ROUNDS) * _COARSE_STEPS + config.n_steps
    counted = _counter(progress, most)

    def seen(model: ImageModel) -> ImageModel:
        return with_interference(model, target.frame, lens) if lens is not None else model

    def roughly(model: ImageModel, target: Target, free: Free = free) -> ImageModel:
        fitted = fit_images(
            seen(model), target, free, n_steps=_COARSE_STEPS, tolerance=_COARSE, step_done=counted
        )
        return fitted.model

    # A probe that does not spread could be in focus anywhere: its spread waits until the focus is found.
    first = with_known_spread(free) if n_mirrors else free
    # What is still wrong is noise to each fit: dark pixels of a high dose would decide it otherwise.
    target = _with_measured_noise(model, target, series)
    aligned = fit_images(
        model, target, without_geometry(first), n_steps=_ALIGN_STEPS, step_done=counted
    ).model
    target = _with_measured_noise(aligned, target, series)
    model = roughly(aligned, target, first)
    for _ in range(n_mirrors):
        model, n_mirrored = mirror_focus(model, target)
        if not n_mirrored:
            break
        model = roughly(model, target, first)
    for rounds_left in reversed(range(_N_ROUNDS if config.change_atoms else 0)):
        # What the model cannot explain of bright columns is no reason for more atoms.
        judged_by = _with_measured_noise(model, target, series)
        # Whoever joins must stand a judgement: nobody does in the last round.
        change = change_atoms(
            model, judged_by, free, numbers, min_distance_A=min_distance_A, joining=rounds_left > 0
        )
        n_vouched = change.n_vouched
        if not change.n_added and not change.n_removed:
            break
        n_added, n_removed = n_added + change.n_added, n_removed + change.n_removed
        model = roughly(change.model, target)
    target = _with_measured_noise(model, target, series)
    fitted = fit_images(seen(model), target, free, n_steps=config.n_steps, step_done=counted)
    if progress is not None:
        progress(most, most)
    expected = expected_images(fitted.model, target)
    counting = variance(expected, replace(target.noise, misfit=None))
    learned = _learned(
        fitted,
        target,
        chi2=_chi2(expected, counting, target),
        n_added=n_added,
        n_removed=n_removed,
        n_vouched=n_vouched,
    )
    if lens is not None:
        learned = replace(learned, coherence=float(fitted.model.coherence))
    return Refined(
        _as_trace(fitted.model, target, free, elements, expected=expected),
        learned,
        noise_rms=counting[target.inside].reshape(series.images.shape).sqrt().cpu().numpy(),
    )


def _with_measured_noise(model: ImageModel, target: Target, series: TiltSeries) -> Target:
    """Measure on the images what is unknown of the noise: all, or what counting does not explain."""
    expected = expected_images(model, target)
    noise = target.noise
    if series.dose_e_per_A2 is None:
        noise = estimate_noise(target.images, expected, target.inside)
    else:
        dark, shape = _dark(expected, model, target), target.frame.padded
        noise = replace(noise, floor=estimate_floor(target.images, dark, noise.n_incident, shape=shape))
    noise = replace(noise, misfit_floor=_LIT * float(expected.max()))
    misfit = estimate_misfit(target.images, expected, _lit(expected, target), noise)
    return replace(target, noise=replace(noise, misfit=misfit))


def _dark(expected: Tensor, model: ImageModel, target: Target) -> Tensor:
    """(n_tilts, n_pixels) bool: pixels where no atom is near."""
    frame = target.frame
    touched = (expected > model.background.float()[:, None]).reshape(-1, 1, *frame.padded)
    reach = math.ceil(_VACUUM_A / frame.pixel_size_A)
    near = torch.nn.functional.max_pool2d(touched.float(), 2 * reach + 1, stride=1, padding=reach) > 0
    return target.inside & ~near.reshape(target.inside.shape)


def _lit(expected: Tensor, target: Target) -> Tensor:
    """(n_tilts, n_pixels) bool: pixels that hold signal."""
    return target.inside & (expected > _LIT * expected.max())


def _counter(progress: Progress | None, most: int) -> Callable[[float, float], None]:
    done = 0

    def count(cost: float, walk_A: float) -> None:
        nonlocal done
        done = min(done + 1, most - 1)
        if progress is not None:
            progress(done, most)

    return count


def _chi2(expected: Tensor, spread: Tensor, target: Target) -> float:
    """Mean over the pixels that hold signal."""
    return float(((target.images - expected) ** 2 / spread)[_lit(expected, target)].mean())


def _learned(
    fitted: Fitted, target: Target, *, chi2: float, n_added: int, n_removed: int, n_vouched: int
) -> ImageFit:
    from scipy.spatial.transform import Rotation

    model = fitted.model
    misfit = _misfit_of(target)
    errors = (model.rotations @ target.start.rotations.transpose(-1, -2)).cpu().numpy()
    return ImageFit(
        tilt_error_deg=Rotation.from_matrix(errors).as_euler("xyz", degrees=True),
        shift_error_A=model.shift_A.cpu().numpy(),
        defocus_A=model.defocus_A.cpu().numpy(),
        gain=model.gain.cpu().numpy(),
        background=model.background.cpu().numpy(),
        core_sigma_A=math.sqrt(float(model.core_A2)),
        tail_sigma_A=math.sqrt(float(model.tail_A2)),
        tail_fraction=float(model.tail_fraction),
        spread=float(model.spread),
        misfit=float(misfit.square().mean().sqrt()),
        misfit_image=misfit.cpu().numpy(),
        chi2=chi2,
        n_added=n_added,
        n_removed=n_removed,
        n_vouched=n_vouched,
        n_steps=fitted.n_steps,
    )


def _misfit_of(target: Target) -> Tensor:
    """(n_tilts,) part of each image's signal that the model leaves unexplained."""
    misfit = target.noise.misfit
    return target.start.gain * 0.0 if misfit is None else misfit[:, 0]


def _as_trace(
    model: ImageModel, target: Target, free: Free, elements: Sequence[str], *, expected: Tensor
) -> Trace:
    """Brightest atom first, with what the images say of each."""
    found = covariance(model, target, of_atoms(free))
    # Where even the whole noise model explains too little, errors are larger in proportion.
    excess = max(1.0, _chi2(expected, variance(expected, target.noise), target))
    brightness, chance = model.brightness_A2.cpu().numpy(), model.chance.cpu().numpy()
    order = np.argsort(-brightness, kind="stable")
    brightness = brightness[order]
    uncertainty_A = np.sqrt(np.einsum("nii->ni", found.positions_A2) * excess)
    return Trace(
        positions_A=model.positions_A.cpu().numpy()[order],
        intensities=brightness,
        atomic_numbers=assign_species(np.maximum(brightness, 1e-6 * brightness[0]), elements=elements),
        sigma_A=np.full(len(order), math.sqrt(float(model.core_A2))),
        uncertainty_pm=uncertainty_A[order] * PM_PER_A,
        support=np.square(brightness) / (found.brightness[order] * excess),
        chance=chance[order] if np.isfinite(chance).any() else None,
    )
