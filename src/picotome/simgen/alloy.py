"""Alloys: which element sits on which site of an f.c.c. particle.

Counts are as near to the composition as whole atoms allow. The *main* elements are the two most abundant (of
equals, the heavier), A before B; the order in which a recipe names them does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from picotome.configs.specimens import AlloySpecimen
from picotome.records import Specimen
from picotome.simgen.atom_sizes import atom_size_A, expected_lattice_A, vegard_A
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import bonds, cut_crystal, facet_level, facets
from picotome.simgen.misfit import size_displacement
from picotome.simgen.relaxation import check_emt_elements, relax_with_emt
from picotome.simgen.short_range_order import (
    order_neighbours,
    order_pairs,
    pair_parameter,
    warren_cowley,
)

_FULL_SHELL = 12
# Share of the sites where L1_0 and L1_2 want the second element.
_SHARE_OF_B = {"L1_0": 0.5, "L1_2": 0.25}


def build_alloy(config: AlloySpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut a particle by jittered Wulff facets and put the elements on its sites.

    *Random* takes the composition as it is. *Ordered* fills each sublattice: L1_0 has A and B on {001} planes
    in turn, L1_2 has B on the corners of the cubes; surplus A or B sits on the other's sites and further
    elements on all of them, at random. An ordered particle whose planes do not come in pairs is off the
    composition by what is missing.

    A *surface* layer, every site with fewer than twelve neighbours, is all of one element. In a random alloy
    those atoms are taken from the inside, so that the composition stays as long as there are enough of them;
    where there are not, the inside holds none, the rest in their proportions, and the particle is richer in
    the element than asked. In an ordered one the inside keeps its order and the particle is richer, too. The
    description states the count of each element.

    `short_range_order` orders the two main elements and leaves others where they are; `pair_order` orders any
    pairs, by swapping atoms of all elements.

    Atoms differ in size. EMT relaxes that; where it does not know an element (Ga), `size_strain` moves every
    atom in the elastic field of all others (`size_displacement`).

    The lattice parameter follows Vegard's law for the atoms that the particle has; elements that are not
    f.c.c. themselves, such as Ga, are left out of the mean.

    Returns
    -------
    The specimen; `truth` also holds ``is_surface`` (n,), 1 in a layer that was asked for, and ``sublattice``
    (n,), 1 on the sites of B in an ordered alloy. ``displacement_A`` includes the relaxation.

    Raises
    ------
    ValueError
        The lattice parameter is not known, EMT is asked for an element that it does not know, or the
        short-range order cannot be reached.
    """
    composition = _ranked(config.composition)
    if config.relax:
        for symbol in composition:
            check_emt_elements(composition=symbol)
    guess_A = config.lattice_A or expected_lattice_A(composition)
    diameter_A = rng.uniform(*config.diameter_A)
    level = facet_level(facets(config.facet_jitter, rng=rng))
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=guess_A, rng=rng)
    symbols, truth, remark = occupy(sites, config=config, lattice_A=guess_A, rng=rng)
    count = {symbol: int(np.count_nonzero(symbols == symbol)) for symbol in composition}
    lattice_A = config.lattice_A or vegard_A(count)
    sites = sites * (lattice_A / guess_A)
    numbers = _atomic_numbers(symbols)
    placed, moved_by = sites, ""
    if config.relax:
        moved_by = ", EMT-relaxed"
        placed = relax_with_emt(sites, atomic_numbers=numbers, lattice_A=lattice_A)
    elif config.size_strain:
        moved_by = ", strained by sizes"
        size_A = {symbol: atom_size_A(symbol) for symbol in composition}
        placed = sites + size_displacement(
            sites,
            misfit=np.array([size_A[symbol] / lattice_A - 1.0 for symbol in symbols]),
            atom_radius_A=lattice_A * math.cbrt(3.0 / (16.0 * math.pi)),
            poisson_ratio=config.poisson_ratio,
        )
    formula = " ".join(f"{symbol}{n}" for symbol, n in count.items())
    alloy = Specimen(
        positions_A=placed,
        atomic_numbers=numbers,
        description=f"{formula} alloy{remark}, {len(sites)} atoms, {diameter_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å{moved_by}",
        truth={"displacement_A": placed - sites, **truth},
    )
    return apply_disorder(alloy, config=config.disorder, rng=rng)


def occupy(
    sites: NDArray[Any], *, config: AlloySpecimen, lattice_A: float, rng: np.random.Generator
) -> tuple[NDArray[Any], dict[str, NDArray[Any]], str]:
    """Choose an element for each of (n, 3) sites.

    Returns
    -------
    (n,) chemical symbols, the per-atom truth, and what to say of it in the description.
    """
    composition = _ranked(config.composition)
    symbols = list(composition)
    shares = np.array(list(composition.values())) / sum(composition.values())
    neighbours = bonds(sites, cutoff_A=1.2 * lattice_A / np.sqrt(2.0))
    is_surface = np.zeros(len(sites), dtype=bool)
    truth: dict[str, NDArray[Any]] = {}
    remark = ""
    if config.surface is not None:
        is_surface = np.diff(neighbours.indptr) < _FULL_SHELL
        truth["is_surface"] = is_surface.astype(np.int64)
        remark = f" with a {config.surface} surface"
    skin = symbols.index(config.surface) if config.surface is not None else 0
    if config.order == "random":
        kinds = _random_kinds(shares, is_surface, skin=skin, rng=rng)
        if config.short_range_order is not None:
            kinds, reached = _with_short_range_order(
                kinds, neighbours, ~is_surface, target=config.short_range_order, rng=rng
            )
            remark += f", Warren-Cowley α {reached:.3f}"
        if config.pair_order is not None:
            kinds, words = _with_pair_order(
                kinds, neighbours, ~is_surface, config=config, symbols=symbols, rng=rng
            )
            remark += f", Warren-Cowley α {words}"
    else:
        of_b = second_sublattice(sites, order=config.order, lattice_A=lattice_A, rng=rng)
        truth["sublattice"] = of_b.astype(np.int64)
        remark = f" {config.order}{remark}"
        kinds = _ordered_kinds(shares, of_b, share_of_b=_SHARE_OF_B[config.order], rng=rng)
        kinds[is_surface] = skin
    return np.array(symbols)[kinds], truth, remark


def second_sublattice(
    sites: NDArray[Any], *, order: str, lattice_A: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(n,) where the second element of an ordered alloy belongs; which of the equivalent sets is drawn."""
    steps = np.rint((sites - sites[0]) * (2.0 / lattice_A)).astype(np.int64) % 2
    if order == "L1_0":
        on_planes: NDArray[Any] = steps[:, 2] == rng.integers(2)
        return on_planes
    # F.c.c. is four simple cubic lattices; two parities tell them apart, the third follows.
    corner = rng.integers(2, size=2)
    on_corners: NDArray[Any] = (steps[:, :2] == corner).all(axis=1)
    return on_corners


def whole_numbers(shares: NDArray[Any], n: int) -> NDArray[Any]:
    """(k,) counts of sum n nearest to the shares, whose sum is 1: by the largest remainder."""
    exact = shares * n
    counts = np.floor(exact + 1e-9).astype(np.int64)
    # The first of equal remainders goes first, on every machine.
    late = np.argsort(-np.round(exact - counts, 9), kind="stable")[: n - counts.sum()]
    counts[late] += 1
    return counts


def _random_kinds(
    shares: NDArray[Any], is_surface: NDArray[Any], *, skin: int, rng: np.random.Generator
) -> NDArray[Any]:
    """(n,) indices of elements; the surface is all `skin`, at the cost of the inside."""
    counts = whole_numbers(shares, len(is_surface))
    counts[skin] -= np.count_nonzero(is_surface)
    if counts[skin] < 0:
        others = np.where(np.arange(len(shares)) == skin, 0.0, shares)
        counts = whole_numbers(others / others.sum(), int(np.count_nonzero(~is_surface)))
    kinds = np.full(len(is_surface), skin)
    kinds[~is_surface] = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    return kinds


def _ordered_kinds(
    shares: NDArray[Any], of_b: NDArray[Any], *, share_of_b: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(n,) indices of elements, as ordered as the composition allows."""
    main = 1.0 - shares[2:].sum()
    b_on_b = min(main, shares[1] / share_of_b)
    b_on_a = (shares[1] - share_of_b * b_on_b) / (1.0 - share_of_b)
    kinds = np.empty(len(of_b), dtype=np.int64)
    for where, b in ((of_b, b_on_b), (~of_b, b_on_a)):
        local = np.concatenate([[main - b, b], shares[2:]])
        counts = whole_numbers(local, int(np.count_nonzero(where)))
        kinds[where] = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    return kinds


def _with_short_range_order(
    kinds: NDArray[Any],
    neighbours: csr_matrix,
    is_free: NDArray[Any],
    *,
    target: float,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], float]:
    """Order the atoms that are free to move, and count only bonds between them."""
    index = np.flatnonzero(is_free)
    among = neighbours[index][:, index]
    kinds = kinds.copy()
    kinds[index] = order_neighbours(kinds[index], among, target=target, rng=rng)
    return kinds, warren_cowley(kinds[index], among)


def _with_pair_order(
    kinds: NDArray[Any],
    neighbours: csr_matrix,
    is_free: NDArray[Any],
    *,
    config: AlloySpecimen,
    symbols: list[str],
    rng: np.random.Generator,
) -> tuple[NDArray[Any], str]:
    """Order the pairs among atoms that are free to move, and say what was reached."""
    index = np.flatnonzero(is_free)
    among = neighbours[index][:, index]
    targets, names = {}, {}
    for name, target in (config.pair_order or {}).items():
        first, second = sorted(symbols.index(symbol) for symbol in name.split("-"))
        targets[first, second], names[first, second] = target, name
    kinds = kinds.copy()
    kinds[index] = order_pairs(kinds[index], among, targets=targets, names=names, rng=rng)
    reached = (f"{pair_parameter(kinds[index], among, pair=pair):.3f} ({names[pair]})" for pair in targets)
    return kinds, ", ".join(reached)


def _ranked(composition: Mapping[str, float]) -> dict[str, float]:
    from ase.data import atomic_numbers

    order = sorted(composition, key=lambda symbol: (-composition[symbol], -atomic_numbers[symbol]))
    return {symbol: composition[symbol] for symbol in order}


def _atomic_numbers(symbols: NDArray[Any]) -> NDArray[Any]:
    from ase.data import atomic_numbers

    return np.array([atomic_numbers[symbol] for symbol in symbols], dtype=np.int64)
