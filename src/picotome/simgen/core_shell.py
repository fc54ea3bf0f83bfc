"""Particles with a core of one element and a shell of another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from picotome.configs.specimens import CoreShellSpecimen
from picotome.records import Specimen
from picotome.simgen.crystals import all_facets, facet_of_atoms, fcc, usual_energies
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import atomic_number, cut_crystal, facet_depth_A, facet_level, fcc_lattice_A
from picotome.simgen.misfit import local_strain, sphere_in_sphere
from picotome.simgen.relaxation import check_emt_elements, relax_with_emt

# 10 to 90 % of a normal distribution, in standard deviations.
_WIDTH_SIGMAS = 2.5631031310892007
# Layers are counted from a facet on which sites lie, to rounding.
_SAME_PLANE_A = 1e-6


def build_core_shell(config: CoreShellSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut a particle from the mean lattice (Vegard's law), make its outside the shell, let the misfit act.

    An atom is shell where its perpendicular distance to the nearest facet of the particle is less than the
    thickness; the deepest atom is always core. The facets enclose the volume of the atoms, so that one layer
    of {111} takes 0.58 lattice parameters; `shell_monolayers` counts these, and a thickness of n of them is
    exactly n layers on {111} and 1.15 n, rounded one way or the other, on {100}. With `off_centre_A` the core
    as a whole is moved in a random direction. With `interface_width_A` the share of core atoms follows the
    integral of a Gaussian that is half at the interface, and each atom is drawn.

    The misfit is relaxed with EMT, or imposed as the elastic field of a sphere in a sphere
    (`sphere_in_sphere`, around the core's centre), or left.

    Returns
    -------
    The specimen; `truth` also holds ``is_shell`` (n,), ``facet`` (n, 3) as in `build_wulff`, and, where the
    misfit acts, ``misfit_strain`` (n, 3, 3): what was imposed, or the least-squares fit to the displacements
    that EMT made. ``displacement_A`` includes the misfit.

    Raises
    ------
    ValueError
        An element that is not f.c.c., or that EMT does not know; a shell as thick as the particle's radius; a
        core that would break through the shell.
    """
    if config.relax:
        check_emt_elements(core=config.core, shell=config.shell)
    core_A = fcc_lattice_A(config.core, lattice_A=config.core_lattice_A, key="core")
    shell_A = fcc_lattice_A(config.shell, lattice_A=config.shell_lattice_A, key="shell")
    diameter_A = rng.uniform(*config.diameter_A)
    if config.shell_monolayers is None:
        n_layers = None
        thickness_A = float(rng.uniform(*config.shell_thickness_A))
    else:
        n_layers = round(rng.uniform(*config.shell_monolayers))
        thickness_A = n_layers * shell_A / math.sqrt(3.0)
    core_share = _core_share(diameter_A, thickness_A)
    guess_A = core_share * core_A + (1.0 - core_share) * shell_A
    lattice = fcc(guess_A)
    millers, inverse_facets = all_facets(
        lattice, usual_energies(lattice), jitter=config.facet_jitter, rng=rng
    )
    level = facet_level(inverse_facets)
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=guess_A, rng=rng)

    moved_A = _core_move_A(config, thickness_A=thickness_A, rng=rng)
    scale_A = float(level(sites).max())
    depth_A = facet_depth_A(sites - moved_A, inverse_facets=inverse_facets, scale_A=scale_A)
    until_A = thickness_A if n_layers is None else n_layers * guess_A / math.sqrt(3.0) - _SAME_PLANE_A
    is_shell = depth_A < until_A
    width_A = float(rng.uniform(*config.interface_width_A)) if config.interface_width_A[1] > 0.0 else 0.0
    if width_A > 0.0:
        is_shell = rng.uniform(size=len(sites)) >= ndtr((depth_A - until_A) * _WIDTH_SIGMAS / width_A)
    is_shell &= depth_A < depth_A.max()
    facet = facet_of_atoms(
        sites, lattice=lattice, millers=millers, inverse_facets=inverse_facets, scale_A=scale_A
    )
    lattice_A = float(np.where(is_shell, shell_A, core_A).mean())
    sites = sites * (lattice_A / guess_A)
    numbers = np.where(is_shell, atomic_number(config.shell), atomic_number(config.core))
    placed, truth = sites, {}
    if config.relax:
        placed = relax_with_emt(sites, atomic_numbers=numbers, lattice_A=lattice_A)
        truth["misfit_strain"] = local_strain(sites, placed - sites, nearest_A=lattice_A / math.sqrt(2.0))
    elif config.imposed == "radial":
        added_A, truth["misfit_strain"] = sphere_in_sphere(
            sites - moved_A,
            core_radius_A=diameter_A / 2.0 * math.cbrt(float(np.mean(~is_shell))),
            radius_A=diameter_A / 2.0,
            core_misfit=core_A / lattice_A - 1.0,
            shell_misfit=shell_A / lattice_A - 1.0,
            poisson_ratio=config.poisson_ratio,
        )
        placed = sites + added_A
    made = {"EMT-relaxed": config.relax, "misfit imposed": config.imposed == "radial" and not config.relax}
    remarks = "".join(f", {words}" for words, holds in made.items() if holds)
    if moved_A.any():
        remarks = f", core off centre by {np.linalg.norm(moved_A):.1f} Å{remarks}"
    crystal = Specimen(
        positions_A=placed,
        atomic_numbers=numbers,
        description=f"{config.core}@{config.shell} core-shell particle, {np.count_nonzero(~is_shell)} + "
        f"{np.count_nonzero(is_shell)} atoms, {diameter_A:.1f} Å, shell {thickness_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å{remarks}",
        truth={
            "displacement_A": placed - sites,
            "is_shell": is_shell.astype(np.int64),
            "facet": facet,
            **truth,
        },
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _core_share(diameter_A: float, thickness_A: float) -> float:
    """Volume of the core over that of the particle, for a sphere."""
    if 2.0 * thickness_A >= diameter_A:
        raise ValueError(
            f"shell_thickness_A is {thickness_A:.2f} in a particle whose diameter_A is {diameter_A:.2f}; "
            f"allowed is less than half the diameter: lower shell_thickness_A (or shell_monolayers) or raise "
            f"diameter_A"
        )
    return (1.0 - 2.0 * thickness_A / diameter_A) ** 3


def _core_move_A(config: CoreShellSpecimen, *, thickness_A: float, rng: np.random.Generator) -> NDArray[Any]:
    """(3,) from the particle's centre to the core's, Å."""
    if config.off_centre_A[1] == 0.0:
        return np.zeros(3)
    distance_A = float(rng.uniform(*config.off_centre_A))
    if distance_A >= thickness_A:
        raise ValueError(
            f"off_centre_A is {distance_A:.2f} and the shell {thickness_A:.2f} Å thick, which lays the core "
            f"bare; allowed is less than the shell's thickness"
        )
    direction = rng.normal(size=3)
    moved: NDArray[Any] = direction * (distance_A / np.linalg.norm(direction))
    return moved
