"""From a tomogram to its atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.records import Tomogram, Trace
from picotome.trace.brightness import darkest_atom, typical
from picotome.trace.fit import PeakFit, fit_peaks
from picotome.trace.peaks import check_tomogram, find_peaks, thin_out
from picotome.trace.species import assign_species, parse_elements

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.configs.schema import TracingConfig

    Array = NDArray[Any]

# Start positions may be off by some tenths of Å: the full minimum distance holds for fitted ones only.
_START_DISTANCE = 0.75
_SMOOTHING_A, _RESIDUAL_SMOOTHING_A = 0.25, 0.3
_N_LOOKS = 2
_HIDDEN_DISTANCE = 0.9
# Fits that wander further than this from their peak describe something else.
_LARGEST_WALK = 0.4


def trace_tomogram(tomogram: Tomogram, *, elements: Sequence[str], config: TracingConfig) -> Trace:
    """Find the atoms of a tomogram: how many, where, how bright and of which element.

    1. Peaks of the lightly smoothed volume, from far below the expected brightness of the lightest element.
    2. A joint fit of Gaussians to all of them.
    3. Second looks: what the fit leaves over may hide atoms in the shoulders of bright neighbours; peaks
       of the residual join the fit. Peaks that turned out negative, wandered off or came closer than
       `config.min_distance_A` to a brighter one leave it.
    4. Non-atoms: the cut lies where the histogram of log intensity is emptiest, between 0.3 and 0.8 of what the
       lightest element should have. The rest is fitted once more.
    5. Elements from the integrals.

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
        Brightest atom first. `sigma_A` is the geometric mean of the three axes.

    Raises
    ------
    ValueError
        If the tomogram is empty, not finite or not 3D, no peak can be found in it, or the elements are not
        chemical symbols.
    """
    numbers = parse_elements(elements)
    check_tomogram(tomogram)
    distance_A = config.min_distance_A
    start_A, cut = _start(tomogram, numbers, distance_A)
    fit = fit_peaks(tomogram, positions_A=start_A)
    for _ in range(_N_LOOKS):
        kept, cut = _choose(fit, start_A, numbers, distance_A, cut)
        hidden_A = _hidden(tomogram, fit, fit.model.positions_A[kept], cut, distance_A)
        if kept.all() and not len(hidden_A):
            break
        start_A = np.concatenate([fit.model.positions_A[kept], hidden_A])
        fit = fit_peaks(tomogram, positions_A=start_A, shape_A=fit.model.shape_A)
    kept, cut = _choose(fit, start_A, numbers, distance_A, cut)
    if not kept.all():
        start_A = fit.model.positions_A[kept]
        fit = fit_peaks(tomogram, positions_A=start_A, shape_A=fit.model.shape_A)
        kept = _plausible(fit, start_A, distance_A)
    return _as_trace(fit, kept, elements)


def _start(tomogram: Tomogram, numbers: Array, distance_A: float) -> tuple[Array, float]:
    """(n, 3) peaks that may be atoms, and the cut as a fraction of the typical brightness."""
    peaks_A, heights = find_peaks(
        tomogram, min_distance_A=_START_DISTANCE * distance_A, smoothing_A=_SMOOTHING_A
    )
    if not len(peaks_A):
        raise ValueError(
            "tomogram.volume has no local maximum above 0 away from its border, so there is no atom to find"
        )
    cut = darkest_atom(heights, numbers)
    return peaks_A[heights > cut], cut / typical(heights)


def _choose(
    fit: PeakFit, start_A: Array, numbers: Array, distance_A: float, cut: float
) -> tuple[Array, float]:
    """Say which peaks are atoms; the cut, a fraction of the typical brightness, only ever rises.

    It must not fall: what was below it is no longer there to be counted as non-atoms.
    """
    kept = _plausible(fit, start_A, distance_A)
    if not kept.any():
        return kept, cut
    intensities = _integrals(fit)
    unit = typical(intensities[kept])
    cut = max(cut, darkest_atom(intensities[kept], numbers) / unit)
    return kept & (intensities > cut * unit), cut


def _as_trace(fit: PeakFit, kept: Array, elements: Sequence[str]) -> Trace:
    intensities = _integrals(fit)
    index = np.flatnonzero(kept)
    index = index[np.argsort(-intensities[index], kind="stable")]
    sigma_A = fit.model.widths * np.prod(fit.model.shape_A) ** (1 / 3)
    return Trace(
        positions_A=fit.model.positions_A[index],
        intensities=intensities[index],
        atomic_numbers=assign_species(intensities[index], elements=elements),
        sigma_A=sigma_A[index],
    )


def _plausible(fit: PeakFit, start_A: Array, distance_A: float) -> Array:
    """(n,) bool: positive, still near its start, and not too close to a brighter one."""
    model = fit.model
    walk_A = np.linalg.norm(model.positions_A - start_A, axis=1)
    plausible: Array = (model.amplitudes > 0) & (walk_A < _LARGEST_WALK * distance_A)
    order = np.argsort(-np.where(plausible, model.amplitudes, -np.inf), kind="stable")
    order = order[plausible[order]]
    apart = thin_out(model.positions_A[order], min_distance_A=distance_A)
    plausible[order[~apart]] = False
    return plausible


def _hidden(tomogram: Tomogram, fit: PeakFit, atoms_A: Array, cut: float, distance_A: float) -> Array:
    """(m, 3) peaks of the residual that are bright enough, and far enough from the atoms, to be atoms."""
    if fit.residual.max() <= 0 or not len(atoms_A):
        return np.zeros((0, 3))
    floor = cut * typical(fit.model.amplitudes)
    from scipy.spatial import cKDTree

    blur = fit.model.shape_A**2 / (fit.model.shape_A**2 + _RESIDUAL_SMOOTHING_A**2)
    hidden_A, _ = find_peaks(
        replace(tomogram, volume=fit.residual),
        min_distance_A=_START_DISTANCE * distance_A,
        smoothing_A=_RESIDUAL_SMOOTHING_A,
        threshold=floor * math.sqrt(float(np.prod(blur))),
    )
    far: Array = cKDTree(atoms_A).query(hidden_A)[0] > _HIDDEN_DISTANCE * distance_A
    return hidden_A[far]


def _integrals(fit: PeakFit) -> Array:
    """(n,) integral of each Gaussian over space, unit of the volume × Å³."""
    sigma_A = fit.model.widths[:, None] * fit.model.shape_A
    integrals: Array = fit.model.amplitudes * (2 * math.pi) ** 1.5 * sigma_A.prod(axis=1)
    return integrals
