"""The sparse projector and its SIRT must be the compiled ones."""

import numpy as np
import pytest
import torch

from picotome.configs.schema import ReconstructionConfig
from picotome.recon.projector import backproject as compiled_backproject
from picotome.recon.projector import make_projector
from picotome.recon.projector import project as compiled_project
from picotome.recon.solvers import solve_sirt as compiled_sirt
from picotome.train.online.project import backproject, project, solve_sirt, sparse_projector

N, VOXEL_A = 24, 0.4
TILTS = tuple(np.linspace(-65, 65, 9))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sparse():
    return sparse_projector(TILTS, n=N, voxel_size_A=VOXEL_A, device=CPU)


@pytest.fixture(scope="module")
def compiled():
    return make_projector(TILTS, n_x=N, n_z=N, voxel_size_A=VOXEL_A)


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_it_projects_like_the_compiled_one(sparse, compiled):
    volume, images = random(N, 5, N), random(len(TILTS), N, 5)
    np.testing.assert_allclose(
        project(torch.from_numpy(volume), sparse), compiled_project(volume, compiled), rtol=1e-5
    )
    np.testing.assert_allclose(
        backproject(torch.from_numpy(images), sparse), compiled_backproject(images, compiled), rtol=1e-5
    )


def test_the_adjoint_is_the_transpose(sparse):
    difference = sparse.forward.to_dense().T - sparse.adjoint.to_dense()
    assert float(difference.abs().max()) == 0.0
    volume, images = torch.from_numpy(random(N, 3, N)), torch.from_numpy(random(len(TILTS), N, 3))
    forth = (project(volume, sparse) * images).double().sum()
    back = (volume * backproject(images, sparse)).double().sum()
    assert float(forth) == pytest.approx(float(back), rel=1e-5)


@pytest.mark.parametrize("n_iterations", [1, 30])
def test_sirt_gives_the_compiled_numbers(sparse, compiled, n_iterations):
    volume = np.zeros((N, 7, N), dtype=np.float32)
    volume[8:16, 1:4, 6:18] = random(8, 3, 12)
    images = compiled_project(volume, compiled)
    images += 0.05 * random(*images.shape) * (images > 0)
    config = ReconstructionConfig(n_iterations=n_iterations)
    weights = 1 + 9 * random(*images.shape, seed=1)
    wanted = compiled_sirt(
        images, weights=weights, tilt_deg=np.array(TILTS), projector=compiled, config=config
    )
    (found,) = solve_sirt(
        [torch.from_numpy(images)],
        weights=[torch.from_numpy(weights)],
        projector=sparse,
        n_iterations=n_iterations,
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * wanted.max())
    assert not found[:, 4:].any()


def test_particles_are_solved_apart(sparse):
    series = [torch.from_numpy(random(len(TILTS), N, 4, seed=seed)) for seed in (0, 1)]
    weights = [torch.from_numpy(1 + 9 * random(len(TILTS), N, 4, seed=seed)) for seed in (2, 3)]
    together = solve_sirt(series, weights=weights, projector=sparse, n_iterations=5)
    for images, weight, volume in zip(series, weights, together, strict=True):
        (alone,) = solve_sirt([images], weights=[weight], projector=sparse, n_iterations=5)
        torch.testing.assert_close(volume, alone)


def test_rays_without_voxels_divide_nothing():
    """At 80° alone most pixels see the edge of the box or nothing."""
    sparse = sparse_projector((80.0, 85.0), n=N, voxel_size_A=VOXEL_A, device=CPU)
    assert (sparse.pixel_scale == 0).any()
    assert torch.isfinite(sparse.pixel_scale).all()
    light = torch.ones(2, N, 3)
    (volume,) = solve_sirt([light], weights=[light], projector=sparse, n_iterations=20)
    assert torch.isfinite(volume).all()
    (nothing,) = solve_sirt([0 * light], weights=[light], projector=sparse, n_iterations=2)
    assert not nothing.any()
