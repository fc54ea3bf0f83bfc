from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist

from picotome.configs.schema import ScoringConfig, TracingConfig
from picotome.records import Specimen, Tomogram
from picotome.trace.scoring import score_trace
from picotome.trace.tracing import trace_tomogram

CONFIG = TracingConfig()
SYMBOLS = {28: "Ni", 46: "Pd", 78: "Pt"}


def elements_of(specimen):
    return [SYMBOLS[z] for z in np.unique(specimen.atomic_numbers).tolist()]


def trace_and_score(tomogram, specimen):
    trace = trace_tomogram(tomogram, elements=elements_of(specimen), config=CONFIG)
    return trace, score_trace(trace, specimen, config=ScoringConfig())


def assert_identical(tomogram, specimen, sigma_A=0.45):
    trace, score = trace_and_score(tomogram, specimen)
    assert score.n_found == score.n_true
    assert score.recall == score.precision == 1.0
    assert score.rmsd_pm < 0.2
    assert np.abs(score.translation_pm).max() < 0.1
    assert score.species_accuracy == 1.0
    np.testing.assert_allclose(trace.sigma_A, sigma_A, rtol=0.02)
    heights = trace.intensities / ((2 * np.pi) ** 1.5 * sigma_A**3)
    np.testing.assert_allclose(heights[trace.atomic_numbers == 78], 1.0, rtol=0.03)


@pytest.mark.parametrize("voxel_A", [0.4, 0.357])
@pytest.mark.parametrize("name", ["pt", "core_shell"])
def test_the_ideal_tomogram_gives_its_atoms_back(request, make_ideal, name, voxel_A):
    specimen = request.getfixturevalue(name)
    assert_identical(make_ideal(specimen, n=72, voxel_A=voxel_A), specimen)


@pytest.mark.external
@pytest.mark.parametrize("voxel_A", [0.4, 0.357])
def test_the_ideal_tomogram_of_the_measured_particle_gives_its_atoms_back(measured, make_ideal, voxel_A):
    # Its closest pair (1.85 Å) lies just above the default minimum distance, 1.8 Å.
    assert pdist(measured.positions_A).min() > CONFIG.min_distance_A
    n = 2 * int(24 / voxel_A)
    assert_identical(make_ideal(measured, n=n, voxel_A=voxel_A), measured)


def test_a_single_atom_is_found_off_the_grid(make_ideal):
    specimen = Specimen(np.array([[1.13, -2.27, 0.71]]), np.array([78]))
    assert_identical(make_ideal(specimen, n=32), specimen)


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.06])
@pytest.mark.parametrize("name", ["pt", "core_shell"])
def test_atoms_are_found_through_the_missing_wedge(request, make_ideal, make_degraded, name, noise):
    specimen = request.getfixturevalue(name)
    degraded = make_degraded(make_ideal(specimen), noise=noise)
    trace, score = trace_and_score(degraded, specimen)
    assert score.recall >= 0.99
    assert score.precision >= 0.99
    assert score.rmsd_pm < 14
    # The wedge is about z: along the tilt axis y nothing is lost but noise added.
    assert score.rmsd_axis_pm[2] > score.rmsd_axis_pm[0]
    assert score.species_accuracy > 0.99
    assert pdist(trace.positions_A).min() >= CONFIG.min_distance_A


def test_atoms_are_found_in_a_repaired_tomogram(core_shell, make_ideal):
    """Heights that vary, a pedestal, and the mottle that a network leaves behind."""
    rng = np.random.default_rng(0)
    ideal = make_ideal(core_shell)
    mottle = gaussian_filter(rng.normal(size=ideal.volume.shape), 1.5)
    shading = 1 + 0.15 * gaussian_filter(rng.normal(size=ideal.volume.shape), 12) * 12**1.5
    volume = ideal.volume * np.clip(shading, 0.7, 1.3) + 0.02 * mottle / mottle.std() + 0.05
    _, score = trace_and_score(Tomogram(volume.astype(np.float32), 0.4, "repaired"), core_shell)
    assert score.recall == score.precision == 1.0
    assert score.rmsd_pm < 5


def test_faint_atoms_in_the_shoulders_of_bright_ones_are_found():
    """Where Ni is no maximum of its own beside Pt along the blurred axis, only the residual shows it."""
    from picotome.trace.gaussians import GaussianSum, render
    from picotome.trace.peaks import find_peaks

    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * 3.6
    hidden_A = corners[:4] + np.array([0.0, 0.0, 2.1])
    positions_A = np.concatenate([corners, hidden_A])
    heights = np.array([1.0] * 8 + [0.21] * 4)
    truth = GaussianSum(positions_A, heights, np.array([0.5, 0.5, 0.8]), np.ones(12))
    volume = render(truth, (64, 64, 64), 0.4)
    tomogram = Tomogram(volume, 0.4, "degraded")
    assert len(find_peaks(tomogram, min_distance_A=1.0, threshold=0.05)[0]) == 8
    specimen = Specimen(positions_A, np.array([78] * 8 + [28] * 4))
    _, score = trace_and_score(tomogram, specimen)
    assert score.recall == score.precision == score.species_accuracy == 1.0
    assert score.rmsd_pm < 2


def test_unit_and_pedestal_do_not_matter(core_shell, make_ideal, make_degraded):
    degraded = make_degraded(make_ideal(core_shell), noise=0.03)
    trace, _ = trace_and_score(degraded, core_shell)
    scaled = replace(degraded, volume=1e-3 * degraded.volume + 5e-4)
    again, _ = trace_and_score(scaled, core_shell)
    np.testing.assert_allclose(again.positions_A, trace.positions_A, atol=2e-3)
    np.testing.assert_allclose(again.intensities, 1e-3 * trace.intensities, rtol=1e-2)
    np.testing.assert_array_equal(again.atomic_numbers, trace.atomic_numbers)


def test_a_mirrored_tomogram_gives_the_mirrored_atoms(pt, make_ideal, make_degraded):
    """With an odd number of voxels the origin is its own mirror image: half a voxel of error would show."""
    degraded = make_degraded(make_ideal(pt, n=65), noise=0.02)
    trace, _ = trace_and_score(degraded, pt)
    mirrored, _ = trace_and_score(replace(degraded, volume=degraded.volume[::-1, ::-1, ::-1].copy()), pt)
    order, mirrored_order = np.lexsort(trace.positions_A.T), np.lexsort(-mirrored.positions_A.T)
    np.testing.assert_allclose(mirrored.positions_A[mirrored_order], -trace.positions_A[order], atol=3e-3)


def test_the_trace_keeps_its_promises(core_shell, make_ideal, make_degraded):
    degraded = make_degraded(make_ideal(core_shell), noise=0.1)
    before = degraded.volume.copy()
    trace, _ = trace_and_score(degraded, core_shell)
    n = len(trace.positions_A)
    assert trace.positions_A.shape == (n, 3)
    assert trace.intensities.shape == trace.atomic_numbers.shape == trace.sigma_A.shape == (n,)
    assert trace.positions_A.dtype == np.float64
    assert trace.atomic_numbers.dtype == np.int64
    assert (np.diff(trace.intensities) <= 0).all()
    assert (trace.intensities > 0).all()
    assert pdist(trace.positions_A).min() >= CONFIG.min_distance_A
    np.testing.assert_array_equal(degraded.volume, before)
    wide = trace_tomogram(degraded, elements=["Pd", "Pt"], config=TracingConfig(min_distance_A=3.2))
    assert pdist(wide.positions_A).min() >= 3.2


def test_noise_alone_ends_in_reasonable_time_and_is_no_error():
    volume = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    trace = trace_tomogram(Tomogram(volume, 0.4, "repaired"), elements=["Ni", "Pt"], config=CONFIG)
    assert np.isfinite(trace.positions_A).all()


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.zeros((16, 16, 16)), "empty"),
        (np.full((16, 16, 16), 2.0), "empty"),
        (np.where(np.arange(16**3).reshape(16, 16, 16) == 7, np.nan, 1.0), "1 NaN"),
        (np.full((16, 16, 16), np.inf), "infinite"),
        (np.ones((16, 16)), "three axes"),
        (np.broadcast_to(np.linspace(0, 1, 16), (16, 16, 16)), "no local maximum"),
    ],
)
def test_volumes_without_atoms_are_refused(volume, message):
    with pytest.raises(ValueError, match=message):
        trace_tomogram(Tomogram(volume.astype(np.float32), 0.4, "degraded"), elements=["Pt"], config=CONFIG)


@pytest.mark.parametrize("elements", [[], ["Zz"], "Pt"])
def test_unknown_elements_are_refused(pt, make_ideal, elements):
    with pytest.raises(ValueError, match="elements"):
        trace_tomogram(make_ideal(pt, n=48), elements=elements, config=CONFIG)


def test_faint_atoms_above_a_clear_gap_are_atoms(monkeypatch):
    """A network dims the light element unevenly and leaves next to no noise."""
    from picotome.trace import brightness

    rng = np.random.default_rng(0)
    platinum, palladium = rng.normal(1.0, 0.05, 150), rng.uniform(0.24, 0.6, 20)
    ripples = 0.06 * rng.random(1000)
    numbers = np.array([46, 78])
    cut = brightness.darkest_atom(np.concatenate([platinum, palladium, ripples]), numbers)
    assert ripples.max() < cut < palladium.min()
    # A continuum of noise that reaches up to the atoms has no gap: there the rule changes nothing.
    noise = np.abs(rng.normal(0.0, 0.12, 3000))
    noisy = np.concatenate([platinum, rng.normal(0.45, 0.05, 20), noise])
    with_rule = brightness.darkest_atom(noisy, numbers)
    monkeypatch.setattr(brightness, "_CLEAR_GAP", np.inf)
    assert brightness.darkest_atom(noisy, numbers) == with_rule
