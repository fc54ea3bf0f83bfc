"""Shapes and lattices of faceted particles; WulffPack and ASE are the judges."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.cluster import Octahedron
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, HalfspaceIntersection, cKDTree
from wulffpack import SingleCrystal

from picotome.configs.specimens import DisorderConfig, WulffSpecimen, parse_miller
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.crystals import (
    SHAPES,
    Lattice,
    all_facets,
    lattice_sites,
    metal_lattice,
    usual_energies,
)
from picotome.simgen.wulff import build_wulff

CALM = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)


def _wulff(seed: int = 0, **changes: object) -> Specimen:
    settings_ = {"kind": "wulff", "disorder": CALM, **changes}
    return build_wulff(WulffSpecimen.model_validate(settings_), rng=stream(7, seed, "build"))


def _lattice(element: str) -> Lattice:
    return metal_lattice(element, structure=None, lattice_A=None, lattice_c_A=None)


def _areas(inverse: np.ndarray) -> np.ndarray:
    """Area of the particle's face on each half-space q · r ≤ 1."""
    corners = HalfspaceIntersection(
        np.column_stack([inverse, -np.ones(len(inverse))]), np.zeros(3)
    ).intersections
    areas = np.zeros(len(inverse))
    for number, q in enumerate(inverse):
        face = corners[np.abs(corners @ q - 1.0) < 1e-9]
        flat = (face - face.mean(axis=0)) @ np.linalg.svd(q[None])[2][1:].T if len(face) > 2 else face[:0]
        if len(flat) > 2 and np.linalg.matrix_rank(flat, tol=1e-9) == 2:
            areas[number] = ConvexHull(flat).volume
    return areas


@pytest.mark.filterwarnings("ignore::DeprecationWarning:spglib", "ignore::DeprecationWarning:wulffpack")
@pytest.mark.parametrize(
    ("element", "energies"),
    [
        ("Pt", {(1, 1, 1): 1.0, (1, 0, 0): 1.15}),
        ("Pt", {(1, 1, 1): 1.0, (1, 0, 0): 1.1, (1, 1, 0): 1.15, (3, 2, 1): 1.12}),
        ("Fe", {(1, 1, 0): 1.0, (1, 0, 0): 1.1, (2, 1, 1): 1.08}),
        ("Co", {(0, 0, 1): 1.0, (1, 0, 0): 1.1, (1, 0, 1): 1.15, (1, 1, 2): 1.2}),
    ],
)
def test_facet_fractions_are_wulffpacks(element: str, energies: dict[tuple[int, int, int], float]) -> None:
    lattice = _lattice(element)
    millers, inverse = all_facets(lattice, energies, jitter=0.0, rng=np.random.default_rng(0))
    areas = _areas(inverse)
    judge = SingleCrystal(energies, primitive_structure=bulk(element)).facet_fractions
    for miller, energy in energies.items():
        family = np.isclose(np.linalg.norm(inverse, axis=1), 1.0 / energy, rtol=1e-9)
        assert miller in [tuple(m) for m in millers[family]]
        assert areas[family].sum() / areas.sum() == pytest.approx(judge.get(miller, 0.0), abs=1e-6), miller


@pytest.mark.parametrize("element", ["Pt", "Fe", "W", "Co", "Mg", "Zn"])
def test_lattices_have_ases_neighbour_shells(element: str) -> None:
    lattice = _lattice(element)
    sites = lattice_sites(lattice, radius_A=14.0, offset_A=np.array([0.3, -0.2, 0.9]))
    middle = sites[np.linalg.norm(sites, axis=1).argmin()]
    ours = np.sort(np.linalg.norm(sites - middle, axis=1))[:80]
    crystal = bulk(element).repeat(13)
    from_middle = np.linalg.norm(crystal.positions - crystal.cell.sum(axis=0) / 2, axis=1)
    centre = crystal.positions[from_middle.argmin()]
    theirs = np.sort(np.linalg.norm(crystal.positions - centre, axis=1))[:80]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert lattice.nearest_A == pytest.approx(ours[1], abs=1e-9)
    assert np.count_nonzero(ours[1:] <= 1.2 * lattice.nearest_A) == lattice.n_bonds
    assert lattice.atom_volume_A3 == pytest.approx(bulk(element).get_volume() / len(bulk(element)), rel=1e-9)


@pytest.mark.parametrize("element", ["Fe", "Co"])
def test_particles_of_other_lattices_are_pieces_of_them(element: str) -> None:
    lattice = _lattice(element)
    specimen = _wulff(3, element=element, diameter_A=20.0)
    sites = specimen.positions_A
    fractional = (sites - sites[0]) @ np.linalg.inv(lattice.cell_A)
    # Every site is the first one, or the other atom of a cell, plus whole cells.
    options = np.concatenate([lattice.fractional - f for f in lattice.fractional])
    off = fractional[:, None] - options
    assert np.abs(off - np.rint(off)).max(axis=2).min(axis=1).max() < 1e-9
    bonds = cKDTree(sites).sparse_distance_matrix(cKDTree(sites), 1.2 * lattice.nearest_A)
    assert connected_components(bonds)[0] == 1
    volume_A3 = len(sites) * lattice.atom_volume_A3
    assert (6.0 / np.pi * volume_A3) ** (1 / 3) == pytest.approx(20.0, rel=0.01)


@pytest.mark.parametrize(
    ("shape", "length", "cut", "n_atoms"),
    [
        ("octahedron", 7, 0, 231),
        ("truncated_octahedron", 7, 2, 201),
        ("cuboctahedron", 7, 3, 147),
        ("octahedron", 9, 0, 489),
        ("cuboctahedron", 9, 4, 309),
    ],
)
def test_named_shapes_are_ases(shape: str, length: int, cut: int, n_atoms: int) -> None:
    judge = Octahedron("Pt", length, cutoff=cut, latticeconstant=3.92)
    assert len(judge) == n_atoms
    specimen = _wulff(shape=shape, n_atoms=n_atoms, facet_jitter=0.0, centred=True)
    found = (specimen.positions_A, judge.positions)
    ours, theirs = (np.sort(np.linalg.norm(at - at.mean(axis=0), axis=1)) for at in found)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_a_cube_has_square_faces() -> None:
    specimen = _wulff(shape="cube", n_atoms=365, facet_jitter=0.0, centred=True)
    edges = np.ptp(specimen.positions_A, axis=0)
    np.testing.assert_allclose(edges, 4 * 3.92, atol=1e-9)
    assert len(specimen.positions_A) == 365


@settings(max_examples=20)
@given(n_atoms=st.integers(13, 400), seed=st.integers(0, 1000), element=st.sampled_from(["Pt", "Fe", "Co"]))
def test_n_atoms_is_exact(n_atoms: int, seed: int, element: str) -> None:
    sites = _wulff(seed, n_atoms=n_atoms, element=element).positions_A
    assert len(sites) == n_atoms
    nearest_A = _lattice(element).nearest_A
    bonds = cKDTree(sites).sparse_distance_matrix(cKDTree(sites), 1.2 * nearest_A).toarray() > 0
    assert bonds.sum(axis=1).min() >= 3
    assert connected_components(bonds)[0] == 1


def test_facets_of_surface_atoms() -> None:
    specimen = _wulff(2, diameter_A=36.0, facet_jitter=0.02)
    facet, sites = specimen.truth["facet"], specimen.positions_A
    n_near = np.array([len(n) - 1 for n in cKDTree(sites).query_ball_point(sites, 1.2 * 3.92 / np.sqrt(2))])
    np.testing.assert_array_equal((facet == 0).all(axis=1), n_near == 12)
    kinds = np.sort(np.abs(facet), axis=1)
    # Terrace atoms know their facet: nine neighbours on {111}, eight on {100} (or on the edges between).
    assert np.mean((kinds[n_near == 9] == 1).all(axis=1)) > 0.95
    assert np.mean((kinds[n_near == 8] == [0, 0, 1]).all(axis=1)) > 0.4
    # The facet's normal points from the middle to the atom.
    surface = n_near < 12
    outward = np.einsum("ij,ij->i", facet[surface], sites[surface] - sites.mean(axis=0))
    assert (outward > 0).mean() > 0.99


def test_facets_follow_their_energies() -> None:
    share = []
    for energy in (0.9, 1.5):
        specimen = _wulff(1, facets={"111": 1.0, "100": energy}, diameter_A=30.0, facet_jitter=0.0)
        share.append(np.mean((np.sort(np.abs(specimen.truth["facet"]), axis=1) == [0, 0, 1]).all(axis=1)))
    assert share[0] > 2 * share[1]


@pytest.mark.parametrize("element", ["Fe", "Co"])
def test_usual_energies_count_broken_bonds(element: str) -> None:
    lattice = _lattice(element)
    energies = usual_energies(lattice)
    assert min(energies.values()) == 1.0
    # B.c.c. with 8 neighbours: {100} cuts sqrt(2) times the bonds of {110} per area.
    if element == "Fe":
        assert energies[(1, 0, 0)] == pytest.approx(np.sqrt(2.0))
        assert energies[(1, 1, 1)] == pytest.approx(np.sqrt(1.5))
    else:
        assert all(1.0 <= energy < 1.5 for energy in energies.values())


@pytest.mark.parametrize(
    ("text", "miller"),
    [
        ("111", (1, 1, 1)),
        ("-110", (-1, 1, 0)),
        ("1 0 12", (1, 0, 12)),
        ("1-210", (1, -2, 0)),
        ("0001", (0, 0, 1)),
    ],
)
def test_miller_indices_are_read(text: str, miller: tuple[int, int, int]) -> None:
    assert parse_miller(text) == miller


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facets": {"11": 1.0}}, "facets: '11' is no facet"),
        ({"facets": {"000": 1.0}}, "facets: '000' is no facet"),
        ({"facets": {"1x1": 1.0}}, "facets: '1x1' is no facet"),
        ({"facets": {"1100": 1.0}}, r"facets: '1100' has h \+ k \+ i = 2"),
        ({"facets": {"111": 0.0}}, "greater than 0"),
        ({"facets": {"001": 1.0}, "element": "Co"}, "facets: 001 alone close no particle"),
        ({"facets": {"111": 1.0, "-111": 1.2}}, "facets: -111 belongs to a family that was given before"),
        ({"facets": {"111": 1.0}, "shape": "cube"}, "shape is cube and facets are given"),
        ({"shape": "cube", "element": "Co"}, "shape is cube for Co"),
        ({"element": "Ga"}, "element is Ga, whose lattice is orthorhombic"),
        ({"element": "Pt", "structure": "hcp"}, "element is Pt, whose lattice is fcc; allowed is hcp"),
        ({"lattice_c_A": 5.0}, "lattice_c_A is 5, but structure is fcc"),
        ({"n_atoms": 5}, "n_atoms is 5; allowed is at least 13"),
        ({"diameter_A": 4.0, "element": "Fe"}, "diameter_A is 4, which holds 3 atoms"),
    ],
)
def test_what_cannot_be_cut_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _wulff(**changes)


def test_shapes_are_those_of_the_solids() -> None:
    # A cuboctahedron has its corners on the middles of a cube's edges; a truncated octahedron equal edges.
    lattice = _lattice("Pt")
    for shape, n_corners in (("cuboctahedron", 12), ("truncated_octahedron", 24)):
        _, inverse = all_facets(lattice, SHAPES[shape], jitter=0.0, rng=np.random.default_rng(0))
        halves = np.column_stack([inverse, -np.ones(len(inverse))])
        corners = np.unique(np.round(HalfspaceIntersection(halves, np.zeros(3)).intersections, 9), axis=0)
        assert len(corners) == n_corners
        nearest = np.sort(np.linalg.norm(corners[:, None] - corners, axis=2), axis=1)[:, 1:4]
        np.testing.assert_allclose(nearest, nearest[0, 0], atol=1e-6)
