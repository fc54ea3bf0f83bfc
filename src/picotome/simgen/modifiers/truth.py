"""How a specimen and its truth change together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from picotome.records import Specimen
from picotome.simgen.lattice import bonds

# Between the first and the second neighbours of every close-packed lattice (1 and 1.41).
BOND = 1.2


def lattice_sites_A(specimen: Specimen) -> NDArray[Any]:
    """(n, 3) positions without what displaced them, Å."""
    sites: NDArray[Any] = specimen.positions_A - specimen.truth.get("displacement_A", 0.0)
    return sites


def displaced(
    specimen: Specimen, added_A: NDArray[Any], *, strain: NDArray[Any] | None = None, remark: str = ""
) -> Specimen:
    """Move atoms by (n, 3) Å, and add (n, 3, 3) to the strain that the truth states."""
    truth = dict(specimen.truth)
    truth["displacement_A"] = truth.get("displacement_A", 0.0) + added_A
    if strain is not None:
        truth["strain"] = truth.get("strain", 0.0) + strain
    return replace(
        specimen,
        positions_A=specimen.positions_A + added_A,
        truth=truth,
        description=specimen.description + remark,
    )


def kept(specimen: Specimen, is_kept: NDArray[Any], *, remark: str = "") -> Specimen:
    """Leave out the atoms where `is_kept` (n,) is False."""
    if not is_kept.any():
        raise ValueError("no atom is left; ask for less")
    return replace(
        specimen,
        positions_A=specimen.positions_A[is_kept],
        atomic_numbers=specimen.atomic_numbers[is_kept],
        truth={name: values[is_kept] for name, values in specimen.truth.items()},
        description=specimen.description + remark,
    )


def with_field(specimen: Specimen, **fields: NDArray[Any]) -> Specimen:
    """Set fields of the truth."""
    return replace(specimen, truth={**specimen.truth, **fields})


def nearest_A(positions_A: NDArray[Any]) -> float:
    """Median distance of the atoms to their nearest neighbour, Å."""
    if len(positions_A) < 2:
        raise ValueError(f"the specimen has {len(positions_A)} atoms; allowed is 2 or more")
    distance, _ = cKDTree(positions_A).query(positions_A, k=2)
    return float(np.median(distance[:, 1]))


def close_packed_bonds(specimen: Specimen) -> csr_matrix:
    """Symmetric (n, n) matrix of ones between nearest neighbours of a close-packed specimen.

    Raises
    ------
    ValueError
        No atom has twelve neighbours.
    """
    neighbours = bonds(specimen.positions_A, cutoff_A=BOND * nearest_A(specimen.positions_A))
    most = int(np.diff(neighbours.indptr).max())
    if most != 12:
        raise ValueError(
            f"its atoms have up to {most} nearest neighbours; allowed are close-packed particles (f.c.c.), "
            f"whose inner atoms have 12"
        )
    return neighbours
