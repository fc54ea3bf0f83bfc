"""How large the atoms of an alloy are, and the lattice parameter that follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from picotome.simgen.lattice import tabulated_fcc_A

# Of atoms whose own lattice is not f.c.c., which say nothing about the size of the alloy's.
_MOST_FOREIGN = 0.1
_SIZE_IN_ALLOYS_A = {"Ga": 3.78}
# Edge of an f.c.c. cube with the same volume per atom over the crystal's a; h.c.p. has cbrt(c / a) besides.
_FCC_OVER_A = {"fcc": 1.0, "bcc": 2.0 ** (1.0 / 3.0), "hcp": 3.0 ** (1.0 / 6.0)}


def atom_size_A(symbol: str) -> float:
    """Lattice parameter of the f.c.c. crystal with this element's volume per atom, Å.

    Elements that are close-packed or b.c.c. by ASE's table keep that volume. Ga by itself is an open
    crystal; in alloys it is as large as the lattice parameters of Pt3Ga (3.89 Å) and Ni3Ga (3.58 Å), both
    L1_2, make it by Vegard's law: 3.80 and 3.77 Å.

    Raises
    ------
    ValueError
        The table has no such crystal.
    """
    from ase.data import atomic_numbers, reference_states

    if symbol in _SIZE_IN_ALLOYS_A:
        return _SIZE_IN_ALLOYS_A[symbol]
    state: Mapping[str, Any] = reference_states[atomic_numbers[symbol]] or {"symmetry": "unknown"}
    if state["symmetry"] not in _FCC_OVER_A:
        raise ValueError(
            f"size_strain: the size of {symbol} is not known, its lattice is {state['symmetry']}; allowed "
            f"are f.c.c., b.c.c. and h.c.p. metals and {', '.join(_SIZE_IN_ALLOYS_A)}, or size_strain: false"
        )
    stretch = _FCC_OVER_A[state["symmetry"]]
    if state["symmetry"] == "hcp":
        stretch *= math.cbrt(float(state["c/a"]))
    size_A: float = float(state["a"]) * stretch
    return size_A


def expected_lattice_A(composition: Mapping[str, float]) -> float:
    """Lattice parameter of the composition asked for, in Å."""
    foreign = [symbol for symbol in composition if tabulated_fcc_A(symbol) is None]
    share = sum(composition[symbol] for symbol in foreign)
    if share > _MOST_FOREIGN:
        raise ValueError(
            f"composition has {share:g} of {', '.join(foreign)}, not f.c.c. by itself; allowed is "
            f"{_MOST_FOREIGN:g} where the lattice parameter follows from the elements: give lattice_A"
        )
    return vegard_A(composition)


def vegard_A(amounts: Mapping[str, float]) -> float:
    """Mean lattice parameter of the f.c.c. elements, weighted by their amounts, in Å."""
    known = {symbol: tabulated_fcc_A(symbol) for symbol in amounts}
    pairs = [(a, amounts[symbol]) for symbol, a in known.items() if a is not None]
    return float(np.average([a for a, _ in pairs], weights=[amount for _, amount in pairs]))
