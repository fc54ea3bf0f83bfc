"""Laws of the modifiers: what each imposes is found again in the atoms, and nothing else moves."""

import re

import numpy as np
import pytest
from ase.build import fcc111
from pydantic import TypeAdapter
from scipy.spatial import cKDTree

from picotome.configs.imaging import VolumeConfig
from picotome.configs.modifiers import ModifierConfig
from picotome.configs.specimens import AlloySpecimen, DisorderConfig, SpecimenConfig, WulffSpecimen
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.modifiers import IN_BOX_AXES, IN_OWN_AXES
from picotome.simgen.particles import build_specimen

VOLUME = VolumeConfig(n_voxels=96, voxel_size_A=0.4)
ALL = {**IN_OWN_AXES, **IN_BOX_AXES}
CALM = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)
PT_A = 3.92 / np.sqrt(2.0)
# One of each, with what it needs.
MODIFIERS = {
    "strain": {"xx": 0.01, "yy": -0.005, "xy": 0.002},
    "strain_gradient": {"along": "x", "across": "z", "gradient_per_A": 1e-3},
    "radial_strain": {"centre": 0.01, "surface": -0.02},
    "surface_relaxation": {},
    "support_strain": {},
    "vacancies": {"fraction": 0.05},
    "adatoms": {"fraction": 0.03},
    "step": {},
    "stacking_fault": {},
    "static_disorder": {"rms_A": {"Pt": 0.08}},
}


def config_of(kind, **knobs):
    return TypeAdapter(ModifierConfig).validate_python({"kind": kind, **knobs})


def built(*modifiers, disorder=CALM, seed=0, **knobs):
    config = WulffSpecimen(
        kind="wulff", diameter_A=19.0, facet_jitter=0.02, disorder=disorder, modifiers=modifiers, **knobs
    )
    return build_specimen(config, volume=VOLUME, rng=stream(3, seed, "build"))


def lattice_of(specimen: Specimen):
    return specimen.positions_A - specimen.truth["displacement_A"]


def coordination(positions):
    return np.array([len(n) - 1 for n in cKDTree(positions).query_ball_point(positions, 1.2 * PT_A)])


@pytest.mark.parametrize("kind", sorted(ALL))
def test_every_modifier_keeps_a_lattice_and_one_row_of_truth_for_each_atom(kind):
    modified = built(config_of(kind, **MODIFIERS[kind]), disorder=DisorderConfig())
    n = len(modified.positions_A)
    assert len(modified.atomic_numbers) == n
    assert all(len(values) == n for values in modified.truth.values())
    # Every step between neighbours of the lattice has the length of Pt's.
    distance, _ = cKDTree(lattice_of(modified)).query(lattice_of(modified), k=4)
    np.testing.assert_allclose(distance[:, 1:], PT_A, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(ALL))
def test_a_modifier_draws_from_a_stream_of_its_own(kind):
    modifier = config_of(kind, **MODIFIERS[kind])
    plain, modified, again = (
        built(disorder=DisorderConfig()),
        built(modifier, disorder=DisorderConfig()),
        built(modifier, disorder=DisorderConfig()),
    )
    np.testing.assert_array_equal(modified.positions_A, again.positions_A)
    # Sites of the plain particle, moved as a whole by the new middle of the bounding box.
    after, before = lattice_of(modified), lattice_of(plain)
    shared = after[: len(before)] if kind == "adatoms" else after
    step, _ = cKDTree(before - before[0]).query(shared - shared[0])
    if kind not in ("vacancies", "step"):
        assert step.max() < 1e-6
    assert modified.positions_A.shape != plain.positions_A.shape or not np.allclose(
        modified.positions_A, plain.positions_A
    )


@pytest.mark.parametrize("rotate", [False, True])
def test_an_imposed_strain_is_recovered_by_least_squares(rotate):
    specimen = built(config_of("strain", **MODIFIERS["strain"]), rotate=rotate)
    sites = lattice_of(specimen)
    design = np.column_stack([sites - sites.mean(axis=0), np.ones(len(sites))])
    fitted = np.linalg.lstsq(design, specimen.truth["displacement_A"], rcond=None)[0][:3]
    np.testing.assert_allclose((fitted + fitted.T) / 2, specimen.truth["strain"][0], atol=1e-9)
    assert np.ptp(specimen.truth["strain"], axis=0).max() < 1e-12
    if not rotate:
        expected = [[0.01, 0.002, 0], [0.002, -0.005, 0], [0, 0, 0]]
        np.testing.assert_allclose(specimen.truth["strain"][0], expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["strain_gradient", "radial_strain", "support_strain"])
def test_a_strain_field_is_the_symmetric_gradient_of_its_displacement(kind):
    """A judge that knows no formula: finite differences of the same modifier on moved atoms."""
    modifier, rng = ALL[kind], np.random.default_rng
    middle = rng(0).uniform(-8, 8, (40, 3))
    # The outermost atoms and the mean, which the fields refer to, stay where they are.
    frame = np.array([[12, 0, 0], [-12, 0, 0], [0, 12, 0], [0, -12, 0], [0, 0, 12], [0, 0, -12]], float)
    frame = np.concatenate([frame, [-middle.sum(axis=0)]])[:6]
    config, h = config_of(kind, **MODIFIERS[kind]), 1e-4

    def moved(step):
        points = np.concatenate([middle + step, middle - step, -2 * middle, frame])
        specimen = Specimen(positions_A=points, atomic_numbers=np.full(len(points), 78))
        return modifier(specimen, config=config, rng=rng(1)).truth

    gradient = np.empty((40, 3, 3))
    for axis in range(3):
        truth = moved(h * np.eye(3)[axis])
        gradient[:, :, axis] = (truth["displacement_A"][:40] - truth["displacement_A"][40:80]) / (2 * h)
    expected = moved(np.zeros(3))["strain"][:40]
    np.testing.assert_allclose((gradient + gradient.transpose(0, 2, 1)) / 2, expected, atol=1e-7)
    assert np.ptp(expected, axis=0).max() > 1e-3


def test_strains_add_up_and_commute():
    a, b = config_of("strain", xx=0.01), config_of("radial_strain", centre=0.01, surface=-0.01)
    first, second = built(a, b), built(b, a)
    np.testing.assert_allclose(first.truth["strain"], second.truth["strain"], atol=1e-12)
    np.testing.assert_allclose(first.truth["strain"], built(a).truth["strain"] + built(b).truth["strain"])


def test_bending_leaves_no_shear():
    specimen = built(config_of("strain_gradient", **MODIFIERS["strain_gradient"]), rotate=False)
    strain = specimen.truth["strain"]
    sites = lattice_of(specimen)
    np.testing.assert_allclose(strain[:, 0, 0], 1e-3 * (sites - sites.mean(axis=0))[:, 2])
    strain = strain.copy()
    strain[:, 0, 0] = 0.0
    assert np.abs(strain).max() == 0.0


def test_the_surface_relaxes_along_the_normal_of_each_facet():
    specimen = built(config_of("surface_relaxation", on_111=0.02, on_100=-0.05), rotate=False)
    terrace, u = specimen.truth["terrace"], specimen.truth["displacement_A"]
    assert (u[terrace == 0] == 0.0).all()
    assert (terrace == 111).sum() > 10 and (terrace == 100).sum() > 3
    outwards = lattice_of(specimen) - lattice_of(specimen).mean(axis=0)
    for family, amount_A, normal in (
        (111, 0.02 * 3.92 / np.sqrt(3), np.ones(3) / np.sqrt(3)),
        (100, -0.05 * 3.92 / 2, np.array([0, 0, 1.0])),
    ):
        mine = u[terrace == family]
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), abs(amount_A), rtol=1e-6)
        np.testing.assert_allclose(
            np.sort(np.abs(mine / amount_A), axis=1), np.tile(normal, (len(mine), 1)), atol=1e-6
        )
        assert (np.sign(np.einsum("ni,ni->n", mine, outwards[terrace == family])) == np.sign(amount_A)).all()


def test_facets_are_those_of_an_ase_slab():
    """A second judge: every atom of a slab's two {111} faces is found, and moves by what was asked."""
    slab = fcc111("Pt", (6, 6, 5), a=3.92)
    slab.pbc = False
    specimen = Specimen(positions_A=slab.positions, atomic_numbers=slab.numbers)
    relaxed = ALL["surface_relaxation"](
        specimen,
        config=config_of("surface_relaxation", on_111=0.03, on_100=0.0),
        rng=np.random.default_rng(0),
    )
    z = slab.positions[:, 2]
    inside = (relaxed.truth["terrace"] == 111) & (z > z.max() - 0.1)
    # The 4 × 4 atoms away from the slab's edges, less what its slanted sides cut off.
    assert inside.sum() >= 14
    np.testing.assert_allclose(
        relaxed.truth["displacement_A"][inside], [[0, 0, 0.03 * 3.92 / np.sqrt(3)]] * inside.sum(), atol=1e-9
    )


def test_vacancies_are_counted_by_their_neighbours():
    plain = built(rotate=False)
    specimen = built(config_of("vacancies", fraction=0.05, where="inside"), rotate=False)
    missing = len(plain.positions_A) - len(specimen.positions_A)
    inside = coordination(plain.positions_A) == 12
    assert missing == round(0.05 * inside.sum())
    # Bonds are counted on perfect sites: what each atom lost is what its truth says.
    _, same = cKDTree(plain.positions_A).query(
        specimen.positions_A - (specimen.positions_A[0] - plain.positions_A[0])
    )
    if same[0] == 0:
        lost = coordination(plain.positions_A)[same] - coordination(specimen.positions_A)
        np.testing.assert_array_equal(specimen.truth["n_vacant_neighbours"], lost)
    assert specimen.truth["n_vacant_neighbours"].sum() == pytest.approx(12 * missing, abs=12)


def test_adatoms_sit_in_hollows_and_are_alone():
    specimen = built(config_of("adatoms", fraction=0.05, element="Pd"), disorder=DisorderConfig())
    ad = specimen.truth["is_adatom"] == 1
    assert (specimen.atomic_numbers[ad] == 46).all() and (specimen.atomic_numbers[~ad] == 78).all()
    assert ad.sum() == round(0.05 * (~ad).sum())
    assert np.isin(coordination(lattice_of(specimen))[ad], [3, 4, 5]).all()
    distance, _ = cKDTree(specimen.positions_A[ad]).query(specimen.positions_A[ad], k=2)
    assert distance[:, 1].min() > 1.2 * PT_A * 0.99


@pytest.mark.parametrize("facet", ["111", "100"])
def test_a_step_takes_whole_rows_of_one_facet(facet):
    plain = built(rotate=False)
    specimen = built(config_of("step", facet=facet, coverage=0.5), rotate=False)
    removed_n = len(plain.positions_A) - len(specimen.positions_A)
    assert removed_n >= 2
    assert (specimen.truth["is_step_edge"] == 1).sum() >= 2
    # The edge is one straight row: its atoms lie on a line.
    edge = specimen.positions_A[specimen.truth["is_step_edge"] == 1]
    assert np.linalg.svd(edge - edge.mean(axis=0))[1][1] < 1e-6


def common_neighbours(positions):
    """Kind of each atom with 12 neighbours: 'fcc', 'hcp' or '' (Honeycutt & Andersen's 421 and 422 pairs)."""
    pairs = cKDTree(positions).query_pairs(1.2 * PT_A)
    around = {i: set() for i in range(len(positions))}
    for i, j in pairs:
        around[i].add(j)
        around[j].add(i)
    kinds = []
    for mine in around.values():
        if len(mine) != 12:
            kinds.append("")
            continue
        chains = 0
        for j in mine:
            shared = mine & around[j]
            degree = sorted(len(shared & around[k]) for k in shared)
            chains += degree == [0, 1, 1, 2]
        kinds.append({0: "fcc", 6: "hcp"}.get(chains, ""))
    return np.array(kinds)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_stacking_fault_is_two_layers_of_hcp(seed):
    """A second judge: common-neighbour analysis knows nothing of the plane."""
    specimen = built(config_of("stacking_fault", place=0.0), seed=seed)
    kinds, at_fault = common_neighbours(specimen.positions_A), specimen.truth["is_stacking_fault"] == 1
    full = kinds != ""
    np.testing.assert_array_equal(kinds[full] == "hcp", at_fault[full])
    assert (kinds == "hcp").sum() > 10
    slip = specimen.truth["displacement_A"][specimen.truth["is_slipped"] == 1]
    np.testing.assert_allclose(np.linalg.norm(slip, axis=1), 3.92 / np.sqrt(6.0))


def test_static_disorder_has_the_width_of_each_element():
    config = AlloySpecimen(
        kind="alloy",
        diameter_A=31.0,
        disorder=CALM,
        lattice_A=3.8,
        modifiers=(config_of("static_disorder", rms_A={"Ni": 0.12}, default_rms_A=0.03),),
    )
    specimen = build_specimen(config, volume=VOLUME, rng=stream(0, 0, "build"))
    for number, rms_A in ((28, 0.12), (78, 0.03)):
        u = specimen.truth["displacement_A"][specimen.atomic_numbers == number]
        # 1,600 numbers: 1.8 % standard error of an rms.
        assert np.sqrt(np.mean(u**2)) == pytest.approx(rms_A, rel=0.07)


def test_modifiers_compose_in_their_order():
    specimen = built(
        config_of("stacking_fault"),
        config_of("step"),
        config_of("adatoms", fraction=0.04),
        config_of("vacancies", fraction=0.03),
        config_of("surface_relaxation"),
        config_of("support_strain"),
        config_of("static_disorder", default_rms_A=0.05),
    )
    n = len(specimen.positions_A)
    assert {name: len(values) for name, values in specimen.truth.items()} == dict.fromkeys(specimen.truth, n)
    assert {"terrace", "is_adatom", "is_step_edge", "is_slipped", "n_vacant_neighbours"} <= set(
        specimen.truth
    )
    assert cKDTree(specimen.positions_A).query(specimen.positions_A, k=2)[0][:, 1].min() > 0.7 * PT_A


@pytest.mark.parametrize(
    ("modifier", "words"),
    [
        (config_of("vacancies", element="Au"), [r"modifiers\[0\] \(vacancies\)", "Au", "element"]),
        (config_of("static_disorder", rms_A={"Fe": 0.1}), ["static_disorder", "Fe", "Pt"]),
    ],
)
def test_what_does_not_fit_the_specimen_is_named(modifier, words):
    with pytest.raises(ValueError) as caught:
        built(modifier)
    for word in words:
        assert re.search(word, str(caught.value))


@pytest.mark.parametrize("kind", ["surface_relaxation", "stacking_fault"])
def test_other_lattices_are_refused(kind):
    cubes = np.stack(np.meshgrid(*[np.arange(5) * 4.0] * 3), axis=-1).reshape(-1, 3)
    specimen = Specimen(positions_A=cubes, atomic_numbers=np.full(125, 56))
    with pytest.raises(ValueError, match=r"f\.c\.c\."):
        ALL[kind](specimen, config=config_of(kind), rng=np.random.default_rng(0))


@pytest.mark.parametrize("facet", ["111", "100"])
def test_a_step_on_a_perovskite_is_cut_or_refused_in_words(facet):
    for seed in range(8):
        specimen = build_specimen(
            TypeAdapter(SpecimenConfig).validate_python({"kind": "perovskite", "rotate": False}),
            volume=VolumeConfig(n_voxels=128),
            rng=stream(seed, 0, "build"),
        )
        try:
            ALL["step"](specimen, config=config_of("step", facet=facet), rng=np.random.default_rng(seed))
        except ValueError as error:
            assert "facet" in str(error)
