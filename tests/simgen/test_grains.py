"""Twinned clusters and dumbbells: stacking, grains and twin planes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase.cluster import Decahedron, Icosahedron
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from picotome.configs.clusters import DecahedronSpecimen, DumbbellSpecimen, IcosahedronSpecimen
from picotome.configs.specimens import DisorderConfig
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.clusters import build_decahedron, build_icosahedron
from picotome.simgen.dumbbell import build_dumbbell

CALM = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)
LATTICE_A = 3.92
NEAREST_A = LATTICE_A / np.sqrt(2.0)


def _dumbbell(seed: int = 0, **changes: object) -> Specimen:
    settings = {"kind": "dumbbell", "disorder": CALM, "neck_disorder_A": 0.0, "diameter_A": 18.0, **changes}
    return build_dumbbell(DumbbellSpecimen.model_validate(settings), rng=stream(4, seed, "build"))


def _opposite_pairs(sites: np.ndarray, nearest_A: float) -> np.ndarray:
    """Pairs of neighbours that face each other, -1 where there are not twelve: f.c.c. 6, h.c.p. 3."""
    found = np.full(len(sites), -1)
    for i, near in enumerate(cKDTree(sites).query_ball_point(sites, 1.2 * nearest_A)):
        bonds = sites[[j for j in near if j != i]] - sites[i]
        if len(bonds) == 12:
            sums = np.linalg.norm(bonds[:, None] + bonds, axis=2)
            found[i] = np.count_nonzero(sums < 0.1 * nearest_A) // 2
    return found


@pytest.mark.parametrize("twin", ["none", "single", "double"])
@pytest.mark.parametrize("seed", range(4))
def test_only_twin_planes_are_stacked_like_hcp(twin: str, seed: int) -> None:
    specimen = _dumbbell(seed, twin=twin)
    sites, grain = specimen.positions_A, specimen.truth["grain"]
    nearest = cKDTree(sites).query(sites, k=2)[0][:, 1]
    np.testing.assert_allclose(nearest, NEAREST_A, rtol=1e-9)
    pairs = _opposite_pairs(sites, NEAREST_A)
    if twin == "none":
        assert set(pairs) == {-1, 6}
        assert set(grain) == {0} and "twin_plane_distance_A" not in specimen.truth
        return
    distance = specimen.truth["twin_plane_distance_A"]
    on_plane = np.abs(distance) < 1e-6
    assert set(pairs[on_plane]) == {-1, 3}
    assert set(pairs[~on_plane]) == {-1, 6}
    assert set(grain) == ({0, 1} if twin == "single" else {0, 1, 2})
    # All atoms of a plane have one height, and layers are a/√3 apart.
    heights = np.unique(np.round(sites[on_plane, 2], 6))
    assert len(heights) == (1 if twin == "single" else 2)
    if twin == "double":
        assert np.ptp(heights) == pytest.approx(3 * LATTICE_A / np.sqrt(3.0), abs=1e-5)
    np.testing.assert_allclose(np.abs(distance), np.abs(sites[:, 2, None] - heights).min(axis=1), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_each_grain_is_fcc_and_a_twin_mirrors_it(seed: int) -> None:
    specimen = _dumbbell(seed, twin="single")
    sites, grain = specimen.positions_A, specimen.truth["grain"]
    for number in (0, 1):
        own = sites[grain == number]
        squares = 2.0 * ((own[:, None] - own) ** 2).sum(axis=2) / LATTICE_A**2
        np.testing.assert_allclose(squares, np.rint(squares), atol=1e-6)
    # What lies beyond the plane, mirrored, falls on sites of the near grain.
    height = sites[np.abs(specimen.truth["twin_plane_distance_A"]).argmin(), 2]
    mirrored = sites[grain == 1] * [1, 1, -1] + [0, 0, 2 * height]
    off = 2.0 * ((mirrored[:, None] - sites[grain == 0][:50]) ** 2).sum(axis=2) / LATTICE_A**2
    np.testing.assert_allclose(off, np.rint(off), atol=1e-6)


@pytest.mark.parametrize("twin", ["none", "single", "double"])
def test_a_dumbbell_is_two_particles_over_a_neck(twin: str) -> None:
    areas = []
    for seed in range(6):
        specimen = _dumbbell(seed, twin=twin, neck=0.5, diameter_A=22.0, facet_jitter=0.0)
        sites, side = specimen.positions_A, specimen.truth["particle"]
        bonds = cKDTree(sites).sparse_distance_matrix(cKDTree(sites), 1.2 * NEAREST_A)
        assert connected_components(bonds)[0] == 1
        centres = np.array([sites[side == number].mean(axis=0) for number in (0, 1)])
        axis = centres[1] - centres[0]
        length_A = np.linalg.norm(axis)
        # Two spheres of 22 Å that meet in a circle of 11 Å are 19 Å apart.
        assert length_A == pytest.approx(22.0 * np.sqrt(0.75), abs=1.5)
        along = (sites - centres.mean(axis=0)) @ (axis / length_A)
        at_neck = np.abs(along) < 2.0
        in_middle = np.abs(along - length_A / 2) < 2.0
        assert at_neck.sum() < 0.55 * in_middle.sum()
        areas.append(at_neck.sum() * LATTICE_A**3 / 4 / 4.0)
        angle = np.degrees(np.arccos(np.clip(axis[2] / length_A, -1, 1)))
        stated = float(re.search(r"attached at (\d+)°", specimen.description).group(1))
        assert angle == pytest.approx(stated, abs=6.0)
    # Mean section of the spheres within 2 Å of the neck's plane, which is 9.53 Å from their centres.
    expected = np.pi * (11.0**2 - (9.53**2 - 2.0 * 9.53 + 4.0 / 3.0))
    assert np.mean(areas) == pytest.approx(expected, rel=0.12)


def test_attachment_covers_the_sphere_evenly_within_its_limits() -> None:
    angles = []
    for seed in range(150):
        specimen = _dumbbell(seed, diameter_A=10.0, attachment_deg=[20, 70])
        angles.append(float(re.search(r"attached at (\d+)°", specimen.description).group(1)))
    cosines = np.cos(np.deg2rad(angles))
    assert min(angles) >= 20 and max(angles) <= 70
    low, high = np.cos(np.deg2rad(70)), np.cos(np.deg2rad(20))
    assert np.mean(cosines) == pytest.approx((low + high) / 2, abs=0.04)
    assert np.std(cosines) == pytest.approx((high - low) / np.sqrt(12), rel=0.15)


def test_disorder_is_at_the_neck() -> None:
    at_neck, away = [], []
    for seed in range(12):
        specimen = _dumbbell(seed, neck_disorder_A=0.2, neck_length_A=3.0, diameter_A=20.0)
        moved = specimen.truth["displacement_A"]
        sites = specimen.positions_A - moved
        side = specimen.truth["particle"]
        near = cKDTree(sites[side == 0]).query(sites[side == 1])[0] < 1.1 * NEAREST_A
        at_neck.append(moved[side == 1][near])
        size = np.linalg.norm(moved, axis=1)
        away.append(np.sort(size)[: len(size) // 4])
    # The atoms that touch the other side lie 0 to 2.8 Å from the plane of the neck.
    assert 0.2 * np.exp(-2.8 / 3.0) < np.concatenate(at_neck).std() < 0.2
    assert np.concatenate(away).max() < 0.03


def _twinned(build: object, config: object, seed: int = 0) -> Specimen:
    return build(config, rng=stream(9, seed, "build"))


def test_a_whole_icosahedron_is_ases() -> None:
    diameter_A = float(np.cbrt(147 * 6.0 / np.pi * 4.08**3 / 4.0))
    config = IcosahedronSpecimen(kind="icosahedron", diameter_A=diameter_A, facet_jitter=0.0, disorder=CALM)
    specimen = _twinned(build_icosahedron, config)
    judge = Icosahedron("Au", 4, 4.08)
    ours, theirs = (
        np.sort(np.linalg.norm(at - at.mean(axis=0), axis=1))
        for at in (specimen.positions_A, judge.positions)
    )
    scale = ours[-1] / theirs[-1]
    np.testing.assert_allclose(ours, scale * theirs, atol=1e-9)
    # Six bonds between shells, six 5.1 % longer ones within: the mean is the crystal's.
    assert scale * (1.0 + 1.0 / np.sin(2 * np.pi / 5)) / 2 == pytest.approx(1.0, abs=1e-9)
    assert np.bincount(specimen.truth["grain"], minlength=20).min() > 0
    # An atom inside a grain has no neighbour in another; on a plane the distance is 0.
    distance = specimen.truth["twin_plane_distance_A"]
    assert distance.min() == pytest.approx(0.0, abs=1e-9)
    pairs = _opposite_pairs(specimen.positions_A, 2.885)
    assert set(pairs[distance > 0.5]) <= {-1, 6}


@pytest.mark.parametrize("notch", [0.0, 0.3])
def test_a_decahedron_has_five_grains_and_its_lattice_is_ases(notch: float) -> None:
    config = DecahedronSpecimen(
        kind="decahedron", diameter_A=22.0, facet_jitter=0.0, notch=notch, side=0.9, disorder=CALM
    )
    specimen = _twinned(build_decahedron, config)
    sites, distance = specimen.positions_A, specimen.truth["twin_plane_distance_A"]
    lattice = Decahedron("Au", 12, 14, 0, 4.08).positions
    scale = cKDTree(sites).query(sites, k=2)[0][:, 1].min() / (4.08 / np.sqrt(2.0))
    # All sites are sites of ASE's, with its height above the middle or half a bond from it.
    shift = [0.0, 0.0, 0.5 * 4.08 / np.sqrt(2.0) * scale]
    off = min(cKDTree(lattice * scale + np.multiply(s, shift)).query(sites)[0].max() for s in (-1, 0, 1))
    assert off < 1e-9
    bond = np.sort(cKDTree(sites).query(sites[:1], k=13)[0][0][1:])
    assert bond.mean() == pytest.approx(4.08 / np.sqrt(2.0), rel=0.01)
    pairs = _opposite_pairs(sites, 2.885)
    assert set(pairs[distance > 0.5]) <= {-1, 6}
    assert {3, 6} <= set(pairs)
    corner = np.linalg.norm(sites[:, :2], axis=1).max()
    if notch:
        plain = _twinned(build_decahedron, config.model_copy(update={"notch": (0.0, 0.0)}))
        assert corner < np.linalg.norm(plain.positions_A[:, :2], axis=1).max()


@pytest.mark.parametrize("kind", ["decahedron", "icosahedron"])
@pytest.mark.parametrize("seed", range(3))
def test_twinned_particles_have_the_size_asked(kind: str, seed: int) -> None:
    build, config = {
        "decahedron": (build_decahedron, DecahedronSpecimen(kind="decahedron", diameter_A=24.0)),
        "icosahedron": (build_icosahedron, IcosahedronSpecimen(kind="icosahedron", diameter_A=24.0)),
    }[kind]
    specimen = _twinned(build, config, seed)
    expected = np.pi / 6 * 24.0**3 / (4.08**3 / 4)
    assert len(specimen.positions_A) == pytest.approx(expected, rel=0.03)
    with pytest.raises(ValueError, match=r"diameter_A is 3, which holds 1 atoms"):
        _twinned(build, config.model_copy(update={"diameter_A": (3.0, 3.0)}))
    with pytest.raises(ValueError, match=r"element is Fe, whose lattice is bcc"):
        _twinned(build, config.model_copy(update={"element": "Fe"}))
