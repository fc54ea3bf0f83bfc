"""Weights of pixels by counting noise: what they are, and what they are worth."""

import numpy as np
import pytest
import torch
from test_projector import gaussian_volume

from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import axis_A
from picotome.recon.background import subtract_background
from picotome.recon.counting import DARKEST, counting_weights, probe_kernel
from picotome.recon.projector import make_projector, project
from picotome.recon.solvers import reconstruct, solve_sirt
from picotome.records import TiltSeries
from picotome.train.online.counting import counting_weights as weights_on_device

PIXEL_A = 0.4


def counted(expected, seed=0):
    return np.random.default_rng(seed).poisson(expected).astype(np.float32)


def test_weights_are_inverse_variances():
    expected = np.full((2, 60, 80), 40.0)
    expected[:, :30], expected[1] = 10.0, 20.0
    weights = counting_weights(expected, pixel_size_A=PIXEL_A)
    reach = len(probe_kernel(PIXEL_A)) // 2
    inside = np.abs(np.arange(60) - 29.5) > reach
    np.testing.assert_allclose(weights[:, inside], 40.0 / expected[:, inside], rtol=1e-5)


def test_they_stay_within_limits_whatever_the_unit():
    images = np.random.default_rng(0).random((3, 20, 20)) * np.geomspace(1e-4, 1, 20)
    weights = counting_weights(images, pixel_size_A=PIXEL_A)
    assert weights.dtype == np.float32
    assert weights.min() == pytest.approx(1.0)
    assert weights.max() == pytest.approx(1 / DARKEST)
    np.testing.assert_allclose(counting_weights(7e5 * images, pixel_size_A=PIXEL_A), weights, rtol=1e-5)
    # Noise about a background that is gone may leave pixels below zero.
    assert counting_weights(images - 0.5, pixel_size_A=PIXEL_A).max() == pytest.approx(1 / DARKEST)


@pytest.mark.parametrize("images", [np.zeros((2, 9, 9)), -np.ones((2, 9, 9))])
def test_images_without_light_count_alike(images):
    np.testing.assert_array_equal(counting_weights(images, pixel_size_A=PIXEL_A), 1.0)
    found = weights_on_device(torch.from_numpy(images).float(), pixel_size_A=PIXEL_A)
    np.testing.assert_array_equal(found, 1.0)


def test_one_hot_pixel_takes_the_weight_of_itself_alone():
    images = np.full((2, 40, 40), 10.0)
    images[0, 20, 20] = 1e5
    weights = counting_weights(images, pixel_size_A=PIXEL_A)
    np.testing.assert_array_equal(weights[1], 1 / np.float32(DARKEST))
    assert weights[0, 20, 20] == 1.0
    assert np.ptp(weights[0, :15]) == 0


def test_a_pixel_is_hardly_weighed_by_its_own_noise():
    """Weights that follow a pixel's own count make flat images of m electrons too dark by 1 / m."""
    images = counted(np.full((20, 100, 100), 10.0))
    mean = np.average(images, weights=counting_weights(images, pixel_size_A=PIXEL_A))
    assert mean == pytest.approx(10.0, rel=0.01)
    follows = 1.0 / np.maximum(images, 1.0)
    assert np.average(images, weights=follows) < 9.1


@pytest.mark.parametrize("pixel_size_A", [0.2, 0.4, 1.0])
def test_the_device_has_the_same_weights(pixel_size_A):
    images = counted(np.random.default_rng(1).random((4, 31, 17)) * 30) - np.float32(2.0)
    found = weights_on_device(torch.from_numpy(images), pixel_size_A=pixel_size_A)
    np.testing.assert_allclose(found, counting_weights(images, pixel_size_A=pixel_size_A), rtol=1e-4)


def test_the_noise_of_a_background_stays_when_the_background_goes():
    """Behind a slab that is much brighter than the particle all pixels are as noisy, and count alike."""
    n, tilts = 24, np.linspace(-60, 60, 9)
    projector = make_projector(tilts, n_x=n, n_z=n, voxel_size_A=PIXEL_A)
    atom = gaussian_volume(np.array([1.0, 0.3, -0.6]), n, PIXEL_A)
    images = counted(30 * project(atom / atom.max(), projector))
    config = ReconstructionConfig(subtract_background=True)
    behind, vacuum = (TiltSeries(images + 100 * slab * images.max(), tilts, PIXEL_A) for slab in (1, 0))
    found = reconstruct(behind, config=config).volume
    alike = solve_sirt(
        subtract_background(vacuum).images,
        weights=np.ones_like(images),
        tilt_deg=tilts,
        projector=projector,
        config=config,
    )
    np.testing.assert_allclose(found, alike, atol=0.02 * alike.max())
    assert np.abs(reconstruct(vacuum, config=config).volume - alike).max() > 0.05 * alike.max()


def test_atoms_at_the_surface_are_seen_better():
    """A particle of one brightness with an atom beside it: how far noise throws the atom's brightness."""
    n, tilts = 40, np.linspace(-65, 65, 15)
    axis = axis_A(n, PIXEL_A)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    at_A = np.array([6.5, 0.0, 0.0])
    volume = (x**2 + y**2 + z**2 < 5.5**2) + 0.7 * gaussian_volume(at_A, n, PIXEL_A, sigma_A=0.5)
    projector = make_projector(tilts, n_x=n, n_z=n, voxel_size_A=PIXEL_A)
    expected = 8.0 * project(volume.astype(np.float32), projector)
    near = (x - at_A[0]) ** 2 + y**2 + z**2 < 0.8**2
    found = {"by noise": [], "alike": []}
    for seed in range(24):
        images = counted(expected, seed)
        by_noise = counting_weights(images, pixel_size_A=PIXEL_A)
        for name, weights in (("by noise", by_noise), ("alike", np.ones_like(by_noise))):
            solved = solve_sirt(
                images,
                weights=weights,
                tilt_deg=tilts,
                projector=projector,
                config=ReconstructionConfig(n_iterations=30),
            )
            found[name].append(solved[near].mean())
    spread = {name: np.std(values) / np.mean(values) for name, values in found.items()}
    assert spread["by noise"] < 0.85 * spread["alike"]
    # Not because it would be darker.
    assert np.mean(found["by noise"]) > 0.85 * np.mean(found["alike"])
