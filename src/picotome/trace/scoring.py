"""How right a trace is: the numbers of this field, from a one-to-one match with the true atoms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.records import Score
from picotome.rng import stream
from picotome.trace.matching import match_atoms, match_translated, rotation_onto
from picotome.trace.species import by_element
from picotome.trace.surface import find_surface
from picotome.units import PM_PER_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.configs.schema import ScoringConfig
    from picotome.records import Specimen, Trace

    Array = NDArray[Any]

_N_CHANCE = 8
# A rigid motion has 6 freedoms, an affine one 12: fewer atoms are fitted exactly, and the rest says nothing.
_FEWEST_RIGID, _FEWEST_AFFINE = 3, 5


def score_trace(trace: Trace, specimen: Specimen, *, config: ScoringConfig, seed: int = 0) -> Score:
    """Hold a trace against the true atoms.

    Matched one to one within `config.radius_A` after the common translation is removed, at most the radius
    (see `match_translated`). All RMSDs are 3D over matched atoms, without correction for fitted freedoms; the
    mean translation is removed from all, and a best rotation (Kabsch, doi:10.1107/S0567739476001873) or
    affine map from the last two. Surface atoms are the true atoms that see the vacuum (see `find_surface`).
    Chance recall is what the truth, rotated at random about its centre, recalls of itself within the same
    radius: the mean of 8 rotations.

    Parameters
    ----------
    trace
        Found atoms; none is allowed and gives recall 0 and NaN.
    specimen
        True atoms.
    config
        The matching radius.
    seed
        Seed of the random rotations, 0 or more.

    Raises
    ------
    ValueError
        If the specimen has no atoms, positions are not (n, 3) or not finite, or the species of trace or
        specimen are not as many as its positions.
    """
    _check(specimen, trace)
    true_A, found_A = np.asarray(specimen.positions_A), np.asarray(trace.positions_A)
    match = match_translated(true_A, found_A, radius_A=config.radius_A)
    n_matched = len(match.true)
    matched_true_A, matched_found_A = true_A[match.true], found_A[match.found]
    # The mean over the final pairs: the search may have stopped one rounding earlier.
    translation_A = (matched_found_A - matched_true_A).mean(axis=0) if n_matched else np.full(3, np.nan)
    displacement_pm = (matched_found_A - matched_true_A - translation_A) * PM_PER_A
    length_pm = np.linalg.norm(displacement_pm, axis=1)
    surface = find_surface(true_A)[match.true]
    return Score(
        n_true=len(true_A),
        n_found=len(found_A),
        recall=n_matched / len(true_A),
        precision=n_matched / len(found_A) if len(found_A) else math.nan,
        radius_A=config.radius_A,
        rmsd_pm=_rms(length_pm),
        median_pm=float(np.median(length_pm)) if n_matched else math.nan,
        rmsd_axis_pm=_triple([_rms(displacement_pm[:, axis]) for axis in range(3)]),
        surface_rmsd_pm=_rms(length_pm[surface]),
        core_rmsd_pm=_rms(length_pm[~surface]),
        rigid_rmsd_pm=_rigid_rmsd_A(matched_true_A, matched_found_A) * PM_PER_A,
        affine_rmsd_pm=_affine_rmsd_A(matched_true_A, matched_found_A) * PM_PER_A,
        rmsd_species_pm=_rmsd_by_species(specimen.atomic_numbers, match.true, length_pm),
        species_accuracy=_species_accuracy(
            trace.atomic_numbers, specimen.atomic_numbers[match.true], match.found
        ),
        chance_recall=chance_recall(true_A, radius_A=config.radius_A, seed=seed),
        translation_pm=_triple(translation_A * PM_PER_A),
        matched_true=match.true,
        matched_found=match.found,
        displacement_pm=displacement_pm,
    )


def scored_atoms(specimen: Specimen, *, config: ScoringConfig) -> Specimen:
    """Leave those true atoms that a trace is asked for: of `config.elements`, or all.

    Where others show and are found, these count as false.

    Raises
    ------
    ValueError
        If no atom is of these elements.
    """
    from ase.data import atomic_numbers, chemical_symbols

    if config.elements is None:
        return specimen
    asked = np.isin(specimen.atomic_numbers, [atomic_numbers[symbol] for symbol in config.elements])
    if not asked.any():
        present = ", ".join(chemical_symbols[z] for z in np.unique(specimen.atomic_numbers))
        raise ValueError(
            f"scoring.elements is {', '.join(config.elements)}, but the specimen is made of {present}"
        )
    return replace(
        specimen,
        positions_A=specimen.positions_A[asked],
        atomic_numbers=specimen.atomic_numbers[asked],
        truth={name: values[asked] for name, values in specimen.truth.items()},
    )


def chance_recall(true_A: Array, *, radius_A: float, seed: int = 0, n_rotations: int = _N_CHANCE) -> float:
    """Recall that randomly rotated copies of the truth reach by accident, on average.

    A recall near this number means that nothing was found.

    Parameters
    ----------
    true_A
        (n, 3) positions, Å; rotated about their mean.
    radius_A
        Largest distance of a one-to-one match, Å.
    seed
        Seed of the rotations.
    n_rotations
        Rotations averaged over.
    """
    from scipy.spatial.transform import Rotation

    centred_A = true_A - true_A.mean(axis=0)
    generator = stream(seed, 0, "chance_recall")
    quaternions = generator.normal(size=(n_rotations, 4))
    recalls = [
        len(match_atoms(centred_A, turn.apply(centred_A), radius_A=radius_A)[0]) / len(true_A)
        for turn in Rotation.from_quat(quaternions)
    ]
    return float(np.mean(recalls))


def _check(specimen: Specimen, trace: Trace) -> None:
    if not len(specimen.positions_A):
        raise ValueError("specimen has no atoms; a score needs at least one true atom")
    for name, record in (("specimen", specimen), ("trace", trace)):
        n, n_species = len(record.positions_A), np.shape(record.atomic_numbers)
        if n_species != (n,):
            raise ValueError(f"{name}.atomic_numbers has shape {n_species}; its {n} positions need ({n},)")


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else math.nan


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _rigid_rmsd_A(true_A: Array, found_A: Array) -> float:
    if len(true_A) < _FEWEST_RIGID:
        return math.nan
    a, b = true_A - true_A.mean(axis=0), found_A - found_A.mean(axis=0)
    return _rms(np.linalg.norm(a @ rotation_onto(b, a).T - b, axis=1))


def _affine_rmsd_A(true_A: Array, found_A: Array) -> float:
    if len(true_A) < _FEWEST_AFFINE:
        return math.nan
    a, b = true_A - true_A.mean(axis=0), found_A - found_A.mean(axis=0)
    matrix = np.linalg.lstsq(a, b, rcond=None)[0]
    return _rms(np.linalg.norm(a @ matrix - b, axis=1))


def _rmsd_by_species(atomic_numbers: Array, matched_true: Array, length_pm: Array) -> dict[str, float]:
    masks = by_element(atomic_numbers[matched_true], present=atomic_numbers)
    return {symbol: _rms(length_pm[mask]) for symbol, mask in masks.items()}


def _species_accuracy(found_species: Array, true_species: Array, matched_found: Array) -> float:
    if not len(matched_found) or not np.any(found_species):
        return math.nan
    return float(np.mean(found_species[matched_found] == true_species))
