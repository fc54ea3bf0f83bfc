"""Physical constants and conversions in house units (Å, eV, mrad, pm)."""

from __future__ import annotations

import math

PM_PER_A = 100.0
# e/Å² -> C/m²: the elementary charge in 1e-20 C.
C_PER_M2_PER_E_PER_A2 = 16.02176634
# g/cm³ -> atomic mass units per Å³: Avogadro's number times 1e-24 (CODATA 2018).
AMU_PER_A3_PER_G_PER_CM3 = 0.602214076

# CODATA 2018
_PLANCK_EV_S = 4.135667696e-15
_LIGHT_A_PER_S = 2.99792458e18
_ELECTRON_REST_EV = 510998.95


def wavelength_A(beam_energy_eV: float) -> float:
    """Relativistic electron wavelength in Å (0.0197 Å at 300 keV).

    λ = hc / sqrt(E (E + 2 m c²)); Reimer & Kohl, Transmission Electron Microscopy, eq. 2.5.
    """
    hc = _PLANCK_EV_S * _LIGHT_A_PER_S
    return hc / math.sqrt(beam_energy_eV * (beam_energy_eV + 2.0 * _ELECTRON_REST_EV))


def lorentz_factor(beam_energy_eV: float) -> float:
    """Relativistic mass ratio γ = 1 + E / m c²."""
    return 1.0 + beam_energy_eV / _ELECTRON_REST_EV
