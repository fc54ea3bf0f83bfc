"""From a tomogram to its atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.records import Trace
from picotome.trace.brightness import darkest_atom, expected_lightest, typical
from picotome.trace.decoys import FAINTEST, Drawn, drawn_peaks
from picotome.trace.fit import PeakFit, fit_peaks
from picotome.trace.peaks import check_tomogram, find_peaks, thin_out
from picotome.trace.species import assign_species, parse_elements
from picotome.trace.uncertainty import peak_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.configs.schema import TracingConfig
    from picotome.records import Tomogram

    Array = NDArray[Any]

# Start positions may be off by some tenths of Å: the full minimum distance holds for fitted ones only.
_START_DISTANCE, _HIDDEN_DISTANCE = 0.75, 0.9
# Non-atoms must take part in the first fit, or nothing tells them from atoms afterwards.
_START_BELOW = 0.7
_SMOOTHING_A, _RESIDUAL_SMOOTHING_A = 0.25, 0.3
_N_LOOKS = 2
_ROUGH_STEPS, _ROUGH_A = 8, 5e-3
# Fits that wander further than this part of the minimum distance describe something else.
_LARGEST_WALK = 0.4
EMPTY_TRACE = Trace(np.zeros((0, 3)), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0))


def trace_tomogram(tomogram: Tomogram, *, elements: Sequence[str], config: TracingConfig) -> Trace:
    """Find the atoms of a tomogram: how many, where, how bright and of which element.

    1. Peaks of the lightly smoothed volume, down to some that are surely no atoms (see `find_peaks`).
    2. A joint fit of Gaussians to all of them (see `fit_peaks`).
    3. A cut between atoms and non-atoms, from the distribution of the integrals (see `darkest_atom`, and
       `picotome.trace.decoys` for what a network has drawn).
    4. Second looks: peaks of what the fit leaves over, hidden before in the shoulders of bright
       neighbours, join the fit; peaks below the cut, negative, further than 0.4 minimum distances from
       where they started, or closer than `config.min_distance_A` to a brighter one leave it.
    5. A last joint fit, and elements from the integrals (see `assign_species`).

    Nothing is taken from the true atoms, nor their number.

    Parameters
    ----------
    tomogram
        Of any kind: degraded, repaired or ideal.
    elements
        Chemical symbols that occur.
    config
        The minimum distance. No two atoms of the trace are closer.

    Returns
    -------
    trace
        Brightest atom first; empty where no peak survives. `sigma_A` is the geometric mean over the axes.
        Errors and support are estimated for degraded tomograms (see `picotome.trace.uncertainty`), the
        chance of each atom for repaired ones (see `picotome.trace.decoys`).

    Raises
    ------
    ValueError
        If the tomogram is empty, not finite or not 3D, has no local maximum above 0, or the elements are not
        chemical symbols.
    """
    numbers = parse_elements(elements)
    check_tomogram(tomogram)
    # A pedestal would be taken for the tails of very wide atoms. More than half of any box is between atoms.
    volume = np.asarray(tomogram.volume, dtype=np.float32)
    tomogram = replace(tomogram, volume=volume - np.median(volume))
    distance_A = config.min_distance_A
    start_A, nothing_below = _start(tomogram, numbers, distance_A)
    fit = _fit_roughly(tomogram, start_A, None)
    # Once, while the non-atoms are still there to be told from the atoms.
    seen = _integrals(fit)[_plausible(fit, start_A, distance_A)]
    drawn = drawn_peaks(seen, numbers) if tomogram.kind == "repaired" and len(seen) else None
    cut = _cut(seen, numbers, nothing_below, drawn)
    for _ in range(_N_LOOKS):
        kept = _atoms(fit, start_A, cut, distance_A)
        hidden_A = _hidden(tomogram, fit, kept, cut, distance_A)
        if not kept.any() or (kept.all() and not len(hidden_A)):
            break
        start_A = np.concatenate([fit.model.positions_A[kept], hidden_A])
        fit = _fit_roughly(tomogram, start_A, fit.model.shape_A)
    kept = _atoms(fit, start_A, cut, distance_A)
    if kept.any():
        start_A = fit.model.positions_A[kept]
        fit = fit_peaks(tomogram, positions_A=start_A, shape_A=fit.model.shape_A)
        kept = _plausible(fit, start_A, distance_A)
    trace = _as_trace(fit, kept, elements, tomogram)
    return trace if drawn is None else replace(trace, chance=drawn.chance(trace.intensities))


def _start(tomogram: Tomogram, numbers: Array, distance_A: float) -> tuple[Array, float]:
    """(n, 3) peaks that may be atoms, and the fraction of the typical height that they all exceed."""
    peaks_A, heights = find_peaks(
        tomogram, min_distance_A=_START_DISTANCE * distance_A, smoothing_A=_SMOOTHING_A
    )
    if not len(peaks_A):
        raise ValueError(
            "tomogram.volume has no local maximum above 0 away from its border, so there is no atom to find"
        )
    if tomogram.kind == "repaired":
        lowest = _START_BELOW * FAINTEST * expected_lightest(heights, numbers)
    else:
        lowest = _START_BELOW * darkest_atom(heights, numbers)
    return peaks_A[heights > lowest], lowest / typical(heights)


def _fit_roughly(tomogram: Tomogram, start_A: Array, shape_A: Array | None) -> PeakFit:
    """Fit well enough to judge the peaks by."""
    return fit_peaks(
        tomogram, positions_A=start_A, shape_A=shape_A, n_steps=_ROUGH_STEPS, tolerance_A=_ROUGH_A
    )


def _cut(intensities: Array, numbers: Array, nothing_below: float, drawn: Drawn | None) -> float:
    """Lowest brightness of an atom as a fraction of the typical brightness."""
    if not len(intensities):
        return 0.0
    usual = typical(intensities)
    if drawn is not None:
        return drawn.darkest_atom / usual
    return darkest_atom(intensities, numbers, nothing_below=nothing_below * usual) / usual


def _atoms(fit: PeakFit, start_A: Array, cut: float, distance_A: float) -> Array:
    """(n,) bool: plausible and bright enough."""
    intensities = _integrals(fit)
    bright: Array = _plausible(fit, start_A, distance_A) & (intensities > cut * typical(intensities))
    return bright


def _plausible(fit: PeakFit, start_A: Array, distance_A: float) -> Array:
    """(n,) bool: positive, still near its start, and not too close to a brighter one."""
    model = fit.model
    walk_A = np.linalg.norm(model.positions_A - start_A, axis=1)
    plausible: Array = (model.amplitudes > 0) & (walk_A < _LARGEST_WALK * distance_A)
    order = np.flatnonzero(plausible)
    order = order[np.argsort(-model.amplitudes[order], kind="stable")]
    apart = thin_out(model.positions_A[order], min_distance_A=distance_A)
    plausible[order[~apart]] = False
    return plausible


def _hidden(tomogram: Tomogram, fit: PeakFit, kept: Array, cut: float, distance_A: float) -> Array:
    """(m, 3) peaks of the residual that are bright enough, and far enough from the atoms, to be atoms."""
    if fit.residual.max() <= 0 or not kept.any():
        return np.zeros((0, 3))
    from scipy.spatial import cKDTree

    variance = fit.model.shape_A**2
    blur = math.sqrt(float(np.prod(variance / (variance + _RESIDUAL_SMOOTHING_A**2))))
    hidden_A, _ = find_peaks(
        replace(tomogram, volume=fit.residual),
        min_distance_A=_START_DISTANCE * distance_A,
        smoothing_A=_RESIDUAL_SMOOTHING_A,
        threshold=cut * typical(fit.model.amplitudes) * blur,
    )
    far: Array = cKDTree(fit.model.positions_A[kept]).query(hidden_A)[0] > _HIDDEN_DISTANCE * distance_A
    return hidden_A[far]


def _integrals(fit: PeakFit) -> Array:
    """(n,) integral of each Gaussian over space, unit of the volume × Å³."""
    sigma_A = fit.model.widths[:, None] * fit.model.shape_A
    integrals: Array = fit.model.amplitudes * (2 * math.pi) ** 1.5 * sigma_A.prod(axis=1)
    return integrals


def _as_trace(fit: PeakFit, kept: Array, elements: Sequence[str], tomogram: Tomogram) -> Trace:
    intensities = _integrals(fit)
    index = np.flatnonzero(kept)
    index = index[np.argsort(-intensities[index], kind="stable")]
    sigma_A = fit.model.widths * np.prod(fit.model.shape_A) ** (1 / 3)
    uncertainty_pm = support = None
    if tomogram.kind == "degraded" and len(index):
        uncertainty_pm, support = peak_errors(
            fit.residual,
            tomogram.voxel_size_A,
            positions_A=fit.model.positions_A[index],
            integrals=intensities[index],
            shape_A=fit.model.shape_A,
        )
    return Trace(
        positions_A=fit.model.positions_A[index],
        intensities=intensities[index],
        atomic_numbers=assign_species(intensities[index], elements=elements),
        sigma_A=sigma_A[index],
        uncertainty_pm=uncertainty_pm,
        support=support,
    )


def trace_or_nothing(tomogram: Tomogram, *, elements: Sequence[str], config: TracingConfig) -> Trace:
    """Trace; a volume without peaks, as a young network may make, has no atoms and ends no run.

    See `trace_tomogram`; its errors about the tomogram become an empty trace.
    """
    parse_elements(elements)
    try:
        return trace_tomogram(tomogram, elements=elements, config=config)
    except ValueError:
        return EMPTY_TRACE
