"""Misfit relaxed with the effective-medium theory (EMT) of ASE."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Jacobsen, Stoltze & Nørskov, Surf. Sci. 366, 394 (1996), doi:10.1016/0039-6028(96)00816-3.
EMT_ELEMENTS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")

_LARGEST_FORCE_EV_PER_A = 0.05
# Two particles of Ni with a shell of Pt, 890 and 951 atoms, took 310 and 374.
_MAX_STEPS = 2000


def check_emt_elements(**elements: str) -> None:
    """Refuse an element that EMT does not know; the argument's name is the key in the message.

    Raises
    ------
    ValueError
        An element is not one of EMT's seven metals.
    """
    for key, element in elements.items():
        if element not in EMT_ELEMENTS:
            raise ValueError(
                f"{key} is {element}, which EMT does not know; allowed are {', '.join(EMT_ELEMENTS)}, "
                f"or set relax: false"
            )


def emt_lattice_A(element: str) -> float:
    """Cubic lattice parameter in Å at which EMT's f.c.c. crystal has no stress: its s0 × β × sqrt(2)."""
    from ase.calculators.emt import beta, parameters
    from ase.units import Bohr

    return float(parameters[element][1] * Bohr * beta * math.sqrt(2.0))


def relax_with_emt(
    positions_A: NDArray[Any], *, atomic_numbers: NDArray[Any], lattice_A: float
) -> NDArray[Any]:
    """Move atoms of a free particle until the largest force is below 0.05 eV/Å.

    EMT's lattice parameters differ from the experimental ones by up to half a per cent. The particle is
    therefore relaxed on EMT's own scale and brought back: lengths are multiplied by the mean EMT parameter
    of the atoms over `lattice_A` before and divided by it after. The contraction that the surface causes is
    physics and stays.

    Parameters
    ----------
    positions_A
        (n, 3) sites of a lattice with parameter `lattice_A`.
    atomic_numbers
        (n,) of elements that EMT knows.

    Raises
    ------
    ValueError
        The forces do not fall in 2,000 steps.
    """
    from ase import Atoms
    from ase.calculators.emt import EMT
    from ase.data import chemical_symbols
    from ase.optimize import LBFGS

    kinds, count = np.unique(atomic_numbers, return_counts=True)
    emt_A = np.average([emt_lattice_A(chemical_symbols[z]) for z in kinds], weights=count)
    scale = float(emt_A) / lattice_A
    calculator = EMT()
    atoms = Atoms(numbers=atomic_numbers, positions=positions_A * scale, calculator=calculator)
    is_relaxed = LBFGS(atoms, logfile=os.devnull).run(fmax=_LARGEST_FORCE_EV_PER_A, steps=_MAX_STEPS)
    # ASE's calculators refer to themselves: their lists of neighbours would stay, over hundreds of particles,
    # until Python looks for cycles among its oldest objects.
    vars(calculator).clear()
    if not is_relaxed:
        raise ValueError(
            f"relax: EMT forces did not fall below {_LARGEST_FORCE_EV_PER_A} eV/Å in {_MAX_STEPS} steps for "
            f"{len(atoms)} atoms; set relax: false or another seed"
        )
    relaxed: NDArray[Any] = atoms.get_positions() / scale
    return relaxed
