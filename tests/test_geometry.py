import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picotome import geometry
from picotome.rng import stream
from picotome.units import lorentz_factor, wavelength_A


@pytest.mark.parametrize("n", [8, 9])
def test_origin_is_where_the_fft_puts_it(n):
    assert geometry.axis_A(n, 0.4)[geometry.centre_index(n)] == 0
    np.testing.assert_allclose(geometry.axis_A(n, 1.0), np.fft.fftshift(np.fft.fftfreq(n)) * n)


@given(st.tuples(*[st.floats(-50, 50)] * 3), st.tuples(*[st.integers(4, 65)] * 3), st.floats(0.1, 2))
def test_index_and_position_are_inverse(position, shape, voxel_size_A):
    index = geometry.A_to_index(position, shape, voxel_size_A)
    np.testing.assert_allclose(geometry.index_to_A(index, shape, voxel_size_A), position, atol=1e-9)


def test_positive_tilt_moves_what_is_up_the_beam_to_positive_x():
    moved = np.array([0.0, 0.0, 1.0]) @ geometry.tilt_rotation(30.0).T
    np.testing.assert_allclose(moved, [0.5, 0.0, np.sqrt(0.75)])


@given(st.floats(-180, 180))
def test_rotations_are_proper_and_scipy_agrees(tilt_deg):
    from scipy.spatial.transform import Rotation

    rotation = geometry.tilt_rotation(tilt_deg)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        rotation, Rotation.from_euler("y", tilt_deg, degrees=True).as_matrix(), atol=1e-12
    )


def test_errors_are_applied_after_the_tilt():
    errors = np.array([[0.0, 5.0, 0.0]])
    np.testing.assert_allclose(
        geometry.tilt_rotations([20.0], errors), geometry.tilt_rotations([25.0]), atol=1e-12
    )
    # A rotation about the microscope's x axis must not depend on the tilt.
    turned = geometry.tilt_rotations([40.0], np.array([[10.0, 0.0, 0.0]]))[0]
    np.testing.assert_allclose((turned @ geometry.tilt_rotation(40.0).T)[0], [1, 0, 0], atol=1e-12)


def test_half_extent_counts_the_shorter_side():
    assert geometry.half_extent_A(8, 0.5) == 1.5
    assert geometry.half_extent_A(9, 0.5) == 2.0


def test_wavelength_of_300_keV():
    # Kirkland, Advanced Computing in Electron Microscopy (2010), table 2.2.
    assert wavelength_A(300e3) == pytest.approx(0.019687, abs=1e-6)
    assert wavelength_A(200e3) == pytest.approx(0.025079, abs=1e-6)
    assert lorentz_factor(300e3) == pytest.approx(1.587, abs=1e-3)


def test_streams_repeat_and_differ():
    first = stream(1, 2, "build").random(8)
    np.testing.assert_array_equal(first, stream(1, 2, "build").random(8))
    for other in (stream(2, 2, "build"), stream(1, 3, "build"), stream(1, 2, "noise")):
        assert np.all(other.random(8) != first)
