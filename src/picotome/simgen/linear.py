"""The fast engine: every atom adds one peak of known integral and shape, incoherently.

The peak is the image of a free atom (`picotome.simgen.brightness`) blurred by the source, the thermal
vibration, an extra blur (defocus, drift) and the pixel. It is written as a sum of a few Gaussians, so that
an image is a handful of matrix products of separable factors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.schema import OpticsConfig, VolumeConfig
from picotome.geometry import axis_A
from picotome.records import Specimen
from picotome.simgen.brightness import atom_image, cross_section_A2
from picotome.simgen.pose import pose_atoms
from picotome.units import wavelength_A

_RADIUS_A = 5.0
_N_GAUSSIANS = 4
_STARTS = ((1.0, 1.5, 3.0, 7.0), (0.9, 2.2, 5.0, 11.0), (0.9, 3.0, 5.0, 9.0))
# Weight, in units of the peak's norm, of the condition that the integral is 1.
_UNIT_INTEGRAL = 100.0


def image_linear(
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    volume: VolumeConfig,
    optics: OpticsConfig,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Image a specimen as a sum of peaks; see `picotome.simgen.engines.ENGINES` for the signature.

    Ranges in `optics.linear` are drawn once for the whole series. `saturation` s dims the brightest parts,
    I -> I (1 - s I / max I), with the maximum over the series.
    """
    from ase.data import chemical_symbols

    settings = optics.linear
    blur_A = float(rng.uniform(*settings.extra_blur_A))
    saturation = float(rng.uniform(*settings.saturation))
    default_debye_waller_A2 = float(rng.uniform(*settings.default_debye_waller_A2))
    posed_A = pose_atoms(specimen, rotations=rotations, shifts_A=shifts_A, volume=volume).astype(np.float32)
    pixel_A = volume.voxel_size_A
    images = np.zeros((len(posed_A), volume.n_voxels, volume.n_voxels), dtype=np.float32)
    kinds = []
    for number in np.unique(specimen.atomic_numbers):
        symbol = chemical_symbols[int(number)]
        b_factor_A2 = settings.debye_waller_A2.get(symbol, default_debye_waller_A2)
        # A pixel integrates the peak: to 1e-3 that is a Gaussian wider by the variance of a box.
        extra_variance_A2 = blur_A**2 + b_factor_A2 / (8.0 * np.pi**2) + pixel_A**2 / 12.0
        weights, sigmas_A = peak_gaussians(symbol, optics=optics)
        kinds.append(
            (
                specimen.atomic_numbers == number,
                cross_section_A2(symbol, optics=optics) * weights,
                np.sqrt(sigmas_A**2 + extra_variance_A2),
            )
        )
    axis = axis_A(volume.n_voxels, pixel_A).astype(np.float32)
    for index, atoms_A in enumerate(posed_A):
        for of_kind, integrals_A2, widths_A in kinds:
            for integral_A2, width_A in zip(integrals_A2, widths_A, strict=True):
                images[index] += integral_A2 * _render(atoms_A[of_kind], axis, float(width_A))
        if progress is not None:
            progress(index + 1, len(posed_A))
    if saturation > 0.0:
        images *= 1.0 - saturation / float(images.max()) * images
    return images


def peak_gaussians(symbol: str, *, optics: OpticsConfig) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights (sum 1) and sigmas in Å, each (k,), of the Gaussians that make up one atom's peak.

    Includes aperture, potential and source size; not vibration, extra blur and pixel, whose variances add.
    """
    weights, sigmas_A, _ = _fit_peak(
        symbol,
        optics.beam_energy_eV,
        optics.convergence_mrad,
        optics.detector_inner_mrad,
        optics.detector_outer_mrad,
        optics.source_size_A,
    )
    return weights, sigmas_A


def peak_profile(
    symbol: str, radius_A: NDArray[Any], *, optics: OpticsConfig, extra_variance_A2: float = 0.0
) -> NDArray[Any]:
    """Exact peak at each radius (integral 1), in 1/Å²: the Hankel transform of the transfer function."""
    from scipy.special import j0

    _, frequency, transfer = atom_image(symbol, optics=optics)
    fine = np.linspace(0.0, frequency[-1], 1200)
    variance = optics.source_size_A**2 + extra_variance_A2
    spectrum = np.interp(fine, frequency, transfer) * np.exp(-2.0 * np.pi**2 * variance * fine**2)
    kernel = 2.0 * np.pi * fine * j0(2.0 * np.pi * np.asarray(radius_A)[:, None] * fine)
    profile: NDArray[Any] = np.trapezoid(kernel * spectrum, fine, axis=1)
    return profile


@lru_cache(maxsize=256)
def _fit_peak(
    symbol: str,
    beam_energy_eV: float,
    convergence_mrad: float,
    inner_mrad: float,
    outer_mrad: float,
    source_size_A: float,
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Fit Gaussians to the exact peak; also return rms(residual) / rms(peak) over the plane."""
    from scipy.optimize import least_squares, nnls

    optics = OpticsConfig(
        beam_energy_eV=beam_energy_eV,
        convergence_mrad=convergence_mrad,
        detector_inner_mrad=inner_mrad,
        detector_outer_mrad=outer_mrad,
        source_size_A=source_size_A,
    )
    radius_A = np.linspace(0.0, _RADIUS_A, 200)
    target = peak_profile(symbol, radius_A, optics=optics)
    # Rings of equal width hold area in proportion to their radius.
    area = np.sqrt(radius_A)
    scale = 1.0 / float(np.linalg.norm(area * target))

    def solve(log_sigmas: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        sigmas = np.exp(log_sigmas)
        shapes = np.exp(-0.5 * (radius_A[:, None] / sigmas) ** 2) / (2.0 * np.pi * sigmas**2)
        # Weights of both signs could cancel to any size where the Gaussians are alike.
        design = np.vstack([area[:, None] * shapes * scale, np.full(_N_GAUSSIANS, _UNIT_INTEGRAL)])
        weights = nnls(design, np.append(area * target * scale, _UNIT_INTEGRAL))[0]
        weights /= weights.sum()
        return weights, area * (shapes @ weights - target) * scale

    # A quarter of λ/α is about the sigma of the Airy disc.
    probe_A = 0.25 * wavelength_A(beam_energy_eV) / (convergence_mrad * 1e-3)
    narrowest = np.hypot(source_size_A, probe_A)
    # A Gaussian whose weight has reached zero stays there, so start close together and far apart.
    low, high = np.log(0.02), np.log(_RADIUS_A)
    starts = [np.clip(np.log(narrowest * np.array(ratios)), low + 0.1, high - 0.1) for ratios in _STARTS]
    fits = [
        least_squares(lambda log_sigmas: solve(log_sigmas)[1], start, bounds=(low, high)) for start in starts
    ]
    fit = min(fits, key=lambda candidate: float(candidate.cost))
    order = np.argsort(fit.x)
    return solve(fit.x)[0][order], np.exp(fit.x)[order], float(np.linalg.norm(fit.fun))


def _render(atoms_A: NDArray[Any], axis_A: NDArray[Any], sigma_A: float) -> NDArray[Any]:
    """(n_pixels, n_pixels) sum of normalised Gaussians at (n_atoms, ≥2) positions."""
    exponent = np.float32(-0.5 / sigma_A**2)
    factors = [np.exp(exponent * np.square(axis_A[:, None] - atoms_A[:, column])) for column in (0, 1)]
    image: NDArray[Any] = (factors[0] @ factors[1].T) * np.float32(0.5 / np.pi / sigma_A**2)
    return image
