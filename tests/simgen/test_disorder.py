"""Strain and displacement: the asked statistics, and a truth that a fit to the atoms confirms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from picotome.configs.imaging import VolumeConfig
from picotome.configs.specimens import DisorderConfig, WulffSpecimen
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.disorder import apply_disorder, displacement_A, displacement_gradient, draw_strain_field
from picotome.simgen.particles import build_specimen

NEAREST_A = 3.92 / np.sqrt(2.0)


def _atoms(n: int, *, half_width_A: float = 20.0) -> Specimen:
    positions = np.random.default_rng(5).uniform(-half_width_A, half_width_A, (n, 3))
    return Specimen(positions_A=positions, atomic_numbers=np.full(n, 78))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(2.0, 30.0))
def test_the_gradient_is_the_derivative(seed: int, length_A: float) -> None:
    field = draw_strain_field(strain_rms=0.02, strain_length_A=length_A, rng=np.random.default_rng(seed))
    at = np.random.default_rng(seed + 1).uniform(-15, 15, (7, 3))
    step = 1e-4 * length_A
    differences = [
        (displacement_A(field, at + step * axis) - displacement_A(field, at - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    np.testing.assert_allclose(displacement_gradient(field, at), np.stack(differences, axis=2), atol=1e-8)


def test_strain_has_the_asked_rms_and_correlation_length() -> None:
    length_A, rms = 7.0, 0.03
    at = np.array([[0.0, 0.0, 0.0], [length_A, 0.0, 0.0], [0.0, 0.0, 2.0 * length_A]])
    strains, moves = [], []
    for seed in range(1500):
        field = draw_strain_field(strain_rms=rms, strain_length_A=length_A, rng=stream(seed, 0, "field"))
        gradient = displacement_gradient(field, at)
        strains.append((gradient + gradient.transpose(0, 2, 1)) / 2)
        moves.append(displacement_A(field, at))
    strain, move = np.array(strains), np.array(moves)
    assert np.sqrt(np.mean(strain**2)) == pytest.approx(rms, rel=0.03)
    # Isotropy: a normal strain is sqrt(2) times a shear strain, along every axis.
    per_component = np.sqrt(np.mean(strain**2, axis=(0, 1)))
    np.testing.assert_allclose(np.diag(per_component), rms * np.sqrt(1.5), rtol=0.06)
    np.testing.assert_allclose(per_component[np.triu_indices(3, 1)], rms * np.sqrt(0.75), rtol=0.06)
    correlation = np.mean(move[:, 0] * move[:, 1:].transpose(1, 0, 2), axis=(1, 2)) / np.mean(move**2)
    np.testing.assert_allclose(correlation, np.exp([-0.5, -2.0]), atol=0.05)


def test_static_displacement_has_the_asked_statistics() -> None:
    config = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.08, displacement_half_width_A=0.22)
    before = _atoms(20_000)
    moved = (
        apply_disorder(before, config=config, rng=stream(1, 0, "disorder")).positions_A - before.positions_A
    )
    np.testing.assert_allclose(moved.std(axis=0), np.hypot(0.08, 0.22 / np.sqrt(3)), rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(moved.T), np.eye(3), atol=0.03)
    config = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0, displacement_half_width_A=0.22)
    moved = (
        apply_disorder(before, config=config, rng=stream(1, 0, "disorder")).positions_A - before.positions_A
    )
    assert 0.219 < np.abs(moved).max() <= 0.22


def test_truth_is_what_was_added_and_the_input_is_left_alone() -> None:
    before = _atoms(300)
    earlier = np.random.default_rng(2).normal(size=(300, 3))
    before = Specimen(
        before.positions_A,
        before.atomic_numbers,
        truth={"displacement_A": earlier.copy(), "tag": np.ones(300)},
    )
    start = before.positions_A.copy()
    after = apply_disorder(before, config=DisorderConfig(), rng=stream(1, 0, "disorder"))
    np.testing.assert_array_equal(before.positions_A, start)
    np.testing.assert_array_equal(before.truth["displacement_A"], earlier)
    np.testing.assert_allclose(after.truth["displacement_A"] - earlier, after.positions_A - start, atol=1e-12)
    assert "tag" in after.truth
    calm = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)
    still = apply_disorder(before, config=calm, rng=stream(1, 0, "disorder"))
    np.testing.assert_array_equal(still.positions_A, start)


def test_the_smooth_field_neither_moves_nor_turns_the_particle() -> None:
    config = DisorderConfig(strain_rms=0.03, strain_length_A=40.0, displacement_rms_A=0.0)
    before = _atoms(2000, half_width_A=6.0)
    for seed in range(5):
        after = apply_disorder(before, config=config, rng=stream(seed, 0, "disorder"))
        moved = after.positions_A - before.positions_A
        np.testing.assert_allclose(moved.mean(axis=0), 0.0, atol=1e-12)
        design = np.c_[before.positions_A, np.ones(2000)]
        gradient = np.linalg.lstsq(design, moved, rcond=None)[0][:3].T
        assert np.abs(gradient - gradient.T).max() < 0.05 * np.abs(gradient).max()


@pytest.mark.parametrize("seed", range(3))
def test_a_fit_to_the_neighbours_finds_the_true_strain_in_the_final_frame(seed: int) -> None:
    config = WulffSpecimen(
        kind="wulff",
        diameter_A=26.0,
        disorder=DisorderConfig(strain_rms=0.004, strain_length_A=25.0, displacement_rms_A=0.0),
    )
    specimen = build_specimen(config, volume=VolumeConfig(n_voxels=96), rng=stream(seed, 0, "build"))
    lattice = specimen.positions_A - specimen.truth["displacement_A"]
    fitted, expected = [], []
    for atom, around in enumerate(cKDTree(lattice).query_ball_point(lattice, 1.2 * NEAREST_A)):
        neighbours = [i for i in around if i != atom]
        if len(neighbours) < 12:
            continue
        bonds = lattice[neighbours] - lattice[atom]
        now = specimen.positions_A[neighbours] - specimen.positions_A[atom]
        gradient = np.linalg.lstsq(bonds, now, rcond=None)[0].T - np.eye(3)
        fitted.append((gradient + gradient.T) / 2)
        expected.append(specimen.truth["strain"][atom])
    assert len(fitted) > 150
    error = np.sqrt(np.mean((np.array(fitted) - np.array(expected)) ** 2))
    size = np.sqrt(np.mean(np.array(expected) ** 2))
    # The field's curvature over one bond leaves about (bond / length)² / 10 of it.
    assert error < 0.02 * size
