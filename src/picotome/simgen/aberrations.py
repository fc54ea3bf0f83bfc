"""The probe's lens: wave aberration, how far it throws rays, and the spread of its focus.

The aperture is multiplied by exp(−iχ) with χ = 2π/λ (−½ Δz α² + ¼ C30 α⁴ + ⅙ C50 α⁶) (Kirkland, Advanced
Computing in Electron Microscopy, 3rd ed. (2020), doi:10.1007/978-3-030-33260-0, eq. 2.10), where Δz is how
far beyond the atom, along the beam, the probe is focused: abTEM's signs. With C30 > 0 rays at a large angle
cross the axis too early, which a positive Δz balances: Scherzer's focus is positive.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import OpticsConfig
from picotome.units import wavelength_A

_A_PER_UM, _A_PER_MM = 1e4, 1e7
_N_ANGLES = 65
_LEAST_NODES = 5
# The image changes with the focus over λ/α²; so many nodes for each of those within one sigma keep the mean
# of a Gaussian spread to 1e-3.
_NODES_PER_DEPTH_OF_FOCUS = 4.0
# In standard deviations; beyond is 1e-5 of the probability.
_FARTHEST = 4.5


def has_aberrations(optics: OpticsConfig) -> bool:
    """Whether anything but defocus bends the wave."""
    return optics.c30_um != 0.0 or optics.c50_mm != 0.0


def abtem_aberrations(optics: OpticsConfig) -> dict[str, Any]:
    """Keyword arguments of `abtem.CTF` and `abtem.Probe`, Å."""
    return {"C30": optics.c30_um * _A_PER_UM, "C50": optics.c50_mm * _A_PER_MM}


def fixed_phase(optics: OpticsConfig, k2_per_A2: NDArray[Any]) -> NDArray[Any]:
    """Part of χ that no defocus changes, in radians, at squared spatial frequencies in 1/Å²."""
    wavelength = wavelength_A(optics.beam_energy_eV)
    c30_A, c50_A = optics.c30_um * _A_PER_UM, optics.c50_mm * _A_PER_MM
    alpha2 = wavelength**2 * k2_per_A2
    phase: NDArray[Any] = 2.0 * np.pi / wavelength * alpha2**2 * (c30_A / 4.0 + c50_A / 6.0 * alpha2)
    return phase


def probe_reach_A(optics: OpticsConfig, defocus_A: float) -> float:
    """Radius in Å of the disc that the rays of a probe fill at an atom: the largest |dχ/dα| λ/2π.

    Without aberrations that is α |Δz|.
    """
    alpha = 1e-3 * optics.convergence_mrad * np.linspace(0.0, 1.0, _N_ANGLES)
    c30_A, c50_A = optics.c30_um * _A_PER_UM, optics.c50_mm * _A_PER_MM
    throw_A = alpha * (-defocus_A + c30_A * alpha**2 + c50_A * alpha**4)
    return float(np.abs(throw_A).max())


def focal_nodes(optics: OpticsConfig) -> tuple[NDArray[Any], NDArray[Any]]:
    """Changes of the focus in Å and their weights (sum 1) that average over its spread.

    The spread of the energy and of the lens current makes images that add up incoherently; Gauss-Hermite
    quadrature of a normal law of standard deviation `optics.focal_spread_A`.
    """
    if optics.focal_spread_A == 0.0:
        return np.zeros(1), np.ones(1)
    depth_A = wavelength_A(optics.beam_energy_eV) / (optics.convergence_mrad * 1e-3) ** 2
    n_nodes = _LEAST_NODES + 2 * math.ceil(_NODES_PER_DEPTH_OF_FOCUS / 2 * optics.focal_spread_A / depth_A)
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    seen = np.abs(nodes) < _FARTHEST
    nodes, weights = nodes[seen], weights[seen]
    return nodes * optics.focal_spread_A, weights / weights.sum()
