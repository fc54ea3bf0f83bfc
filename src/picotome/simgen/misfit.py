"""Strain of atoms that do not fit: the elastic field of a core in a shell, and the strain that moves made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# Second neighbours too: at corners nearest ones alone may lie in one plane.
_NEIGHBOURHOOD = 1.5


def sphere_in_sphere(
    positions_A: NDArray[Any],
    *,
    core_radius_A: float,
    radius_A: float,
    core_misfit: float,
    shell_misfit: float,
    poisson_ratio: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Displacement and strain of a sphere with a concentric core that wants to be larger or smaller.

    Both have the same isotropic elasticity and the surface is free. With e = `core_misfit` − `shell_misfit`,
    α = (1 + ν) / (3 (1 − ν)), c and R the radii, and the image term i = 2 (1 − 2ν) / (3 (1 − ν)) e c³ / R³,
    which frees the surface, u_r = (shell_misfit + i + α e) r in the core and (shell_misfit + i) r +
    α e c³ / r² in the shell. Eshelby, Solid State Phys. 3, 79 (1956), doi:10.1016/S0081-1947(08)60132-0.

    Parameters
    ----------
    positions_A
        (n, 3) relative to the core's centre, on the common lattice.
    core_misfit, shell_misfit
        Free length over that of the common lattice, minus 1.

    Returns
    -------
    (n, 3) displacements in Å and (n, 3, 3) strains, from the common lattice.
    """
    nu = poisson_ratio
    e = core_misfit - shell_misfit
    alpha_e = (1.0 + nu) / (3.0 * (1.0 - nu)) * e
    image = 2.0 * (1.0 - 2.0 * nu) / (3.0 * (1.0 - nu)) * e * (core_radius_A / radius_A) ** 3
    distance_A = np.linalg.norm(positions_A, axis=1)
    # Inside the core (c / r)³ stays at 1 and there is no shear.
    is_core = distance_A <= core_radius_A
    outward = positions_A / np.maximum(distance_A, 1e-12)[:, None]
    decay = alpha_e * (core_radius_A / np.maximum(distance_A, core_radius_A)) ** 3
    displacement_A = (shell_misfit + image + decay)[:, None] * positions_A
    shear = np.where(is_core, 0.0, decay)[:, None, None] * (-3.0 * outward[:, :, None] * outward[:, None, :])
    strain = (shell_misfit + image + decay)[:, None, None] * np.eye(3) + shear
    return displacement_A, strain


def size_displacement(
    sites_A: NDArray[Any], *, misfit: NDArray[Any], atom_radius_A: float, poisson_ratio: float
) -> NDArray[Any]:
    """(n, 3) displacement of every atom by the sizes of all others, Å.

    Atom j is a sphere of the lattice's volume per atom that wants to be larger by ε_j, its `misfit`; outside
    of it the field of `sphere_in_sphere` without a surface is α ε r_a³ / r² away from it, with
    α = (1 + ν) / (3 (1 − ν)). The mean misfit belongs to the lattice parameter and is taken out, as is the
    motion of the whole.

    Parameters
    ----------
    misfit
        (n,) length of the atom over that of the lattice, minus 1.
    atom_radius_A
        Radius of a sphere with the lattice's volume per atom.
    """
    strength = (1.0 + poisson_ratio) / (3.0 * (1.0 - poisson_ratio)) * atom_radius_A**3
    source = strength * (misfit - misfit.mean())
    moved = np.empty_like(sites_A)
    for number, site in enumerate(sites_A):
        apart = site - sites_A
        distance_A = np.linalg.norm(apart, axis=1)
        # The atom itself is at distance 0 and pulls nowhere.
        distance_A[number] = np.inf
        moved[number] = (source / distance_A**3) @ apart
    moved -= moved.mean(axis=0)
    return moved


def local_strain(sites_A: NDArray[Any], displacement_A: NDArray[Any], *, nearest_A: float) -> NDArray[Any]:
    """(n, 3, 3) symmetric strain at each site: the gradient that best explains how its neighbours moved.

    Least squares over first and second neighbours of the lattice; where these span less than space, the
    smallest such gradient. Falk & Langer, Phys. Rev. E 57, 7192 (1998), doi:10.1103/PhysRevE.57.7192.
    """
    pairs = cKDTree(sites_A).query_pairs(_NEIGHBOURHOOD * nearest_A, output_type="ndarray")
    first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
    apart = sites_A[second] - sites_A[first]
    moved = displacement_A[second] - displacement_A[first]
    spread, coupled = np.zeros((2, len(sites_A), 3, 3))
    np.add.at(spread, first, apart[:, :, None] * apart[:, None, :])
    np.add.at(coupled, first, moved[:, :, None] * apart[:, None, :])
    gradient = coupled @ np.linalg.pinv(spread, rcond=1e-6, hermitian=True)
    strain: NDArray[Any] = (gradient + gradient.transpose(0, 2, 1)) / 2.0
    return strain
