"""Structures that somebody else made or measured, read with ASE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.specimens import FileSpecimen
from picotome.records import Specimen
from picotome.simgen.lattice import atomic_number

if TYPE_CHECKING:
    from ase import Atoms

# Databases and folders are not structure files, and a name must never open a connection.
_ON_EDGE_A = 1e-6
_REFUSED_FORMATS = frozenset({"db", "mysql", "postgresql", "bundletrajectory"})


def read_structure(config: FileSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Read a structure file with ASE, put elements in place of others and crop it; `rng` is not used.

    What is kept lies in a ball or box around the middle of the atoms' bounding box, edges included, in the
    file's own axes.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        ASE cannot read it, it does not hold exactly one structure of real atoms, an element that `species`
        names is not there, or the crop keeps nothing.
    """
    from ase.data import chemical_symbols

    atoms = _read_atoms(Path(config.path).expanduser())
    positions = np.array(atoms.get_positions(), dtype=np.float64)
    numbers = np.array(atoms.get_atomic_numbers(), dtype=np.int64)
    if not np.isfinite(positions).all():
        raise ValueError(f"path: {config.path} has positions that are not finite numbers")
    if (numbers < 1).any():
        raise ValueError(f"path: {config.path} has {np.count_nonzero(numbers < 1)} atoms of unknown element")
    numbers = _with_species(numbers, config)
    kept = _is_kept(positions, config)
    if not kept.any():
        raise ValueError(
            f"{_crop_key(config)} keeps none of the {len(kept)} atoms of {config.path}; enlarge it"
        )
    positions, numbers = positions[kept], numbers[kept]
    kinds, count = np.unique(numbers, return_counts=True)
    formula = " ".join(f"{chemical_symbols[z]}{n}" for z, n in zip(kinds, count, strict=True))
    return Specimen(
        positions_A=positions,
        atomic_numbers=numbers,
        description=f"{Path(config.path).name}, {len(numbers)} atoms, {formula}",
    )


def _with_species(numbers: NDArray[Any], config: FileSpecimen) -> NDArray[Any]:
    changed = numbers.copy()
    for old, new in config.species.items():
        here = numbers == atomic_number(old)
        if not here.any():
            raise ValueError(f"species: {old} is not in {config.path}; leave it out")
        changed[here] = atomic_number(new)
    return changed


def _is_kept(positions: NDArray[Any], config: FileSpecimen) -> NDArray[Any]:
    from_middle = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2.0
    kept = np.full(len(positions), True)
    if config.crop_diameter_A is not None:
        kept = np.linalg.norm(from_middle, axis=1) <= config.crop_diameter_A / 2.0 + _ON_EDGE_A
    elif config.crop_box_A is not None:
        kept = (np.abs(from_middle) <= np.array(config.crop_box_A) / 2.0 + _ON_EDGE_A).all(axis=1)
    return kept


def _crop_key(config: FileSpecimen) -> str:
    if config.crop_box_A is not None:
        return f"crop_box_A {list(config.crop_box_A)}"
    return f"crop_diameter_A {config.crop_diameter_A:g}"


def _read_atoms(path: Path) -> Atoms:
    """The one structure in a file, as ASE's Atoms."""
    from ase.io import read
    from ase.io.formats import filetype

    if not path.is_file():
        what = "is a folder, not a structure file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"path: {path} {what}; give a file that ASE reads (xyz, cif, POSCAR, …)")
    try:
        kind = filetype(str(path))
        if kind in _REFUSED_FORMATS:
            raise ValueError(f"{kind} is a database, not a structure file")
        found = read(path, ":", kind, do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise whatever their parsing runs into
        raise ValueError(
            f"path: ASE cannot read {path} ({type(error).__name__}: {error}); "
            f"give a file that ASE reads (xyz, cif, POSCAR, …)"
        ) from error
    frames: list[Any] = found if isinstance(found, list) else [found]
    if len(frames) != 1:
        raise ValueError(f"path: {path} holds {len(frames)} structures; allowed is one")
    if len(frames[0]) == 0:
        raise ValueError(f"path: {path} holds no atoms")
    atoms: Atoms = frames[0]
    return atoms
