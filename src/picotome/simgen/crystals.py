"""Lattices of the metals, and the facets that close a particle of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.simgen.lattice import SURFACE_ENERGY, fcc_sites

Structure = Literal["fcc", "bcc", "hcp"]
Miller = tuple[int, int, int]

# Neighbours up to this multiple of the shortest distance count as bound; in b.c.c. that is 8 + 6.
BOND = 1.2
_IDEAL_C_OVER_A = math.sqrt(8.0 / 3.0)
_BASIS: Mapping[str, list[list[float]]] = {
    "fcc": [[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]],
    "bcc": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
    "hcp": [[0.0, 0.0, 0.0], [1.0 / 3.0, 2.0 / 3.0, 0.5]],
}
# Facets where none are asked for; their energies count broken bonds.
_USUAL_FACETS: Mapping[str, tuple[Miller, ...]] = {
    "bcc": ((1, 1, 0), (1, 0, 0), (1, 1, 1)),
    "hcp": ((0, 0, 1), (1, 0, 0), (1, 0, 1)),
}
# Ratios of distances from the centre that make the Archimedean shapes of the cubic crystals.
SHAPES: Mapping[str, Mapping[Miller, float]] = {
    "truncated_octahedron": {(1, 1, 1): 1.0, (1, 0, 0): 2.0 / math.sqrt(3.0)},
    "cuboctahedron": {(1, 1, 1): 1.0, (1, 0, 0): math.sqrt(3.0) / 2.0},
    "octahedron": {(1, 1, 1): 1.0},
    "cube": {(1, 0, 0): 1.0},
}


@dataclass(frozen=True, eq=False)
class Lattice:
    """The lattice of an element.

    Attributes
    ----------
    structure
        ``fcc``, ``bcc`` or ``hcp``.
    a_A, c_A
        Lattice parameters; equal where cubic.
    cell_A
        (3, 3) rows a, b, c of the conventional cell, which Miller indices refer to.
    fractional
        (m, 3) atoms of the cell.
    """

    structure: Structure
    a_A: float
    c_A: float
    cell_A: NDArray[Any]
    fractional: NDArray[Any]

    @property
    def atom_volume_A3(self) -> float:
        """Volume for each atom."""
        return abs(float(np.linalg.det(self.cell_A))) / len(self.fractional)

    @property
    def nearest_A(self) -> float:
        """Shortest distance between atoms."""
        if self.structure == "hcp":
            return min(self.a_A, math.sqrt(self.a_A**2 / 3.0 + self.c_A**2 / 4.0))
        return self.a_A * (math.sqrt(0.5) if self.structure == "fcc" else math.sqrt(0.75))

    @property
    def n_bonds(self) -> int:
        """Neighbours within `BOND` × `nearest_A` in the bulk."""
        return {"fcc": 12, "bcc": 14, "hcp": 12}[self.structure]


def metal_lattice(
    element: str, *, structure: Structure | None, lattice_A: float | None, lattice_c_A: float | None
) -> Lattice:
    """Lattice of an element: what is asked for, and ASE's experimental table where nothing is.

    A lattice parameter without a structure means f.c.c.

    Raises
    ------
    ValueError
        The table has no such lattice for the element, or a length does not fit the structure.
    """
    from ase.data import atomic_numbers, reference_states

    state: Mapping[str, Any] = reference_states[atomic_numbers[element]] or {"symmetry": "unknown"}
    tabulated = state["symmetry"]
    found: Any = structure or ("fcc" if lattice_A is not None else tabulated)
    if found not in _BASIS or (lattice_A is None and found != tabulated):
        wanted = "one of f.c.c., b.c.c. and h.c.p." if structure is None else structure
        raise ValueError(
            f"element is {element}, whose lattice is {tabulated}; allowed is {wanted}, "
            f"or any element with structure and lattice_A given"
        )
    if lattice_c_A is not None and found != "hcp":
        raise ValueError(f"lattice_c_A is {lattice_c_A:g}, but structure is {found}; only hcp has one")
    a_A = lattice_A if lattice_A is not None else float(str(state["a"]))
    c_A = a_A
    if found == "hcp":
        ratio = float(str(state["c/a"])) if tabulated == "hcp" else _IDEAL_C_OVER_A
        c_A = lattice_c_A if lattice_c_A is not None else ratio * a_A
        cell_A = np.array([[a_A, 0.0, 0.0], [-a_A / 2.0, math.sqrt(0.75) * a_A, 0.0], [0.0, 0.0, c_A]])
    else:
        cell_A = a_A * np.eye(3)
    return Lattice(structure=found, a_A=a_A, c_A=c_A, cell_A=cell_A, fractional=np.array(_BASIS[found]))


def fcc(lattice_A: float) -> Lattice:
    """F.c.c. lattice of this parameter."""
    return Lattice(
        structure="fcc",
        a_A=lattice_A,
        c_A=lattice_A,
        cell_A=lattice_A * np.eye(3),
        fractional=np.array(_BASIS["fcc"]),
    )


def lattice_sites(lattice: Lattice, *, radius_A: float, offset_A: NDArray[Any]) -> NDArray[Any]:
    """(n, 3) sites within `radius_A` of the origin; one of them lies at `offset_A`."""
    if lattice.structure == "fcc":
        return fcc_sites(lattice.a_A, radius_A=radius_A, offset_A=offset_A)
    # The planes of the cell's faces are nearer to each other than its edges are long.
    thickness_A = 1.0 / np.linalg.norm(np.linalg.inv(lattice.cell_A), axis=0)
    reach = np.ceil((radius_A + float(np.linalg.norm(offset_A))) / thickness_A).astype(int) + 1
    steps = [np.arange(-n, n + 1) for n in reach]
    cells = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    sites = (cells + lattice.fractional).reshape(-1, 3) @ lattice.cell_A + offset_A
    inside: NDArray[Any] = sites[np.einsum("ij,ij->i", sites, sites) <= radius_A**2]
    return inside


def usual_energies(lattice: Lattice) -> Mapping[Miller, float]:
    """Relative surface energies of the facets that a particle of this lattice usually has.

    For f.c.c. those of `SURFACE_ENERGY`; for the others the bonds to nearest neighbours that a plane cuts,
    per area and averaged over its height, as there.
    """
    if lattice.structure == "fcc":
        return SURFACE_ENERGY
    sites = lattice_sites(lattice, radius_A=2.0 * lattice.a_A + lattice.c_A, offset_A=np.zeros(3))
    atoms = lattice.fractional @ lattice.cell_A
    bonds = np.concatenate([sites - atom for atom in atoms])
    length_A = np.linalg.norm(bonds, axis=1)
    # Nearest neighbours alone, but both kinds of an h.c.p. crystal whose c / a is not ideal.
    longest_A = (1.1 if lattice.structure == "hcp" else 1.01) * lattice.nearest_A
    bonds = bonds[(length_A > 0.1) & (length_A < longest_A)]
    energies = {}
    for miller in _USUAL_FACETS[lattice.structure]:
        normal = np.array(miller) @ np.linalg.inv(lattice.cell_A).T
        energies[miller] = float(np.abs(bonds @ normal).sum() / np.linalg.norm(normal))
    return {miller: energy / min(energies.values()) for miller, energy in energies.items()}


def all_facets(
    lattice: Lattice, energies: Mapping[Miller, float], *, jitter: float, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Miller indices (m, 3) and inverse facet vectors (m, 3) of all facets of the families given.

    The particle of scale s is all r with q · r ≤ s for every q. A facet lies at s / |q|, which follows its
    energy (Wulff) times exp(normal(0, `jitter`)), drawn for each facet.

    Raises
    ------
    ValueError
        The facets do not close a particle, or two of the families are one.
    """
    millers: list[Miller] = []
    vectors: list[NDArray[Any]] = []
    to_normal = np.linalg.inv(lattice.cell_A / lattice.a_A).T
    for miller, energy in energies.items():
        family = _family(miller, _symmetry(tuple((lattice.cell_A / lattice.a_A).ravel().tolist())))
        if set(family) & set(millers):
            raise ValueError(
                f"facets: {_text(miller)} belongs to a family that was given before; name each family once"
            )
        for image in family:
            normal = np.array(image) @ to_normal
            vectors.append(normal / math.sqrt(float(normal @ normal)) / energy)
        millers.extend(family)
    stacked = np.array(vectors)
    inverse = stacked / np.exp(rng.normal(0.0, jitter, len(stacked)))[:, None]
    _check_closed(inverse, energies)
    return np.array(millers, dtype=np.int64), inverse


def facet_of_atoms(
    sites: NDArray[Any],
    *,
    lattice: Lattice,
    millers: NDArray[Any],
    inverse_facets: NDArray[Any],
    scale_A: float,
) -> NDArray[Any]:
    """(n, 3) Miller indices of the facet that each surface atom is nearest to; 0 0 0 for atoms inside.

    An atom is at the surface where it lacks a neighbour.
    """
    tree = cKDTree(sites)
    n_near = np.array(tree.query_ball_point(sites, BOND * lattice.nearest_A, return_length=True)) - 1
    length = np.linalg.norm(inverse_facets, axis=1)
    nearest = ((scale_A - sites @ inverse_facets.T) / length).argmin(axis=1)
    facet: NDArray[Any] = np.where((n_near < lattice.n_bonds)[:, None], millers[nearest], 0)
    return facet


@cache
def _symmetry(cell: tuple[float, ...]) -> NDArray[Any]:
    """(k, 3, 3) whole matrices that map a lattice of this cell (9 numbers, rows) onto itself."""
    rows = np.array(cell).reshape(3, 3)
    metric = rows @ rows.T
    candidates = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    mapped = np.einsum("kia,ij,kjb->kab", candidates, metric, candidates)
    kept: NDArray[Any] = candidates[np.abs(mapped - metric).max(axis=(1, 2)) < 1e-6]
    return kept


def _family(miller: Miller, symmetry: NDArray[Any]) -> list[Miller]:
    images = np.unique(np.array(miller) @ symmetry, axis=0)
    return sorted((int(h), int(k), int(ell)) for h, k, ell in images)


def _check_closed(inverse: NDArray[Any], energies: Mapping[Miller, float]) -> None:
    from scipy.spatial import ConvexHull, QhullError

    try:
        # The facets bound a particle where the origin lies inside the hull of their normals.
        is_closed = bool((ConvexHull(inverse).equations[:, 3] < -1e-9).all())
    except QhullError:
        is_closed = False
    if not is_closed:
        given = ", ".join(_text(miller) for miller in energies)
        raise ValueError(
            f"facets: {given} alone close no particle; add a family that bounds the open directions"
        )


def _text(miller: Miller) -> str:
    return "".join(str(index) for index in miller)
