"""A tilt series of one specimen: exposures, ideal images, scan, background, gain, counting, readout.

Each stage is a function of arrays in a module of its own: `exposures` (where each image is taken), `engines`
(ideal images), `scanning` and `detection`. What follows the engine, `record_series`, needs no specimen: it
can record stored images again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig, EngineName, OpticsConfig, VolumeConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, Substrate, TiltSeries
from picotome.rng import stream
from picotome.simgen.detection import (
    add_background,
    add_counting_noise,
    add_readout_noise,
    draw_background_change,
    draw_background_slope,
    draw_dose,
    draw_gain,
)
from picotome.simgen.drawing import draw_from, settle
from picotome.simgen.engines import ENGINES
from picotome.simgen.exposures import Exposures, draw_exposures, draw_imperfection, draw_kept
from picotome.simgen.ignored import warn_of_ignored_knobs
from picotome.simgen.scanning import distort


def simulate_series(
    specimen: Specimen,
    *,
    engine: EngineName,
    volume: VolumeConfig,
    optics: OpticsConfig,
    acquisition: AcquisitionConfig,
    seed: int,
    index: int,
    substrate: Substrate | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: bool = True,
) -> TiltSeries:
    """Simulate the tilt series of one specimen.

    Every error draws from a stream of its own, so that changing one leaves the others as they were. Ranges
    with a law of their own (`picotome.configs.fields.Spread`) are settled first.

    Parameters
    ----------
    engine
        Key of `picotome.simgen.engines.ENGINES`.
    seed, index
        Seed of the recipe and index of the particle.
    substrate
        What the specimen lies on, if anything.
    progress
        Called with (images done, images to do).
    warn
        Whether to warn (`picotome.simgen.ignored.IgnoredKnobWarning`) of knobs that the engine does not read.

    Returns
    -------
    series
        Images in detected per incident electrons; what `truth` holds is said in `TiltSeries`.

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
    imperfection = draw_imperfection(acquisition, stream(seed, index, "imperfection"))
    exposures = draw_exposures(acquisition, optics, imperfection, seed=seed, index=index)
    images = ENGINES[engine](
        specimen,
        rotations=tilt_rotations(
            exposures.tilt_deg, exposures.tilt_error_deg, azimuth_deg=exposures.azimuth_deg
        ),
        shifts_A=exposures.shift_error_A,
        defocus_A=exposures.defocus_A,
        volume=volume,
        optics=optics,
        rng=stream(seed, index, "engine"),
        substrate=substrate,
        progress=progress,
    )
    return record_series(
        images,
        exposures=exposures,
        gain_rms=imperfection.gain_rms,
        engine=engine,
        acquisition=acquisition,
        pixel_size_A=volume.voxel_size_A,
        seed=seed,
        index=index,
    )


def record_series(
    images: NDArray[Any],
    *,
    exposures: Exposures,
    gain_rms: float,
    engine: EngineName,
    acquisition: AcquisitionConfig,
    pixel_size_A: float,
    seed: int,
    index: int,
) -> TiltSeries:
    """Record ideal images: scan, background, gain, counting, readout, loss, each on a stream of its own.

    Parameters
    ----------
    images
        (n, n_x, n_y) float32, detected per incident electrons, as an engine made them.
    exposures
        How they were taken.
    gain_rms
        How much brightness changes from image to image.
    acquisition
        Its laws settled; the tilts, geometry and defocus are those of `exposures`.

    Returns
    -------
    series
        See `simulate_series`.
    """
    n_images = len(images)
    brightest = float(images.max())
    images, scan_truth = distort(
        images, acquisition=acquisition, pixel_size_A=pixel_size_A, seed=seed, index=index
    )
    rng = stream(seed, index, "dose")
    dose_e_per_A2 = draw_dose(acquisition, rng)
    mean_level = float(rng.uniform(*acquisition.background)) * brightest
    level = mean_level * draw_background_change(acquisition, n_images, stream(seed, index, "background"))
    slope = draw_background_slope(acquisition, n_images, stream(seed, index, "background slope"))
    width_A = np.array(images.shape[1:]) * pixel_size_A
    slope_per_A = None if slope is None else level[:, None] * slope / width_A
    images = add_background(images, level=level, slope_per_A=slope_per_A, pixel_size_A=pixel_size_A)
    gain = draw_gain(gain_rms, n_images, stream(seed, index, "gain"))
    images = images * gain[:, None, None].astype(np.float32)
    truth = {
        "tilt_error_deg": exposures.tilt_error_deg,
        "shift_error_A": exposures.shift_error_A,
        "defocus_A": exposures.defocus_A,
        "gain": gain,
        "background": level * gain,
        **scan_truth,
    }
    if slope_per_A is not None:
        truth["background_slope_per_A"] = slope_per_A * gain[:, None]
    if dose_e_per_A2 is not None:
        images = add_counting_noise(
            images,
            dose_e_per_A2=dose_e_per_A2,
            pixel_size_A=pixel_size_A,
            rng=stream(seed, index, "noise"),
        )
        rng = stream(seed, index, "readout")
        rms_e = draw_from(acquisition.readout_noise_e, rng=rng)
        if rms_e > 0.0:
            truth["readout_noise_e"] = np.full(n_images, rms_e)
            images = add_readout_noise(
                images, rms_e=rms_e, dose_e_per_A2=dose_e_per_A2, pixel_size_A=pixel_size_A, rng=rng
            )
    series = TiltSeries(
        images=images,
        tilt_deg=exposures.tilt_deg,
        pixel_size_A=pixel_size_A,
        dose_e_per_A2=dose_e_per_A2,
        engine=engine,
        azimuth_deg=exposures.azimuth_deg,
        truth=truth,
    )
    return keep_images(series, draw_kept(acquisition, n_images, stream(seed, index, "missing")))


def keep_images(series: TiltSeries, kept: NDArray[Any]) -> TiltSeries:
    """Leave out all images but some, given by their indices, with all that is known of the others."""
    return replace(
        series,
        images=series.images[kept],
        tilt_deg=series.tilt_deg[kept],
        azimuth_deg=None if series.azimuth_deg is None else series.azimuth_deg[kept],
        truth={name: values[kept] for name, values in series.truth.items()},
    )
