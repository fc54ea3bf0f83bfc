"""Which element each found atom is, from how bright it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.trace.brightness import fit_elements, members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def parse_elements(elements: Sequence[str]) -> Array:
    """(k,) int64 atomic numbers of the elements, ascending, each once.

    Raises
    ------
    ValueError
        If the list is empty or holds something that is not a chemical symbol.
    """
    from ase.data import atomic_numbers

    if isinstance(elements, str) or not len(elements):
        raise ValueError(
            f"elements is {elements!r}; allowed is a list of one or more symbols, such as ['Pd', 'Pt']"
        )
    for symbol in elements:
        if symbol not in atomic_numbers or symbol == "X":
            raise ValueError(f"elements holds {symbol!r}; allowed are chemical symbols such as Pt")
    return np.array(sorted({atomic_numbers[symbol] for symbol in elements}), dtype=np.int64)


def by_element(atomic_numbers: Array, *, present: Array | None = None) -> dict[str, Array]:
    """(n,) bool masks of the atoms of each element, by symbol, the lightest first.

    Parameters
    ----------
    atomic_numbers
        (n,) of the atoms.
    present
        Atomic numbers of the elements that get a mask, even if no atom is of it; default: `atomic_numbers`.
    """
    from ase.data import chemical_symbols

    numbers = np.unique(atomic_numbers if present is None else present).tolist()
    return {chemical_symbols[z]: atomic_numbers == z for z in numbers}


def assign_species(intensities: Array, *, elements: Sequence[str]) -> Array:
    """Assign an element to each intensity.

    One element: all atoms are that. More: a mixture of one normal class per element on the logarithm of
    intensity, ordered by Z (see `fit_elements`). An atom belongs to one of the two classes between whose
    means it lies.

    Parameters
    ----------
    intensities
        (n,) integral of each atom's peak, any common unit; positive.
    elements
        Chemical symbols, in any order.

    Returns
    -------
    atomic_numbers
        (n,) int64.

    Raises
    ------
    ValueError
        If the elements are not chemical symbols, or an intensity is not finite and positive.
    """
    numbers = parse_elements(elements)
    intensities = np.asarray(intensities, dtype=np.float64)
    if intensities.ndim != 1 or not (np.isfinite(intensities) & (intensities > 0)).all():
        raise ValueError(
            f"intensities (shape {intensities.shape}) must be one axis of finite numbers above 0; "
            f"drop the peaks that are not atoms first"
        )
    if len(numbers) == 1 or not len(intensities):
        return np.full(len(intensities), numbers[-1])
    x = np.log(intensities)
    mixture = fit_elements(x, numbers)
    member = members(x, mixture)[0]
    # Only the two neighbours compete: a wide class does not claim what lies beyond a narrow one.
    below = np.clip(np.searchsorted(mixture.means, x) - 1, 0, len(numbers) - 2)
    rows = np.arange(len(x))
    chosen = below + (member[rows, below + 1] > member[rows, below])
    chosen[x <= mixture.means[0]] = 0
    chosen[x >= mixture.means[-1]] = len(numbers) - 1
    atomic_numbers: Array = numbers[chosen]
    return atomic_numbers
