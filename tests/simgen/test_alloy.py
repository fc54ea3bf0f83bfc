"""Laws of alloys: composition, order, skins and short-range order, counted on the atoms that come out."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from picotome.configs.specimens import AlloySpecimen, DisorderConfig
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.alloy import build_alloy, occupy, whole_numbers
from picotome.simgen.lattice import bonds, fcc_sites
from picotome.simgen.relaxation import emt_lattice_A
from picotome.simgen.short_range_order import (
    order_neighbours,
    order_pairs,
    pair_parameter,
    warren_cowley,
)

CALM = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)
LATTICE_A = 3.8


def _alloy(seed: int = 0, **changes: object) -> Specimen:
    config = AlloySpecimen.model_validate({"kind": "alloy", "disorder": CALM, "diameter_A": 22.0, **changes})
    return build_alloy(config, rng=stream(5, seed, "build"))


def _neighbours(specimen: Specimen) -> list[np.ndarray]:
    """Indices of the nearest neighbours of each atom, by brute force."""
    sites = specimen.positions_A - specimen.truth["displacement_A"]
    distance = np.linalg.norm(sites[:, None] - sites[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return [np.flatnonzero(row < 1.2 * distance.min()) for row in distance]


def _like(specimen: Specimen) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours, and neighbours of the same element, of each atom."""
    numbers = specimen.atomic_numbers
    around = _neighbours(specimen)
    like = [np.count_nonzero(numbers[near] == number) for number, near in zip(numbers, around, strict=True)]
    return np.array([len(near) for near in around]), np.array(like)


def _alpha(specimen: Specimen, a: int, b: int, free: np.ndarray) -> float:
    """Warren-Cowley's definition: 1 - p(B next to A) / c_B, among the free atoms."""
    numbers = specimen.atomic_numbers
    pairs = [(i, j) for i, near in enumerate(_neighbours(specimen)) if free[i] for j in near if free[j]]
    first, second = numbers[np.array(pairs)].T
    unlike = np.mean((first == a) & (second == b))
    return float(1.0 - unlike / (np.mean(numbers[free] == a) * np.mean(numbers[free] == b)))


@settings(max_examples=25)
@given(
    shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5),
    n=st.integers(0, 3000),
)
def test_counts_add_up_and_are_off_by_less_than_one_atom(shares: list[float], n: int) -> None:
    normal = np.array(shares) / sum(shares)
    counts = whole_numbers(normal, n)
    assert counts.sum() == n
    assert (np.abs(counts - normal * n) < 1.0).all()


@pytest.mark.parametrize(
    "composition", [{"Pt": 0.5, "Ni": 0.5}, {"Pt": 0.75, "Ni": 0.23, "Ga": 0.02}, {"Au": 0.4, "Cu": 0.6}]
)
@pytest.mark.parametrize("short_range_order", [None, -0.15, 0.3])
def test_a_random_alloy_has_its_composition(
    composition: dict[str, float], short_range_order: float | None
) -> None:
    specimen = _alloy(composition=composition, short_range_order=short_range_order)
    numbers = specimen.atomic_numbers
    for symbol, share in composition.items():
        count = np.count_nonzero(numbers == Atoms(symbol).numbers[0])
        assert abs(count - share * len(numbers)) < 1.0
        assert f"{symbol}{count}" in specimen.description
    # Elements are mixed: the outer half holds as much of the first as the inner half, within chance.
    radius = np.linalg.norm(specimen.positions_A - specimen.positions_A.mean(axis=0), axis=1)
    outer = radius > np.median(radius)
    main = numbers == np.bincount(numbers).argmax()
    assert main[outer].mean() == pytest.approx(main[~outer].mean(), abs=0.3)


def test_the_order_in_which_elements_are_named_does_not_matter() -> None:
    first = _alloy(composition={"Pt": 0.5, "Ni": 0.48, "Ga": 0.02}, order="L1_0")
    again = _alloy(composition={"Ga": 0.02, "Ni": 0.48, "Pt": 0.5}, order="L1_0")
    np.testing.assert_array_equal(first.positions_A, again.positions_A)
    np.testing.assert_array_equal(first.atomic_numbers, again.atomic_numbers)


def test_chance_has_no_short_range_order() -> None:
    found = [_alpha(s, 78, 28, np.ones(len(s.positions_A), bool)) for s in map(_alloy, range(8))]
    assert np.mean(found) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("target", [-0.25, -0.1, 0.15, 0.5])
@pytest.mark.parametrize("composition", [{"Pt": 0.5, "Ni": 0.5}, {"Pt": 0.7, "Ni": 0.27, "Ga": 0.03}])
def test_short_range_order_is_what_was_asked(target: float, composition: dict[str, float]) -> None:
    specimen = _alloy(3, composition=composition, short_range_order=target, diameter_A=26.0)
    everywhere = np.ones(len(specimen.positions_A), dtype=bool)
    assert _alpha(specimen, 78, 28, everywhere) == pytest.approx(target, abs=0.0055)


def test_short_range_order_spares_the_skin() -> None:
    settings_ = {"composition": {"Pt": 0.75, "Ni": 0.25}, "surface": "Pt", "diameter_A": 28.0}
    specimen = _alloy(1, short_range_order=-0.15, **settings_)
    inside = specimen.truth["is_surface"] == 0
    assert set(specimen.atomic_numbers[~inside]) == {78}
    assert _alpha(specimen, 78, 28, inside) == pytest.approx(-0.15, abs=0.01)


def test_swapping_keeps_counts_and_third_elements() -> None:
    sites = fcc_sites(LATTICE_A, radius_A=12.0, offset_A=np.zeros(3))
    neighbours = bonds(sites, cutoff_A=1.2 * LATTICE_A / np.sqrt(2.0))
    rng = np.random.default_rng(0)
    kinds = rng.choice(3, size=len(sites), p=[0.5, 0.4, 0.1])
    ordered = order_neighbours(kinds, neighbours, target=-0.2, rng=rng)
    np.testing.assert_array_equal(np.bincount(ordered), np.bincount(kinds))
    np.testing.assert_array_equal(ordered == 2, kinds == 2)
    assert warren_cowley(ordered, neighbours) == pytest.approx(-0.2, abs=0.006)
    assert abs(warren_cowley(kinds, neighbours)) < 0.1


def test_warren_cowley_of_perfect_order_is_minus_one_third() -> None:
    sites = fcc_sites(LATTICE_A, radius_A=45.0, offset_A=np.zeros(3))
    neighbours = bonds(sites, cutoff_A=1.2 * LATTICE_A / np.sqrt(2.0))
    planes = np.rint(sites[:, 2] * 2.0 / LATTICE_A).astype(int) % 2
    assert warren_cowley(planes, neighbours) == pytest.approx(-1.0 / 3.0, abs=0.01)


def test_what_swapping_cannot_reach_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"short_range_order is -0.3, but 200 swaps per atom reached only -0"
    ):
        _alloy(short_range_order=-0.3, composition={"Pt": 0.75, "Ni": 0.25}, diameter_A=30.0)
    with pytest.raises(ValueError, match=r"not of both main elements"):
        _alloy(short_range_order=-0.1, surface="Pt")


@pytest.mark.parametrize("seed", range(3))
def test_l1_0_has_four_like_and_eight_unlike_neighbours(seed: int) -> None:
    specimen = _alloy(seed, order="L1_0")
    n_near, n_like = _like(specimen)
    inside = n_near == 12
    assert np.count_nonzero(inside) > 100
    assert (n_like[inside] == 4).all()
    # All atoms of an element lie on every other plane along one axis.
    np.testing.assert_array_equal(
        np.where(specimen.truth["sublattice"] == 1, 28, 78), specimen.atomic_numbers
    )
    z = specimen.positions_A[:, 2]
    steps = (z[:, None] - z[specimen.atomic_numbers == 28]) * 2.0 / _lattice_A(specimen)
    same = np.rint(steps[:, 0]).astype(int) % 2 == 0
    np.testing.assert_array_equal(same, specimen.atomic_numbers == 28)


def _lattice_A(specimen: Specimen) -> float:
    return float(np.sqrt(2.0) * cKDTree(specimen.positions_A).query(specimen.positions_A, k=2)[0][:, 1].min())


@pytest.mark.parametrize("seed", range(3))
def test_l1_2_minority_never_touches_itself(seed: int) -> None:
    specimen = _alloy(seed, order="L1_2", composition={"Pt": 0.75, "Ni": 0.25})
    n_near, n_like = _like(specimen)
    minority = specimen.atomic_numbers == 28
    assert (n_like[minority] == 0).all()
    assert (n_like[~minority & (n_near == 12)] == 8).all()
    assert minority.mean() == pytest.approx(0.25, abs=0.03)


def test_surplus_and_third_elements_are_spread_over_an_ordered_alloy() -> None:
    specimen = _alloy(2, order="L1_0", composition={"Pt": 0.58, "Ni": 0.4, "Ga": 0.02}, diameter_A=34.0)
    numbers, of_b = specimen.atomic_numbers, specimen.truth["sublattice"] == 1
    for number, share_a, share_b in ((78, 0.98, 0.18), (28, 0.0, 0.8), (31, 0.02, 0.02)):
        assert np.mean(numbers[~of_b] == number) == pytest.approx(share_a, abs=0.002)
        assert np.mean(numbers[of_b] == number) == pytest.approx(share_b, abs=0.002)


def test_a_skin_comes_from_the_inside_as_long_as_there_is_enough() -> None:
    rich = _alloy(composition={"Pt": 0.75, "Ni": 0.25}, surface="Pt")
    surface = rich.truth["is_surface"] == 1
    n_near = np.array([len(near) for near in _neighbours(rich)])
    np.testing.assert_array_equal(surface, n_near < 12)
    assert set(rich.atomic_numbers[surface]) == {78}
    assert abs(np.count_nonzero(rich.atomic_numbers == 78) - 0.75 * len(surface)) < 1.0
    # The surface of 2.2 nm takes more than 30 % of the atoms.
    poor = _alloy(composition={"Pt": 0.3, "Ni": 0.6, "Cu": 0.1}, surface="Pt")
    surface = poor.truth["is_surface"] == 1
    assert set(poor.atomic_numbers[surface]) == {78}
    assert set(poor.atomic_numbers[~surface]) == {28, 29}
    assert np.mean(poor.atomic_numbers[~surface] == 28) == pytest.approx(6 / 7, abs=0.01)
    assert poor.description.startswith(f"Ni{np.count_nonzero(poor.atomic_numbers == 28)} Pt{surface.sum()}")


def test_under_a_skin_the_inside_keeps_its_order() -> None:
    specimen = _alloy(order="L1_0", surface="Pt", diameter_A=26.0)
    surface = specimen.truth["is_surface"] == 1
    assert set(specimen.atomic_numbers[surface]) == {78}
    expected = np.where(specimen.truth["sublattice"] == 1, 28, 78)
    np.testing.assert_array_equal(specimen.atomic_numbers[~surface], expected[~surface])


def test_vegards_law_with_ases_parameters() -> None:
    specimen = _alloy(composition={"Pt": 0.5, "Ni": 0.3, "Pd": 0.2})
    known = {78: 3.92, 28: 3.52, 46: 3.89}
    expected = np.mean([known[int(number)] for number in specimen.atomic_numbers])
    assert _lattice_A(specimen) == pytest.approx(expected, rel=1e-9)
    # A dilute element that is not f.c.c. has no say.
    dilute = _alloy(composition={"Pt": 0.5, "Ni": 0.48, "Ga": 0.02})
    expected = np.mean([known[int(number)] for number in dilute.atomic_numbers if number != 31])
    assert _lattice_A(dilute) == pytest.approx(expected, rel=1e-9)
    given_ = _alloy(composition={"Fe": 0.5, "Pt": 0.5}, lattice_A=3.85, order="L1_0")
    assert _lattice_A(given_) == pytest.approx(3.85, rel=1e-9)
    with pytest.raises(ValueError, match=r"composition has 0.5 of Fe.*give lattice_A"):
        _alloy(composition={"Fe": 0.5, "Pt": 0.5})


def test_relaxation_follows_emt_and_refuses_what_emt_does_not_know() -> None:
    plain, relaxed = _alloy(diameter_A=14.0), _alloy(diameter_A=14.0, relax=True)
    np.testing.assert_array_equal(plain.atomic_numbers, relaxed.atomic_numbers)
    np.testing.assert_allclose(
        relaxed.positions_A - relaxed.truth["displacement_A"], plain.positions_A, atol=1e-9
    )
    share = np.mean(plain.atomic_numbers == 78)
    scale = (share * emt_lattice_A("Pt") + (1 - share) * emt_lattice_A("Ni")) / _lattice_A(plain)
    judge = Atoms(relaxed.atomic_numbers, relaxed.positions_A * scale, calculator=EMT())
    assert np.linalg.norm(judge.get_forces(), axis=1).max() <= 0.05 + 1e-6
    with pytest.raises(ValueError, match=r"composition is Ga, which EMT does not know.*relax: false"):
        _alloy(composition={"Pt": 0.5, "Ni": 0.48, "Ga": 0.02}, relax=True)


def test_every_site_is_taken_once_and_the_skin_does_not_move_the_crystal() -> None:
    bare, skinned = _alloy(lattice_A=3.75), _alloy(lattice_A=3.75, surface="Ni", order="L1_2")
    np.testing.assert_array_equal(bare.positions_A, skinned.positions_A)
    nearest = cKDTree(bare.positions_A).query(bare.positions_A, k=2)[0][:, 1]
    np.testing.assert_allclose(nearest, 3.75 / np.sqrt(2.0), rtol=1e-9)


def test_a_bulk_crystal_of_ase_is_ordered_alike() -> None:
    # Second judge: L1_2 as ASE builds it from its own basis, a Ni on each corner.
    judge = bulk("Pt", cubic=True, a=LATTICE_A)
    judge.numbers[0] = 28
    judge = judge.repeat(5)
    config = AlloySpecimen(kind="alloy", order="L1_2", composition={"Pt": 0.75, "Ni": 0.25})
    for seed in range(8):
        symbols, _, _ = occupy(
            judge.positions, config=config, lattice_A=LATTICE_A, rng=np.random.default_rng(seed)
        )
        theirs = judge.positions[judge.numbers == 28]
        ours = judge.positions[symbols == "Ni"]
        # The same crystal up to which of the four corners it is.
        shift = (ours[0] - theirs[0]) % LATTICE_A
        moved = np.round((ours - theirs[0] - shift) / LATTICE_A, 6)
        np.testing.assert_array_equal(moved, np.rint(moved))
        assert len(ours) == len(theirs)


PAIRS = {"Pt-Ni": -0.12, "Pt-Ga": -0.2, "Ni-Ga": 0.3}


@pytest.mark.parametrize("targets", [PAIRS, {"Ni-Ga": -0.3}, {"Pt-Ni": 0.2}])
def test_pairs_of_three_elements_are_ordered_as_asked(targets: dict[str, float]) -> None:
    composition = {"Pt": 0.5, "Ni": 0.42, "Ga": 0.08}
    specimen = _alloy(2, composition=composition, pair_order=targets, diameter_A=30.0, lattice_A=3.75)
    everywhere = np.ones(len(specimen.positions_A), dtype=bool)
    number = {"Pt": 78, "Ni": 28, "Ga": 31}
    n = len(everywhere)
    for pair, target in targets.items():
        first, second = pair.split("-")
        # Two bonds are allowed to be missing, which is more than 0.005 where an element is rare.
        allowed = max(0.006, 2.5 / (composition[first] * composition[second] * 9 * n))
        found = _alpha(specimen, number[first], number[second], everywhere)
        assert found == pytest.approx(target, abs=allowed), pair
    for symbol, share in composition.items():
        assert abs(np.count_nonzero(specimen.atomic_numbers == number[symbol]) - share * n) < 1.0


def test_counted_changes_of_pairs_are_those_of_the_crystal() -> None:
    sites = fcc_sites(LATTICE_A, radius_A=9.0, offset_A=np.zeros(3))
    neighbours = bonds(sites, cutoff_A=1.2 * LATTICE_A / np.sqrt(2.0))
    rng = np.random.default_rng(3)
    kinds = rng.choice(3, size=len(sites), p=[0.4, 0.4, 0.2])
    targets = {(0, 1): -0.1, (0, 2): 0.1, (1, 2): -0.15}
    names = {pair: str(pair) for pair in targets}
    ordered = order_pairs(kinds, neighbours, targets=targets, names=names, rng=rng)
    np.testing.assert_array_equal(np.bincount(ordered), np.bincount(kinds))
    for pair, target in targets.items():
        share = [np.mean(ordered == kind) for kind in pair]
        allowed = max(0.005, 2.0 / (share[0] * share[1] * neighbours.sum()))
        assert pair_parameter(ordered, neighbours, pair=pair) == pytest.approx(target, abs=allowed + 1e-9)
    assert pair_parameter(kinds, neighbours, pair=(0, 1)) == pytest.approx(warren_cowley(kinds, neighbours))


def test_small_atoms_draw_their_neighbours_near() -> None:
    calm = {"composition": {"Pt": 0.97, "Ga": 0.03}, "diameter_A": 30.0}
    plain, strained = _alloy(4, **calm), _alloy(4, size_strain=True, **calm)
    moved = strained.truth["displacement_A"]
    np.testing.assert_allclose(strained.positions_A - moved, plain.positions_A, atol=1e-12)
    np.testing.assert_allclose(moved.mean(axis=0), 0.0, atol=1e-12)
    tree = cKDTree(plain.positions_A)
    change = {31: [], 78: []}
    for i, near in enumerate(tree.query_ball_point(plain.positions_A, 1.2 * 3.92 / np.sqrt(2.0))):
        others = [j for j in near if j != i]
        if len(others) == 12:
            before = np.linalg.norm(plain.positions_A[others] - plain.positions_A[i], axis=1)
            after = np.linalg.norm(strained.positions_A[others] - strained.positions_A[i], axis=1)
            change[int(plain.atomic_numbers[i])].append((after - before).mean())
    # α ε r³ / d² with ε = (3.78 - 3.92) / 3.92, r = 1.53 Å, d = 2.77 Å: 13 pm towards each Ga, roughly.
    assert np.mean(change[31]) == pytest.approx(-0.0125, abs=0.004)
    assert abs(np.mean(change[78])) < 0.003


def test_sizes_move_atoms_as_emt_does() -> None:
    emt, elastic = (_alloy(1, diameter_A=20.0, **{key: True}) for key in ("relax", "size_strain"))
    inside = np.linalg.norm(elastic.positions_A - elastic.positions_A.mean(axis=0), axis=1) < 7.0
    ours, theirs = (s.truth["displacement_A"][inside].ravel() for s in (elastic, emt))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.3
    assert 0.5 < ours.std() / theirs.std() < 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pair_order": {"Pt-Au": 0.1}}, "pair_order: 'Pt-Au' is no pair of the composition"),
        ({"pair_order": {"Pt": 0.1}}, "pair_order: 'Pt' is no pair"),
        (
            {"pair_order": {"Pt-Ni": 0.1}, "short_range_order": 0.1},
            "pair_order is set with short_range_order",
        ),
        ({"pair_order": {"Pt-Ni": -0.9}}, r"pair_order: 200 swaps per atom reached only Pt-Ni -0"),
        ({"size_strain": True, "relax": True}, "size_strain is set with relax: true"),
        ({"composition": {"Pt": 0.95, "In": 0.05}, "size_strain": True}, "size_strain: the size of In"),
    ],
)
def test_orders_and_sizes_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _alloy(**changes)
