"""The ideal tomogram: integrals, frame and units, held against the formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picotome.configs.imaging import VolumeConfig
from picotome.configs.schema import IdealConfig
from picotome.geometry import axis_A
from picotome.records import Specimen, Tomogram
from picotome.simgen.ideal import ideal_tomogram

BRIGHTNESS_A2 = {"Pt": 0.05, "Ni": 0.008}
VOLUME = VolumeConfig(n_voxels=32, voxel_size_A=0.4)
SIGMA_A = 0.45


def _ideal(positions_A: object, numbers: list[int], *, volume: VolumeConfig = VOLUME) -> Tomogram:
    specimen = Specimen(positions_A=np.array(positions_A, dtype=float), atomic_numbers=np.array(numbers))
    return ideal_tomogram(
        specimen, volume=volume, config=IdealConfig(peak_sigma_A=SIGMA_A), brightness_A2=BRIGHTNESS_A2
    )


def _formula(positions_A: np.ndarray, brightness_A2: list[float], volume: VolumeConfig) -> np.ndarray:
    axis = axis_A(volume.n_voxels, volume.voxel_size_A)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    total = np.zeros(x.shape)
    for (ax, ay, az), b in zip(positions_A, brightness_A2, strict=True):
        r2 = (x - ax) ** 2 + (y - ay) ** 2 + (z - az) ** 2
        total += b * (2.0 * np.pi * SIGMA_A**2) ** -1.5 * np.exp(-r2 / (2.0 * SIGMA_A**2))
    return total


def test_it_is_the_formula() -> None:
    positions = np.random.default_rng(0).uniform(-4.0, 4.0, (12, 3))
    numbers = [78, 28] * 6
    found = _ideal(positions, numbers)
    expected = _formula(positions, [BRIGHTNESS_A2["Pt"], BRIGHTNESS_A2["Ni"]] * 6, VOLUME)
    assert found.kind == "ideal" and found.volume.dtype == np.float32
    np.testing.assert_allclose(found.volume, expected, atol=2e-5 * expected.max())


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-3.5, 3.5)] * 3), st.sampled_from([31, 32]))
def test_an_off_centre_atom_keeps_place_integral_and_width(at: tuple[float, ...], n_voxels: int) -> None:
    volume = VolumeConfig(n_voxels=n_voxels, voxel_size_A=0.4)
    density = _ideal([at], [78], volume=volume).volume.astype(np.float64)
    assert density.sum() * 0.4**3 == pytest.approx(BRIGHTNESS_A2["Pt"], rel=1e-6)
    axis = axis_A(n_voxels, 0.4)
    for dimension in range(3):
        profile = density.sum(axis=tuple({0, 1, 2} - {dimension})) / density.sum()
        centroid = profile @ axis
        assert abs(centroid - at[dimension]) < 0.005
        assert profile @ (axis - centroid) ** 2 == pytest.approx(SIGMA_A**2, rel=1e-3)


def test_its_projection_is_an_image_in_fractions_of_the_beam() -> None:
    tomogram = _ideal([[1.13, -2.2, 3.0]], [28])
    image = tomogram.volume.sum(axis=2) * tomogram.voxel_size_A
    axis = axis_A(32, 0.4)
    expected = np.exp(-((axis[:, None] - 1.13) ** 2 + (axis[None] + 2.2) ** 2) / (2 * SIGMA_A**2))
    expected *= BRIGHTNESS_A2["Ni"] / (2 * np.pi * SIGMA_A**2)
    np.testing.assert_allclose(image, expected, atol=2e-5 * expected.max())


def test_moving_all_atoms_by_whole_voxels_moves_the_volume() -> None:
    positions = np.random.default_rng(1).uniform(-2.0, 2.0, (5, 3))
    still = _ideal(positions, [78] * 5).volume
    moved = _ideal(positions + np.array([2, -3, 4]) * 0.4, [78] * 5).volume
    np.testing.assert_allclose(moved, np.roll(still, (2, -3, 4), axis=(0, 1, 2)), atol=1e-7)


def test_what_leaves_the_box_is_lost_and_does_not_come_back() -> None:
    edge = float(axis_A(32, 0.4)[0])
    half_out = _ideal([[edge - 0.2, 0.0, 0.0]], [78]).volume
    assert half_out.sum() * 0.4**3 == pytest.approx(BRIGHTNESS_A2["Pt"] / 2, rel=1e-3)
    assert half_out[16:].max() == 0.0
    assert _ideal([[-30.0, 0.0, 0.0], [0.0, 30.0, 0.0]], [78, 78]).volume.max() == 0.0


def test_an_unknown_brightness_is_named() -> None:
    with pytest.raises(ValueError, match=r"brightness_A2 has no Au, only Pt, Ni"):
        _ideal([[0.0, 0.0, 0.0]], [79])


def test_the_narrowest_allowed_peak_is_still_in_place() -> None:
    volume = VolumeConfig(n_voxels=32, voxel_size_A=SIGMA_A / 0.7)
    axis = axis_A(32, volume.voxel_size_A)
    for offset in np.linspace(0.0, volume.voxel_size_A, 9):
        density = _ideal([[offset, 0.0, 0.0]], [78], volume=volume).volume.astype(np.float64)
        assert abs(density.sum(axis=(1, 2)) @ axis / density.sum() - offset) < 0.005
    with pytest.raises(ValueError, match=r"peak_sigma_A is 0\.45"):
        _ideal([[0.0, 0.0, 0.0]], [78], volume=VolumeConfig(n_voxels=32, voxel_size_A=0.65))
