"""Modifiers that take atoms away or add some: vacancies, adatoms and steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.configs.modifiers import AdatomsModifier, StepModifier, VacanciesModifier
from picotome.records import Specimen
from picotome.simgen.lattice import bonds
from picotome.simgen.modifiers.truth import BOND, kept, lattice_sites_A, nearest_A, with_field

# A hollow site has three or four neighbours.
_HOLLOW = 3
_TOO_CLOSE = 0.85
_SMALLEST_FACET = 6
_FULL_SHELL_SHARE = 0.95


def remove_atoms(specimen: Specimen, *, config: VacanciesModifier, rng: np.random.Generator) -> Specimen:
    """Leave out a part of the atoms concerned, drawn at random.

    Surface atoms are those with fewer neighbours than the best bound atoms of their element.

    Returns
    -------
    The specimen; the truth's ``n_vacant_neighbours`` (n,) counts the empty sites beside each atom.

    Raises
    ------
    ValueError
        There are no such atoms.
    """
    neighbours = bonds(specimen.positions_A, cutoff_A=BOND * nearest_A(specimen.positions_A))
    concerned = _concerned(specimen, np.diff(neighbours.indptr), config=config)
    n_vacant = round(rng.uniform(*config.fraction) * len(concerned))
    removed = np.zeros(len(specimen.positions_A), dtype=bool)
    removed[rng.permutation(concerned)[:n_vacant]] = True
    earlier = specimen.truth.get("n_vacant_neighbours", 0)
    counted = with_field(specimen, n_vacant_neighbours=earlier + neighbours @ removed.astype(np.int64))
    return kept(counted, ~removed, remark=f", {n_vacant} vacancies")


def add_adatoms(specimen: Specimen, *, config: AdatomsModifier, rng: np.random.Generator) -> Specimen:
    """Put single atoms on empty lattice sites that touch at least three atoms of the surface.

    Such a site lies from an atom as another one lies from a neighbour of it. Sites are drawn one after the
    other; two adatoms are never neighbours. An adatom is displaced as the atoms that it touches.

    Returns
    -------
    The specimen, adatoms last; the truth's ``is_adatom`` (n,) is 1 for them, and what else it says of them
    is copied from the nearest atom.

    Raises
    ------
    ValueError
        The surface has no such site.
    """
    sites, positions = lattice_sites_A(specimen), specimen.positions_A
    cutoff_A = BOND * nearest_A(positions)
    wanted = round(rng.uniform(*config.fraction) * len(sites))
    candidates = _hollow_sites_A(sites, cutoff_A=cutoff_A)
    tree = cKDTree(sites)
    touched = tree.query_ball_point(candidates, cutoff_A)
    moved = specimen.truth.get("displacement_A", np.zeros_like(sites))
    displacement = np.array([moved[t].mean(axis=0) for t in touched]).reshape(-1, 3)
    placed = candidates + displacement
    apart, _ = cKDTree(positions).query(placed) if len(placed) else (np.zeros(0), None)
    free = np.flatnonzero(apart > _TOO_CLOSE / BOND * cutoff_A)
    if wanted and not len(free):
        raise ValueError("the surface has no hollow site on its lattice; allowed are close-packed particles")
    chosen: list[int] = []
    for index in rng.permutation(free):
        if len(chosen) == wanted:
            break
        if not chosen or np.linalg.norm(placed[chosen] - placed[index], axis=1).min() > cutoff_A:
            chosen.append(int(index))
    nearest = tree.query(candidates[chosen])[1] if chosen else np.zeros(0, dtype=np.int64)
    numbers = specimen.atomic_numbers[nearest]
    if config.element is not None:
        numbers = np.full(len(chosen), _atomic_number(config.element))
    truth = {
        name: np.concatenate([values, values[nearest]])
        for name, values in specimen.truth.items()
        if name not in ("displacement_A", "is_adatom")
    }
    truth["displacement_A"] = np.concatenate([moved, displacement[chosen]])
    earlier = specimen.truth.get("is_adatom", np.zeros(len(sites), dtype=np.int64))
    truth["is_adatom"] = np.concatenate([earlier, np.ones(len(chosen), dtype=np.int64)])
    return replace(
        specimen,
        positions_A=np.concatenate([positions, placed[chosen]]),
        atomic_numbers=np.concatenate([specimen.atomic_numbers, numbers]),
        truth=truth,
        description=f"{specimen.description}, {len(chosen)} adatoms",
    )


def cut_step(specimen: Specimen, *, config: StepModifier, rng: np.random.Generator) -> Specimen:
    """Take whole close-packed rows of a facet's outermost layer away, from one side.

    The facet is drawn among those of its family with at least six atoms. At least one row stays and one goes.

    Returns
    -------
    The specimen; the truth's ``is_step_edge`` (n,) is 1 in the last row that stayed.

    Raises
    ------
    ValueError
        No facet is large enough.
    """
    sites = lattice_sites_A(specimen)
    nearest = nearest_A(sites)
    coverage = rng.uniform(*config.coverage)
    layers = []
    for normal in _family(config.facet):
        height = sites @ normal
        layer = np.flatnonzero(height > height.max() - 0.3 * nearest)
        if len(layer) >= _SMALLEST_FACET:
            layers.append((normal, layer))
    if not layers:
        raise ValueError(
            f"no {{{config.facet}}} facet has {_SMALLEST_FACET} atoms or more; enlarge the particle, lower "
            f"facet_jitter, or choose another facet"
        )
    normal, layer = layers[int(rng.integers(len(layers)))]
    among = bonds(sites[layer], cutoff_A=BOND * nearest).tocoo()
    if not among.nnz:
        raise ValueError(
            f"the {{{config.facet}}} facet has no rows of touching atoms; allowed are f.c.c. particles whose "
            f"cubic axes are x, y and z"
        )
    pair = int(rng.integers(len(among.row)))
    row = sites[layer][among.row[pair]] - sites[layer][among.col[pair]]
    across = np.cross(normal, row / np.linalg.norm(row))
    # Rows lie at multiples of their distance, √3/2 of nearest neighbours on {111} and 1 on {100}.
    place = sites[layer] @ across
    index = np.rint((place - place.min()) / (0.5 * nearest)).astype(np.int64)
    rows = np.unique(index)
    if len(rows) < 2:
        raise ValueError(f"the {{{config.facet}}} facet is one row wide; enlarge the particle")
    n_kept = int(np.clip(round(coverage * len(rows)), 1, len(rows) - 1))
    goes = index > rows[n_kept - 1]
    removed = np.zeros(len(sites), dtype=bool)
    removed[layer[goes]] = True
    edge = specimen.truth.get("is_step_edge", np.zeros(len(sites), dtype=np.int64)).copy()
    edge[layer[index == rows[n_kept - 1]]] = 1
    return kept(
        with_field(specimen, is_step_edge=edge), ~removed, remark=f", step of {int(goes.sum())} atoms"
    )


def _concerned(specimen: Specimen, count: NDArray[Any], *, config: VacanciesModifier) -> NDArray[Any]:
    numbers = specimen.atomic_numbers
    is_surface = np.zeros(len(numbers), dtype=bool)
    for number in np.unique(numbers):
        of_kind = numbers == number
        is_surface[of_kind] = count[of_kind] < _FULL_SHELL_SHARE * count[of_kind].max()
    mask = {"anywhere": np.ones_like(is_surface), "surface": is_surface, "inside": ~is_surface}[config.where]
    if config.element is not None:
        mask = mask & (numbers == _atomic_number(config.element))
    concerned: NDArray[Any] = np.flatnonzero(mask)
    if not len(concerned):
        raise ValueError(
            f"the specimen has no atom of element {config.element or 'any'} {config.where}; "
            f"ask for another element, or where: anywhere"
        )
    return concerned


def _atomic_number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def _hollow_sites_A(sites: NDArray[Any], *, cutoff_A: float) -> NDArray[Any]:
    """(m, 3) empty lattice sites that touch three or more atoms."""
    neighbours = bonds(sites, cutoff_A=cutoff_A)
    count = np.diff(neighbours.indptr)
    best = int(count.argmax())
    full = sites[neighbours[best].indices] - sites[best]
    surface = np.flatnonzero(count < count.max())
    candidates = (sites[surface][:, None, :] + full).reshape(-1, 3)
    tree = cKDTree(sites)
    candidates = candidates[tree.query(candidates)[0] > _TOO_CLOSE / BOND * cutoff_A]
    _, first = np.unique(np.round(candidates, 2), axis=0, return_index=True)
    candidates = candidates[np.sort(first)]
    touching = tree.query_ball_point(candidates, cutoff_A, return_length=True)
    hollow: NDArray[Any] = candidates[touching >= _HOLLOW]
    return hollow


def _family(facet: str) -> list[NDArray[Any]]:
    """Unit normals of a family of facets."""
    if facet == "111":
        normals = [np.array(signs) for signs in product((-1.0, 1.0), repeat=3)]
    else:
        normals = [sign * axis for axis in np.eye(3) for sign in (-1.0, 1.0)]
    return [normal / np.linalg.norm(normal) for normal in normals]
