"""How a tilt series is recorded: the tilts, what goes wrong with them, the dose and the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig, EngineName, OpticsConfig, VolumeConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, TiltSeries
from picotome.rng import stream
from picotome.simgen.drawing import settle
from picotome.simgen.engines import ENGINES
from picotome.simgen.ignored import warn_of_ignored_knobs


@dataclass(frozen=True)
class Imperfection:
    """How badly one particle's series is recorded: what `AcquisitionConfig`'s ranges gave it.

    Attributes
    ----------
    tilt_error_rms_deg, shift_error_rms_A, defocus_rms_A, gain_rms
        See `picotome.configs.schema.AcquisitionConfig`.
    """

    tilt_error_rms_deg: float
    shift_error_rms_A: float
    defocus_rms_A: float
    gain_rms: float


def simulate_series(
    specimen: Specimen,
    *,
    engine: EngineName,
    volume: VolumeConfig,
    optics: OpticsConfig,
    acquisition: AcquisitionConfig,
    seed: int,
    index: int,
    progress: Callable[[int, int], None] | None = None,
    warn: bool = True,
) -> TiltSeries:
    """Simulate the tilt series of one specimen.

    The size of the errors, the geometry, the defocus, the engine, the dose, the gain and the noise each draw
    from a stream of their own, so that changing one leaves the others as they were. Ranges with a law of
    their own (`picotome.configs.fields.Spread`) are settled first.

    Parameters
    ----------
    engine
        Key of `picotome.simgen.engines.ENGINES`.
    seed, index
        Seed of the recipe and index of the particle.
    progress
        Called with (images done, images to do).
    warn
        Whether to warn (`picotome.simgen.ignored.IgnoredKnobWarning`) of knobs that the engine does not read.

    Returns
    -------
    series
        Images in detected per incident electrons; `truth` holds ``tilt_error_deg`` (n, 3),
        ``shift_error_A`` (n, 2), ``defocus_A`` (n,) the set and the unknown defocus together, ``gain`` (n,)
        and ``background`` (n,) what was added to every pixel of the image, gain included.

    Raises
    ------
    ValueError
        If the engine is unknown, the specimen is empty, or it leaves the field of view at some tilt.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; allowed is one of {', '.join(ENGINES)}")
    if warn:
        warn_of_ignored_knobs({engine}, optics)
    acquisition = settle(acquisition, rng=stream(seed, index, "acquisition laws"))
    optics = settle(optics, rng=stream(seed, index, "optics laws"))
    tilt_deg = np.linspace(acquisition.tilt_min_deg, acquisition.tilt_max_deg, acquisition.n_tilts)
    imperfection = draw_imperfection(acquisition, stream(seed, index, "imperfection"))
    tilt_error_deg, shift_error_A = draw_geometry_errors(
        imperfection, len(tilt_deg), stream(seed, index, "geometry")
    )
    defocus_A = optics.defocus_A + draw_defocus_error(
        imperfection, len(tilt_deg), stream(seed, index, "defocus")
    )
    images = ENGINES[engine](
        specimen,
        rotations=tilt_rotations(tilt_deg, tilt_error_deg),
        shifts_A=shift_error_A,
        defocus_A=defocus_A,
        volume=volume,
        optics=optics,
        rng=stream(seed, index, "engine"),
        progress=progress,
    )
    rng = stream(seed, index, "dose")
    dose_e_per_A2 = draw_dose(acquisition, rng)
    background = float(rng.uniform(*acquisition.background)) * float(images.max())
    images = images + np.float32(background)
    gain = draw_gain(imperfection, len(tilt_deg), stream(seed, index, "gain"))
    images = images * gain[:, None, None].astype(np.float32)
    if dose_e_per_A2 is not None:
        images = add_counting_noise(
            images,
            dose_e_per_A2=dose_e_per_A2,
            pixel_size_A=volume.voxel_size_A,
            rng=stream(seed, index, "noise"),
        )
    return TiltSeries(
        images=images,
        tilt_deg=tilt_deg,
        pixel_size_A=volume.voxel_size_A,
        dose_e_per_A2=dose_e_per_A2,
        engine=engine,
        truth={
            "tilt_error_deg": tilt_error_deg,
            "shift_error_A": shift_error_A,
            "defocus_A": defocus_A,
            "gain": gain,
            "background": background * gain,
        },
    )


def draw_imperfection(acquisition: AcquisitionConfig, rng: np.random.Generator) -> Imperfection:
    """Draw how large one particle's errors are, each uniform in its range."""
    # All four in a fixed order, whatever the ranges are: widening one leaves the others as they were.
    return Imperfection(
        tilt_error_rms_deg=float(rng.uniform(*acquisition.tilt_error_rms_deg)),
        shift_error_rms_A=float(rng.uniform(*acquisition.shift_error_rms_A)),
        defocus_rms_A=float(rng.uniform(*acquisition.defocus_rms_A)),
        gain_rms=float(rng.uniform(*acquisition.gain_rms)),
    )


def draw_geometry_errors(
    imperfection: Imperfection, n_tilts: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw unknown rotations (n, 3) about x, y, z in degrees and shifts (n, 2) along x, y in Å."""
    tilt_error_deg = rng.normal(size=(n_tilts, 3)) * imperfection.tilt_error_rms_deg
    shift_error_A = rng.normal(size=(n_tilts, 2)) * imperfection.shift_error_rms_A
    return tilt_error_deg, shift_error_A


def draw_defocus_error(imperfection: Imperfection, n_tilts: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw the unknown part (n,) of each image's defocus in Å."""
    error_A: NDArray[Any] = rng.normal(size=n_tilts) * imperfection.defocus_rms_A
    return error_A


def draw_gain(imperfection: Imperfection, n_tilts: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw the unknown relative brightness (n,) of each image: beam current, and channelling on zone axes.

    Log-normal, so that it stays positive.
    """
    gain: NDArray[Any] = np.exp(rng.normal(size=n_tilts) * imperfection.gain_rms)
    return gain


def draw_dose(acquisition: AcquisitionConfig, rng: np.random.Generator) -> float | None:
    """Draw a dose in incident electrons per Å² and image, log-uniform; None for images without noise."""
    if acquisition.dose_e_per_A2 is None:
        return None
    low, high = np.log(acquisition.dose_e_per_A2)
    # A range of one number means that number, to the last bit.
    return acquisition.dose_e_per_A2[0] if low == high else float(np.exp(rng.uniform(low, high)))


def add_counting_noise(
    images: NDArray[Any], *, dose_e_per_A2: float, pixel_size_A: float, rng: np.random.Generator
) -> NDArray[Any]:
    """Count electrons: the detected ones of each pixel are Poisson, the incident ones are known.

    Parameters
    ----------
    images
        Detected per incident electrons, 0 or more.

    Returns
    -------
    noisy
        float32, same unit and shape; counts are multiples of 1 / (dose × pixel area).
    """
    incident = dose_e_per_A2 * pixel_size_A**2
    noisy: NDArray[Any] = (rng.poisson(np.asarray(images, dtype=np.float64) * incident) / incident).astype(
        np.float32
    )
    return noisy
