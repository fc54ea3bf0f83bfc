"""What a pair is before it has pixels: drawn on the CPU, by the same functions and streams as stored pairs.

Online particle i draws what the stored training particle i draws; only its counting noise is another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import Recipe
from picotome.datasets.pairs import build_particle, elements_of
from picotome.datasets.plan import particle_plan
from picotome.geometry import A_to_index, tilt_rotations
from picotome.recon.alignment import common_move
from picotome.records import Specimen, TiltSeries
from picotome.rng import stream
from picotome.simgen.brightness import brightness_table
from picotome.simgen.detection import (
    draw_background_change,
    draw_background_slope,
    draw_dose,
    draw_gain,
)
from picotome.simgen.drawing import draw_from, settle
from picotome.simgen.exposures import draw_exposures, draw_imperfection, draw_kept
from picotome.simgen.ideal import atom_brightness_A2, peak_profiles_per_A
from picotome.simgen.linear import linear_peaks

LAST_PARTICLE = 5_000_000
"""Online particles are counted up to here; beyond lie the stand-ins of those that could not be built."""


@dataclass(frozen=True, eq=False)
class AllPeaks:
    """What the linear engine adds up, all elements together.

    Attributes
    ----------
    positions_A
        (n, n_atoms, 2) float32 where each atom is in each image.
    integrals_A2
        (n, n_atoms, k) float32 integrals of its Gaussians, narrowest first.
    widest_A2
        (n_atoms,) variance of the widest of them; each other one has half of the next wider one's.
    saturation
        See `picotome.simgen.linear.image_linear`.
    """

    positions_A: NDArray[Any]
    integrals_A2: NDArray[Any]
    widest_A2: NDArray[Any]
    saturation: float


@dataclass(frozen=True, eq=False)
class PairPlan:
    """One pair, drawn but not yet made.

    Attributes
    ----------
    number
        Of the random streams.
    peaks
        What the linear engine adds up, for every image.
    tilt_deg
        (n,) tilts that the reconstruction is told.
    kept
        Indices of the images that are not lost.
    background
        (n,) level over the brightest pixel of the series.
    background_slope
        (n, 2) its change over the frame along x and y, over the level; None: flat.
    gain
        (n,) relative brightness.
    incident_e
        Electrons of each pixel and image; None: no noise.
    readout_e
        Readout noise, rms, electrons.
    ideal_first, ideal_profiles
        (n_atoms, 3) first voxels and (n_atoms, 3, w) profiles of the ideal peaks, in 1/Å.
    ideal_A2
        (n_atoms,) their brightness.
    """

    number: int
    peaks: AllPeaks
    tilt_deg: NDArray[Any]
    kept: NDArray[Any]
    background: NDArray[Any]
    background_slope: NDArray[Any] | None
    gain: NDArray[Any]
    incident_e: float | None
    readout_e: float
    ideal_first: NDArray[Any]
    ideal_profiles: NDArray[Any]
    ideal_A2: NDArray[Any]


def plan_pair(recipe: Recipe, number: int) -> PairPlan:
    """Draw one pair; a particle that cannot be built has a stand-in, always the same.

    Raises
    ------
    ValueError
        If neither can be built, or the number is not below `LAST_PARTICLE`.
    """
    if not 0 <= number < LAST_PARTICLE:
        raise ValueError(f"online particle {number}; allowed is 0 to {LAST_PARTICLE - 1}: train less long")
    try:
        return _plan(recipe, number)
    except ValueError:
        # As stored pairs, of which a failed one is left out: what remains has the same distribution.
        return _plan(recipe, LAST_PARTICLE + number)


def _plan(recipe: Recipe, number: int) -> PairPlan:
    """Draw in the order of `picotome.datasets.pairs.make_pair`."""
    _, _, acquisition = particle_plan(recipe, "train", number)
    specimen = build_particle(recipe, "train", number)

    def draw(stage: str) -> np.random.Generator:
        return stream(recipe.seed, number, stage)

    acquisition = settle(acquisition, rng=draw("acquisition laws"))
    optics = settle(recipe.optics, rng=draw("optics laws"))
    imperfection = draw_imperfection(acquisition, draw("imperfection"))
    exposures = draw_exposures(acquisition, optics, imperfection, seed=recipe.seed, index=number)
    kinds, saturation = linear_peaks(
        specimen,
        rotations=tilt_rotations(exposures.tilt_deg, exposures.tilt_error_deg),
        shifts_A=exposures.shift_error_A,
        defocus_A=exposures.defocus_A,
        volume=recipe.volume,
        optics=optics,
        rng=draw("engine"),
    )
    n_images = len(exposures.tilt_deg)
    rng = draw("dose")
    dose_e_per_A2 = draw_dose(acquisition, rng)
    background = float(rng.uniform(*acquisition.background))
    kept = draw_kept(acquisition, n_images, draw("missing"))
    move_A = _common_move_A(exposures.tilt_deg[kept], exposures.shift_error_A[kept], recipe)
    seen = replace(specimen, positions_A=specimen.positions_A + move_A)
    first, profiles, ideal_A2 = _ideal_peaks(recipe, seen)
    pixel_A = recipe.volume.voxel_size_A
    return PairPlan(
        number=number,
        peaks=AllPeaks(
            positions_A=np.concatenate([np.stack(kind.positions_A)[:, :, :2] for kind in kinds], axis=1),
            integrals_A2=np.concatenate([np.stack(kind.integrals_A2) for kind in kinds], axis=1),
            widest_A2=np.concatenate(
                [np.full(len(kind.positions_A[0]), kind.sigmas_A[-1] ** 2) for kind in kinds]
            ),
            saturation=saturation,
        ),
        tilt_deg=exposures.tilt_deg,
        kept=kept,
        background=background * draw_background_change(acquisition, n_images, draw("background")),
        background_slope=draw_background_slope(acquisition, n_images, draw("background slope")),
        gain=draw_gain(imperfection.gain_rms, n_images, draw("gain")),
        incident_e=None if dose_e_per_A2 is None else dose_e_per_A2 * pixel_A**2,
        readout_e=0.0
        if dose_e_per_A2 is None
        else draw_from(acquisition.readout_noise_e, rng=draw("readout")),
        ideal_first=first,
        ideal_profiles=profiles,
        ideal_A2=ideal_A2,
    )


def _common_move_A(tilt_deg: NDArray[Any], shift_A: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """(3,) how far the images show the specimen moved; they need no pixels for that."""
    told = TiltSeries(
        images=np.empty((len(tilt_deg), 0, 0)), tilt_deg=tilt_deg, pixel_size_A=recipe.volume.voxel_size_A
    )
    return common_move(told, shift_A)


def _ideal_peaks(recipe: Recipe, seen: Specimen) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    n, voxel_A = recipe.volume.n_voxels, recipe.volume.voxel_size_A
    first, profiles = peak_profiles_per_A(
        A_to_index(seen.positions_A, (n, n, n), voxel_A),
        voxel_size_A=voxel_A,
        sigma_A=recipe.ideal.peak_sigma_A,
    )
    brightness = brightness_table(list(elements_of(seen)), optics=recipe.optics)
    return first, profiles, atom_brightness_A2(seen.atomic_numbers, brightness)
