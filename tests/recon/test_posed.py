"""Reconstruction with a refined geometry: the projector of posed images, and what the geometry is worth."""

from dataclasses import replace

import numpy as np
import pytest
from test_projector import gaussian_volume
from test_solvers import ATOMS_A, VOXEL_A, centroid
from test_views import simulate

from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import axis_A, tilt_rotations
from picotome.recon.posed import backproject_poses, make_poses, probe_weights, project_poses
from picotome.recon.solvers import reconstruct
from picotome.records import ImageFit, Specimen, TiltSeries

CONFIG = ReconstructionConfig()


def fit_of(n_tilts, **found):
    nothing = np.zeros(n_tilts)
    known = {
        "tilt_error_deg": np.zeros((n_tilts, 3)),
        "shift_error_A": np.zeros((n_tilts, 2)),
        "defocus_A": nothing,
        "gain": np.ones(n_tilts),
        "background": nothing,
        **found,
    }
    probe = {"core_sigma_A": 0.35, "tail_sigma_A": 1.0, "tail_fraction": 0.1, "spread": 1.5e-4}
    return ImageFit(**known, **probe, misfit=0.0, chi2=1.0, n_added=0, n_removed=0, n_steps=1)


def random_fit(n_tilts, seed=0):
    rng = np.random.default_rng(seed)
    return fit_of(
        n_tilts,
        tilt_error_deg=rng.normal(0, 2, (n_tilts, 3)),
        shift_error_A=rng.normal(0, 0.6, (n_tilts, 2)),
    )


def worst_error_A(tomogram):
    return max(np.abs(centroid(tomogram.volume, atom, window_A=1.2) - atom).max() for atom in ATOMS_A)


@pytest.fixture(scope="module")
def atoms():
    return Specimen(ATOMS_A, np.full(len(ATOMS_A), 78))


@pytest.fixture(scope="module")
def misaligned(atoms):
    errors = {"tilt_error_rms_deg": 2.0, "shift_error_rms_A": 0.5, "background": 0.02, "gain_rms": 0.05}
    return simulate(atoms, n_tilts=15, **errors)


def true_fit(series):
    names = ("tilt_error_deg", "shift_error_A", "gain", "background")
    return fit_of(len(series.tilt_deg), **{name: series.truth[name] for name in names})


@pytest.mark.parametrize("shape", [(9, 12), (16, 16), (17, 11)])
@pytest.mark.parametrize("azimuth_deg", [None, 90.0])
def test_backprojection_is_the_adjoint(shape, azimuth_deg):
    rng = np.random.default_rng(7)
    tilts = np.array([-70.0, -31.0, 0.0, 12.0, 64.0])
    azimuth = None if azimuth_deg is None else np.full(5, azimuth_deg)
    images = rng.random((5, *shape), dtype=np.float32)
    poses = make_poses(TiltSeries(images, tilts, VOXEL_A, azimuth_deg=azimuth), random_fit(5))
    volume = rng.random(poses.shape, dtype=np.float32)
    forward = np.vdot(project_poses(volume, poses).astype(float), images)
    backward = np.vdot(volume.astype(float), backproject_poses(images, poses))
    assert forward == pytest.approx(backward, rel=1e-5)


@pytest.mark.parametrize("azimuth_deg", [0.0, 90.0])
def test_an_atom_lands_where_the_frame_says(azimuth_deg):
    at_A, n = np.array([3.31, -1.7, 2.13]), 41
    fit = random_fit(4, seed=3)
    azimuth = np.full(4, azimuth_deg)
    series = TiltSeries(np.zeros((4, n, n)), np.array([-55.0, -10, 0, 40]), VOXEL_A, azimuth_deg=azimuth)
    images = project_poses(gaussian_volume(at_A, n, VOXEL_A), make_poses(series, fit))
    rotations = tilt_rotations(series.tilt_deg, fit.tilt_error_deg, azimuth_deg=azimuth)
    axis = axis_A(n, VOXEL_A)
    for rotation, shift_A, image in zip(rotations, fit.shift_error_A, images, strict=True):
        found = np.array([axis @ image.sum(axis=1), axis @ image.sum(axis=0)]) / image.sum()
        np.testing.assert_allclose(found, (rotation @ at_A)[:2] + shift_A, atol=0.003)


def test_a_fit_that_finds_nothing_changes_nothing(atoms):
    series = simulate(atoms, n_tilts=15)
    plain = reconstruct(series, config=CONFIG).volume
    again = reconstruct(series, config=CONFIG, fit=fit_of(len(series.tilt_deg))).volume
    assert np.abs(again - plain).max() < 0.01 * plain.max()


def test_series_about_two_axes_come_out_as_without_a_fit(atoms):
    series = simulate(atoms, scheme="dual_axis", n_tilts=9)
    plain = reconstruct(series, config=CONFIG).volume
    again = reconstruct(series, config=CONFIG, fit=fit_of(len(series.tilt_deg))).volume
    # The first row of an even box has no partner when the volume is turned voxel by voxel; it is dark.
    assert np.abs(again - plain).max() < 0.02 * plain.max()


def test_the_true_geometry_brings_the_atoms_back(atoms, misaligned):
    perfect = worst_error_A(reconstruct(simulate(atoms, n_tilts=15), config=CONFIG))
    told = worst_error_A(reconstruct(misaligned, config=CONFIG.model_copy(update={"align": True})))
    known = worst_error_A(reconstruct(misaligned, config=CONFIG, fit=true_fit(misaligned)))
    assert known < 1.2 * perfect + 0.005 < 0.5 * told


def test_each_axis_of_the_errors_counts(misaligned):
    fit = true_fit(misaligned)
    peak = reconstruct(misaligned, config=CONFIG, fit=fit).volume.max()
    for axis in range(3):
        reversed_deg = fit.tilt_error_deg * np.where(np.arange(3) == axis, -1.0, 1.0)
        blurred = reconstruct(misaligned, config=CONFIG, fit=replace(fit, tilt_error_deg=reversed_deg))
        assert blurred.volume.max() < 0.97 * peak


def probe(fit, axis_A, defocus_A):
    """(n, n) probe of an image on a grid, of unit integral."""
    widened = np.square([fit.core_sigma_A, fit.tail_sigma_A]) + fit.spread * defocus_A**2
    x, y = axis_A[:, None], axis_A
    spots = [np.exp(-(x**2 + y**2) / (2 * v)) / (2 * np.pi * v) for v in widened]
    return (1 - fit.tail_fraction) * spots[0] + fit.tail_fraction * spots[1]


def test_images_out_of_focus_count_by_what_their_probe_tells_of_a_brightness():
    fit = fit_of(3, defocus_A=np.array([0.0, 20.0, -40.0]))
    axis = axis_A(161, 0.1)
    told = np.array([np.square(probe(fit, axis, defocus)).sum() for defocus in fit.defocus_A])
    np.testing.assert_allclose(probe_weights(fit), told / told[0], rtol=1e-3)


def test_it_does_not_matter_which_part_of_the_probe_is_called_the_core():
    fit = fit_of(3, defocus_A=np.array([0.0, 20.0, -40.0]))
    swapped = replace(
        fit,
        core_sigma_A=fit.tail_sigma_A,
        tail_sigma_A=fit.core_sigma_A,
        tail_fraction=1 - fit.tail_fraction,
    )
    np.testing.assert_allclose(probe_weights(swapped), probe_weights(fit))


def test_a_background_is_subtracted_once(misaligned):
    """Asked for, that of the images is taken; else that of the fit. Both bring the same tomogram back."""
    fit = true_fit(misaligned)
    own = reconstruct(misaligned, config=CONFIG, fit=fit).volume
    found = reconstruct(misaligned, config=CONFIG.model_copy(update={"subtract_background": True}), fit=fit)
    assert np.abs(found.volume - own).max() < 0.02 * own.max()


def test_a_fit_of_other_images_or_another_solver_is_refused(misaligned):
    with pytest.raises(ValueError, match=r"of 3 images and the series has 15.*this very series"):
        reconstruct(misaligned, config=CONFIG, fit=fit_of(3))
    with pytest.raises(ValueError, match=r"'wbp'.*use sirt"):
        reconstruct(misaligned, config=ReconstructionConfig(solver="wbp"), fit=true_fit(misaligned))
    dark = replace(true_fit(misaligned), gain=np.zeros(15))
    with pytest.raises(ValueError, match="no gain above 0"):
        reconstruct(misaligned, config=CONFIG, fit=dark)
