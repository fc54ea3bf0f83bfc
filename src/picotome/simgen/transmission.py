"""The transmission functions of a specimen's slices, for abTEM's multislice.

abTEM spreads each atom over the four nearest points of the grid and takes the exponential on the same grid:
at 0.066 Å an atom's HAADF brightness then varies by 9 % with its place within a grid point. Here atoms are
placed exactly, by their phase in Fourier space, and the exponential is taken on a grid twice as fine and
band-limited to abTEM's anti-aliasing aperture: 2 %, at no cost in the propagation.

Import this module only where it is used: it imports abTEM.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from abtem.antialias import antialias_aperture
from abtem.potentials.iam import TransmissionFunction
from numpy.typing import NDArray

from picotome.simgen.brightness import phase_spectrum_A2

_OVERSAMPLING = 2


class SliceTransmission(TransmissionFunction):
    """abTEM's transmission functions, able to pass through `abtem.SMatrix`, which copies its potential."""

    def __init__(
        self,
        array: NDArray[Any],
        slice_thickness: float,
        extent: tuple[float, float] | None = None,
        sampling: tuple[float, float] | None = None,
        energy: float | None = None,
        ensemble_axes_metadata: list[Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        super().__init__(array, slice_thickness, extent, sampling, energy)


def build_transmission(
    positions_A: NDArray[Any],
    *,
    symbols: NDArray[Any],
    size_A: NDArray[Any],
    gpts: tuple[int, int],
    n_slices: int,
    beam_energy_eV: float,
) -> SliceTransmission:
    """Cut the atoms into slices and compute what each does to the wave.

    Parameters
    ----------
    positions_A
        (n, 3) positions inside the cell, from its corner; the beam enters at z = 0.
    symbols
        (n,) chemical symbols.
    size_A
        (3,) edges of the cell.
    gpts
        Grid points of the wave along x and y, even.
    """
    from scipy.fft import fft2, ifft2, irfft2

    fine = (gpts[0] * _OVERSAMPLING, gpts[1] * _OVERSAMPLING)
    area_A2 = float(size_A[0] * size_A[1])
    kx = np.fft.fftfreq(fine[0], size_A[0] / fine[0])
    ky = np.fft.rfftfreq(fine[1], size_A[1] / fine[1])
    spectra = {
        symbol: phase_spectrum_A2(symbol, kx[:, None] ** 2 + ky**2, beam_energy_eV=beam_energy_eV)
        for symbol in np.unique(symbols)
    }
    aperture = antialias_aperture(gpts, (size_A[0] / gpts[0], size_A[1] / gpts[1]), np)
    slice_index = np.clip((positions_A[:, 2] / size_A[2] * n_slices).astype(int), 0, n_slices - 1)
    array = np.ones((n_slices, *gpts), dtype=np.complex64)
    for index in np.unique(slice_index):
        spectrum = np.zeros((len(kx), len(ky)), dtype=np.complex64)
        for symbol, of_one_atom in spectra.items():
            here = positions_A[(slice_index == index) & (symbols == symbol)]
            waves_x = np.exp(-2j * np.pi * kx[:, None] * here[:, 0]).astype(np.complex64)
            waves_y = np.exp(-2j * np.pi * here[:, 1, None] * ky).astype(np.complex64)
            spectrum += of_one_atom * (waves_x @ waves_y)
        phase = irfft2(spectrum, s=fine) * np.float32(fine[0] * fine[1] / area_A2)
        transmitted = fft2(np.exp(1j * phase))[_kept(gpts[0])][:, _kept(gpts[1])]
        array[index] = ifft2(transmitted * aperture) / _OVERSAMPLING**2
    return SliceTransmission(
        array,
        slice_thickness=float(size_A[2]) / n_slices,
        extent=(float(size_A[0]), float(size_A[1])),
        energy=beam_energy_eV,
    )


@lru_cache(maxsize=32)
def _kept(n: int) -> NDArray[Any]:
    """Indices of the n lowest frequencies in the FFT order of the finer grid."""
    fine = n * _OVERSAMPLING
    return np.concatenate([np.arange(n // 2), np.arange(fine - n // 2, fine)])
