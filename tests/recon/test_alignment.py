"""Images are brought to a common centre of mass, whatever the particle, its place and the background."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import tilt_rotations
from picotome.recon.alignment import align_series, find_shifts
from picotome.recon.solvers import reconstruct
from picotome.records import Specimen, TiltSeries
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series


def series_of(*, shift_error_rms_A=0.4, dose=None, background=0.0, n_tilts=9, n_voxels=48):
    rng = stream(3, 0, "atoms")
    # Off its middle and lopsided: a centre of mass that is no centre of the box.
    positions = rng.uniform(-4.0, 4.0, (40, 3)) * [1.0, 0.7, 0.5] + [1.0, -0.8, 0.6]
    return simulate_series(
        Specimen(positions, np.full(40, 78)),
        engine="linear",
        volume=VolumeConfig(n_voxels=n_voxels, voxel_size_A=0.4),
        optics=OpticsConfig(),
        acquisition=AcquisitionConfig(
            n_tilts=n_tilts,
            dose_e_per_A2=dose,
            shift_error_rms_A=shift_error_rms_A,
            background=background,
        ),
        seed=5,
        index=0,
    )


def without_common_move(shift_A, tilt_deg):
    rows = tilt_rotations(tilt_deg)[:, :2, :].reshape(-1, 3)
    move = np.linalg.lstsq(rows, shift_A.ravel(), rcond=None)[0]
    return shift_A - (rows @ move).reshape(-1, 2)


@pytest.mark.parametrize("background", [0.0, 0.03])
@pytest.mark.parametrize("n_voxels", [48, 49])
def test_shifts_are_found(background, n_voxels):
    series = series_of(background=background, n_voxels=n_voxels)
    expected = without_common_move(series.truth["shift_error_A"], series.tilt_deg)
    np.testing.assert_allclose(find_shifts(series), expected, atol=0.02)


def test_noise_leaves_what_counting_statistics_say():
    series = series_of(dose=1e4)
    left = find_shifts(series) - without_common_move(series.truth["shift_error_A"], series.tilt_deg)
    n_detected = series.images.sum(axis=(1, 2)).mean() * 1e4 * 0.4**2
    assert np.sqrt(np.mean(left**2)) < 3.0 * 2.5 / np.sqrt(n_detected)


def test_alignment_leaves_no_shift_and_says_so():
    series = series_of()
    aligned = align_series(series)
    assert np.abs(find_shifts(aligned)).max() < 0.02
    assert np.abs(without_common_move(aligned.truth["shift_error_A"], series.tilt_deg)).max() < 0.02
    assert "shift_error_A" not in align_series(replace(series, truth={})).truth


@settings(max_examples=10)
@given(move=st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_a_move_of_the_particle_is_no_shift(move):
    series = series_of(shift_error_rms_A=0.0, n_tilts=5)
    rotations = tilt_rotations(series.tilt_deg)
    moves = np.einsum("tij,j->ti", rotations, move)[:, :2]
    frequency = np.fft.fftfreq(48, 0.4)
    phase = np.exp(
        -2j * np.pi * (frequency[None, :, None] * moves[:, :1, None] + frequency * moves[:, 1:, None])
    )
    moved = np.fft.ifft2(np.fft.fft2(series.images) * phase).real.astype(np.float32)
    assert np.abs(find_shifts(replace(series, images=moved))).max() < 0.02


def test_a_reconstruction_aligns_when_told_to():
    series, straight = series_of(), series_of(shift_error_rms_A=0.0)
    truth = reconstruct(straight, config=ReconstructionConfig()).volume
    error = [
        np.linalg.norm(reconstruct(series, config=ReconstructionConfig(align=align)).volume - truth)
        for align in (False, True)
    ]
    # What is left is the common move, which aligning cannot and should not find.
    assert error[1] < 0.5 * error[0]


def test_an_empty_image_is_an_error():
    series = series_of()
    images = series.images.copy()
    images[2] = 0.0
    with pytest.raises(ValueError, match=r"images \[2\] show no particle"):
        find_shifts(TiltSeries(images, series.tilt_deg, 0.4))
