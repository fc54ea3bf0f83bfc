"""Multiply twinned particles: decahedra and icosahedra.

Twenty tetrahedra around a point, or five around an axis, only close when each is strained. ASE strains them
alike everywhere; here its clusters are scaled so that the mean bond inside a grain has the crystal's length.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.clusters import DecahedronSpecimen, IcosahedronSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import (
    Level,
    SitesWithin,
    atomic_number,
    cut_sites,
    facet_level,
    fcc_lattice_A,
    n_sites,
)

_GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0
# Bonds within a shell over bonds between shells; six of a site's twelve are of each kind.
_ICO_STRETCH = math.sqrt(4.0 / (1.0 + _GOLDEN**2))
_ICO_SCALE = 2.0 / (1.0 + _ICO_STRETCH)
# Bonds across the five-fold axis over all others; two of twelve.
_DECA_STRETCH = math.sqrt(3.0) * math.sin(math.pi / 5.0)
_DECA_SCALE = 12.0 / (10.0 + 2.0 * _DECA_STRETCH)


def build_icosahedron(config: IcosahedronSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut ASE's Mackay icosahedron by twenty jittered {111} faces.

    Mackay, Acta Cryst. 15, 916 (1962), doi:10.1107/S0365110X6200239X. Bonds within a shell are 5.1 % longer
    than those between shells.

    Returns
    -------
    The specimen; `truth` also holds ``grain`` (n,), 0 to 19, and ``twin_plane_distance_A`` (n,), 0 or more,
    to the nearest plane between two grains, both on the ideal sites.

    Raises
    ------
    ValueError
        The lattice parameter is not known, or the particle holds fewer than 13 atoms.
    """
    from ase.cluster import Icosahedron

    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    faces = _icosahedron_faces()

    def sites_within(radius_A: float) -> NDArray[Any]:
        # The faces of a shell are nearer than its corners.
        thickness_A = lattice_A / math.sqrt(2.0) * _ICO_SCALE * 0.79
        n_shells = math.ceil(radius_A / thickness_A) + 2
        return _in_ball(Icosahedron("X", n_shells, lattice_A).get_positions() * _ICO_SCALE, radius_A)

    return _cut_twinned(config, faces, grains=faces, sites_within=sites_within, lattice_A=lattice_A, rng=rng)


def build_decahedron(config: DecahedronSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut ASE's decahedral lattice by ten {111} caps, five {100} sides and the notches between them.

    Ino, J. Phys. Soc. Jpn. 27, 941 (1969), doi:10.1143/JPSJ.27.941; re-entrant edges: Marks, Philos. Mag. A
    49, 81 (1984), doi:10.1080/01418618408233431. The five-fold axis is z; bonds across it are 1.8 % longer
    than all others.

    Returns
    -------
    The specimen; `truth` also holds ``grain`` (n,), 0 to 4, and ``twin_plane_distance_A`` (n,), 0 or more, to
    the nearest of the five twin planes, both on the ideal sites.

    Raises
    ------
    ValueError
        The lattice parameter is not known, or the particle holds fewer than 13 atoms.
    """
    from ase.cluster import Decahedron

    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    side, notch = float(rng.uniform(*config.side)), float(rng.uniform(*config.notch))
    grains, caps, corners = _decahedron_axes()
    nearest_A = lattice_A / math.sqrt(2.0) * _DECA_SCALE

    def sites_within(radius_A: float) -> NDArray[Any]:
        n_rings = math.ceil(radius_A / (nearest_A * math.sqrt(0.75) * math.cos(math.pi / 5.0))) + 2
        n_along = math.ceil(2.0 * radius_A / nearest_A) + 2
        return _in_ball(
            Decahedron("X", n_rings, n_along, 0, lattice_A).get_positions() * _DECA_SCALE, radius_A
        )

    # A notch is cut by two planes along the five-fold axis, parallel to the far twin planes of its grains.
    to_corners = np.linalg.inv(np.stack([corners, np.roll(corners, -1, axis=0)], axis=2)[:, :2, :2])

    def notches(positions_A: NDArray[Any]) -> NDArray[Any]:
        along = np.einsum("gij,nj->gni", to_corners, positions_A[:, :2])
        grain = (positions_A @ grains.T).argmax(axis=1)
        own = along[grain, np.arange(len(positions_A))].max(axis=1)
        depth: NDArray[Any] = own * math.cos(math.pi / 5.0) / (side * (1.0 - notch))
        return depth

    return _cut_twinned(
        config,
        np.concatenate([grains / side, caps]),
        grains=grains,
        sites_within=sites_within,
        lattice_A=lattice_A,
        rng=rng,
        also=notches,
    )


def _cut_twinned(
    config: DecahedronSpecimen | IcosahedronSpecimen,
    inverse_facets: NDArray[Any],
    *,
    grains: NDArray[Any],
    sites_within: SitesWithin,
    lattice_A: float,
    rng: np.random.Generator,
    also: Level | None = None,
) -> Specimen:
    """Cut by jittered facets, and by `also`; a site's grain is the one whose (3,) direction is nearest."""
    diameter_A = float(rng.uniform(*config.diameter_A))
    jitter = np.exp(rng.normal(0.0, config.facet_jitter, len(inverse_facets)))
    faces = facet_level(inverse_facets / jitter[:, None])

    def level(positions_A: NDArray[Any]) -> NDArray[Any]:
        scale = faces(positions_A)
        highest: NDArray[Any] = scale if also is None else np.maximum(scale, also(positions_A))
        return highest

    sites = cut_sites(
        level,
        sites_within=sites_within,
        n_atoms=n_sites(diameter_A, lattice_A=lattice_A),
        nearest_A=lattice_A / math.sqrt(2.0),
        margin_A=lattice_A,
        radius_A=0.65 * diameter_A + lattice_A,
    )
    along_A = sites @ grains.T
    order = np.argsort(along_A, axis=1)[:, ::-1]
    first, second = order[:, 0], order[:, 1]
    between = grains[first] - grains[second]
    distance_A = np.einsum("ij,ij->i", between, sites) / np.linalg.norm(between, axis=1)
    crystal = Specimen(
        positions_A=sites,
        atomic_numbers=np.full(len(sites), atomic_number(config.element)),
        description=f"{config.element} {config.kind}, {len(sites)} atoms, {diameter_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å",
        truth={
            "displacement_A": np.zeros_like(sites),
            "grain": first.astype(np.int64),
            "twin_plane_distance_A": distance_A,
        },
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _in_ball(sites: NDArray[Any], radius_A: float) -> NDArray[Any]:
    inside: NDArray[Any] = sites[np.einsum("ij,ij->i", sites, sites) <= radius_A**2]
    return inside


def _icosahedron_faces() -> NDArray[Any]:
    """(20, 3) unit normals of ASE's icosahedron: the corners of a dodecahedron."""
    signs = np.array(list(product((-1.0, 1.0), repeat=2)))
    cube = np.array(list(product((-1.0, 1.0), repeat=3)))
    zero = np.zeros(4)
    flat = np.column_stack([signs[:, 0] / _GOLDEN, zero, signs[:, 1] * _GOLDEN])
    faces = np.concatenate([cube, flat, np.roll(flat, 1, axis=1), np.roll(flat, 2, axis=1)])
    normals: NDArray[Any] = faces / np.linalg.norm(faces, axis=1, keepdims=True)
    return normals


def _decahedron_axes() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Unit (5, 3) grain directions, (10, 3) normals of the caps and (5, 3) corners of ASE's decahedron.

    Grain g lies between the corners g and g + 1.
    """
    angles = math.pi / 2.0 + 2.0 * math.pi / 5.0 * np.arange(5)
    corners = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(5)])
    grains = corners + np.roll(corners, -1, axis=0)
    grains /= np.linalg.norm(grains, axis=1, keepdims=True)
    caps = []
    for sign in (1.0, -1.0):
        # A step outwards along a corner goes half a bond down; corners are √¾ bonds apart.
        down = math.sqrt(0.75) * corners + np.array([0.0, 0.0, -0.5 * sign])
        edge = np.roll(corners, -1, axis=0) - corners
        normals = np.cross(down, edge) * sign
        caps.append(normals / np.linalg.norm(normals, axis=1, keepdims=True))
    return grains, np.concatenate(caps), corners
