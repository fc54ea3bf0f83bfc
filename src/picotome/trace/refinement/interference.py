"""Interference of atoms that nearly share a column, which a sum of spots leaves out.

Two atoms that the probe covers at once scatter waves that add up on the detector, not intensities. An annulus
averages much of that away, but not all: for atoms i and j, ρ apart in projection and ζ along the beam, the
image gains

    2 √(a_i a_j) Re[ψ_i ψ_j* K(ρ, ζ)],   K = ∫ f² J₀(2πkρ) e^{iπλk²ζ} k dk / ∫ f² k dk   (over the annulus),

with ψ_i the wave of the probe at the depth of atom i about its place, ∫ |ψ|² = 1, and f ∝ 1 / (k² + k₀²) the
amplitude of a screened nucleus. Waves are those of single scattering in a perfect lens (Kirkland, Advanced
Computing in Electron Microscopy, 2010, chapters 3 and 5, doi:10.1007/978-1-4419-6533-2); thermal motion makes
them less coherent, which one common factor, fitted, takes up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from picotome.configs.imaging import OpticsConfig
from picotome.threads import map_in_threads
from picotome.trace.refinement.kernels import add_pairs
from picotome.trace.refinement.model import Frame, ImageModel, pose
from picotome.units import wavelength_A

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Products of waves are drawn on pixels so fine; a wave is followed so far from its atom.
_FINE_A, _REACH_A = 0.11, 1.6
# Steps of the tables: radius, distance from focus or along the beam.
_RADIUS_STEP_A, _BEAM_STEP_A = 0.01, 0.2
# Pairs that share less than this are left out; atoms further apart in projection share nothing.
_LEAST, _FURTHEST_A = 0.02, 1.2
# Standard deviation of a Gaussian as wide as the Airy disc, in λ / α.
_AIRY = 0.21
# Thomas-Fermi radius of an atom: so many Å over the cube root of its number.
_THOMAS_FERMI_A = 0.4685
_N_RING = 400


@dataclass(frozen=True)
class Lens:
    """What the waves depend on.

    Attributes
    ----------
    wavelength_A
        Of the electrons.
    aperture_per_A, inner_per_A, outer_per_A
        Radii of the aperture and of the annulus in reciprocal space, 1/Å.
    screening_per_A
        k₀, 1/Å.
    """

    wavelength_A: float
    aperture_per_A: float
    inner_per_A: float
    outer_per_A: float
    screening_per_A: float

    @property
    def airy_A2(self) -> float:
        """Variance of the probe in focus, without the source, Å²."""
        return (_AIRY / self.aperture_per_A) ** 2


def lens_of(optics: OpticsConfig, numbers: Array) -> Lens:
    """Return the lens of an optics section, for atoms of some atomic numbers."""
    wave_A = wavelength_A(optics.beam_energy_eV)
    return Lens(
        wavelength_A=wave_A,
        aperture_per_A=optics.convergence_mrad * 1e-3 / wave_A,
        inner_per_A=optics.detector_inner_mrad * 1e-3 / wave_A,
        outer_per_A=optics.detector_outer_mrad * 1e-3 / wave_A,
        screening_per_A=float(np.mean(numbers)) ** (1.0 / 3.0) / (2.0 * math.pi * _THOMAS_FERMI_A),
    )


def with_interference(model: ImageModel, frame: Frame, lens: Lens) -> ImageModel:
    """Draw the interference of a model's atoms where they stand now.

    The pattern follows the atoms only when it is drawn again: it changes slowly beside what a settled fit
    still moves.
    """
    posed_A, focus_A = pose(model).cpu().numpy(), model.defocus_A.cpu().numpy()
    amplitude = np.sqrt(np.maximum(model.brightness_A2.cpu().numpy(), 0.0))
    # The pixel is in the variance of the core; it is added by the mean over fine pixels instead.
    blur_A2 = float(model.core_A2) - lens.airy_A2 - frame.pixel_size_A**2 / 12.0
    thickness_A = float(np.ptp(posed_A[..., 2], axis=1).max())
    furthest_A = float(np.abs(posed_A[..., 2] - focus_A[:, None]).max())
    waves, kernel = probe_wave(lens, furthest_A), pair_kernel(lens, thickness_A)
    patterns = np.zeros((len(posed_A), frame.padded[0] * frame.padded[1]), np.float32)

    def draw(t: int) -> None:
        depth_A = posed_A[t, :, 2] - focus_A[t]
        patterns[t] = _image(posed_A[t], _at(waves, depth_A), amplitude, kernel, frame, blur_A2).ravel()

    map_in_threads(draw, range(len(posed_A)))
    return replace(model, interference=torch.as_tensor(patterns, device=model.gain.device))


def probe_wave(lens: Lens, furthest_A: float) -> Array:
    """(n_depths, n_radii) complex wave of the probe, 1/Å, from ``-furthest_A`` to ``furthest_A`` of focus.

    Steps of 0.2 Å in depth, starting at a whole multiple, and of 0.01 Å in radius.
    """
    n = math.ceil(furthest_A / _BEAM_STEP_A) + 1
    depth_A = np.arange(-n, n + 1) * _BEAM_STEP_A
    k, step = _ring(0.0, lens.aperture_per_A)
    spread = _bessel(k) * (2.0 * math.pi * k * step)
    phase = np.exp(-1j * math.pi * lens.wavelength_A * depth_A[:, None] * k**2)
    wave: Array = (phase @ spread.T) / (math.sqrt(math.pi) * lens.aperture_per_A)
    return wave


def pair_kernel(lens: Lens, thickness_A: float) -> Array:
    """(n_depths, n_radii) complex K, for atoms up to ``thickness_A`` apart along the beam, either way.

    Steps as in `probe_wave`.
    """
    n = math.ceil(thickness_A / _BEAM_STEP_A) + 1
    along_A = np.arange(-n, n + 1) * _BEAM_STEP_A
    k, _ = _ring(lens.inner_per_A, lens.outer_per_A)
    weight = k / (k**2 + lens.screening_per_A**2) ** 2
    phase = np.exp(1j * math.pi * lens.wavelength_A * along_A[:, None] * k**2)
    kernel: Array = (phase * (weight / weight.sum())) @ _bessel(k).T
    return kernel


def _ring(inner: float, outer: float) -> tuple[Array, float]:
    step = (outer - inner) / _N_RING
    return inner + (np.arange(_N_RING) + 0.5) * step, step


def _bessel(k: Array) -> Array:
    """(n_radii, n_k) J₀(2πkr) on the table's radii."""
    from scipy.special import j0

    radius_A = np.arange(round(_REACH_A / _RADIUS_STEP_A) + 2) * _RADIUS_STEP_A
    values: Array = j0(2.0 * math.pi * radius_A[:, None] * k)
    return values


def _at(table: Array, along_A: Array) -> Array:
    """(n, n_radii) rows of a table between those that it has."""
    place = along_A / _BEAM_STEP_A + len(table) // 2
    below = np.floor(place).astype(int).clip(0, len(table) - 2)
    part = (place - below)[:, None]
    rows: Array = (1.0 - part) * table[below] + part * table[below + 1]
    return rows


def _image(
    posed_A: Array, waves: Array, amplitude: Array, kernel: Array, frame: Frame, blur_A2: float
) -> Array:
    """(nx, ny) float32 padded pattern of (n, 3) posed atoms with (n, n_radii) waves."""
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import cKDTree

    first, second = cKDTree(posed_A[:, :2]).query_pairs(_FURTHEST_A, output_type="ndarray").T
    apart_A = posed_A[first] - posed_A[second]
    radius = np.hypot(apart_A[:, 0], apart_A[:, 1]) / _RADIUS_STEP_A
    rows = _at(kernel, apart_A[:, 2])
    inside = np.floor(radius).astype(int)
    pairs = np.arange(len(radius))
    part = radius - inside
    shared = (1.0 - part) * rows[pairs, inside] + part * rows[pairs, inside + 1]
    kept = np.abs(shared) > _LEAST
    first, second, shared = first[kept], second[kept], shared[kept]
    n_fine = max(1, math.ceil(frame.pixel_size_A / _FINE_A))
    fine_A = frame.pixel_size_A / n_fine
    fine = np.zeros((frame.padded[0] * n_fine, frame.padded[1] * n_fine), np.float32)
    # Index of each atom among the fine pixels.
    origin = np.array([(n // 2 + frame.reach + 0.5) * n_fine - 0.5 for n in frame.shape])
    strength = (2.0 * amplitude[first] * amplitude[second] * shared).astype(np.complex64)
    add_pairs(
        first,
        second,
        strength,
        posed_A[:, :2] / fine_A + origin,
        waves.astype(np.complex64),
        fine_A / _RADIUS_STEP_A,
        fine,
    )
    blurred = gaussian_filter(fine, math.sqrt(max(blur_A2, 0.0)) / fine_A, mode="constant", truncate=3.5)
    pattern: Array = blurred.reshape(frame.padded[0], n_fine, frame.padded[1], n_fine).mean(axis=(1, 3))
    return pattern
