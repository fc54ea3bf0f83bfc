"""The fast engine: every atom adds one peak of known integral and shape, incoherently.

The peak is the image of a free atom (`picotome.simgen.brightness`) at its own distance from the focal plane,
blurred by the source, the thermal vibration, an extra blur (drift) and the pixel. It is written as a sum of
Gaussians whose widths are the same for all atoms of an element, and whose weights follow the distance; each
variance is twice the one before, so that a factor along x or y is the square of the next wider one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import OpticsConfig, VolumeConfig
from picotome.geometry import A_to_index, axis_A
from picotome.records import Specimen, Substrate
from picotome.simgen.aberrations import focal_nodes
from picotome.simgen.atom_lens import lens_factors
from picotome.simgen.brightness import atom_image, cross_section_A2
from picotome.simgen.peak_sums import add_peaks
from picotome.simgen.pose import distance_to_focus_A, pose_atoms, pose_substrate
from picotome.threads import map_in_threads
from picotome.units import wavelength_A

_N_GAUSSIANS = 6
# Weights of both signs could cancel to any size where the Gaussians are alike; this holds them to about 1.
_RIDGE = 1e-3
# Weight, in units of the peak's norm, of the condition that the integral is 1.
_UNIT_INTEGRAL = 100.0
# Narrowest variance beyond that of the blurs, tried in units of the probe's own.
_NARROWEST = np.linspace(0.2, 1.4, 7)
_N_FREQUENCIES = 300
# The image changes with defocus over λ/α², 22 Å at 300 kV and 30 mrad; a cubic spline needs a quarter of it.
_NODES_PER_DEPTH_OF_FOCUS = 4.4
# Images are made in threads, progress is told from ours, after so many.
_IMAGES_PER_REPORT = 64
# Atoms of a substrate this far outside of the image are left out.
_TAIL_A = 6.0


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of all atoms of one element.

    Attributes
    ----------
    positions_A
        For each image (n_atoms, 3) float32; of a substrate every image sees other atoms.
    integrals_A2
        For each image (n_atoms, k) float32, of the Gaussians that make up each peak.
    sigmas_A
        (k,) their widths, narrowest first; each variance is twice the one before.
    """

    positions_A: Sequence[NDArray[Any]]
    integrals_A2: Sequence[NDArray[Any]]
    sigmas_A: NDArray[Any]


def image_linear(
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    defocus_A: NDArray[Any],
    volume: VolumeConfig,
    optics: OpticsConfig,
    rng: np.random.Generator,
    substrate: Substrate | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Image a specimen as a sum of peaks; see `picotome.simgen.engines.ENGINES` for the signature.

    Every atom is as sharp as its distance from the focal plane allows, also at zero defocus. With
    `lens_strength_A2` atoms brighten and dim those behind them (`picotome.simgen.atom_lens`); all else that
    they do to the beam is left out. Ranges in `optics.linear` are drawn once for the whole series.
    `saturation` s dims the brightest parts, I -> I (1 - s I / max I), with the maximum over the series.

    The atoms of a substrate add their peaks like all others, each at its own distance from the focal plane;
    they are no lenses, and no lens acts on them.
    """
    kinds, saturation = linear_peaks(
        specimen,
        rotations=rotations,
        shifts_A=shifts_A,
        defocus_A=defocus_A,
        volume=volume,
        optics=optics,
        rng=rng,
        substrate=substrate,
    )
    images = np.zeros((len(rotations), volume.n_voxels, volume.n_voxels), dtype=np.float32)

    def add_atoms(index: int) -> None:
        for kind in kinds:
            centres = A_to_index(kind.positions_A[index][:, :2], images.shape[1:], volume.voxel_size_A)
            heights = kind.integrals_A2[index] * (0.5 / np.pi / kind.sigmas_A**2).astype(np.float32)
            add_peaks(images[index], centres, heights, kind.sigmas_A / volume.voxel_size_A)

    for start in range(0, len(images), _IMAGES_PER_REPORT):
        block = range(start, min(start + _IMAGES_PER_REPORT, len(images)))
        map_in_threads(add_atoms, block)
        if progress is not None:
            for index in block:
                progress(index + 1, len(images))
    # The fit of the tails may fall below zero by 1e-5 of a peak; a microscope counts no negative electrons.
    np.maximum(images, 0.0, out=images)
    if saturation > 0.0:
        images *= 1.0 - saturation / float(images.max()) * images
    return images


def linear_peaks(
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    defocus_A: NDArray[Any],
    volume: VolumeConfig,
    optics: OpticsConfig,
    rng: np.random.Generator,
    substrate: Substrate | None = None,
) -> tuple[list[Peaks], float]:
    """Work out all peaks of a series, without pixels, and its saturation; see `image_linear`."""
    from ase.data import chemical_symbols

    settings = optics.linear
    blur_A = float(rng.uniform(*settings.extra_blur_A))
    saturation = float(rng.uniform(*settings.saturation))
    default_debye_waller_A2 = float(rng.uniform(*settings.default_debye_waller_A2))
    lens_A2 = float(rng.uniform(*settings.lens_strength_A2))
    posed_A = pose_atoms(specimen, rotations=rotations, shifts_A=shifts_A, volume=volume)
    factors = _lens_factors(posed_A, lens_A2=lens_A2, optics=optics)
    beyond_A = distance_to_focus_A(posed_A, defocus_A=defocus_A)
    pixel_A = volume.voxel_size_A

    def peaks(number: int, beyond_A: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        symbol = chemical_symbols[number]
        b_factor_A2 = settings.debye_waller_A2.get(symbol, default_debye_waller_A2)
        weights, sigmas_A = peak_gaussians(
            symbol,
            beyond_A,
            optics=optics,
            # A pixel integrates the peak: to 1e-3 that is a Gaussian wider by the variance of a box.
            extra_variance_A2=blur_A**2 + b_factor_A2 / (8.0 * np.pi**2) + pixel_A**2 / 12.0,
        )
        return cross_section_A2(symbol, optics=optics) * weights, sigmas_A

    kinds: list[Peaks] = []
    for number in np.unique(specimen.atomic_numbers):
        of_kind = specimen.atomic_numbers == number
        free, sigmas_A = peaks(int(number), beyond_A[:, of_kind])
        brightness = (free * factors[:, of_kind, None]).astype(np.float32)
        kinds.append(Peaks(list(posed_A[:, of_kind].astype(np.float32)), list(brightness), sigmas_A))
    if substrate is not None:
        axis = axis_A(volume.n_voxels, pixel_A).astype(np.float32)
        # Every atom of an image has the same focal plane.
        focal_plane_A = beyond_A[:, 0] + posed_A[:, 0, 2]
        seen = [
            pose_substrate(substrate, rotation=rotation, shift_A=shift_A, window_A=_window_A(axis))
            for rotation, shift_A in zip(rotations, shifts_A, strict=True)
        ]
        kinds += _substrate_kinds(substrate.atomic_numbers, seen, focal_plane_A=focal_plane_A, peaks=peaks)
    return kinds, saturation


def _window_A(axis: NDArray[Any]) -> NDArray[Any]:
    """(2, 2) lowest and highest x, then y, of atoms whose peaks reach an image."""
    return np.array([[axis[0] - _TAIL_A, axis[-1] + _TAIL_A]] * 2, dtype=np.float64)


def _substrate_kinds(
    atomic_numbers: NDArray[Any],
    seen: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    *,
    focal_plane_A: NDArray[Any],
    peaks: Callable[[int, NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]],
) -> list[Peaks]:
    """Peaks of a substrate's atoms, of which every image sees others."""
    kinds: list[Peaks] = []
    for number in np.unique(atomic_numbers):
        atoms_A = [posed_A[atomic_numbers[index] == number] for posed_A, index in seen]
        beyond_A = [plane - each[:, 2] for plane, each in zip(focal_plane_A, atoms_A, strict=True)]
        if not sum(map(len, beyond_A)):
            continue
        brightness, sigmas_A = peaks(int(number), np.concatenate(beyond_A))
        ends = np.cumsum([len(each) for each in beyond_A])[:-1]
        kinds.append(
            Peaks(
                [each.astype(np.float32) for each in atoms_A],
                np.split(brightness.astype(np.float32), ends),
                sigmas_A,
            )
        )
    return kinds


def _lens_factors(posed_A: NDArray[Any], *, lens_A2: float, optics: OpticsConfig) -> NDArray[Any]:
    """(n, n_atoms) relative brightness of each atom in each image."""
    factors: NDArray[Any] = np.ones(posed_A.shape[:2])
    if lens_A2 > 0.0:
        for index, atoms_A in enumerate(posed_A):
            factors[index] = lens_factors(
                atoms_A,
                strength_A2=lens_A2,
                width_A=optics.linear.lens_width_A,
                wavelength_A=wavelength_A(optics.beam_energy_eV),
            )
    return factors


def peak_gaussians(
    symbol: str, beyond_A: NDArray[Any], *, optics: OpticsConfig, extra_variance_A2: float = 0.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Gaussians that make up the peaks of one element at any distances from the focal plane.

    The Fourier transform of the exact peak, which is linear in the weights, is fitted at a few distances and
    the weights are interpolated by a cubic spline.

    Parameters
    ----------
    beyond_A
        Any shape: how far beyond the atom, along the beam, the probe is focused, Å.
    extra_variance_A2
        Variance per axis of all blurs but the source's, Å²; at least a pixel's worth keeps the fit good.

    Returns
    -------
    weights
        (…, k) of either sign, of sum 1.
    sigmas_A
        (k,) widths in Å, narrowest first; each variance is twice the one before.
    """
    from scipy.interpolate import CubicSpline

    step_A = _depth_of_focus_A(optics) / _NODES_PER_DEPTH_OF_FOCUS
    first, last = math.floor(beyond_A.min() / step_A) - 1, math.ceil(beyond_A.max() / step_A) + 1
    nodes_A = step_A * np.arange(first, last + 1)
    variance_A2 = optics.source_size_A**2 + extra_variance_A2
    weights, variances_A2 = _fit_weights(
        *_peak_spectra(symbol, nodes_A, optics=optics, variance_A2=variance_A2),
        variance_A2=variance_A2,
        # A quarter of λ/α is about the sigma of the Airy disc.
        probe_A2=(0.25 * _depth_of_focus_A(optics) * optics.convergence_mrad * 1e-3) ** 2,
    )
    return CubicSpline(nodes_A, weights)(beyond_A), np.sqrt(variances_A2)


def _depth_of_focus_A(optics: OpticsConfig) -> float:
    return wavelength_A(optics.beam_energy_eV) / (optics.convergence_mrad * 1e-3) ** 2


def _peak_spectra(
    symbol: str, nodes_A: NDArray[Any], *, optics: OpticsConfig, variance_A2: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(m,) spatial frequencies and (m, n) Fourier transforms of the blurred peak at n distances.

    The distances are multiples of one step. The mean over the spread of the focus is taken over a cubic
    spline through more of them.
    """
    from scipy.interpolate import CubicSpline

    changes_A, shares = focal_nodes(optics)
    sharp_A = nodes_A
    if len(changes_A) > 1:
        step_A = nodes_A[1] - nodes_A[0]
        beyond = math.ceil(changes_A.max() / step_A) + 1
        first = round(nodes_A[0] / step_A) - beyond
        sharp_A = step_A * np.arange(first, first + len(nodes_A) + 2 * beyond)
    one_focus = optics.model_copy(update={"focal_spread_A": 0.0})
    fine = np.empty(0)
    spectra = []
    for node_A in sharp_A:
        _, frequency, transfer = atom_image(symbol, optics=one_focus, defocus_A=float(node_A))
        fine = np.linspace(0.0, frequency[-1], _N_FREQUENCIES)
        spectra.append(np.interp(fine, frequency, transfer))
    blurred = np.stack(spectra, axis=1) * _gaussian_spectra(fine, np.array([variance_A2]))
    if len(changes_A) > 1:
        of_focus = CubicSpline(sharp_A, blurred, axis=1)
        blurred = sum(
            share * of_focus(nodes_A + change_A) for change_A, share in zip(changes_A, shares, strict=True)
        )
    return fine, blurred


def _gaussian_spectra(frequency_per_A: NDArray[Any], variances_A2: NDArray[Any]) -> NDArray[Any]:
    """(m, k) Fourier transforms of normalised Gaussians."""
    spectra: NDArray[Any] = np.exp(-2.0 * np.pi**2 * variances_A2 * frequency_per_A[:, None] ** 2)
    return spectra


def _fit_weights(
    frequency_per_A: NDArray[Any], spectra: NDArray[Any], *, variance_A2: float, probe_A2: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(n, k) weights and (k,) variances of the Gaussians closest to n peaks.

    Closest in the mean square over the plane, which by Parseval's theorem is that over the plane of
    frequencies, whose rings of equal width hold area in proportion to their radius.
    """
    area = np.sqrt(frequency_per_A)[:, None]
    scale = 1.0 / np.linalg.norm(area * spectra, axis=0).max()
    target = np.vstack(
        [
            scale * area * spectra,
            np.full((1, spectra.shape[1]), _UNIT_INTEGRAL),
            np.zeros((_N_GAUSSIANS, spectra.shape[1])),
        ]
    )
    fits = []
    for narrowest in _NARROWEST:
        variances_A2 = (variance_A2 + narrowest * probe_A2) * 2.0 ** np.arange(_N_GAUSSIANS)
        design = np.vstack(
            [
                scale * area * _gaussian_spectra(frequency_per_A, variances_A2),
                np.full((1, _N_GAUSSIANS), _UNIT_INTEGRAL),
                _RIDGE * np.eye(_N_GAUSSIANS),
            ]
        )
        weights = np.linalg.lstsq(design, target, rcond=None)[0]
        worst = float(np.linalg.norm(design @ weights - target, axis=0).max())
        fits.append((worst, weights.T, variances_A2))
    _, weights, variances_A2 = min(fits, key=lambda fit: fit[0])
    return weights / weights.sum(axis=1, keepdims=True), variances_A2


def peak_profile(
    symbol: str,
    radius_A: NDArray[Any],
    *,
    optics: OpticsConfig,
    defocus_A: float = 0.0,
    extra_variance_A2: float = 0.0,
) -> NDArray[Any]:
    """Exact peak at each radius (integral 1), in 1/Å²: the Hankel transform of the transfer function."""
    from scipy.special import j0

    _, frequency, transfer = atom_image(symbol, optics=optics, defocus_A=defocus_A)
    fine = np.linspace(0.0, frequency[-1], 1200)
    variance = optics.source_size_A**2 + extra_variance_A2
    spectrum = np.interp(fine, frequency, transfer) * np.exp(-2.0 * np.pi**2 * variance * fine**2)
    kernel = 2.0 * np.pi * fine * j0(2.0 * np.pi * np.asarray(radius_A)[:, None] * fine)
    profile: NDArray[Any] = np.trapezoid(kernel * spectrum, fine, axis=1)
    return profile
