"""The Cramér-Rao bound: how well any unbiased method can place atoms with the images at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.configs.schema import RefinementConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, TiltSeries
from picotome.trace.refinement.covariance import Covariance, covariance
from picotome.trace.refinement.fit import Target, fit_images
from picotome.trace.refinement.gauge import turnable_axes
from picotome.trace.refinement.model import ImageModel
from picotome.trace.refinement.operators import one_torch_thread
from picotome.trace.refinement.start import begin
from picotome.trace.refinement.unknowns import free_unknowns
from picotome.units import PM_PER_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_FIT_STEPS, _BRIGHTNESS_POWER = 20, 1.6
# A Poisson likelihood needs an expectation above zero: so many electrons in a pixel of vacuum.
_DARK_COUNTS = 1e-3


@dataclass(frozen=True, eq=False)
class Bound:
    """The bound of one specimen and series.

    Attributes
    ----------
    crlb_pm
        √(mean over the atoms of the summed variance of x, y and z): to be compared with an RMSD.
    crlb_axis_pm
        (3,) the same along each axis.
    atom_pm
        (n, 3) bound of each coordinate of each atom.
    tilt_deg
        Bound of the angles of the images that are unknown (rms over images and axes), common turns removed;
        NaN where all are known.
    relative_error
        Standard error of `crlb_pm` where it was sampled; 0 where it is exact.
    turns_removed
        Whether a common rotation is free in this geometry and was projected out, so that the bound compares
        with the RMSD after a rigid fit; else with that after the translation is removed.
    brightness_snr
        (n,) brightness of each atom over the bound of its error: how surely the images show that it is there.
        NaN where the atoms of an element share one brightness.
    """

    crlb_pm: float
    crlb_axis_pm: tuple[float, float, float]
    atom_pm: Array
    tilt_deg: float
    relative_error: float
    turns_removed: bool
    brightness_snr: Array


@one_torch_thread()
def bound_positions(
    specimen: Specimen,
    series: TiltSeries,
    *,
    config: RefinementConfig,
    dose_e_per_A2: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bound:
    """Compute the Cramér-Rao bound for the true atoms, at the tilts, dose, probe and background at hand.

    The image model (probe, brightness of each element, gain and background of each image) is fitted to the
    images with atoms and geometry held at the truth; where the series knows no true geometry, at the nominal
    one. Noise is counting, and the detector's readout where the series records it. What `config` sets free is
    unknown to the bound too: brightness, gains, background, and the geometry; common motions are projected
    out.

    Parameters
    ----------
    dose_e_per_A2
        Default: that of the series.

    Raises
    ------
    ValueError
        If neither the series nor the call states a dose.
    """
    dose = dose_e_per_A2 or series.dose_e_per_A2
    if dose is None:
        raise ValueError(
            "the series states no dose_e_per_A2 (its images are free of noise, or imported), and without one "
            "there is no bound; state it"
        )
    target, model, groups = _at_truth(specimen, replace(series, dose_e_per_A2=dose))
    readout_e2 = _readout_e2(series)
    target = _with_floor(target, target.noise.floor * target.noise.n_incident + readout_e2)
    nothing_else = _by_element(config).model_copy(update={"geometry": (), "gain": True, "background": True})
    known = replace(free_unknowns(nothing_else, n_groups=groups), positions=False)
    model = fit_images(model, target, known, n_steps=_FIT_STEPS).model
    free = free_unknowns(config, n_groups=groups)
    found = covariance(model, _with_floor(target, _DARK_COUNTS + readout_e2), free, progress=progress)
    brightness_A2 = model.brightness_A2.cpu().numpy()
    if free.brightness == "element":
        brightness_A2 = np.full_like(brightness_A2, np.nan)
    return bound_of(found, brightness_A2=brightness_A2, turns_removed=bool(turnable_axes(free)))


def _by_element(config: RefinementConfig) -> RefinementConfig:
    """One brightness for each element, as far as a specimen of known species goes."""
    return config.model_copy(update={"brightness": "element"})


def bound_of(found: Covariance, *, brightness_A2: Array, turns_removed: bool) -> Bound:
    """Sum a covariance up."""
    variance_A2 = np.einsum("nii->ni", found.positions_A2)
    per_axis = np.sqrt(variance_A2.mean(axis=0)) * PM_PER_A
    return Bound(
        crlb_pm=float(np.sqrt(variance_A2.sum(axis=1).mean())) * PM_PER_A,
        crlb_axis_pm=(float(per_axis[0]), float(per_axis[1]), float(per_axis[2])),
        atom_pm=np.sqrt(variance_A2) * PM_PER_A,
        tilt_deg=float(np.rad2deg(found.turn_rad)),
        relative_error=found.relative_error,
        turns_removed=turns_removed,
        brightness_snr=brightness_A2 / np.sqrt(found.brightness),
    )


def _readout_e2(series: TiltSeries) -> float:
    """Variance that the detector adds to the electrons of a pixel, mean over the images."""
    rms_e = series.truth.get("readout_noise_e")
    return 0.0 if rms_e is None else float(np.square(rms_e).mean())


def _with_floor(target: Target, counts: float) -> Target:
    """Let every pixel have the variance of so many electrons more than it expects."""
    return replace(target, noise=replace(target.noise, floor=counts / target.noise.n_incident))


def _at_truth(specimen: Specimen, series: TiltSeries) -> tuple[Target, ImageModel, int]:
    numbers = np.unique(specimen.atomic_numbers)
    relative = specimen.atomic_numbers.astype(np.float64) ** _BRIGHTNESS_POWER
    per_image = float(series.images.sum(axis=(1, 2), dtype=np.float64).mean()) * series.pixel_size_A**2
    target, model = begin(
        specimen.positions_A,
        relative * per_image / relative.sum(),
        atomic_numbers=specimen.atomic_numbers,
        series=series,
        numbers=numbers,
    )

    def true(name: str, nominal: torch.Tensor) -> torch.Tensor:
        values = series.truth.get(name)
        return nominal if values is None else torch.as_tensor(np.asarray(values, dtype=np.float64))

    errors = series.truth.get("tilt_error_deg")
    model = replace(
        model,
        rotations=torch.as_tensor(tilt_rotations(series.tilt_deg, errors, azimuth_deg=series.azimuth_deg)),
        shift_A=true("shift_error_A", model.shift_A),
        defocus_A=true("defocus_A", model.defocus_A),
        gain=true("gain", model.gain),
    )
    return target, model, len(numbers)
