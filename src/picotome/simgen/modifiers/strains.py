"""Modifiers that move atoms smoothly, with the strain known exactly, and at random by element.

A field u(r) is taken at the lattice sites, relative to their mean; the truth's ``strain`` grows by the
symmetric part of its gradient there. Several fields add up: small strains do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.modifiers import (
    GradientModifier,
    RadialModifier,
    StaticDisorderModifier,
    StrainModifier,
    SupportModifier,
)
from picotome.records import Specimen
from picotome.simgen.modifiers.truth import displaced, lattice_sites_A

_AXES = ("x", "y", "z")


def strain_uniformly(specimen: Specimen, *, config: StrainModifier, rng: np.random.Generator) -> Specimen:
    """Displace every atom by the strain tensor times its place relative to the middle."""
    tensor = np.zeros((3, 3))
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        tensor[i, j] = tensor[j, i] = rng.uniform(*getattr(config, _AXES[i] + _AXES[j]))
    r = _from_middle_A(specimen)
    return displaced(specimen, r @ tensor, strain=np.tile(tensor, (len(r), 1, 1)))


def strain_with_gradient(
    specimen: Specimen, *, config: GradientModifier, rng: np.random.Generator
) -> Specimen:
    """Stretch along a by g x_b, b being the direction across.

    Where a is b, u_a = g x_a² / 2. Else the particle bends, without shear: u_a = g x_a x_b and
    u_b = −g x_a² / 2.
    """
    a, b = _AXES.index(config.along), _AXES.index(config.across)
    gradient_per_A = rng.uniform(*config.gradient_per_A)
    r = _from_middle_A(specimen)
    u, strain = np.zeros_like(r), np.zeros((len(r), 3, 3))
    if a == b:
        u[:, a] = 0.5 * gradient_per_A * r[:, a] ** 2
    else:
        u[:, a] = gradient_per_A * r[:, a] * r[:, b]
        u[:, b] = -0.5 * gradient_per_A * r[:, a] ** 2
    strain[:, a, a] = gradient_per_A * r[:, b]
    return displaced(specimen, u, strain=strain)


def strain_radially(specimen: Specimen, *, config: RadialModifier, rng: np.random.Generator) -> Specimen:
    """Displace by u = r (c + (s − c) r² / R²), with R the distance of the outermost atom.

    The strain is c at the centre, and across the radius s at R; along the radius it is 3 s − 2 c there.
    """
    centre, surface = rng.uniform(*config.centre), rng.uniform(*config.surface)
    r = _from_middle_A(specimen)
    square = np.einsum("ni,ni->n", r, r)
    largest = max(float(square.max()), 1e-12)
    across = centre + (surface - centre) * square / largest
    strain = across[:, None, None] * np.eye(3)
    strain += 2.0 * (surface - centre) / largest * r[:, :, None] * r[:, None, :]
    return displaced(specimen, across[:, None] * r, strain=strain)


def strain_towards_support(
    specimen: Specimen, *, config: SupportModifier, rng: np.random.Generator
) -> Specimen:
    """Strain x and y by e exp(−h / λ), h being the height over the side that faces the support (largest z).

    Atoms keep their height, so that there is a shear e x exp(−h / λ) / 2λ between x and z, and likewise for
    y.
    """
    at_contact, decay_A = rng.uniform(*config.at_contact), rng.uniform(*config.decay_length_A)
    r = _from_middle_A(specimen)
    local = at_contact * np.exp(-(r[:, 2].max() - r[:, 2]) / decay_A)
    u, strain = np.zeros_like(r), np.zeros((len(r), 3, 3))
    for i in (0, 1):
        u[:, i] = local * r[:, i]
        strain[:, i, i] = local
        strain[:, i, 2] = strain[:, 2, i] = 0.5 * local * r[:, i] / decay_A
    return displaced(specimen, u, strain=strain)


def disorder_by_element(
    specimen: Specimen, *, config: StaticDisorderModifier, rng: np.random.Generator
) -> Specimen:
    """Displace every atom at random, by a normal law whose width is that of its element.

    Raises
    ------
    ValueError
        An element that the specimen does not have.
    """
    from ase.data import atomic_numbers, chemical_symbols

    default_A = rng.uniform(*config.default_rms_A)
    present = {chemical_symbols[z] for z in np.unique(specimen.atomic_numbers)}
    for symbol in config.rms_A:
        if symbol not in present:
            raise ValueError(
                f"rms_A names {symbol}, which the specimen does not have; allowed are "
                f"{', '.join(sorted(present))}"
            )
    rms_A = np.full(len(specimen.positions_A), default_A)
    for symbol, value_A in config.rms_A.items():
        rms_A[specimen.atomic_numbers == atomic_numbers[symbol]] = value_A
    return displaced(specimen, rms_A[:, None] * rng.normal(size=specimen.positions_A.shape))


def _from_middle_A(specimen: Specimen) -> NDArray[Any]:
    sites = lattice_sites_A(specimen)
    relative: NDArray[Any] = sites - sites.mean(axis=0)
    return relative
