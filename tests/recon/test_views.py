"""Series about two axes: geometry, projector, reconstruction and simulation agree on where atoms are."""

from dataclasses import replace

import numpy as np
import pytest
from test_projector import gaussian_volume

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import axis_A, azimuth_rotation, tilt_rotations, turn_volume
from picotome.recon.alignment import align_series, find_shifts
from picotome.recon.fourier import wedge_power_ratio
from picotome.recon.projector import make_projector
from picotome.recon.solvers import reconstruct
from picotome.recon.views import View, backproject_view, project_view, split_views
from picotome.records import Specimen, TiltSeries
from picotome.simgen.acquisition import simulate_series

VOXEL_A = 0.4
AT_A = np.array([3.31, -1.7, 2.13])
TILTS = np.linspace(-60, 60, 11)
ATOMS_A = np.array([[2.7, -1.1, 3.3], [-3.9, 2.2, -2.4], [0.13, 0.21, 0.09], [-1.0, -4.0, 5.0]])


def view_of(n, quarter_turns, tilts=TILTS):
    projector = make_projector(tilts, n_x=n, n_z=n, voxel_size_A=VOXEL_A)
    dark = np.zeros((len(tilts), n, n), np.float32)
    return View(quarter_turns, projector, images=dark, weights=dark + 1)


def centroid_A(volume):
    axes = range(volume.ndim)
    sums = [volume.sum(axis=tuple(a for a in axes if a != axis), dtype=float) for axis in axes]
    return np.array([axis_A(len(s), VOXEL_A) @ s / s.sum() for s in sums])


@pytest.mark.parametrize("n", [40, 41])
@pytest.mark.parametrize("quarter_turns", [-1, 0, 1, 2, 3, 5])
def test_a_volume_turns_as_atoms_do(n, quarter_turns):
    turned = turn_volume(gaussian_volume(AT_A, n, VOXEL_A), quarter_turns)
    expected = gaussian_volume(azimuth_rotation(90.0 * quarter_turns) @ AT_A, n, VOXEL_A)
    np.testing.assert_allclose(turned, expected, atol=1e-6 * expected.max())


def test_azimuths_are_proper_rotations_and_scipy_agrees():
    from scipy.spatial.transform import Rotation

    for azimuth in (-90.0, 12.5, 90.0, 180.0):
        expected = Rotation.from_euler("z", azimuth, degrees=True).as_matrix()
        np.testing.assert_allclose(azimuth_rotation(azimuth), expected, atol=1e-12)


@pytest.mark.parametrize("n", [6, 7, 16, 33])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_backprojection_of_a_view_is_the_adjoint(n, quarter_turns):
    rng = np.random.default_rng(n + quarter_turns)
    view = view_of(n, quarter_turns)
    volume = rng.random((n, n, n), dtype=np.float32)
    images = rng.random((len(TILTS), n, n), dtype=np.float32)
    forward = np.vdot(project_view(volume, view).astype(float), images)
    assert forward == pytest.approx(np.vdot(volume.astype(float), backproject_view(images, view)), rel=1e-5)


@pytest.mark.parametrize("n", [40, 41])
@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_an_off_centre_atom_lands_where_the_frame_says(n, quarter_turns):
    images = project_view(gaussian_volume(AT_A, n, VOXEL_A), view_of(n, quarter_turns))
    rotations = tilt_rotations(TILTS, azimuth_deg=np.full(len(TILTS), 90.0 * quarter_turns))
    for rotation, image in zip(rotations, images, strict=True):
        np.testing.assert_allclose(centroid_A(image), (rotation @ AT_A)[:2], atol=0.002)


def simulate(specimen, n_voxels=48, **acquisition):
    settings = {"tilt_min_deg": -60, "tilt_max_deg": 60, "n_tilts": 11, "dose_e_per_A2": None, **acquisition}
    return simulate_series(
        specimen,
        engine="linear",
        volume=VolumeConfig(n_voxels=n_voxels, voxel_size_A=VOXEL_A),
        optics=OpticsConfig(),
        acquisition=AcquisitionConfig.model_validate(settings),
        seed=2,
        index=0,
    )


@pytest.fixture(scope="module")
def dual():
    return simulate(Specimen(ATOMS_A, np.full(4, 78)), scheme="dual_axis")


def spread_A(volume, position, axis, window_A=1.6):
    """Rms width of an atom along an axis, above a third of its height, and its middle."""
    coordinates = axis_A(len(volume), VOXEL_A)
    keep = [np.abs(coordinates - p) < window_A for p in position]
    cut = volume[np.ix_(*keep)].astype(float)
    cut = np.clip(cut - 0.3 * cut.max(), 0.0, None)
    profile = cut.sum(tuple(set(range(3)) - {axis}))
    mean = profile @ coordinates[keep[axis]] / profile.sum()
    return np.sqrt(profile @ (coordinates[keep[axis]] - mean) ** 2 / profile.sum()), mean


def test_both_axes_put_the_same_atoms_at_the_same_places(dual):
    np.testing.assert_array_equal(dual.azimuth_deg, np.repeat([0.0, 90.0], 11))
    np.testing.assert_array_equal(dual.tilt_deg, np.tile(TILTS, 2))
    tomogram = reconstruct(dual, config=ReconstructionConfig(n_iterations=30))
    assert tomogram.volume.shape == (48, 48, 48) and tomogram.volume.dtype == np.float32
    for position in ATOMS_A:
        for axis in range(3):
            assert spread_A(tomogram.volume, position, axis)[1] == pytest.approx(position[axis], abs=0.06)


def test_a_second_axis_serves_better_than_as_many_images_about_one(dual):
    one_axis = simulate(Specimen(ATOMS_A, np.full(4, 78)), n_tilts=22)
    volumes = [reconstruct(s, config=ReconstructionConfig()).volume for s in (dual, one_axis)]
    truth = sum(gaussian_volume(position, 48, VOXEL_A) for position in ATOMS_A)
    likeness = [np.corrcoef(volume.ravel(), truth.ravel())[0, 1] for volume in volumes]
    assert likeness[0] > likeness[1]
    # The turned images reach into the wedge of those about y; elsewhere only positivity does.
    filled = [wedge_power_ratio(volume, voxel_size_A=VOXEL_A, tilt_deg=TILTS) for volume in volumes]
    assert filled[0] > filled[1] + 0.05
    # Without the wedge an atom is as long along the beam as across it.
    lengths = [np.mean([spread_A(volume, p, 2)[0] for p in ATOMS_A]) for volume in volumes]
    assert lengths[0] < lengths[1]


# The row of an even box that has no partner takes part in one reconstruction and not in the other.
@pytest.mark.parametrize(("n", "tolerance"), [(40, 0.02), (41, 1e-4)])
def test_turning_all_images_by_one_azimuth_turns_the_tomogram(n, tolerance):
    images = simulate(Specimen(ATOMS_A, np.full(4, 78)), n_voxels=n).images
    config = ReconstructionConfig(n_iterations=20)
    first = TiltSeries(images, TILTS, VOXEL_A)
    turned = replace(first, azimuth_deg=np.full(11, 90.0))
    expected = turn_volume(reconstruct(first, config=config).volume, -1)
    found = reconstruct(turned, config=config).volume
    inside = np.s_[1:, 1:, :]
    np.testing.assert_allclose(found[inside], expected[inside], atol=tolerance * expected.max())


def test_the_order_of_the_images_does_not_matter(dual):
    order = np.random.default_rng(0).permutation(22)
    shuffled = replace(
        dual, images=dual.images[order], tilt_deg=dual.tilt_deg[order], azimuth_deg=dual.azimuth_deg[order]
    )
    config = ReconstructionConfig(n_iterations=10)
    first, second = (reconstruct(s, config=config).volume for s in (dual, shuffled))
    np.testing.assert_allclose(first, second, atol=1e-5 * first.max())


def test_shifts_are_found_about_both_axes():
    atoms = Specimen(ATOMS_A, np.full(4, 78))
    series = simulate(atoms, scheme="dual_axis", shift_error_rms_A=0.2, missing_fraction=0.2)
    assert len(series.images) == len(series.azimuth_deg) == 18
    rows = tilt_rotations(series.tilt_deg, azimuth_deg=series.azimuth_deg)[:, :2].reshape(-1, 3)
    shift_A = series.truth["shift_error_A"].ravel()
    own = shift_A - rows @ np.linalg.lstsq(rows, shift_A, rcond=None)[0]
    np.testing.assert_allclose(find_shifts(series), own.reshape(-1, 2), atol=0.03)
    assert np.abs(find_shifts(align_series(series))).max() < 0.03


def test_the_tilts_of_both_axes_depart_from_their_plan_on_their_own():
    series = simulate(Specimen(ATOMS_A, np.full(4, 78)), scheme="dual_axis", tilt_jitter_rms_deg=0.5)
    away = series.tilt_deg - np.tile(TILTS, 2)
    assert np.abs(away[:11] - away[11:]).min() > 1e-6


def test_what_cannot_be_turned_is_refused(dual):
    config = ReconstructionConfig()
    with pytest.raises(ValueError, match=r"azimuth_deg holds \[0.0, 45.0\]; .* multiples of 90"):
        reconstruct(replace(dual, azimuth_deg=dual.azimuth_deg / 2), config=config)
    with pytest.raises(ValueError, match=r"azimuth_deg has shape \(3,\) for 22 images"):
        reconstruct(replace(dual, azimuth_deg=np.full(3, 90.0)), config=config)
    with pytest.raises(ValueError, match=r"images are 48 × 40 pixels; with an azimuth they must be square"):
        split_views(replace(dual, images=dual.images[:, :, :40]), np.ones((22, 48, 40)))
    with pytest.raises(ValueError, match=r"solver is 'wbp', which takes series about one axis"):
        reconstruct(dual, config=ReconstructionConfig(solver="wbp"))
    with pytest.raises(ValueError, match=r"volume has shape \(3, 4, 3\); a quarter of a turn needs"):
        turn_volume(np.zeros((3, 4, 3)), 1)
