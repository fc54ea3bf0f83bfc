"""What moves atoms off their sites: a smooth strain field and static displacements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.specimens import DisorderConfig
from picotome.records import Specimen

_N_WAVES = 128


@dataclass(frozen=True, eq=False)
class StrainField:
    """A random smooth displacement u(r) = Σ a_m cos(k_m · r + φ_m), known with its derivatives.

    Attributes
    ----------
    wave_vectors_per_A
        (m, 3) k in 1/Å (radians).
    amplitudes_A
        (m, 3) a in Å.
    phases
        (m,) φ in radians.
    """

    wave_vectors_per_A: NDArray[Any]
    amplitudes_A: NDArray[Any]
    phases: NDArray[Any]


def draw_strain_field(*, strain_rms: float, strain_length_A: float, rng: np.random.Generator) -> StrainField:
    """Draw a field whose three components are independent and Gaussian with a Gaussian correlation.

    The correlation of each component is σ² exp(−r² / 2L²) with L = `strain_length_A`; its spectral density
    is sampled by random Fourier features (Rahimi & Recht, NIPS 2007). A derivative then has the variance
    (σ/L)², a normal strain the same, a shear strain half of it; σ makes the rms over the nine components of
    the strain tensor, which does not depend on the frame, equal `strain_rms`, over many particles: one small
    particle holds few correlation lengths and may be strained more or less.
    """
    rms_A = strain_rms * strain_length_A * np.sqrt(1.5)
    return StrainField(
        wave_vectors_per_A=rng.normal(0.0, 1.0 / strain_length_A, (_N_WAVES, 3)),
        amplitudes_A=rng.normal(0.0, rms_A * np.sqrt(2.0 / _N_WAVES), (_N_WAVES, 3)),
        phases=rng.uniform(0.0, 2.0 * np.pi, _N_WAVES),
    )


def displacement_A(field: StrainField, positions_A: NDArray[Any]) -> NDArray[Any]:
    """(n, 3) displacement u at (n, 3) positions, Å."""
    phase = positions_A @ field.wave_vectors_per_A.T + field.phases
    moved: NDArray[Any] = np.cos(phase) @ field.amplitudes_A
    return moved


def displacement_gradient(field: StrainField, positions_A: NDArray[Any]) -> NDArray[Any]:
    """(n, 3, 3) derivatives ∂u_i / ∂x_j at (n, 3) positions, exact."""
    phase = positions_A @ field.wave_vectors_per_A.T + field.phases
    products = field.amplitudes_A[:, :, None] * field.wave_vectors_per_A[:, None, :]
    gradient: NDArray[Any] = (-np.sin(phase) @ products.reshape(-1, 9)).reshape(-1, 3, 3)
    return gradient


def apply_disorder(specimen: Specimen, *, config: DisorderConfig, rng: np.random.Generator) -> Specimen:
    """Strain a specimen smoothly, then displace every atom at random.

    The part of the smooth field that moves or turns the particle as a whole is taken out, so that
    displacements are relative to the lattice and not to where the field happened to put it.

    Returns
    -------
    The specimen with ``displacement_A`` (n, 3), raised by what was added here, and ``strain`` (n, 3, 3), the
    symmetric small-strain tensor of the smooth field alone: neither the static displacement nor an earlier
    relaxation is in it.
    """
    positions = specimen.positions_A
    field = draw_strain_field(strain_rms=config.strain_rms, strain_length_A=config.strain_length_A, rng=rng)
    gradient = displacement_gradient(field, positions)
    turn = (gradient - gradient.transpose(0, 2, 1)).mean(axis=0) / 2.0
    smooth = displacement_A(field, positions) - (positions - positions.mean(axis=0)) @ turn.T
    added = smooth - smooth.mean(axis=0) + _static(len(positions), config=config, rng=rng)
    truth = {
        **specimen.truth,
        "displacement_A": specimen.truth.get("displacement_A", 0.0) + added,
        "strain": (gradient + gradient.transpose(0, 2, 1)) / 2.0,
    }
    return replace(specimen, positions_A=positions + added, truth=truth)


def _static(n_atoms: int, *, config: DisorderConfig, rng: np.random.Generator) -> NDArray[Any]:
    """(n, 3) independent displacements, normal plus uniform, in Å."""
    half_width = config.displacement_half_width_A
    normal = rng.normal(0.0, config.displacement_rms_A, (n_atoms, 3))
    total: NDArray[Any] = normal + rng.uniform(-half_width, half_width, (n_atoms, 3))
    return total
