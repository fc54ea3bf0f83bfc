from dataclasses import replace

import numpy as np
import pytest
from test_projector import gaussian_volume

from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import axis_A
from picotome.recon.angles import angular_weights_rad
from picotome.recon.counting import counting_weights
from picotome.recon.fourier import fourier_power_slice, wedge_power_ratio
from picotome.recon.normalise import tomogram_scale
from picotome.recon.projector import make_projector, project
from picotome.recon.solvers import SOLVERS, reconstruct, solve_sirt
from picotome.records import TiltSeries

VOXEL_A = 0.4
N = 48
TILTS = np.linspace(-65, 65, 21)
ATOMS_A = np.array([[2.7, -1.1, 3.3], [-3.9, 2.2, -2.4], [0.13, 0.21, 0.09], [-1.0, -4.0, 5.0]])


def series_of(volume, tilts=TILTS):
    projector = make_projector(tilts, n_x=volume.shape[0], n_z=volume.shape[2], voxel_size_A=VOXEL_A)
    return TiltSeries(project(volume, projector), np.asarray(tilts, float), VOXEL_A)


@pytest.fixture(scope="module")
def atoms():
    return sum(gaussian_volume(position, N, VOXEL_A) for position in ATOMS_A)


def centroid(volume, position, window_A=1.5):
    axis = axis_A(len(volume), VOXEL_A)
    keep = [np.abs(axis - p) < window_A for p in position]
    cut = np.clip(volume[np.ix_(*keep)], 0, None).astype(float) ** 2
    return np.array([(cut.sum(tuple(set(range(3)) - {i})) @ axis[keep[i]]) / cut.sum() for i in range(3)])


@pytest.mark.parametrize("solver", SOLVERS)
def test_atoms_stay_where_they_are(solver, atoms):
    tomogram = reconstruct(series_of(atoms), config=ReconstructionConfig(solver=solver))
    assert tomogram.volume.dtype == np.float32
    assert (tomogram.volume.shape, tomogram.voxel_size_A, tomogram.kind) == ((N, N, N), VOXEL_A, "degraded")
    for position in ATOMS_A:
        assert np.abs(centroid(tomogram.volume, position) - position).max() < 0.06


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_shift_along_the_tilt_axis_passes_through(solver, atoms):
    config = ReconstructionConfig(solver=solver, n_iterations=5)
    series = series_of(atoms)
    moved = replace(series, images=np.roll(series.images, 3, axis=2))
    first, second = (reconstruct(s, config=config).volume for s in (series, moved))
    np.testing.assert_allclose(np.roll(first, 3, axis=1), second, atol=1e-6 * np.abs(first).max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_opposite_tilts_mirror_the_beam(solver):
    # An odd box has the origin in its middle, so that a mirror keeps the frame.
    volume = sum(gaussian_volume(position, 41, VOXEL_A) for position in ATOMS_A)
    config = ReconstructionConfig(solver=solver, n_iterations=5)
    tilts = np.array([-60.0, -33.0, -10.0, 20.0, 41.0, 70.0])
    series = series_of(volume, tilts)
    first = reconstruct(series, config=config).volume
    second = reconstruct(replace(series, tilt_deg=-tilts), config=config).volume
    np.testing.assert_allclose(first[:, :, ::-1], second, atol=1e-4 * np.abs(first).max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_brightness_is_linear(solver, atoms):
    config = ReconstructionConfig(solver=solver, n_iterations=5)
    series = series_of(atoms)
    first = reconstruct(series, config=config).volume
    second = reconstruct(replace(series, images=series.images * 7), config=config).volume
    np.testing.assert_allclose(second, 7 * first, rtol=1e-3, atol=1e-4 * second.max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_directions_give_the_true_values(solver):
    volume = gaussian_volume([2.0, 0.0, -3.0], 48, VOXEL_A, sigma_A=1.2)
    tilts = np.linspace(-90, 90, 90, endpoint=False)
    found = reconstruct(
        series_of(volume, tilts), config=ReconstructionConfig(solver=solver, n_iterations=40)
    ).volume
    assert found.max() == pytest.approx(volume.max(), rel=0.06)
    assert np.abs(found - volume).max() < 0.08 * volume.max()


def test_sirt_is_positive_and_fits_better_with_iterations(atoms):
    series = series_of(atoms)
    projector = make_projector(TILTS, n_x=N, n_z=N, voxel_size_A=VOXEL_A)
    misfits = []
    for n_iterations in (3, 10, 30):
        volume = reconstruct(series, config=ReconstructionConfig(n_iterations=n_iterations)).volume
        assert volume.min() >= 0
        misfits.append(np.linalg.norm(project(volume, projector) - series.images))
    assert misfits[2] < 0.5 * misfits[1] < 0.25 * misfits[0]


def test_sirt_is_its_formula():
    # The second judge: the same iteration with a dense matrix, in float64.
    n, n_y, tilts = 9, 35, [-50.0, -10.0, 20.0, 60.0]
    projector = make_projector(tilts, n_x=n, n_z=n, voxel_size_A=VOXEL_A)
    units = np.eye(n * n).reshape(n, n, n * n).transpose(0, 2, 1)
    matrix = project(units, projector).astype(float).reshape(-1, n * n)
    images = np.random.default_rng(0).random((len(tilts), n, n_y))
    measured = images.reshape(-1, n_y)
    weight = counting_weights(images, pixel_size_A=VOXEL_A).reshape(-1, n_y).astype(float)
    row_scale, column_sums = weight / matrix.sum(axis=1)[:, None], matrix.T @ weight
    current = ahead = np.zeros((n * n, n_y))
    momentum = 1.0
    for _ in range(20):
        step = matrix.T @ ((measured - matrix @ ahead) * row_scale) / column_sums
        improved = np.maximum(ahead + step, 0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = improved + (momentum - 1) / following * (improved - current)
        current, momentum = improved, following
    config = ReconstructionConfig(n_iterations=20)
    found = reconstruct(TiltSeries(images, np.array(tilts), VOXEL_A), config=config).volume
    expected = current.reshape(n, n, n_y).transpose(0, 2, 1)
    np.testing.assert_allclose(found, expected, atol=2e-5 * expected.max())


def test_unequal_steps_are_weighted():
    volume = gaussian_volume([1.0, 0.0, 2.0], 48, VOXEL_A, sigma_A=1.2)
    dense_on_one_side = np.concatenate(
        [np.linspace(-90, 0, 90, endpoint=False), np.linspace(0, 90, 30, endpoint=False)]
    )
    found = reconstruct(
        series_of(volume, dense_on_one_side), config=ReconstructionConfig(solver="wbp")
    ).volume
    assert found.max() == pytest.approx(volume.max(), rel=0.06)


def test_the_missing_wedge_lies_around_the_beam(atoms):
    tomogram = reconstruct(series_of(atoms), config=ReconstructionConfig(solver="wbp"))
    power, k_x, k_z = fourier_power_slice(tomogram.volume, voxel_size_A=VOXEL_A)
    along_x = power[np.argmin(np.abs(k_x - 0.4)), np.argmin(np.abs(k_z))]
    along_z = power[np.argmin(np.abs(k_x)), np.argmin(np.abs(k_z - 0.4))]
    assert along_z < 0.05 * along_x
    assert wedge_power_ratio(tomogram.volume, voxel_size_A=VOXEL_A, tilt_deg=TILTS) < 0.1
    assert 0.5 < wedge_power_ratio(atoms, voxel_size_A=VOXEL_A, tilt_deg=TILTS) < 2
    with pytest.raises(ValueError, match="no wedge"):
        wedge_power_ratio(atoms, voxel_size_A=VOXEL_A, tilt_deg=np.array([-90, 90]))


def test_scale_ignores_padding_and_follows_gain(atoms):
    scale = tomogram_scale(atoms)
    assert tomogram_scale(np.pad(atoms, 9)) == pytest.approx(scale)
    assert tomogram_scale(3 * atoms) == pytest.approx(3 * scale)
    for bad in (np.zeros((4, 4, 4)), -np.ones((4, 4, 4))):
        with pytest.raises(ValueError, match="empty"):
            tomogram_scale(bad)
    with pytest.raises(ValueError, match="1 values that are not finite"):
        tomogram_scale(np.array([[[1.0, np.nan]]]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, tilt_deg=s.tilt_deg[:-1]), "20 tilts"),
        (lambda s: replace(s, images=s.images[:1], tilt_deg=s.tilt_deg[:1]), "at least 2"),
        (
            lambda s: replace(s, images=np.where(np.arange(21)[:, None, None] == 4, np.nan, s.images)),
            r"\[4\]",
        ),
        (lambda s: replace(s, images=s.images * 0), "empty"),
        (lambda s: replace(s, images=s.images[0]), "allowed is one image"),
        (lambda s: replace(s, pixel_size_A=0.0), "pixel_size_A is 0.0"),
        (lambda s: replace(s, tilt_deg=s.tilt_deg * np.inf), "not finite"),
    ],
)
def test_bad_series_are_refused(change, words, atoms):
    with pytest.raises(ValueError, match=words), np.errstate(invalid="ignore"):
        reconstruct(change(series_of(atoms)), config=ReconstructionConfig())


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_number_of_threads_changes_nothing(solver, atoms, monkeypatch):
    config = ReconstructionConfig(solver=solver, n_iterations=5)
    volumes = []
    for n_threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
        volumes.append(reconstruct(series_of(atoms), config=config).volume)
    np.testing.assert_array_equal(*volumes)


def test_a_wrong_number_of_threads_is_refused(atoms, monkeypatch):
    series = series_of(atoms)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="OMP_NUM_THREADS is 'many'"):
        reconstruct(series, config=ReconstructionConfig())


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_order_of_the_images_and_the_width_are_free(solver, atoms):
    config = ReconstructionConfig(solver=solver, n_iterations=5)
    series = series_of(atoms[:, 5:32])
    order = np.random.default_rng(0).permutation(len(TILTS))
    shuffled = replace(series, images=series.images[order], tilt_deg=series.tilt_deg[order])
    first, second = (reconstruct(s, config=config).volume for s in (series, shuffled))
    assert first.shape == (N, 27, N)
    np.testing.assert_allclose(first, second, atol=1e-5 * np.abs(first).max())


def test_images_taken_twice_count_once(atoms):
    series = series_of(atoms)
    twice = replace(
        series, images=np.repeat(series.images, 2, axis=0), tilt_deg=np.repeat(series.tilt_deg, 2)
    )
    for solver in SOLVERS:
        config = ReconstructionConfig(solver=solver, n_iterations=5)
        first, second = (reconstruct(s, config=config).volume for s in (series, twice))
        np.testing.assert_allclose(first, second, atol=1e-5 * np.abs(first).max())


def test_slices_without_signal_stay_empty_and_change_no_other(atoms):
    series = series_of(atoms)
    images = series.images.copy()
    images[:, :, [0, 20, 47]] = [0.0, -0.3, 0.0]
    projector = make_projector(TILTS, n_x=N, n_z=N, voxel_size_A=VOXEL_A)
    whole, holed = (
        solve_sirt(
            i,
            weights=counting_weights(series.images, pixel_size_A=VOXEL_A),
            tilt_deg=TILTS,
            projector=projector,
            config=ReconstructionConfig(n_iterations=5),
        )
        for i in (series.images, images)
    )
    assert not holed[:, [0, 20, 47]].any()
    kept = np.delete(np.arange(N), [0, 20, 47])
    np.testing.assert_array_equal(holed[:, kept], whole[:, kept])


@pytest.mark.parametrize(
    ("tilts", "cells"),
    [
        (np.arange(-90, 90, 10), [10] * 18),
        (np.arange(0, 180, 10), [10] * 18),
        ([-60, -30, 0, 30, 60], [30, 30, 30, 30, 30]),
        ([60, 0, -60, 30, -30, 0], [30, 15, 30, 30, 30, 15]),
        ([-40, -20, 0, 10, 20], [20, 20, 15, 10, 10]),
        ([-90, -45, 0, 45, 90], [22.5, 45, 45, 45, 22.5]),
        ([100, 120, 140, 160], [20, 20, 20, 20]),
        ([0, 10], [90, 90]),
    ],
)
def test_each_image_stands_for_half_the_gap_on_each_side(tilts, cells):
    np.testing.assert_allclose(np.rad2deg(angular_weights_rad(tilts)), cells, atol=0.01)
