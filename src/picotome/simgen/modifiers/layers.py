"""Modifiers that move layers: surface relaxation and stacking faults of f.c.c. particles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.configs.modifiers import StackingFaultModifier, SurfaceModifier
from picotome.records import Specimen
from picotome.simgen.lattice import bonds
from picotome.simgen.modifiers.truth import (
    BOND,
    close_packed_bonds,
    displaced,
    lattice_sites_A,
    nearest_A,
    with_field,
)

# Distances of layers in units of that of nearest neighbours: a/√3 and a/2, with a/√2.
_SPACING_111, _SPACING_100 = math.sqrt(2.0 / 3.0), math.sqrt(0.5)
# Nearest neighbours of an atom in a flat facet; on edges and corners there are fewer.
_IN_111, _IN_100, _INSIDE = 9, 8, 12
_ON_LATTICE_A = 0.3
_TOO_CLOSE = 0.9


def relax_surface(specimen: Specimen, *, config: SurfaceModifier, rng: np.random.Generator) -> Specimen:
    """Move the outermost layer along its normal, by a part of the distance between layers.

    An atom of a {111} facet has nine nearest neighbours, one of {100} eight; what their bonds do not balance
    points outwards along the normal. Atoms on edges and corners, with fewer, move by the mean of both along
    their own. Nothing needs to be known of the orientation, so that twins relax too. LEED finds the
    outermost layer of Pt(111) 1 % out (Materer et al., Surf. Sci. 325, 207 (1995)); open facets go in.

    Returns
    -------
    The specimen; the truth's ``terrace`` (n,) is 111, 100, −1 on edges and corners, 0 inside. ``strain``
    stays: a step between two layers has no gradient.

    Raises
    ------
    ValueError
        The specimen is not close-packed.
    """
    on_111, on_100 = rng.uniform(*config.on_111), rng.uniform(*config.on_100)
    neighbours = close_packed_bonds(specimen)
    count = np.diff(neighbours.indptr)
    nearest = nearest_A(specimen.positions_A)
    missing = specimen.positions_A * count[:, None] - neighbours @ specimen.positions_A
    length = np.linalg.norm(missing, axis=1)
    is_surface = (count < _INSIDE) & (length > 0.5 * nearest)
    terrace = np.where(is_surface, -1, 0)
    terrace[is_surface & (count == _IN_111)] = 111
    terrace[is_surface & (count == _IN_100)] = 100
    flat_111, flat_100 = on_111 * _SPACING_111 * nearest, on_100 * _SPACING_100 * nearest
    outwards_A = np.select(
        [terrace == 111, terrace == 100, terrace == -1],
        [flat_111, flat_100, 0.5 * (flat_111 + flat_100)],
        0.0,
    )
    u = outwards_A[:, None] * missing / np.maximum(length, 1e-9)[:, None]
    return with_field(displaced(specimen, u), terrace=terrace)


def fault_stacking(
    specimen: Specimen, *, config: StackingFaultModifier, rng: np.random.Generator
) -> Specimen:
    """Cut the particle between two {111} layers and shift what lies above by a Shockley partial, a/6 <112>.

    Which of the four planes and of the three partials that lead from hollow to hollow is drawn. The two
    layers at the plane are then stacked as in h.c.p. (Hirth & Lothe, Theory of Dislocations, ch. 10).

    Returns
    -------
    The specimen. ``displacement_A`` includes the shift, so that the lattice is the one before it; the truth
    also holds ``is_slipped`` (n,), 1 above the plane, and ``is_stacking_fault`` (n,), 1 in the two layers.

    Raises
    ------
    ValueError
        The specimen is not one f.c.c. crystal with its cubic axes along x, y and z, or has fewer than four
        layers along the plane's normal.
    """
    sites = lattice_sites_A(specimen)
    lattice_A = _cubic_lattice_A(sites)
    normal = np.array([1.0, *rng.choice([-1.0, 1.0], size=2)])
    place = rng.uniform(*config.place)
    which, spacing_A = int(rng.integers(3)), lattice_A / math.sqrt(3.0)
    height = sites @ normal / math.sqrt(3.0)
    layer = np.rint((height - height.min()) / spacing_A).astype(np.int64)
    n_layers = int(layer.max()) + 1
    if n_layers < 4:
        raise ValueError(f"the particle has {n_layers} {{111}} layers; allowed are 4 or more: enlarge it")
    # Two layers on either side, so that there is something to slip.
    last_below = int(np.clip(round(0.5 * (1.0 + place) * n_layers) - 1, 1, n_layers - 3))
    above = layer > last_below
    partial = normal.copy()
    partial[which] *= -2.0
    shift_A = partial * lattice_A / 6.0
    tree = cKDTree(sites[~above])
    if tree.query(sites[above] + shift_A)[0].min() < _TOO_CLOSE * lattice_A / math.sqrt(2.0):
        shift_A = -shift_A
    at_plane = (layer == last_below) | (layer == last_below + 1)
    slipped = displaced(specimen, above[:, None] * shift_A, remark=", stacking fault")
    earlier = specimen.truth
    return with_field(
        slipped,
        is_slipped=np.maximum(earlier.get("is_slipped", 0), above.astype(np.int64)),
        is_stacking_fault=np.maximum(earlier.get("is_stacking_fault", 0), at_plane.astype(np.int64)),
    )


def _cubic_lattice_A(sites: NDArray[Any]) -> float:
    """Lattice parameter of one f.c.c. crystal whose cubic axes are x, y and z; ValueError for others."""
    nearest = nearest_A(sites)
    pairs = bonds(sites, cutoff_A=BOND * nearest).tocoo()
    steps = np.sort(np.abs(sites[pairs.row] - sites[pairs.col]), axis=1)
    expected = np.array([0.0, 1.0, 1.0]) * nearest / math.sqrt(2.0)
    if not (np.abs(steps - expected) < _ON_LATTICE_A).all():
        raise ValueError(
            "the particle is not one f.c.c. crystal in its own axes (another lattice, twins, or a turned "
            "file); allowed are wulff, core_shell, blob and alloy particles of f.c.c. elements"
        )
    return nearest * math.sqrt(2.0)
