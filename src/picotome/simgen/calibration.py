"""Fit the linear engine to images of a wave engine, and say how far it stays from them.

Images in, numbers out. Fitted are the brightness of each element, one further blur, and strength and width of
the atoms as lenses (`picotome.simgen.atom_lens`). Two other terms were tried on Pt and left out, because on
orientations that were not fitted they gained nothing: a broad tail (its share came out as −1.5 %), and the
global `saturation`, whose sign changed from one set of orientations to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import LinearConfig, OpticsConfig, VolumeConfig
from picotome.records import Specimen
from picotome.simgen.brightness import brightness_table
from picotome.simgen.linear import image_linear

# Where the fit starts, and where it stays if the images say nothing: what Pt, Pd and Ni showed.
_USUAL_LENS_A2, _USUAL_WIDTH_A = 0.036, 0.11
# Deviation that the usual strength more, and a factor of e in the width, must repay: for images in which no
# atom stands behind another. Six images of any of the three agree on both within 15 % without it.
_STRENGTH_PRIOR, _WIDTH_PRIOR = 0.002, 0.003
_LARGEST_LOG_GAIN = 1.5
_LARGEST_BLUR_A2 = 0.25
# A limit of zero is never quite reached.
_SMALLEST_BLUR_A = 1e-3
_LARGEST_LENS_A2, _WIDTH_LIMITS_A = 0.15, (0.06, 0.5)
# Steps of the derivatives; the images are in single precision.
_LOG_STEP, _BLUR_STEP_A2, _LENS_STEP_A2 = 1e-2, 1e-3, 2e-3
_MOST_STEPS = 30
_DIGITS = 5


@dataclass(frozen=True, eq=False)
class WaveImages:
    """Noise-free images of one specimen, made by a wave engine.

    Attributes
    ----------
    rotations
        (n, 3, 3) how the specimen stood: ``rotated = positions @ R.T``.
    defocus_A
        (n,) how far beyond the middle of the specimen the probe was focused.
    images
        (n, n_voxels, n_voxels) fraction of the incident electrons.
    """

    specimen: Specimen
    rotations: NDArray[Any]
    defocus_A: NDArray[Any]
    images: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Deviation:
    """How far linear images are from wave images.

    Attributes
    ----------
    each
        (n,) rms of the difference over rms of the wave image, for each image.
    each_free
        (n,) the same with the linear image multiplied by the gain that suits it best.
    gain
        (n,) that gain.
    """

    each: NDArray[Any]
    each_free: NDArray[Any]
    gain: NDArray[Any]

    @property
    def rms(self) -> float:
        """Rms over the images."""
        return float(np.sqrt(np.mean(self.each**2)))

    @property
    def rms_free(self) -> float:
        """Rms over the images, each with its own gain."""
        return float(np.sqrt(np.mean(self.each_free**2)))

    @property
    def worst(self) -> float:
        """Largest deviation of an image."""
        return float(self.each.max())

    @property
    def gain_rms(self) -> float:
        """Relative spread of the gains: what `acquisition.gain_rms` has to cover."""
        return float(np.std(np.log(self.gain)))


def fit_linear(
    waves: Sequence[WaveImages],
    *,
    volume: VolumeConfig,
    optics: OpticsConfig,
    progress: Callable[[int, int], None] | None = None,
) -> LinearConfig:
    """Fit the knobs of the linear engine to wave images, every image with the same weight.

    Parameters
    ----------
    waves
        Images of one or more specimens.
    optics
        Those of the wave images. Of `optics.linear` only the thermal vibration is kept: the fitted blur
        comes on top of it; see `at_wave_vibration`.
    progress
        Called with (steps done, most steps).

    Returns
    -------
    linear
        The section `optics.linear`, all ranges of zero width.

    Raises
    ------
    ValueError
        There are no images, or one of them is dark.
    """
    from scipy.optimize import least_squares

    norms = _check(waves, volume=volume)
    numbers = sorted({int(z) for wave in waves for z in wave.specimen.atomic_numbers})
    free_A2 = _free_brightness_A2(numbers, optics=optics)
    count = 0

    def residual(x: NDArray[Any]) -> NDArray[Any]:
        fitted = with_linear(optics, _section(x, free_A2, optics.linear))
        parts = [
            ((linear_images(wave, volume=volume, optics=fitted) - wave.images) / norm[:, None, None]).ravel()
            for wave, norm in zip(waves, norms, strict=True)
        ]
        unusual = np.array(
            [
                _STRENGTH_PRIOR * (x[-2] / _USUAL_LENS_A2 - 1.0),
                _WIDTH_PRIOR * (x[-1] - np.log(_USUAL_WIDTH_A)),
            ]
        )
        together: NDArray[Any] = np.concatenate([*parts, np.sqrt(sum(map(len, norms))) * unusual])
        return together

    def jacobian(x: NDArray[Any]) -> NDArray[Any]:
        nonlocal count
        count += 1
        if progress is not None:
            progress(min(count, _MOST_STEPS), _MOST_STEPS)
        here = residual(x)
        columns: NDArray[Any] = np.stack(
            [
                (residual(x + step * unit) - here) / step
                for step, unit in zip(steps, np.eye(len(x)), strict=True)
            ],
            axis=1,
        )
        return columns

    n = len(numbers)
    steps = np.array([*[_LOG_STEP] * n, _BLUR_STEP_A2, _LENS_STEP_A2, _LOG_STEP])
    low = np.array([*[-_LARGEST_LOG_GAIN] * n, 0.0, 0.0, np.log(_WIDTH_LIMITS_A[0])])
    high = np.array(
        [*[_LARGEST_LOG_GAIN] * n, _LARGEST_BLUR_A2, _LARGEST_LENS_A2, np.log(_WIDTH_LIMITS_A[1])]
    )
    start = np.array([*[0.0] * n, _BLUR_STEP_A2, _USUAL_LENS_A2, np.log(_USUAL_WIDTH_A)])
    scale = np.array([*[0.1] * n, 0.01, _USUAL_LENS_A2, 0.5])
    found = least_squares(
        residual, start, jac=jacobian, bounds=(low, high), x_scale=scale, xtol=1e-4, max_nfev=_MOST_STEPS
    )
    if progress is not None:
        progress(_MOST_STEPS, _MOST_STEPS)
    return _section(found.x, free_A2, optics.linear)


def deviation(waves: Sequence[WaveImages], *, volume: VolumeConfig, optics: OpticsConfig) -> Deviation:
    """Hold the linear engine with its present knobs against wave images; ranges count as their middles."""
    norms = _check(waves, volume=volume)
    rows = []
    for wave, norm in zip(waves, norms, strict=True):
        linear = linear_images(wave, volume=volume, optics=optics)
        for made, image, size in zip(linear, wave.images, norm, strict=True):
            gain = float((made * image).sum() / (made * made).sum())
            rows.append(
                (np.linalg.norm(made - image) / size, np.linalg.norm(gain * made - image) / size, gain)
            )
    each, each_free, gains = np.array(rows).T
    return Deviation(each=each, each_free=each_free, gain=gains)


def linear_images(wave: WaveImages, *, volume: VolumeConfig, optics: OpticsConfig) -> NDArray[Any]:
    """(n, n_voxels, n_voxels) linear images of the same poses; ranges count as their middles."""
    images: NDArray[Any] = image_linear(
        wave.specimen,
        rotations=wave.rotations,
        shifts_A=np.zeros((len(wave.images), 2)),
        defocus_A=wave.defocus_A,
        volume=volume,
        optics=with_linear(optics, _at_middles(optics.linear)),
        rng=np.random.default_rng(0),
    ).astype(np.float64)
    return images


def at_wave_vibration(optics: OpticsConfig) -> OpticsConfig:
    """Plain knobs of the linear engine, its atoms vibrating as those of the wave engines do.

    With frozen phonons of rms u per axis B = 8π²u²; without, the atoms of the wave engines are at rest.
    """
    abtem = optics.abtem
    rms_A = abtem.phonon_rms_A if abtem.n_frozen_phonons else 0.0
    b_factor_A2 = round(8.0 * np.pi**2 * rms_A**2, _DIGITS)
    return with_linear(optics, LinearConfig(default_debye_waller_A2=(b_factor_A2, b_factor_A2)))


def with_linear(optics: OpticsConfig, linear: LinearConfig) -> OpticsConfig:
    """Return the optics with other knobs of the linear engine."""
    return optics.model_copy(update={"linear": linear})


def _section(x: NDArray[Any], free_A2: dict[str, float], linear: LinearConfig) -> LinearConfig:
    """Return the knobs that a vector of unknowns stands for."""
    blur_A, lens_A2, width_A = np.sqrt(max(x[-3], 0.0)), max(x[-2], 0.0), np.exp(x[-1])
    if blur_A < _SMALLEST_BLUR_A:
        blur_A = 0.0
    brightness_A2 = {
        symbol: _short(free * np.exp(log_gain))
        for (symbol, free), log_gain in zip(free_A2.items(), x[:-3], strict=True)
    }
    return linear.model_copy(
        update={
            "brightness_A2": brightness_A2,
            "extra_blur_A": (_short(blur_A),) * 2,
            "saturation": (0.0, 0.0),
            "lens_strength_A2": (_short(lens_A2),) * 2,
            "lens_width_A": _short(width_A),
        }
    )


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _at_middles(linear: LinearConfig) -> LinearConfig:
    keys = ("default_debye_waller_A2", "extra_blur_A", "saturation", "lens_strength_A2")
    middles = {key: (0.5 * sum(getattr(linear, key)),) * 2 for key in keys}
    return linear.model_copy(update=middles)


def _free_brightness_A2(numbers: Sequence[int], *, optics: OpticsConfig) -> dict[str, float]:
    from ase.data import chemical_symbols

    return brightness_table(
        [chemical_symbols[z] for z in numbers], optics=with_linear(optics, LinearConfig())
    )


def _check(waves: Sequence[WaveImages], *, volume: VolumeConfig) -> list[NDArray[Any]]:
    """(n,) Euclidean norm of each image of each specimen."""
    if not sum(len(wave.images) for wave in waves):
        raise ValueError("waves holds 0 images; allowed is 1 or more")
    wanted = (volume.n_voxels, volume.n_voxels)
    norms = []
    for wave in waves:
        if wave.images.shape[1:] != wanted:
            raise ValueError(f"waves has images of {wave.images.shape[1:]} pixels; the volume's are {wanted}")
        norm = np.linalg.norm(wave.images.astype(np.float64), axis=(1, 2))
        if not (norm > 0.0).all():
            raise ValueError(
                f"image {int(norm.argmin())} of waves is dark; raise the detector's angles' range"
            )
        norms.append(norm)
    return norms
