"""Flakes of layered crystals, and pieces of any crystal from a CIF."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.compounds import LayeredSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import atomic_number

# An empty slab this thick between the planes of atoms that no bond crosses is a van der Waals gap; bonds are
# at most this much longer than the sum of the covalent radii.
_GAP_A = 2.0
_BOND = 1.25
_MIN_CELLS = 4


@dataclass(frozen=True, eq=False)
class CrystalCell:
    """One cell of a crystal.

    Attributes
    ----------
    name
        For people.
    cell_A
        (3, 3) rows a, b, c in Å.
    fractional
        (m, 3) positions in cells.
    atomic_numbers
        (m,).
    """

    name: str
    cell_A: NDArray[Any]
    fractional: NDArray[Any]
    atomic_numbers: NDArray[Any]


# Halogen, edges a, b, c in Å at room temperature, and the distance from Cr to the halogen in Å.
_FEOCL_TYPE = {"CrOCl": ("Cl", (3.86, 3.18, 7.69), 2.35), "CrOBr": ("Br", (3.86, 3.23, 8.36), 2.52)}
_CR_O_A = 1.99


def build_layered(config: LayeredSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut a flake of whole cells.

    The layers are stacked along the normal of a and b; a layer is what lies between two gaps of more than
    2 Å without atoms and bonds, and a crystal without gaps is counted in cells. In the plane, the cells whose
    middle lies in the outline belong to the flake, so that its composition is the crystal's.

    Returns
    -------
    The specimen; `truth` also holds ``layer`` (n,), counted from the lowest.

    Raises
    ------
    FileNotFoundError
        There is no such CIF.
    ValueError
        The CIF cannot be read, or the flake would have fewer than four cells in a layer.
    """
    crystal = read_cif(config.cif) if config.cif is not None else feocl_type(config.crystal)
    layers = split_layers(crystal)
    width_A = float(rng.uniform(*config.width_A))
    columns = _columns(crystal.cell_A, width_A=width_A, shape=config.shape, rng=rng)
    first = int(rng.integers(len(layers)))
    parts, numbers, counts = [], [], []
    for number in range(config.n_layers):
        turn, which = divmod(first + number, len(layers))
        members, fractional = layers[which]
        cells = np.column_stack([columns, np.full(len(columns), turn)])
        parts.append((cells[:, None] + fractional).reshape(-1, 3) @ crystal.cell_A)
        numbers.append(np.tile(crystal.atomic_numbers[members], len(columns)))
        counts.append(len(columns) * len(members))
    sites = np.concatenate(parts)
    flake = Specimen(
        positions_A=sites,
        atomic_numbers=np.concatenate(numbers).astype(np.int64),
        description=f"{crystal.name} flake, {config.n_layers} layers, {config.shape} of {width_A:.1f} Å, "
        f"{len(columns)} cells in a layer, {len(sites)} atoms",
        truth={
            "displacement_A": np.zeros_like(sites),
            "layer": np.repeat(np.arange(config.n_layers), counts),
        },
    )
    return apply_disorder(flake, config=config.disorder, rng=rng)


def feocl_type(name: str) -> CrystalCell:
    """Make the cell of a chromium oxyhalide of the FeOCl type, space group Pmmn (59, origin at mm2).

    Lattice parameters: CrOCl, Angelkort et al., Phys. Rev. B 80, 144416 (2009),
    doi:10.1103/PhysRevB.80.144416; CrOBr, Coïc et al., Mater. Res. Bull. 16, 229 (1981). Sites: Cr 2b
    (0, ½, z), O and halogen 2a (0, 0, z), each with its image at (½, ½, 0) + (x, y, −z). The three heights
    are not copied from a refinement: they follow from the distances of Cr to its four O, 1.99 Å as the mean
    in Cr2O3, and to its two halogens, 2.35 Å as in CrCl3 and 2.52 Å as in CrBr3. Refined ones come by a CIF.
    """
    halogen, (a_A, b_A, c_A), cr_x_A = _FEOCL_TYPE[name]
    # Two O lie half a cell along a from Cr, two half a cell along b, as do the halogens.
    below_A, above_A = (math.sqrt(_CR_O_A**2 - edge_A**2 / 4.0) for edge_A in (a_A, b_A))
    z_cr, z_o = (above_A + below_A) / 2.0 / c_A, (below_A - above_A) / 2.0 / c_A
    z_x = z_cr + math.sqrt(cr_x_A**2 - b_A**2 / 4.0) / c_A
    upper = np.array([[0.0, 0.5, z_cr], [0.0, 0.0, z_o], [0.0, 0.0, z_x]])
    lower = np.array([0.5, 0.5, 0.0]) + upper * np.array([1.0, 1.0, -1.0])
    numbers = [atomic_number(symbol) for symbol in ("Cr", "O", halogen)]
    return CrystalCell(
        name=name,
        cell_A=np.diag([a_A, b_A, c_A]),
        fractional=np.concatenate([upper, lower]) % 1.0,
        atomic_numbers=np.array(2 * numbers, dtype=np.int64),
    )


def read_cif(path: str) -> CrystalCell:
    """Read the one crystal in a CIF with ASE.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It does not parse, or a site is shared by several elements or partly empty.
    """
    from ase.io import read

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"cif: {file} does not exist; give the path of a CIF")
    try:
        atoms: Any = read(str(file), format="cif", do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's parser raises whatever it runs into
        raise ValueError(
            f"cif: {file} is not a CIF that ASE reads ({type(error).__name__}: {error}); "
            f"it needs a cell, a space group or its operations, and the sites"
        ) from error
    numbers = np.array(atoms.get_atomic_numbers(), dtype=np.int64)
    occupancy = atoms.info.get("occupancy", {})
    mixed = [site for site in occupancy.values() if len(site) > 1 or min(site.values()) < 1.0]
    if len(numbers) == 0 or (numbers < 1).any() or mixed:
        raise ValueError(
            f"cif: {file} has {len(numbers)} sites, {np.count_nonzero(numbers < 1)} of unknown element and "
            f"{len(mixed)} shared or partly empty; allowed is one element on each site"
        )
    return CrystalCell(
        name=str(atoms.get_chemical_formula(empirical=True)),
        cell_A=np.array(atoms.cell[:], dtype=np.float64),
        fractional=np.array(atoms.get_scaled_positions(wrap=True), dtype=np.float64),
        atomic_numbers=numbers,
    )


def split_layers(crystal: CrystalCell) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Members (m,) and unwrapped fractional positions (m, 3) of each layer of a cell, from below."""
    normal = np.cross(crystal.cell_A[0], crystal.cell_A[1])
    period_A = float(crystal.cell_A[2] @ normal / np.linalg.norm(normal))
    order = np.argsort(crystal.fractional[:, 2], kind="stable")
    heights = crystal.fractional[order, 2]
    steps = np.diff(np.append(heights, heights[0] + 1.0))
    is_bridged = _is_bridged(crystal, heights + steps / 2.0)
    ends = np.flatnonzero((steps * abs(period_A) > _GAP_A) & ~is_bridged)
    if len(ends) == 0:
        return [(order, crystal.fractional[order])]
    # Start behind the last gap of the cell, so that no layer is torn.
    start = int(ends[-1]) + 1
    unwrapped = crystal.fractional[order].copy()
    unwrapped[start:, 2] -= 1.0
    order, unwrapped = np.roll(order, -start), np.roll(unwrapped, -start, axis=0)
    pieces = np.sort((ends - start) % len(order) + 1)[:-1]
    return list(zip(np.split(order, pieces), np.split(unwrapped, pieces), strict=True))


def _is_bridged(crystal: CrystalCell, heights: NDArray[Any]) -> NDArray[Any]:
    """Whether a chemical bond crosses each of the planes at these heights, in cells along c."""
    from ase import Atoms
    from ase.neighborlist import natural_cutoffs, neighbor_list

    atoms = Atoms(crystal.atomic_numbers, scaled_positions=crystal.fractional, cell=crystal.cell_A, pbc=True)
    first, bonds_A = neighbor_list("iD", atoms, natural_cutoffs(atoms, mult=_BOND))
    start = crystal.fractional[first, 2]
    end = start + bonds_A @ np.linalg.inv(crystal.cell_A)[:, 2]
    bridged: NDArray[Any] = (np.floor(start[:, None] - heights) != np.floor(end[:, None] - heights)).any(
        axis=0
    )
    return bridged


def _columns(cell_A: NDArray[Any], *, width_A: float, shape: str, rng: np.random.Generator) -> NDArray[Any]:
    """(n, 2) cells along a and b whose middle lies in the outline."""
    across = cell_A[0] / np.linalg.norm(cell_A[0])
    normal = np.cross(cell_A[0], cell_A[1])
    upward = np.cross(normal / np.linalg.norm(normal), across)
    flat_A = cell_A[:2] @ np.stack([across, upward], axis=1)
    # The other way round, a skew cell would not reach the corners of the outline.
    reach = math.ceil(width_A / float(np.linalg.svd(flat_A, compute_uv=False).min())) + 1
    steps = np.arange(-reach, reach + 1)
    cells = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    middle_A = (cells + rng.uniform(-0.5, 0.5, 2)) @ flat_A
    if shape == "disc":
        inside = np.linalg.norm(middle_A, axis=1) <= width_A / 2.0
    else:
        inside = np.abs(middle_A).max(axis=1) <= width_A / 2.0
    columns: NDArray[Any] = cells[inside]
    if len(columns) < _MIN_CELLS:
        raise ValueError(
            f"width_A is {width_A:g}, which holds {len(columns)} cells in a layer; allowed is {_MIN_CELLS} "
            f"or more: raise width_A"
        )
    return columns
