"""Many series from one simulation: images chosen from a wide, fine, noise-free series and recorded anew.

The engine takes hours and the recording milliseconds, so a particle is imaged once, at more tilts than any
series needs. A derived series takes some of these images, is told tilts that are wrong by errors of its own,
and draws its shifts, gain, background, dose and noise. What cannot be changed in a finished image is shared
by all series that use it: its defocus, and the small turns of the specimen about x and z.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, SimulationConfig, VolumeConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, TiltSeries
from picotome.rng import stream
from picotome.simgen.acquisition import record_series
from picotome.simgen.drawing import settle
from picotome.simgen.exposures import Exposures, draw_exposures, draw_imperfection
from picotome.simgen.pose import pose_atoms

# Beyond the shift, Å: a moved image neither wraps around nor rings against its own edge.
_PADDING_A = 4.0


def noise_free(acquisition: AcquisitionConfig, simulation: SimulationConfig) -> AcquisitionConfig:
    """Acquisition of the shared simulation: its tilts, the errors that need an engine, and nothing else."""
    return AcquisitionConfig(
        tilt_min_deg=simulation.tilt_min_deg,
        tilt_max_deg=simulation.tilt_max_deg,
        n_tilts=simulation.n_tilts,
        dose_e_per_A2=None,
        tilt_error_rms_deg=acquisition.tilt_error_rms_deg,
        defocus_rms_A=acquisition.defocus_rms_A,
    )


def derive_series(
    simulated: TiltSeries,
    specimen: Specimen,
    *,
    volume: VolumeConfig,
    acquisition: AcquisitionConfig,
    seed: int,
    index: int,
) -> TiltSeries:
    """Draw one series from a noise-free simulation.

    Each planned tilt, with an unknown error about the tilt axis, takes the simulated image nearest to it, and
    none is taken twice. The user is told the true tilt of that image less the error: a tilt within half a
    simulated step of the plan (further off only where neighbours compete), wrong by exactly the error.

    Parameters
    ----------
    simulated
        Images and truth as the acquisition of `noise_free` gave them.
    specimen
        What was imaged.
    seed, index
        Of the pair: its draws are its own.

    Raises
    ------
    ValueError
        If there are fewer simulated images than planned ones, or a shift moves an atom out of the field of
        view.
    """
    acquisition = settle(acquisition, rng=stream(seed, index, "acquisition laws"))
    imperfection = draw_imperfection(acquisition, stream(seed, index, "imperfection"))
    # The focus of a simulated image is settled; what is drawn here for it is not used.
    drawn = draw_exposures(acquisition, OpticsConfig(), imperfection, seed=seed, index=index)
    rotations = tilt_rotations(simulated.tilt_deg, simulated.truth["tilt_error_deg"])
    true_deg = simulated.tilt_deg + simulated.truth["tilt_error_deg"][:, 1]
    error_deg = drawn.tilt_error_deg[:, 1]
    chosen = choose_images(true_deg, wanted_deg=drawn.tilt_deg + error_deg)
    told_deg = true_deg[chosen] - error_deg
    exposures = replace(
        drawn,
        tilt_deg=told_deg,
        tilt_error_deg=tilt_errors_deg(rotations[chosen], tilt_deg=told_deg),
        defocus_A=simulated.truth["defocus_A"][chosen],
    )
    # As the engines do: an atom outside the field of view is an error, not a loss.
    pose_atoms(specimen, rotations=rotations[chosen], shifts_A=exposures.shift_error_A, volume=volume)
    images = shift_images(
        simulated.images[chosen], shifts_A=exposures.shift_error_A, pixel_size_A=simulated.pixel_size_A
    )
    return _record(images, exposures, imperfection.gain_rms, simulated, acquisition, seed=seed, index=index)


def _record(
    images: NDArray[Any],
    exposures: Exposures,
    gain_rms: float,
    simulated: TiltSeries,
    acquisition: AcquisitionConfig,
    *,
    seed: int,
    index: int,
) -> TiltSeries:
    return record_series(
        images,
        exposures=exposures,
        gain_rms=gain_rms,
        engine=simulated.engine,  # type: ignore[arg-type]
        acquisition=acquisition,
        pixel_size_A=simulated.pixel_size_A,
        seed=seed,
        index=index,
    )


def choose_images(true_deg: NDArray[Any], *, wanted_deg: NDArray[Any]) -> NDArray[Any]:
    """(n,) indices of the simulated images nearest to the wanted tilts in the least squares, none twice.

    Raises
    ------
    ValueError
        If more images are wanted than there are.
    """
    from scipy.optimize import linear_sum_assignment

    if len(wanted_deg) > len(true_deg):
        raise ValueError(
            f"a series of {len(wanted_deg)} images is wanted from {len(true_deg)} simulated ones: lower "
            "training_set.simulation.tilt_step_deg"
        )
    chosen: NDArray[Any] = linear_sum_assignment((wanted_deg[:, None] - true_deg[None]) ** 2)[1]
    return chosen


def tilt_errors_deg(rotations: NDArray[Any], *, tilt_deg: NDArray[Any]) -> NDArray[Any]:
    """(n, 3) rotations about x, y, z that lead from tilts to the true (n, 3, 3) rotations, in degrees."""
    from scipy.spatial.transform import Rotation

    beyond = np.einsum("nij,nkj->nik", rotations, tilt_rotations(tilt_deg))
    errors_deg: NDArray[Any] = Rotation.from_matrix(beyond).as_euler("xyz", degrees=True)
    return errors_deg


def shift_images(images: NDArray[Any], *, shifts_A: NDArray[Any], pixel_size_A: float) -> NDArray[Any]:
    """Move what (n, n_x, n_y) images show by (n, 2) shifts along x and y, in Fourier space.

    What leaves the frame is lost and what enters it is dark, as if the specimen had moved before an engine
    imaged it; nothing wraps around. Ringing below zero is cut off.
    """
    if not np.any(shifts_A):
        return images
    padding = int(np.ceil((np.abs(shifts_A).max() + _PADDING_A) / pixel_size_A))
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding)))
    n_x, n_y = padded.shape[1:]
    x, y = np.fft.fftfreq(n_x, pixel_size_A), np.fft.rfftfreq(n_y, pixel_size_A)
    phase = shifts_A[:, 0, None, None] * x[:, None] + shifts_A[:, 1, None, None] * y
    spectrum = np.fft.rfft2(padded) * np.exp(-2j * np.pi * phase)
    moved = np.fft.irfft2(spectrum, s=(n_x, n_y))[:, padding:-padding, padding:-padding]
    clipped: NDArray[Any] = np.clip(moved, 0.0, None).astype(np.float32)
    return clipped
