"""What the atoms do to the beam on its way: each is a weak lens for the atoms behind it.

An atom bends the electrons that pass it towards its axis. An atom straight behind it gets more of them and
looks brighter, one beside the axis gets fewer, and none are lost: over the plane the change adds up to zero.
With the distance the focus spreads, by diffraction and by the angles in the probe. So atom j changes the
brightness of atom i behind it by the fraction

    h = A / s² · (1 − ρ² / 2s²) · exp(−ρ² / 2s²),   s² = s0² + λ Δz / 2,

where ρ is their distance across the beam and Δz that along it. The wave behind one free Pt atom, averaged
over the directions in the probe, has this shape. The changes of all atoms before an atom add up to S, but a
beam that is focused already is not focused as much again: the brightness is 1 + S / (1 + S / g) where S > 0.

A and s0 are fitted to wave images (`picotome.simgen.calibration`). Fixed are what predicted orientations that
were not fitted at least as well as one more unknown: λ/2 (λ/2π is diffraction alone), g = 0.1, one A for all
elements (Ni, Pd and Pt came out alike). Along a zone axis the beam is drawn into the rows and oscillates
between them; that is more than this, and the linear engine stays 13 % away from the wave image there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Variance of the focus gained per Å along the beam, in wavelengths.
_SPREADING = 0.5
# Beyond this many widths the change is below 1 % of that on the axis.
_REACH = 3.5
# g: no atom gains more than this, however many stand before it.
_LARGEST_GAIN = 0.1
# A brightness is never negative.
_LEAST = 0.05


def lens_factors(
    atoms_A: NDArray[Any], *, strength_A2: float, width_A: float, wavelength_A: float
) -> NDArray[Any]:
    """Brightness of each atom, relative to that of a free one, behind all others.

    Parameters
    ----------
    atoms_A
        (n, 3) positions in one image; the beam runs towards larger z.
    strength_A2
        A, Å²: `optics.linear.lens_A2`.
    width_A
        s0, Å: `optics.linear.lens_width_A`.
    wavelength_A
        Of the electrons.

    Returns
    -------
    factors
        (n,) 1 where nothing stands before an atom.
    """
    from scipy.spatial import cKDTree

    spreading_A = _SPREADING * wavelength_A
    z = atoms_A[:, 2]
    widest_A2 = width_A**2 + spreading_A * float(np.ptp(z))
    pairs = cKDTree(atoms_A[:, :2]).query_pairs(_REACH * float(np.sqrt(widest_A2)), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    behind = np.where(z[first] > z[second], first, second)
    apart_A = atoms_A[first] - atoms_A[second]
    variance_A2 = width_A**2 + spreading_A * np.abs(apart_A[:, 2])
    u = 0.5 * np.square(apart_A[:, :2]).sum(axis=1) / variance_A2
    change = strength_A2 / variance_A2 * (1.0 - u) * np.exp(-u)
    total = np.bincount(behind, weights=change, minlength=len(atoms_A))
    factors: NDArray[Any] = 1.0 + total / (1.0 + np.maximum(total, 0.0) / _LARGEST_GAIN)
    np.maximum(factors, _LEAST, out=factors)
    return factors
