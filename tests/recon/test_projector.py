import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picotome.geometry import axis_A, tilt_rotation
from picotome.recon.projector import backproject, make_projector, project

tilt_lists = st.lists(st.floats(-90, 90), min_size=1, max_size=6)


def gaussian_volume(position_A, n, voxel_size_A, sigma_A=0.45):
    profiles = [
        np.exp(-((axis_A(n, voxel_size_A) - p) ** 2) / (2 * sigma_A**2)) / (np.sqrt(2 * np.pi) * sigma_A)
        for p in position_A
    ]
    return np.einsum("x,y,z->xyz", *profiles).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    tilt_lists,
    st.integers(5, 17),
    st.integers(5, 17),
    st.integers(1, 7),
    st.floats(0.2, 1.5),
    st.integers(0, 9),
)
def test_backprojection_is_the_adjoint(tilts, n_x, n_z, n_y, voxel_size_A, seed):
    rng = np.random.default_rng(seed)
    projector = make_projector(tilts, n_x=n_x, n_z=n_z, voxel_size_A=voxel_size_A)
    volume = rng.random((n_x, n_y, n_z), dtype=np.float32)
    images = rng.random((len(tilts), n_x, n_y), dtype=np.float32)
    forward = np.vdot(project(volume, projector).astype(float), images)
    backward = np.vdot(volume.astype(float), backproject(images, projector))
    assert forward == pytest.approx(backward, rel=1e-5)


@pytest.mark.parametrize("n", [40, 41])
def test_an_off_centre_atom_lands_where_the_frame_says(n):
    position, tilts, voxel = (
        np.array([3.31, -1.7, 2.13]),
        np.array([-65.0, -20.0, 0.0, 35.0, 65.0, 90.0]),
        0.4,
    )
    projector = make_projector(tilts, n_x=n, n_z=n, voxel_size_A=voxel)
    images = project(gaussian_volume(position, n, voxel), projector).astype(float)
    axis = axis_A(n, voxel)
    for tilt, image in zip(tilts, images, strict=True):
        assert image.sum() * voxel**2 == pytest.approx(1.0, abs=1e-3)
        found = np.array([axis @ image.sum(1), axis @ image.sum(0)]) / image.sum()
        assert np.abs(found - (tilt_rotation(tilt) @ position)[:2]).max() < 0.002


def test_scikit_image_agrees():
    from skimage.transform import radon

    n, tilts = 64, np.array([-65.0, -30.0, 0.0, 10.0, 70.0])
    volume = sum(gaussian_volume(p, n, 0.4, 0.8) for p in ([3, 0, 2], [-5, 0, 4], [0, 0, -6]))
    axis = axis_A(n, 0.4)
    volume *= (np.hypot(axis[:, None, None], axis[None, None, :]) < 12).astype(np.float32)
    ours = project(volume, make_projector(tilts, n_x=n, n_z=n, voxel_size_A=0.4))[:, :, n // 2]
    # radon turns the picture anticlockwise with rows downwards: rows are our z, columns our x.
    plane = volume[:, n // 2, :].T
    theirs = radon(plane, theta=-tilts, circle=True).T * 0.4
    assert np.abs(ours - theirs).max() < 0.05 * theirs.max()


def test_the_same_tilts_share_one_matrix():
    first = make_projector(np.array([0.0, 10.0]), n_x=8, n_z=8, voxel_size_A=0.4)
    assert make_projector([0, 10], n_x=8, n_z=8, voxel_size_A=0.4) is first
