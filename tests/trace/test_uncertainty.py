"""Errors predicted from a tomogram's own noise are about as large as the true ones."""

from __future__ import annotations

import numpy as np
import pytest

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import ReconstructionConfig, ScoringConfig, TracingConfig
from picotome.recon.solvers import reconstruct
from picotome.records import Specimen, Tomogram
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.trace.gaussians import GaussianSum, render
from picotome.trace.scoring import score_trace
from picotome.trace.tracing import trace_tomogram
from picotome.trace.uncertainty import peak_errors

VOXEL_A, N = 0.4, 48
SHAPE_A = np.array([0.5, 0.45, 0.6])


def crystal() -> Specimen:
    cell = np.stack(np.meshgrid(*[np.arange(-2, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites_A = ((cell + basis).reshape(-1, 3) + 0.21) * 3.92
    sites_A = sites_A[np.linalg.norm(sites_A, axis=1) < 7.5]
    return Specimen(sites_A, np.full(len(sites_A), 78))


def tomogram_of(specimen: Specimen, dose_e_per_A2: float) -> Tomogram:
    series = simulate_series(
        specimen,
        engine="linear",
        volume=VolumeConfig(n_voxels=N, voxel_size_A=VOXEL_A),
        optics=OpticsConfig(),
        acquisition=AcquisitionConfig(dose_e_per_A2=dose_e_per_A2),
        seed=0,
        index=0,
    )
    return reconstruct(series, config=ReconstructionConfig())


@pytest.mark.parametrize("dose_e_per_A2", [1e3, 1e4])
def test_predicted_errors_of_a_reconstruction_are_about_the_true_ones(dose_e_per_A2: float) -> None:
    specimen = crystal()
    trace = trace_tomogram(tomogram_of(specimen, dose_e_per_A2), elements=["Pt"], config=TracingConfig())
    score = score_trace(trace, specimen, config=ScoringConfig())
    assert trace.uncertainty_pm is not None
    ratio = score.displacement_pm / trace.uncertainty_pm[score.matched_found]
    assert 0.6 < np.sqrt(np.mean(ratio**2)) < 1.5


def test_twice_the_noise_is_twice_the_error_and_a_quarter_of_the_support() -> None:
    specimen = crystal()
    residual = stream(0, 0, "noise").normal(size=(N, N, N)).astype(np.float32)
    integrals = np.full(len(specimen.positions_A), 3.0)
    settings = {"positions_A": specimen.positions_A, "integrals": integrals, "shape_A": SHAPE_A}
    once, support = peak_errors(residual, VOXEL_A, **settings)
    twice, less = peak_errors(2.0 * residual, VOXEL_A, **settings)
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-4)
    np.testing.assert_allclose(less, support / 4.0, rtol=1e-4)


def test_white_noise_moves_a_lone_peak_as_theory_says() -> None:
    """Variance of a least-squares position: σ_noise² / Σ (∂V/∂x)²; then the factor of a positive volume."""
    residual = stream(1, 0, "noise").normal(size=(N, N, N)).astype(np.float32) * 0.3
    at_A = np.array([[0.3, -0.2, 0.1]])
    errors, _ = peak_errors(residual, VOXEL_A, positions_A=at_A, integrals=np.array([5.0]), shape_A=SHAPE_A)
    height = 5.0 / ((2 * np.pi) ** 1.5 * SHAPE_A.prod())
    step = 1e-2
    for axis in range(3):
        moved = [
            render(
                GaussianSum(at_A + s * step * np.eye(3)[axis], np.array([height]), SHAPE_A, np.ones(1)),
                (N, N, N),
                VOXEL_A,
            ).astype(float)
            for s in (-1, 1)
        ]
        slope = (moved[1] - moved[0]) / (2 * step)
        expected_pm = 100 * 0.3 / np.sqrt((slope**2).sum())
        assert errors[0, axis] / 2.2 == pytest.approx(expected_pm, rel=0.2)


def test_a_repaired_tomogram_gets_no_estimate() -> None:
    tomogram = tomogram_of(crystal(), 1e4)
    trace = trace_tomogram(
        Tomogram(tomogram.volume, VOXEL_A, "repaired"), elements=["Pt"], config=TracingConfig()
    )
    assert trace.uncertainty_pm is None and trace.support is None
