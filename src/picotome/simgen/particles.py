"""Particles: one builder for each kind of specimen, and their place in the box."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.configs.imaging import SchemeName, VolumeConfig
from picotome.configs.specimens import FileSpecimen, SpecimenConfig
from picotome.geometry import azimuth_rotation, half_extent_A
from picotome.records import Specimen
from picotome.simgen.alloy import build_alloy
from picotome.simgen.amorphous import build_amorphous
from picotome.simgen.blob import build_blob
from picotome.simgen.clusters import build_decahedron, build_icosahedron
from picotome.simgen.core_shell import build_core_shell
from picotome.simgen.drawing import settle
from picotome.simgen.dumbbell import build_dumbbell
from picotome.simgen.exposures import AZIMUTHS_DEG
from picotome.simgen.layered import build_layered
from picotome.simgen.modifiers import IN_BOX_AXES, IN_OWN_AXES, apply_modifiers
from picotome.simgen.perovskite import build_perovskite
from picotome.simgen.structure_file import read_structure as read_structure
from picotome.simgen.wulff import build_wulff

MARGIN_A = 1.0
_CLOSEST_A = 0.5
_MAX_DRAWS = 20
# Fields of the truth that turn with the particle.
_VECTORS = frozenset({"displacement_A", "off_centre_A", "polarisation_C_per_m2"})
_TENSORS = frozenset({"strain", "misfit_strain"})


class Builder(Protocol):
    """Make a specimen of one kind, in its own frame: anywhere, crystal axes along x, y, z."""

    def __call__(self, config: Any, *, rng: np.random.Generator) -> Specimen:
        """Draw everything that the config leaves open from `rng`."""
        ...


def build_specimen(
    config: SpecimenConfig,
    *,
    volume: VolumeConfig,
    rng: np.random.Generator,
    scheme: SchemeName = "single_axis",
) -> Specimen:
    """Build, orient and place a specimen.

    The middle of its bounding box comes to the origin; a made particle is then shifted by up to half a voxel
    along each axis, so that atoms fall anywhere between voxels. A made particle whose drawn shape does not
    fit the box is drawn again, up to 20 times; a structure file is not.

    Parameters
    ----------
    scheme
        About which axes it will be tilted: it must stay in the box at any tilt about each.

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
        excess = _excess(specimen, volume=volume, scheme=scheme)
        if excess is None:
            return specimen
    raise ValueError(excess)


BUILDERS: Mapping[str, Builder] = {
    "wulff": build_wulff,
    "decahedron": build_decahedron,
    "icosahedron": build_icosahedron,
    "blob": build_blob,
    "core_shell": build_core_shell,
    "alloy": build_alloy,
    "dumbbell": build_dumbbell,
    "perovskite": build_perovskite,
    "amorphous": build_amorphous,
    "layered": build_layered,
    "file": read_structure,
}


def _place(config: SpecimenConfig, *, volume: VolumeConfig, rng: np.random.Generator) -> Specimen:
    """Build, change, turn, centre and shift a specimen; refuse one whose atoms coincide."""
    # Children of the stream: what they draw leaves the particle's own numbers as they were.
    of_laws, of_modifiers = rng.spawn(2)
    config = settle(config, rng=of_laws)
    streams = of_modifiers.spawn(len(config.modifiers))
    specimen = BUILDERS[config.kind](config, rng=rng)
    specimen = apply_modifiers(specimen, config.modifiers, among=IN_OWN_AXES, streams=streams)
    if config.rotate:
        specimen = _rotated(specimen, rotation=_random_rotation(rng))
    specimen = apply_modifiers(specimen, config.modifiers, among=IN_BOX_AXES, streams=streams)
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
    """Turn positions and those fields of the truth that are vectors or tensors."""
    truth = dict(specimen.truth)
    for name in _VECTORS & truth.keys():
        truth[name] = truth[name] @ rotation.T
    for name in _TENSORS & truth.keys():
        truth[name] = rotation @ truth[name] @ rotation.T
    return replace(specimen, positions_A=specimen.positions_A @ rotation.T, truth=truth)


def _check_apart(positions_A: NDArray[Any], description: str) -> None:
    pairs = cKDTree(positions_A).query_pairs(_CLOSEST_A, output_type="ndarray")
    if len(pairs):
        raise ValueError(
            f"{len(pairs)} pairs of atoms are closer than {_CLOSEST_A} Å ({description}); "
            f"ask for less disorder, or give a file without partially occupied sites"
        )


def _reach_A(positions_A: NDArray[Any]) -> float:
    """How far from the middle of an image atoms come at any tilt about y, along x or y."""
    x, y, z = positions_A.T
    # Somewhere in a full turn an atom stands at its distance from the tilt axis.
    return max(float(np.hypot(x, z).max()), float(np.abs(y).max()))


def _excess(specimen: Specimen, *, volume: VolumeConfig, scheme: SchemeName) -> str | None:
    """Say what is wrong where atoms come too close to the edge of the box at some tilt."""
    reach = MARGIN_A + max(
        _reach_A(specimen.positions_A @ azimuth_rotation(azimuth_deg).T)
        for azimuth_deg in AZIMUTHS_DEG[scheme]
    )
    half = half_extent_A(volume.n_voxels, volume.voxel_size_A)
    if reach <= half:
        return None
    needed = 2 * (math.ceil(reach / volume.voxel_size_A) + 1)
    return (
        f"volume.n_voxels is {volume.n_voxels} ({half:.1f} Å to each side at volume.voxel_size_A = "
        f"{volume.voxel_size_A:g}), but the specimen reaches {reach:.1f} Å with {MARGIN_A:g} Å to spare "
        f"({specimen.description}); set volume.n_voxels to {needed} or more"
    )
