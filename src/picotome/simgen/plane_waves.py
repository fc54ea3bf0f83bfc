"""PRISM's plane waves, propagated through the slices of a cell one after the other.

One wave stays in the processor's cache through all slices, and SciPy's transforms need no plan. abTEM's own
loop takes many waves through a slice together, with FFTW, whose plans must not be measured if the same input
is to give the same bits: that needs two to three times as long. A test holds the one against the other.

Import this module only where it is used: it imports abTEM.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from abtem.antialias import antialias_aperture
from numpy.typing import NDArray

from picotome.units import wavelength_A

Array = NDArray[Any]


def propagate_plane_waves(
    wave_vectors_per_A: Array,
    transmissions: Array,
    *,
    extent_A: tuple[float, float],
    slice_thickness_A: float,
    beam_energy_eV: float,
    gpts: tuple[int, int],
) -> Array:
    """Take plane waves of unit amplitude through the slices of a cell.

    In each slice ψ becomes F⁻¹ K F (t ψ), with t the transmission function and K = exp(−iπ λ Δz k²) the
    propagator within the anti-aliasing aperture (Kirkland, Advanced Computing in Electron Microscopy, 3rd ed.
    (2020), doi:10.1007/978-3-030-33260-0, ch. 6).

    Parameters
    ----------
    wave_vectors_per_A
        (n, 2) spatial frequencies, multiples of those of the cell.
    transmissions
        (n_slices, n_x, n_y) transmission functions.
    gpts
        Points of the waves that are returned: the lowest frequencies of theirs, in (x, y).

    Returns
    -------
    ndarray
        (n, *gpts) complex64. Fewer points than the cell's have larger amplitudes, so that sums of squares
        over frequencies are kept.
    """
    from scipy.fft import fft2, ifft2

    shape = transmissions.shape[1:]
    sampling_A = (extent_A[0] / shape[0], extent_A[1] / shape[1])
    kx, ky = (np.fft.fftfreq(n, d) for n, d in zip(shape, sampling_A, strict=True))
    phase = np.pi * wavelength_A(beam_energy_eV) * slice_thickness_A * (kx[:, None] ** 2 + ky**2)
    propagator = (np.exp(-1j * phase) * antialias_aperture(shape, sampling_A, np)).astype(np.complex64)
    x, y = (np.arange(n) * d for n, d in zip(shape, sampling_A, strict=True))
    rows, columns = (_lowest(n, kept) for n, kept in zip(shape, gpts, strict=True))
    waves = np.empty((len(wave_vectors_per_A), *gpts), dtype=np.complex64)
    for number, (wave_x, wave_y) in enumerate(np.asarray(wave_vectors_per_A, dtype=float)):
        along_x, along_y = np.exp(2j * np.pi * wave_x * x), np.exp(2j * np.pi * wave_y * y)
        wave = along_x.astype(np.complex64)[:, None] * along_y.astype(np.complex64)
        spectrum = wave
        for index, transmission in enumerate(transmissions):
            if index:
                wave = ifft2(spectrum, overwrite_x=True)
            wave *= transmission
            spectrum = fft2(wave, overwrite_x=True)
            spectrum *= propagator
        waves[number] = ifft2(spectrum[rows][:, columns])
    return waves


def _lowest(n: int, kept: int) -> NDArray[Any]:
    """Indices of the lowest of n frequencies, in FFT order."""
    return np.concatenate([np.arange((kept + 1) // 2), np.arange(n - kept // 2, n)])
