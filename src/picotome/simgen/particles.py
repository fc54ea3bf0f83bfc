"""Particles: one builder for each kind of specimen, and their place in the box."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.configs.imaging import VolumeConfig
from picotome.configs.specimens import (
    BlobSpecimen,
    CoreShellSpecimen,
    FileSpecimen,
    SpecimenConfig,
    WulffSpecimen,
)
from picotome.geometry import half_extent_A
from picotome.records import Specimen
from picotome.simgen.alloy import build_alloy
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import Level, cut_crystal, facet_depth_A, facet_level, facets, fcc_lattice_A
from picotome.simgen.relaxation import check_emt_elements, relax_with_emt
from picotome.simgen.structure_file import read_structure as read_structure

MARGIN_A = 1.0
_CLOSEST_A = 0.5
_MAX_DRAWS = 20


class Builder(Protocol):
    """Make a specimen of one kind, in its own frame: anywhere, crystal axes along x, y, z."""

    def __call__(self, config: Any, *, rng: np.random.Generator) -> Specimen:
        """Draw everything that the config leaves open from `rng`."""
        ...


def build_specimen(config: SpecimenConfig, *, volume: VolumeConfig, rng: np.random.Generator) -> Specimen:
    """Build, orient and place a specimen.

    The middle of its bounding box comes to the origin; a made particle is then shifted by up to half a voxel
    along each axis, so that atoms fall anywhere between voxels. A made particle whose drawn shape does not
    fit the box is drawn again, up to 20 times; a structure file is not.

    Returns
    -------
    The specimen with its truth in the final frame: ``displacement_A`` (n, 3) and ``strain`` (n, 3, 3) turn
    with the particle; ``positions_A - displacement_A`` is a perfect lattice.

    Raises
    ------
    ValueError
        What the config asks for cannot be built, two atoms coincide, or an atom comes within 1 Å of the edge
        of the box at any tilt.
    FileNotFoundError
        The structure file does not exist.
    """
    n_draws = 1 if isinstance(config, FileSpecimen) else _MAX_DRAWS
    for _ in range(n_draws):
        specimen = _place(config, volume=volume, rng=rng)
        excess = _excess(specimen, volume=volume)
        if excess is None:
            return specimen
    raise ValueError(excess)


def build_wulff(config: WulffSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut an f.c.c. crystal by {111}, {100} and {110} facets at jittered Wulff distances."""
    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    diameter_A = rng.uniform(*config.diameter_A)
    level = facet_level(facets(config.facet_jitter, rng=rng))
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=lattice_A, rng=rng)
    crystal = Specimen(
        positions_A=sites,
        atomic_numbers=np.full(len(sites), _atomic_number(config.element)),
        description=f"{config.element} Wulff particle, {len(sites)} atoms, {diameter_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å",
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def build_core_shell(config: CoreShellSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut a particle from the mean lattice (Vegard's law), make its outside the shell, relax the misfit.

    An atom is shell where its perpendicular distance to the nearest facet of the particle is less than the
    drawn thickness; the deepest atom is always core. The facets enclose the volume of the atoms, so that
    one layer of {111} takes 0.58 lattice parameters. ``displacement_A`` includes the relaxation.

    Raises
    ------
    ValueError
        An element that is not f.c.c., or that EMT does not know; a shell as thick as the particle's radius.
    """
    if config.relax:
        check_emt_elements(core=config.core, shell=config.shell)
    core_A = fcc_lattice_A(config.core, lattice_A=None, key="core")
    shell_A = fcc_lattice_A(config.shell, lattice_A=None, key="shell")
    diameter_A = rng.uniform(*config.diameter_A)
    thickness_A = rng.uniform(*config.shell_thickness_A)
    core_share = _core_share(diameter_A, thickness_A)
    inverse_facets = facets(config.facet_jitter, rng=rng)
    level = facet_level(inverse_facets)
    guess_A = core_share * core_A + (1.0 - core_share) * shell_A
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=guess_A, rng=rng)

    depth_A = facet_depth_A(sites, inverse_facets=inverse_facets, scale_A=float(level(sites).max()))
    is_shell = (depth_A < thickness_A) & (depth_A < depth_A.max())
    lattice_A = float(np.where(is_shell, shell_A, core_A).mean())
    sites = sites * (lattice_A / guess_A)
    numbers = np.where(is_shell, _atomic_number(config.shell), _atomic_number(config.core))
    placed = sites
    if config.relax:
        placed = relax_with_emt(sites, atomic_numbers=numbers, lattice_A=lattice_A)
    crystal = Specimen(
        positions_A=placed,
        atomic_numbers=numbers,
        description=f"{config.core}@{config.shell} core-shell particle, {np.count_nonzero(~is_shell)} + "
        f"{np.count_nonzero(is_shell)} atoms, {diameter_A:.1f} Å, shell {thickness_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å{', EMT-relaxed' if config.relax else ''}",
        truth={"displacement_A": placed - sites, "is_shell": is_shell.astype(np.int64)},
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def build_blob(config: BlobSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut an f.c.c. crystal by a union of spheres, each centred inside an earlier one."""
    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    diameter_A = rng.uniform(*config.diameter_A)
    level = _blob_level(config.n_spheres, diameter_A=diameter_A, rng=rng)
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=lattice_A, rng=rng)
    crystal = Specimen(
        positions_A=sites,
        atomic_numbers=np.full(len(sites), _atomic_number(config.element)),
        description=f"{config.element} blob of {config.n_spheres} spheres, {len(sites)} atoms, "
        f"{diameter_A:.1f} Å, lattice {lattice_A:.3f} Å",
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


BUILDERS: Mapping[str, Builder] = {
    "wulff": build_wulff,
    "core_shell": build_core_shell,
    "blob": build_blob,
    "alloy": build_alloy,
    "file": read_structure,
}


def _atomic_number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def _core_share(diameter_A: float, thickness_A: float) -> float:
    """Volume of the core over that of the particle, for a sphere."""
    if 2.0 * thickness_A >= diameter_A:
        raise ValueError(
            f"shell_thickness_A is {thickness_A:.2f} in a particle whose diameter_A is {diameter_A:.2f}; "
            f"allowed is less than half the diameter: lower shell_thickness_A or raise diameter_A"
        )
    return (1.0 - 2.0 * thickness_A / diameter_A) ** 3


def _blob_level(n_spheres: int, *, diameter_A: float, rng: np.random.Generator) -> Level:
    """Distance outside a random union of spheres that has the volume of one sphere of `diameter_A`."""
    radii = rng.uniform(0.5, 1.0, n_spheres)
    centres = np.zeros((n_spheres, 3))
    for i in range(1, n_spheres):
        # A centre inside an earlier sphere leaves no thin necks.
        parent = int(rng.integers(i))
        direction = rng.normal(size=3)
        step = rng.uniform(0.5, 1.0) * radii[parent] / np.linalg.norm(direction)
        centres[i] = centres[parent] + step * direction
    low, high = (centres - radii[:, None]).min(axis=0), (centres + radii[:, None]).max(axis=0)
    centres -= (low + high) / 2.0

    def outside(positions: NDArray[Any], scale: float) -> NDArray[Any]:
        distance = np.full(len(positions), np.inf)
        for centre, radius in zip(centres * scale, radii * scale, strict=True):
            np.minimum(distance, np.linalg.norm(positions - centre, axis=1) - radius, out=distance)
        return distance

    n_points = 40
    axes = [(np.arange(n_points) + 0.5) / n_points * edge - edge / 2.0 for edge in high - low]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    volume = np.mean(outside(grid, 1.0) < 0.0) * np.prod(high - low)
    scale_A = diameter_A * float(math.pi / 6.0 / volume) ** (1.0 / 3.0)
    return lambda positions_A: outside(positions_A, scale_A)


def _place(config: SpecimenConfig, *, volume: VolumeConfig, rng: np.random.Generator) -> Specimen:
    """Build, turn, centre and shift a specimen; refuse one whose atoms coincide."""
    specimen = BUILDERS[config.kind](config, rng=rng)
    if config.rotate:
        specimen = _rotated(specimen, rotation=_random_rotation(rng))
    positions = specimen.positions_A
    positions = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2.0
    if not isinstance(config, FileSpecimen):
        positions = positions + rng.uniform(-0.5, 0.5, 3) * volume.voxel_size_A
    _check_apart(positions, specimen.description)
    return replace(specimen, positions_A=positions)


def _random_rotation(rng: np.random.Generator) -> NDArray[Any]:
    """(3, 3) rotation, uniform over all orientations (a normal quaternion has no preferred direction)."""
    from scipy.spatial.transform import Rotation

    matrix: NDArray[Any] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return matrix


def _rotated(specimen: Specimen, *, rotation: NDArray[Any]) -> Specimen:
    """Turn positions, the vectors ``displacement_A`` and the tensors ``strain``."""
    truth = dict(specimen.truth)
    if "displacement_A" in truth:
        truth["displacement_A"] = truth["displacement_A"] @ rotation.T
    if "strain" in truth:
        truth["strain"] = rotation @ truth["strain"] @ rotation.T
    return replace(specimen, positions_A=specimen.positions_A @ rotation.T, truth=truth)


def _check_apart(positions_A: NDArray[Any], description: str) -> None:
    pairs = cKDTree(positions_A).query_pairs(_CLOSEST_A, output_type="ndarray")
    if len(pairs):
        raise ValueError(
            f"{len(pairs)} pairs of atoms are closer than {_CLOSEST_A} Å ({description}); "
            f"ask for less disorder, or give a file without partially occupied sites"
        )


def _excess(specimen: Specimen, *, volume: VolumeConfig) -> str | None:
    """Say what is wrong where atoms come too close to the edge of the box at some tilt."""
    x, y, z = specimen.positions_A.T
    # Somewhere in a full turn an atom stands at its distance from the tilt axis y.
    reach = max(float(np.hypot(x, z).max()), float(np.abs(y).max())) + MARGIN_A
    half = half_extent_A(volume.n_voxels, volume.voxel_size_A)
    if reach <= half:
        return None
    needed = 2 * (math.ceil(reach / volume.voxel_size_A) + 1)
    return (
        f"volume.n_voxels is {volume.n_voxels} ({half:.1f} Å to each side at volume.voxel_size_A = "
        f"{volume.voxel_size_A:g}), but the specimen reaches {reach:.1f} Å with {MARGIN_A:g} Å to spare "
        f"({specimen.description}); set volume.n_voxels to {needed} or more"
    )
