"""The f.c.c. lattice and how a particle is cut from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Level = Callable[[NDArray[Any]], NDArray[Any]]
SitesWithin = Callable[[float], NDArray[Any]]

# Energy per area of a flat f.c.c. surface relative to {111} when every broken nearest-neighbour bond costs
# the same; Mackenzie, Moore & Nicholas, J. Phys. Chem. Solids 23, 185 (1962),
# doi:10.1016/0022-3697(62)90001-X. One set for all elements: the facet jitter stands for their differences,
# for adsorbates and for growth.
SURFACE_ENERGY = {(1, 1, 1): 1.0, (1, 0, 0): 2.0 / math.sqrt(3.0), (1, 1, 0): math.sqrt(1.5)}

MIN_COORDINATION = 3
MIN_ATOMS = 13


def atomic_number(symbol: str) -> int:
    """Atomic number of a chemical symbol."""
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def fcc_lattice_A(element: str, *, lattice_A: float | None, key: str) -> float:
    """Cubic lattice parameter in Å: the one asked for, else the experimental one of ASE's table.

    Raises
    ------
    ValueError
        The element is not f.c.c. and no parameter was asked for; `key` names the knob at fault.
    """
    from ase.data import atomic_numbers, reference_states

    if lattice_A is not None:
        return lattice_A
    known_A = tabulated_fcc_A(element)
    if known_A is None:
        state = reference_states[atomic_numbers[element]]
        found = "unknown" if state is None else state["symmetry"]
        raise ValueError(
            f"{key} is {element}, whose lattice is {found}; allowed are f.c.c. metals such as Pt, Pd, Ni, Au "
            f"(or any element with lattice_A given, where the kind has it)"
        )
    return known_A


def tabulated_fcc_A(element: str) -> float | None:
    """Experimental cubic lattice parameter in Å by ASE's table; None where the element is not f.c.c."""
    from ase.data import atomic_numbers, reference_states

    state = reference_states[atomic_numbers[element]]
    return float(str(state["a"])) if state is not None and state["symmetry"] == "fcc" else None


def n_sites(diameter_A: float, *, lattice_A: float) -> int:
    """F.c.c. sites in a sphere of this diameter: (2π/3) (D/a)³.

    Raises
    ------
    ValueError
        Fewer than 13 sites: an atom and its neighbours.
    """
    return n_atoms_in(diameter_A, atom_volume_A3=lattice_A**3 / 4.0)


def n_atoms_in(diameter_A: float, *, atom_volume_A3: float) -> int:
    """Atoms in a sphere of this diameter.

    Raises
    ------
    ValueError
        Fewer than 13 atoms: one and its neighbours.
    """
    n = round(math.pi / 6.0 * max(diameter_A, 0.0) ** 3 / atom_volume_A3)
    if n < MIN_ATOMS:
        smallest = (6.0 / math.pi * MIN_ATOMS * atom_volume_A3) ** (1.0 / 3.0)
        raise ValueError(
            f"diameter_A is {diameter_A:g}, which holds {n} atoms; allowed is at least {MIN_ATOMS} atoms "
            f"({smallest:.1f} Å for this lattice)"
        )
    return n


def fcc_sites(lattice_A: float, *, radius_A: float, offset_A: NDArray[Any]) -> NDArray[Any]:
    """(n, 3) f.c.c. sites within `radius_A` of the origin; one of them lies at `offset_A`."""
    reach = math.ceil((radius_A + float(np.linalg.norm(offset_A))) / lattice_A) + 1
    steps = np.arange(-reach, reach + 1)
    cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    basis = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    sites = (cells + basis).reshape(-1, 3) * lattice_A + offset_A
    inside: NDArray[Any] = sites[np.einsum("ij,ij->i", sites, sites) <= radius_A**2]
    return inside


def facets(jitter: float, *, rng: np.random.Generator) -> NDArray[Any]:
    """(26, 3) inverse facet vectors q: the particle of scale s is all r with q · r ≤ s for every q.

    The facets are {111}, {100} and {110}; a facet lies at s / |q|, which follows its surface energy (Wulff)
    times exp(normal(0, `jitter`)), drawn for each facet. The exponential keeps every distance positive.
    """
    vectors: list[NDArray[Any]] = []
    for miller, energy in SURFACE_ENERGY.items():
        signed = {
            tuple(sign * index for sign, index in zip(signs, order, strict=True))
            for order in permutations(miller)
            for signs in product((-1, 1), repeat=3)
        }
        vectors.extend(np.array(v) / math.sqrt(sum(miller)) / energy for v in sorted(signed))
    stacked = np.array(vectors)
    inverse: NDArray[Any] = stacked / np.exp(rng.normal(0.0, jitter, len(stacked)))[:, None]
    return inverse


def facet_level(inverse_facets: NDArray[Any]) -> Level:
    """Scale of the facetted particle on whose surface a point lies, in Å."""

    def level(positions_A: NDArray[Any]) -> NDArray[Any]:
        scale: NDArray[Any] = (positions_A @ inverse_facets.T).max(axis=1)
        return scale

    return level


def facet_depth_A(positions_A: NDArray[Any], *, inverse_facets: NDArray[Any], scale_A: float) -> NDArray[Any]:
    """(n,) perpendicular distance in Å from a point inside to the nearest facet of the particle."""
    length = np.linalg.norm(inverse_facets, axis=1)
    depth: NDArray[Any] = ((scale_A - positions_A @ inverse_facets.T) / length).min(axis=1)
    return depth


def cut(
    level: Level, *, n_atoms: int, lattice_A: float, radius_A: float, offset_A: NDArray[Any]
) -> NDArray[Any]:
    """Cut an f.c.c. particle: `cut_sites` with a site at (3,) `offset_A`."""

    def sites_within(reach_A: float) -> NDArray[Any]:
        return fcc_sites(lattice_A, radius_A=reach_A, offset_A=offset_A)

    return cut_sites(
        level,
        sites_within=sites_within,
        n_atoms=n_atoms,
        nearest_A=lattice_A / math.sqrt(2.0),
        margin_A=lattice_A,
        radius_A=radius_A,
    )


def cut_sites(
    level: Level,
    *,
    sites_within: SitesWithin,
    n_atoms: int,
    nearest_A: float,
    margin_A: float,
    radius_A: float,
) -> NDArray[Any]:
    """Cut a particle of about `n_atoms` atoms: the sites of lowest level that hold together.

    A layer that is not full is filled from its middle. Atoms with fewer than three neighbours and pieces
    that do not touch the rest are left out and the next sites are taken instead.

    Parameters
    ----------
    level
        Takes (n, 3) positions in Å and gives (n,) numbers that grow outwards.
    sites_within
        Takes a radius in Å and gives all (n, 3) sites of the lattice in a ball around the origin.
    nearest_A
        Distance of nearest neighbours; those up to 1.2 times as far count as bound.
    margin_A
        A particle that comes nearer than this to the edge of the ball is cut again from a larger one.
    radius_A
        First guess of the radius of a ball that holds the particle.

    Returns
    -------
    (n, 3) sites in Å, innermost first.
    """
    while True:
        sites = sites_within(radius_A)
        # Rounding makes the sites of one facet plane equal, so that distance decides among them.
        order = np.lexsort((np.einsum("ij,ij->i", sites, sites), np.round(level(sites), 6)))
        sites = sites[order]
        chosen = _hold_together(sites, n_atoms=n_atoms, nearest_A=nearest_A)
        # A level set that comes near the edge of the ball may have been clipped by it.
        if chosen is not None and np.linalg.norm(sites[chosen], axis=1).max() < radius_A - margin_A:
            kept: NDArray[Any] = sites[chosen]
            return kept
        radius_A *= 1.25


def cut_crystal(
    level: Level, *, diameter_A: float, lattice_A: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(n, 3) sites of a particle of this volume, its lattice anywhere relative to its shape."""
    return cut(
        level,
        n_atoms=n_sites(diameter_A, lattice_A=lattice_A),
        lattice_A=lattice_A,
        radius_A=0.65 * diameter_A + lattice_A,
        offset_A=rng.uniform(-0.5, 0.5, 3) * lattice_A,
    )


def trim(sites: NDArray[Any], *, n_atoms: int, nearest_A: float) -> NDArray[Any]:
    """Take surplus (n, 3) sites away, outermost (last) first, as long as what is left holds together."""
    while len(sites) > n_atoms:
        neighbours = bonds(sites, cutoff_A=1.2 * nearest_A)
        n_near = np.diff(neighbours.indptr)
        for index in range(len(sites) - 1, -1, -1):
            around = neighbours.indices[neighbours.indptr[index] : neighbours.indptr[index + 1]]
            rest = np.arange(len(sites)) != index
            if n_near[around].min() > MIN_COORDINATION and len(_well_bound(neighbours, rest)) == rest.sum():
                sites = sites[rest]
                break
        else:
            return sites
    return sites


def _hold_together(sites: NDArray[Any], *, n_atoms: int, nearest_A: float) -> NDArray[Any] | None:
    """Indices of at least `n_atoms` connected sites, lowest first; None where there are not enough sites."""
    neighbours = bonds(sites, cutoff_A=1.2 * nearest_A)
    n_take = n_atoms
    while n_take <= len(sites):
        keep = _well_bound(neighbours, np.arange(len(sites)) < n_take)
        if len(keep) >= n_atoms:
            return keep
        n_take += n_atoms - len(keep)
    return None


def _well_bound(neighbours: csr_matrix, taken: NDArray[Any]) -> NDArray[Any]:
    """Indices of what is left of `taken` without dangling atoms and loose pieces."""
    taken = taken.copy()
    while True:
        dangling = taken & (neighbours @ taken.astype(np.int64) < MIN_COORDINATION)
        if not dangling.any():
            break
        taken &= ~dangling
    index = np.flatnonzero(taken)
    if len(index) == 0:
        return index
    _, piece = connected_components(neighbours[index][:, index], directed=False)
    largest: NDArray[Any] = index[piece == np.bincount(piece).argmax()]
    return largest


def bonds(sites: NDArray[Any], *, cutoff_A: float) -> csr_matrix:
    """Symmetric (n, n) matrix of ones between sites closer than the cutoff."""
    pairs = cKDTree(sites).query_pairs(cutoff_A, output_type="ndarray")
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    ones = np.ones(len(rows), dtype=np.int64)
    return coo_matrix((ones, (rows, columns)), shape=(len(sites), len(sites))).tocsr()
