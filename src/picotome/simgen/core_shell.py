"""Particles with a core of one element and a shell of another."""

from __future__ import annotations

import numpy as np

from picotome.configs.specimens import CoreShellSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import (
    atomic_number,
    cut_crystal,
    facet_depth_A,
    facet_level,
    facets,
    fcc_lattice_A,
)
from picotome.simgen.relaxation import check_emt_elements, relax_with_emt


def build_core_shell(config: CoreShellSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut a particle from the mean lattice (Vegard's law), make its outside the shell, relax the misfit.

    An atom is shell where its perpendicular distance to the nearest facet of the particle is less than the
    drawn thickness; the deepest atom is always core. The facets enclose the volume of the atoms, so that
    one layer of {111} takes 0.58 lattice parameters. ``displacement_A`` includes the relaxation.

    Raises
    ------
    ValueError
        An element that is not f.c.c., or that EMT does not know; a shell as thick as the particle's radius.
    """
    if config.relax:
        check_emt_elements(core=config.core, shell=config.shell)
    core_A = fcc_lattice_A(config.core, lattice_A=None, key="core")
    shell_A = fcc_lattice_A(config.shell, lattice_A=None, key="shell")
    diameter_A = rng.uniform(*config.diameter_A)
    thickness_A = rng.uniform(*config.shell_thickness_A)
    core_share = _core_share(diameter_A, thickness_A)
    inverse_facets = facets(config.facet_jitter, rng=rng)
    level = facet_level(inverse_facets)
    guess_A = core_share * core_A + (1.0 - core_share) * shell_A
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=guess_A, rng=rng)

    depth_A = facet_depth_A(sites, inverse_facets=inverse_facets, scale_A=float(level(sites).max()))
    is_shell = (depth_A < thickness_A) & (depth_A < depth_A.max())
    lattice_A = float(np.where(is_shell, shell_A, core_A).mean())
    sites = sites * (lattice_A / guess_A)
    numbers = np.where(is_shell, atomic_number(config.shell), atomic_number(config.core))
    placed = sites
    if config.relax:
        placed = relax_with_emt(sites, atomic_numbers=numbers, lattice_A=lattice_A)
    crystal = Specimen(
        positions_A=placed,
        atomic_numbers=numbers,
        description=f"{config.core}@{config.shell} core-shell particle, {np.count_nonzero(~is_shell)} + "
        f"{np.count_nonzero(is_shell)} atoms, {diameter_A:.1f} Å, shell {thickness_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å{', EMT-relaxed' if config.relax else ''}",
        truth={"displacement_A": placed - sites, "is_shell": is_shell.astype(np.int64)},
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _core_share(diameter_A: float, thickness_A: float) -> float:
    """Volume of the core over that of the particle, for a sphere."""
    if 2.0 * thickness_A >= diameter_A:
        raise ValueError(
            f"shell_thickness_A is {thickness_A:.2f} in a particle whose diameter_A is {diameter_A:.2f}; "
            f"allowed is less than half the diameter: lower shell_thickness_A or raise diameter_A"
        )
    return (1.0 - 2.0 * thickness_A / diameter_A) ** 3
