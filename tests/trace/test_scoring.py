import math
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from picotome.configs.schema import ScoringConfig
from picotome.records import Specimen, Trace
from picotome.trace.scoring import chance_recall, score_trace, scored_atoms
from picotome.trace.surface import find_surface

CONFIG = ScoringConfig()


def as_trace(positions_A, atomic_numbers):
    n = len(positions_A)
    return Trace(
        positions_A=np.asarray(positions_A, dtype=np.float64),
        intensities=np.ones(n),
        atomic_numbers=np.asarray(atomic_numbers, dtype=np.int64),
        sigma_A=np.full(n, 0.45),
    )


def score(positions_A, atomic_numbers, specimen, config=CONFIG):
    return score_trace(as_trace(positions_A, atomic_numbers), specimen, config=config)


def assert_same(a, b, *, without=()):
    for field in fields(a):
        if field.name not in without:
            x, y = getattr(a, field.name), getattr(b, field.name)
            if isinstance(x, dict):
                assert x.keys() == y.keys()
                x, y = list(x.values()), list(y.values())
            np.testing.assert_allclose(x, y, atol=1e-6, err_msg=field.name)


def noisy(specimen, rms_A=0.1, seed=0):
    noise_A = np.random.default_rng(seed).normal(0, rms_A, specimen.positions_A.shape)
    return specimen.positions_A + noise_A


def test_the_truth_scores_perfectly(core_shell):
    s = score(core_shell.positions_A, core_shell.atomic_numbers, core_shell)
    assert (s.n_true, s.n_found) == (len(core_shell.positions_A),) * 2
    assert s.recall == s.precision == s.species_accuracy == 1.0
    for number in (s.rmsd_pm, s.median_pm, s.rigid_rmsd_pm, s.affine_rmsd_pm, *s.rmsd_axis_pm):
        assert number == pytest.approx(0.0, abs=1e-9)
    assert (s.surface_rmsd_pm, s.core_rmsd_pm) == (0.0, 0.0)
    assert dict(s.rmsd_species_pm) == {"Pd": 0.0, "Pt": 0.0}
    assert s.radius_A == CONFIG.radius_A


def test_ten_pm_per_axis_are_17_3_pm(core_shell):
    # Averages over many draws: sqrt(3) · 10 pm; the median of a Maxwell distribution is 1.538 sigma.
    scores = [score(noisy(core_shell, seed=i), core_shell.atomic_numbers, core_shell) for i in range(8)]
    assert np.sqrt(np.mean([s.rmsd_pm**2 for s in scores])) == pytest.approx(17.32, rel=0.02)
    assert np.mean([s.median_pm for s in scores]) == pytest.approx(15.38, rel=0.03)
    np.testing.assert_allclose(np.mean([s.rmsd_axis_pm for s in scores], axis=0), 10.0, rtol=0.04)
    for s in scores:
        assert np.linalg.norm(s.rmsd_axis_pm) == pytest.approx(s.rmsd_pm)
        assert s.affine_rmsd_pm <= s.rigid_rmsd_pm <= s.rmsd_pm
        np.testing.assert_allclose(s.displacement_pm.mean(axis=0), 0.0, atol=1e-9)


def test_moving_both_changes_nothing(pt):
    found_A, moved_A = noisy(pt), np.array([3.0, -20.0, 7.0])
    before = score(found_A, pt.atomic_numbers, pt)
    moved = replace(pt, positions_A=pt.positions_A + moved_A)
    assert_same(before, score(found_A + moved_A, pt.atomic_numbers, moved))


def test_moving_the_trace_a_little_changes_only_the_translation(pt):
    found_A, moved_A = noisy(pt, 0.05), np.array([0.2, -0.3, 0.1])
    before = score(found_A, pt.atomic_numbers, pt)
    after = score(found_A + moved_A, pt.atomic_numbers, pt)
    assert_same(before, after, without=("translation_pm",))
    np.testing.assert_allclose(np.subtract(after.translation_pm, before.translation_pm), 100 * moved_A)


def test_the_order_of_the_trace_does_not_matter(core_shell):
    found_A, numbers = noisy(core_shell, 0.2)[20:], core_shell.atomic_numbers[20:]
    order = np.random.default_rng(1).permutation(len(found_A))
    before = score(found_A, numbers, core_shell)
    after = score(found_A[order], numbers[order], core_shell)
    assert_same(before, after, without=("matched_found",))
    np.testing.assert_array_equal(order[after.matched_found], before.matched_found)


def test_found_twice_is_wrong_once(pt):
    found_A = noisy(pt, 0.05)[:150]
    twice_A = np.concatenate([found_A, found_A + 0.01])
    once, twice = (score(a, np.full(len(a), 78), pt) for a in (found_A, twice_A))
    assert once.precision == 1.0
    assert twice.recall == once.recall == pytest.approx(150 / len(pt.positions_A))
    assert twice.precision == 0.5


def test_surface_and_core_are_scored_apart(pt):
    surface = find_surface(pt.positions_A)
    rng = np.random.default_rng(0)
    found_A = pt.positions_A + rng.normal(0, 1, pt.positions_A.shape) * np.where(surface, 0.12, 0.04)[:, None]
    s = score(found_A, pt.atomic_numbers, pt)
    assert s.surface_rmsd_pm == pytest.approx(12 * math.sqrt(3), rel=0.1)
    assert s.core_rmsd_pm == pytest.approx(4 * math.sqrt(3), rel=0.15)
    share = surface[s.matched_true].mean()
    total = share * s.surface_rmsd_pm**2 + (1 - share) * s.core_rmsd_pm**2
    assert s.rmsd_pm == pytest.approx(math.sqrt(total))


def test_species_are_scored_apart(core_shell):
    heavy = core_shell.atomic_numbers == 78
    rng = np.random.default_rng(0)
    noise_A = rng.normal(0, 1, core_shell.positions_A.shape) * np.where(heavy, 0.02, 0.10)[:, None]
    guess = np.where(np.arange(len(heavy)) % 4 == 0, 28, core_shell.atomic_numbers)
    s = score(core_shell.positions_A + noise_A, guess, core_shell)
    assert s.rmsd_species_pm["Pt"] == pytest.approx(2 * math.sqrt(3), rel=0.1)
    assert s.rmsd_species_pm["Pd"] == pytest.approx(10 * math.sqrt(3), rel=0.1)
    assert s.species_accuracy == pytest.approx(0.75, abs=0.01)
    unknown = score(core_shell.positions_A, np.zeros(len(heavy)), core_shell)
    assert math.isnan(unknown.species_accuracy)
    assert unknown.recall == 1.0


def test_a_rotation_is_seen_by_the_rigid_fit(pt):
    turned_A = Rotation.from_euler("y", 1.0, degrees=True).apply(pt.positions_A)
    s = score(turned_A, pt.atomic_numbers, pt)
    assert s.rmsd_pm > 8
    assert s.rmsd_axis_pm[1] == pytest.approx(0, abs=1e-6)
    assert s.rigid_rmsd_pm == pytest.approx(0, abs=1e-6)


def test_the_rigid_fit_is_that_of_scipy(pt):
    found_A = Rotation.from_euler("xyz", [1, -1, 0.5], degrees=True).apply(noisy(pt, 0.1))
    s = score(found_A, pt.atomic_numbers, pt)
    a, b = pt.positions_A[s.matched_true], found_A[s.matched_found]
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    _, expected_A = Rotation.align_vectors(b, a)
    assert s.rigid_rmsd_pm == pytest.approx(100 * expected_A / math.sqrt(len(a)), rel=1e-6)


def test_a_mirror_image_is_not_a_rotation():
    """Kabsch without the determinant's sign would call a mirrored cluster perfect."""
    flat = np.random.default_rng(0).uniform(-3, 3, (12, 3)) * [1, 1, 0.05]
    specimen = Specimen(flat, np.full(12, 78))
    s = score(flat * [1, 1, -1], specimen.atomic_numbers, specimen)
    assert s.recall == 1.0
    assert s.rigid_rmsd_pm > 1
    assert s.affine_rmsd_pm == pytest.approx(0, abs=1e-6)


def test_a_wrong_pixel_size_is_seen_by_the_affine_fit(pt):
    s = score(1.01 * pt.positions_A, pt.atomic_numbers, pt)
    assert s.rigid_rmsd_pm > 5
    assert s.affine_rmsd_pm == pytest.approx(0, abs=1e-6)


def test_chance_of_a_compact_particle_is_what_geometry_says(core_shell):
    # A sphere of 0.75 Å holds density × volume = 11.9 % of an atom; one-to-one costs some, edges more.
    in_sphere = 4 / 3.9**3 * 4 / 3 * math.pi * 0.75**3
    chance = chance_recall(core_shell.positions_A, radius_A=0.75, n_rotations=40)
    assert 0.6 * in_sphere < chance < 1.1 * in_sphere
    s = score(np.zeros((1, 3)), [78], core_shell)
    assert s.chance_recall == chance_recall(core_shell.positions_A, radius_A=0.75)


@pytest.mark.external
def test_chance_of_the_measured_particle_is_8_5_percent(measured):
    chance = chance_recall(measured.positions_A, radius_A=0.75, n_rotations=10)
    assert chance == pytest.approx(0.085, abs=0.015)


def test_chance_depends_on_the_seed_alone(pt):
    a, b, c = (chance_recall(pt.positions_A, radius_A=0.75, seed=seed) for seed in (1, 1, 2))
    assert a == b != c


def test_nothing_found_is_a_score_and_no_error(pt):
    s = score(np.zeros((0, 3)), np.zeros(0), pt)
    assert (s.n_found, s.recall) == (0, 0.0)
    numbers = [s.precision, s.rmsd_pm, s.median_pm, s.rigid_rmsd_pm, s.affine_rmsd_pm, s.species_accuracy]
    numbers += [*s.rmsd_axis_pm, *s.translation_pm, s.surface_rmsd_pm, s.core_rmsd_pm]
    numbers += list(s.rmsd_species_pm.values())
    assert all(math.isnan(x) for x in numbers)
    assert s.displacement_pm.shape == (0, 3)


def test_atoms_found_elsewhere_are_no_match(pt):
    s = score(pt.positions_A + 100.0, pt.atomic_numbers, pt)
    assert (s.recall, s.precision) == (0.0, 0.0)
    assert math.isnan(s.rmsd_pm)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_a_handful_of_atoms_is_scored(pt, n):
    s = score(noisy(pt)[:n], pt.atomic_numbers[:n], pt)
    assert s.precision == 1.0
    assert math.isnan(s.rigid_rmsd_pm) == (n < 3)
    assert math.isnan(s.affine_rmsd_pm) == (n < 5)


def test_bad_input_is_refused(pt):
    with pytest.raises(ValueError, match="specimen has no atoms"):
        score(pt.positions_A, pt.atomic_numbers, Specimen(np.zeros((0, 3)), np.zeros(0, dtype=int)))
    with pytest.raises(ValueError, match=r"trace.atomic_numbers has shape \(3,\)"):
        score(pt.positions_A, [78] * 3, pt)
    with pytest.raises(ValueError, match="NaN"):
        score(pt.positions_A * np.nan, pt.atomic_numbers, pt)


def test_only_atoms_that_can_be_seen_are_scored(core_shell):
    pd = core_shell.atomic_numbers == 46
    assert 0 < pd.sum() < len(pd)
    truth = replace(core_shell, truth={"row": np.arange(len(pd))})
    asked = scored_atoms(truth, config=ScoringConfig(elements=("Pd",)))
    np.testing.assert_array_equal(asked.truth["row"], np.flatnonzero(pd))
    np.testing.assert_array_equal(asked.positions_A, core_shell.positions_A[pd])
    assert score(core_shell.positions_A[pd], core_shell.atomic_numbers[pd], asked).recall == 1.0
    # What was found of the others is false.
    assert score(core_shell.positions_A, core_shell.atomic_numbers, asked).precision == pd.mean()
    assert scored_atoms(truth, config=CONFIG) is truth
    with pytest.raises(ValueError, match=r"scoring\.elements is O.*Pd, Pt"):
        scored_atoms(truth, config=ScoringConfig(elements=("O",)))


def test_a_file_is_scored_for_some_elements(tmp_path):
    from ase import Atoms
    from ase.io import write

    from picotome.datasets.stages import score_file

    rng = np.random.default_rng(0)
    truth = Atoms("BaTiO3" * 4, rng.permutation(27)[:20, None] * 3.0 + rng.normal(0, 0.1, (20, 3)))
    write(tmp_path / "truth.xyz", truth)
    write(tmp_path / "found.xyz", truth[[a.symbol != "O" for a in truth]])
    paths = tmp_path / "found.xyz", tmp_path / "truth.xyz"
    assert score_file(*paths, radius_A=0.75, out=None).recall == 0.4
    seen = score_file(*paths, radius_A=0.75, elements=("Ba", "Ti"), out=None)
    assert seen.recall == seen.precision == 1.0
    with pytest.raises(ValueError, match=r"--elements; found 'Xx'"):
        score_file(*paths, radius_A=0.75, elements=("Xx",), out=None)
    with pytest.raises(ValueError, match="elements is Pt, but the specimen is made of O, Ti, Ba"):
        score_file(*paths, radius_A=0.75, elements=("Pt",), out=None)
