"""Perovskites, glasses and layered crystals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, mx2
from ase.io import write
from ase.spacegroup import crystal
from scipy.spatial import cKDTree

from picotome.configs.compounds import AmorphousSpecimen, LayeredSpecimen, PerovskiteSpecimen
from picotome.configs.imaging import VolumeConfig
from picotome.configs.specimens import DisorderConfig
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.amorphous import build_amorphous
from picotome.simgen.layered import build_layered, feocl_type
from picotome.simgen.particles import build_specimen
from picotome.simgen.perovskite import build_perovskite

CALM = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)


def _perovskite(seed: int = 0, **changes: object) -> Specimen:
    settings = {"kind": "perovskite", "disorder": CALM, "diameter_A": 24.0, **changes}
    return build_perovskite(PerovskiteSpecimen.model_validate(settings), rng=stream(6, seed, "build"))


def _glass(seed: int = 0, **changes: object) -> Specimen:
    settings = {"kind": "amorphous", "diameter_A": 24.0, **changes}
    return build_amorphous(AmorphousSpecimen.model_validate(settings), rng=stream(6, seed, "build"))


def _flake(seed: int = 0, **changes: object) -> Specimen:
    settings = {"kind": "layered", "disorder": CALM, "width_A": 26.0, **changes}
    return build_layered(LayeredSpecimen.model_validate(settings), rng=stream(6, seed, "build"))


@pytest.mark.parametrize("field", ["uniform", "vortex", "vortices"])
@pytest.mark.parametrize("shape", ["sphere", "cube"])
def test_off_centre_is_from_the_middle_of_the_oxygens(field: str, shape: str) -> None:
    config = PerovskiteSpecimen(
        kind="perovskite", field=field, shape=shape, off_centre_pm=12.0, diameter_A=22.0, disorder=CALM
    )
    # In the box's axes, after turning and shifting.
    specimen = build_specimen(config, volume=VolumeConfig(n_voxels=128), rng=stream(1, 0, "build"))
    at, number = specimen.positions_A, specimen.atomic_numbers
    ti, oxygen = number == 22, number == 8
    distance, near = cKDTree(at[oxygen]).query(at[ti], k=6)
    # Whole octahedra: no oxygen of a cage is missing.
    assert distance.max() < 2.003 + 0.13
    off = at[ti] - at[oxygen][near].mean(axis=1)
    np.testing.assert_allclose(specimen.truth["off_centre_A"][ti], off, atol=1e-9)
    assert not specimen.truth["off_centre_A"][~ti].any()
    size_A = np.linalg.norm(off, axis=1)
    assert size_A.max() <= 0.12 + 1e-9
    if field == "uniform":
        np.testing.assert_allclose(size_A, 0.12, atol=1e-9)
        np.testing.assert_allclose(off, np.broadcast_to(off[0], off.shape), atol=1e-9)
    else:
        # Directions go around, so that the whole is hardly polar, and lie in a plane.
        assert np.linalg.norm(off.mean(axis=0)) < 0.6 * 0.12
        assert np.linalg.svd(off, compute_uv=False)[2] < 1e-9


@pytest.mark.parametrize("c_over_a", [1.0, 1.011])
def test_sites_are_those_of_a_perovskite(c_over_a: float) -> None:
    specimen = _perovskite(1, c_over_a=c_over_a, diameter_A=26.0)
    sites = specimen.positions_A - specimen.truth["displacement_A"]
    a = 4.006 * np.array([1.0, 1.0, c_over_a])
    ti = sites[specimen.atomic_numbers == 22]
    kinds = {22: 0, 56: 3, 8: 1}
    half = np.rint(2 * (sites - ti[0]) / a)
    np.testing.assert_allclose(sites, ti[0] + half * a / 2, atol=1e-9)
    # B has whole coordinates in cells, A three halves, O one half.
    for number, n_halves in kinds.items():
        odd = (half[specimen.atomic_numbers == number] % 2 == 1).sum(axis=1)
        assert set(odd) == {n_halves}
    count = {n: np.count_nonzero(specimen.atomic_numbers == n) for n in kinds}
    assert count[22] == pytest.approx(np.pi / 6 * 26.0**3 / np.prod(a), abs=1)
    assert 3.0 < count[8] / count[22] < 4.5 and 0.7 < count[56] / count[22] < 1.3


def test_a_vortex_turns_around_its_axis() -> None:
    specimen = _perovskite(2, field="vortex", off_centre_pm=15.0, vortex_core_A=3.0, diameter_A=30.0)
    ti = specimen.atomic_numbers == 22
    off = specimen.truth["off_centre_A"][ti]
    sites = (specimen.positions_A - specimen.truth["displacement_A"])[ti]
    axis = np.linalg.svd(off)[2][2]
    across = sites - np.outer(sites @ axis, axis)
    radius = np.linalg.norm(across, axis=1)
    # Azimuthal, one sense, and as long as was asked times tanh(ρ / core).
    np.testing.assert_allclose(np.einsum("ij,ij->i", off, across), 0.0, atol=1e-9)
    turn = np.cross(across, off) @ axis
    assert (np.sign(turn[radius > 0.1]) == np.sign(turn.sum())).all()
    np.testing.assert_allclose(np.linalg.norm(off, axis=1), 0.15 * np.tanh(radius / 3.0), atol=1e-9)


def test_vortices_wind_in_turn() -> None:
    specimen = _perovskite(
        3, field="vortices", n_vortices=2, vortex_core_A=1.0, diameter_A=60.0, oxygen=False
    )
    assert set(specimen.atomic_numbers) == {22, 56}
    ti = specimen.atomic_numbers == 22
    off, sites = specimen.truth["off_centre_A"][ti], specimen.positions_A[ti]
    # A vortex and an antivortex together: far away the field is uniform, near the axes it is not.
    far = np.linalg.norm(sites, axis=1) > 25.0
    unit = off / np.linalg.norm(off, axis=1, keepdims=True)
    assert np.linalg.norm(unit[far].mean(axis=0)) > 0.55


def test_polarisation_is_that_of_the_born_charge() -> None:
    specimen = _perovskite(off_centre_pm=15.0)
    ti = specimen.atomic_numbers == 22
    size = np.linalg.norm(specimen.truth["polarisation_C_per_m2"], axis=1)
    # 7.16 e × 0.15 Å in 4.006³ Å³, by hand; tetragonal BaTiO3 has 0.26 C/m².
    np.testing.assert_allclose(size[ti], 7.16 * 1.602176634e-19 * 0.15e-10 / (4.006e-10) ** 3, rtol=1e-9)
    assert size[ti][0] == pytest.approx(0.26, abs=0.02)
    assert not size[~ti].any()
    small = _perovskite(off_centre_pm=10.0)
    assert np.linalg.norm(small.truth["off_centre_A"], axis=1).max() == pytest.approx(0.10)


def _pair_distribution(at: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """g(r) against points strewn evenly over a ball of the same size."""
    rng = np.random.default_rng(0)
    radius = np.linalg.norm(at, axis=1).max()
    points = rng.normal(size=(3000, 3))
    points *= radius * np.cbrt(rng.uniform(size=(3000, 1))) / np.linalg.norm(points, axis=1, keepdims=True)
    counts = []
    for where in (at, points):
        upper = np.triu_indices(len(where), 1)
        distance = np.linalg.norm(where[upper[0]] - where[upper[1]], axis=1)
        counts.append(np.histogram(distance, edges)[0] / len(distance))
    return counts[0] / np.maximum(counts[1], 1e-12)


def test_a_glass_has_no_crystalline_peaks() -> None:
    edges = np.arange(1.9, 9.0, 0.2)
    middle = (edges[1:] + edges[:-1]) / 2
    glass = np.mean([_pair_distribution(_glass(s).positions_A, edges) for s in range(6)], axis=0)
    first = middle[glass.argmax()]
    assert 2.4 < first < 3.0 and glass.max() > 2.0
    # An f.c.c. crystal with the disorder of a training set has its second shell at √2 of the first.
    lattice = bulk("Pt", a=3.92, cubic=True).repeat(9).positions
    lattice = lattice - lattice.mean(axis=0)
    lattice = lattice[np.linalg.norm(lattice, axis=1) < 11.0]
    lattice = lattice + np.random.default_rng(1).normal(0.0, 0.1, lattice.shape)
    metal = _pair_distribution(lattice, edges)
    second = np.abs(middle - 3.92) < 0.15
    assert glass[second].max() < 0.85 * metal[second].max()
    # And none of the long-range order: beyond three distances the peaks have faded.
    assert np.abs(glass[middle > 7.0] - 1.0).max() < 0.2 < np.abs(metal[middle > 7.0] - 1.0).max()


@pytest.mark.parametrize("packing", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_a_glass_keeps_distance_and_density(packing: float, seed: int) -> None:
    specimen = _glass(seed, packing=packing)
    at = specimen.positions_A
    assert cKDTree(at).query(at, k=2)[0][:, 1].min() >= 2.0
    assert len(at) == round(0.99 * 4 / 3.92**3 * np.pi / 6 * 24.0**3)
    inside = [
        np.count_nonzero(np.linalg.norm(at, axis=1) < r) / (4 / 3 * np.pi * r**3) for r in (8.0, 8.5, 9.0)
    ]
    assert np.mean(inside) == pytest.approx(0.99 * 4 / 3.92**3, rel=0.1)


def test_several_elements_are_mixed_by_size() -> None:
    specimen = _glass(composition={"Zr": 0.4, "Cu": 0.5, "Al": 0.1}, lattice_A=4.2, min_distance_A=2.1)
    n = len(specimen.positions_A)
    for number, share in ((40, 0.4), (29, 0.5), (13, 0.1)):
        assert abs(np.count_nonzero(specimen.atomic_numbers == number) - share * n) < 1.0
    nearest = cKDTree(specimen.positions_A).query(specimen.positions_A, k=2)[0][:, 1]
    assert nearest.min() >= 2.1
    assert nearest[specimen.atomic_numbers == 40].mean() > nearest[specimen.atomic_numbers == 29].mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_distance_A": 3.4}, "min_distance_A is 3.4, too far for"),
        ({"diameter_A": 4.0}, "diameter_A is 4, which holds 2 atoms"),
        ({"composition": {"Pt": 0.5}}, "composition adds up to 0.5"),
        ({"composition": {"Si": 1.0}}, "composition has 1 of Si.*give lattice_A"),
    ],
)
def test_a_glass_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _glass(**changes)


@pytest.mark.parametrize(
    ("name", "halogen", "cell"),
    [("CrOCl", "Cl", (3.86, 3.18, 7.69, 90, 90, 90)), ("CrOBr", "Br", (3.86, 3.23, 8.36, 90, 90, 90))],
)
def test_a_flake_is_a_piece_of_ases_crystal(
    name: str, halogen: str, cell: tuple[float, ...], tmp_path: Path
) -> None:
    ours = feocl_type(name)
    heights = ours.fractional[:3, 2]
    judge = crystal(
        ["Cr", "O", halogen],
        [(0, 0.5, heights[0]), (0, 0, heights[1]), (0, 0, heights[2])],
        spacegroup=59,
        setting=1,
        cellpar=cell,
    )
    assert len(judge) == 6
    found = Atoms(ours.atomic_numbers, scaled_positions=ours.fractional, cell=ours.cell_A, pbc=True)
    for one, other in ((found, judge), (judge, found)):
        for atom in one:
            off = (other.get_scaled_positions() - atom.position / one.cell.lengths() + 0.5) % 1.0 - 0.5
            same = (np.abs(off).max(axis=1) < 1e-6) & (other.numbers == atom.number)
            assert same.sum() == 1
    # The same flake comes out of a CIF.
    path = tmp_path / "crystal.cif"
    write(path, judge)
    made, read = _flake(crystal=name, n_layers=2), _flake(cif=str(path), n_layers=2)
    ours_at, theirs_at = (s.positions_A - s.positions_A.min(axis=0) for s in (made, read))
    distance, near = cKDTree(ours_at).query(theirs_at)
    assert distance.max() < 2e-3 and len(set(near)) == len(ours_at)
    np.testing.assert_array_equal(made.atomic_numbers[near], read.atomic_numbers)


@pytest.mark.parametrize("shape", ["disc", "square"])
def test_a_flake_has_its_layers_and_its_composition(shape: str) -> None:
    specimen = _flake(1, n_layers=4, shape=shape)
    count = np.bincount(specimen.atomic_numbers)
    assert count[24] == count[8] == count[17]
    layer, z = specimen.truth["layer"], specimen.positions_A[:, 2]
    means = np.array([z[layer == number].mean() for number in range(4)])
    np.testing.assert_allclose(np.diff(means), 7.69, atol=1e-9)
    # Gaps between the layers: Cl to Cl, van der Waals.
    for lower, upper in ((0, 1), (1, 2), (2, 3)):
        assert z[layer == upper].min() - z[layer == lower].max() > 2.0
    extent = np.ptp(specimen.positions_A[:, :2], axis=0)
    assert (extent < 26.0 + 4.0).all() and (extent > 26.0 - 4.0).all()
    # Inside, Cr has four O at 1.99 Å and two Cl at 2.35 Å.
    at, number = specimen.positions_A, specimen.atomic_numbers
    cr = at[(number == 24) & (np.linalg.norm(at[:, :2] - at[:, :2].mean(axis=0), axis=1) < 8.0)]
    oxygen, chlorine = (np.sort(cKDTree(at[number == n]).query(cr, k=k)[0]) for n, k in ((8, 4), (17, 2)))
    np.testing.assert_allclose(oxygen, 1.99, atol=1e-9)
    np.testing.assert_allclose(chlorine, 2.35, atol=1e-9)


def test_layers_are_found_in_any_cell(tmp_path: Path) -> None:
    # 2H MoS2 has two layers in a cell; a salt has none and is counted in cells.
    single = mx2("MoS2", kind="2H", a=3.16, thickness=3.19, vacuum=None)
    single.cell[2, 2] = 12.3
    second = single.copy()
    second.rotate(180, "z", rotate_cell=False)
    second.positions[:, 2] += 6.15
    both = single + second
    both.positions[:, 2] += 11.0
    both.pbc = True
    both.wrap()
    path = tmp_path / "mos2.cif"
    write(path, both)
    specimen = _flake(cif=str(path), n_layers=3)
    layer, z = specimen.truth["layer"], specimen.positions_A[:, 2]
    for number in range(3):
        own = specimen.atomic_numbers[layer == number]
        assert np.count_nonzero(own == 16) == 2 * np.count_nonzero(own == 42)
        assert np.ptp(z[layer == number]) == pytest.approx(3.19, abs=1e-3)
    salt = tmp_path / "salt.cif"
    write(salt, bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    piece = _flake(cif=str(salt), n_layers=2)
    assert np.ptp(piece.positions_A[:, 2]) == pytest.approx(1.5 * 5.64, abs=1e-3)


def test_a_bad_cif_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.cif"
    with pytest.raises(FileNotFoundError, match=r"cif: .*bad\.cif does not exist"):
        _flake(cif=str(path))
    for text in ("", "not a cif\n", "data_x\n_cell_length_a 3\n", "data_x\nloop_\n_atom_site_label\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"cif: .*bad\.cif (is not a CIF that ASE reads|has 0 sites)"):
            _flake(cif=str(path))
    with pytest.raises(ValueError, match="width_A is 4, which holds 1 cells in a layer"):
        _flake(width_A=4.0)
