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


@settings(max_examples=25)
@given(
    tilt_lists,
    st.integers(1, 17),
    st.integers(1, 17),
    st.sampled_from([1, 7, 32, 33, 70]),
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


def test_every_slice_is_projected_like_the_first():
    # More slices than one block of the kernels holds, and a rest.
    projector = make_projector([-40.0, 0.0, 25.0], n_x=9, n_z=7, voxel_size_A=0.4)
    plane = np.random.default_rng(0).random((9, 1, 7), dtype=np.float32)
    image = project(plane, projector)
    np.testing.assert_array_equal(project(plane.repeat(70, axis=1), projector), image.repeat(70, axis=2))
    back = backproject(image, projector)
    np.testing.assert_array_equal(backproject(image.repeat(70, axis=2), projector), back.repeat(70, axis=1))


def test_the_same_tilts_share_one_matrix():
    first = make_projector(np.array([0.0, 10.0]), n_x=8, n_z=8, voxel_size_A=0.4)
    assert make_projector([0, 10], n_x=8, n_z=8, voxel_size_A=0.4) is first


def test_every_voxel_gives_each_image_its_whole_flux():
    n, voxel = 33, 0.4
    projector = make_projector([-90.0, -45.0, 1e-7, 0.3, 17.0, 45.0], n_x=n, n_z=n, voxel_size_A=voxel)
    axis = axis_A(n, 1.0)
    seen_by_all = (np.hypot(axis[:, None], axis[None, :]) < n // 2 - 1).ravel()
    flux = projector.weights.sum(axis=2)[seen_by_all]
    np.testing.assert_allclose(flux, voxel, rtol=1e-6)
    assert projector.weights.min() == 0


@pytest.mark.parametrize("tilt", [0.0, 7.0, 33.0, 45.0, 65.0, 90.0, -120.0])
def test_weights_are_the_shared_areas(tilt):
    # The second judge: a turned square filled with 400² points, counted into strips.
    n, centre = 7, 3
    projector = make_projector([tilt], n_x=n, n_z=n, voxel_size_A=1.0)
    points = (np.arange(400) + 0.5) / 400 - 0.5
    x, z = np.meshgrid(points + 1.0, points, indexing="ij")
    across = x * np.cos(np.deg2rad(tilt)) + z * np.sin(np.deg2rad(tilt))
    counted = np.histogram(across, bins=np.arange(n + 1) - centre - 0.5)[0] / 400**2
    # The pixel averages the line integrals over its width: the area itself, for pixels of one voxel.
    voxel = np.zeros((n, 1, n))
    voxel[centre + 1, 0, centre] = 1.0
    np.testing.assert_allclose(project(voxel, projector).ravel(), counted, atol=0.004)


def test_shapes_that_do_not_fit_are_refused():
    projector = make_projector([0.0, 10.0], n_x=8, n_z=9, voxel_size_A=0.4)
    with pytest.raises(ValueError, match=r"\(9, 4, 9\); allowed is \(8, ny, 9\)"):
        project(np.zeros((9, 4, 9)), projector)
    with pytest.raises(ValueError, match=r"\(3, 8, 4\); allowed is \(2, 8, ny\)"):
        backproject(np.zeros((3, 8, 4)), projector)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tilt_deg": []}, "tilt_deg"),
        ({"tilt_deg": [0.0, np.nan]}, "tilt_deg"),
        ({"n_z": 0}, "n_x and n_z are 8 and 0"),
        ({"voxel_size_A": 0.0}, "voxel_size_A is 0.0"),
    ],
)
def test_impossible_geometries_are_refused(change, words):
    arguments = {"tilt_deg": [0.0], "n_x": 8, "n_z": 8, "voxel_size_A": 0.4} | change
    with pytest.raises(ValueError, match=words):
        make_projector(arguments.pop("tilt_deg"), **arguments)
