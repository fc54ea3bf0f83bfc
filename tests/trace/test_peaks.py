import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial.distance import cdist

from picotome.geometry import index_to_A
from picotome.records import Specimen, Tomogram
from picotome.trace.peaks import find_peaks, thin_out


def tomogram(volume):
    return Tomogram(volume=np.asarray(volume, dtype=np.float32), voxel_size_A=0.4, kind="repaired")


@pytest.mark.parametrize("seed", range(5))
def test_one_atom_anywhere_is_found_within_a_tenth_of_a_voxel(make_ideal, seed):
    position_A = np.random.default_rng(seed).uniform(-2, 2, (1, 3))
    ideal = make_ideal(Specimen(position_A, np.array([78])), n=21)
    found_A, heights = find_peaks(ideal, min_distance_A=1.0)
    assert found_A.shape == (1, 3)
    assert np.abs(found_A - position_A).max() < 0.04
    assert heights[0] == pytest.approx((0.45**2 / (0.45**2 + 0.25**2)) ** 1.5, rel=0.05)


def test_peaks_are_the_maxima_of_a_maximum_filter():
    volume = gaussian_filter(np.random.default_rng(0).normal(size=(20, 24, 28)), 1.0).astype(np.float32)
    highest = (volume == maximum_filter(volume, size=3)) & (volume > 0)
    highest[[0, -1]] = highest[:, [0, -1]] = highest[:, :, [0, -1]] = False
    expected_A = index_to_A(np.argwhere(highest), volume.shape, 0.4)
    found_A, heights = find_peaks(tomogram(volume), min_distance_A=0.0, smoothing_A=0.0)
    assert len(found_A) == len(expected_A) > 50
    assert cdist(found_A, expected_A, "chebyshev").min(axis=1).max() <= 0.2 + 1e-6
    assert (np.diff(heights) <= 0).all()


def test_a_plateau_is_one_peak():
    volume = np.zeros((9, 9, 9))
    volume[4, 4, 3:6] = 1.0
    assert len(find_peaks(tomogram(volume), min_distance_A=0.0, smoothing_A=0.0)[0]) == 1


def test_threshold_is_a_height():
    volume = np.zeros((12, 9, 9))
    volume[3, 4, 4], volume[8, 4, 4] = 1.0, 0.4
    found_A, heights = find_peaks(tomogram(volume), min_distance_A=0.0, smoothing_A=0.0, threshold=0.5)
    assert heights.tolist() == [1.0]
    np.testing.assert_allclose(found_A, [[-3 * 0.4, 0, 0]])


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.floats(0.3, 3.0))
def test_thinning_is_the_greedy_choice_by_importance(seed, n, distance_A):
    positions_A = np.random.default_rng(seed).uniform(0, 4, (n, 3))
    greedy = []
    for i in range(n):
        if all(np.linalg.norm(positions_A[i] - positions_A[j]) >= distance_A for j in greedy):
            greedy.append(i)
    assert np.flatnonzero(thin_out(positions_A, min_distance_A=distance_A)).tolist() == greedy


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.zeros((8, 8, 8)), "empty"),
        (np.ones((8, 8, 8)), "empty"),
        (-np.random.default_rng(0).random((8, 8, 8)), "empty"),
        (np.full((8, 8, 8), np.nan), "512 NaN"),
        (np.ones((8, 8)), r"shape \(8, 8\)"),
        (np.ones((8, 8, 2)), "at least 3 voxels"),
    ],
)
def test_unusable_volumes_are_refused(volume, message):
    with pytest.raises(ValueError, match=message):
        find_peaks(tomogram(volume), min_distance_A=1.0)


def test_unusable_lengths_are_refused():
    volume = np.zeros((8, 8, 8))
    volume[4, 4, 4] = 1
    with pytest.raises(ValueError, match="min_distance_A is -1"):
        find_peaks(tomogram(volume), min_distance_A=-1.0)
    with pytest.raises(ValueError, match="smoothing_A is nan"):
        find_peaks(tomogram(volume), min_distance_A=1.0, smoothing_A=float("nan"))
    with pytest.raises(ValueError, match="voxel_size_A is 0"):
        find_peaks(Tomogram(volume, 0.0, "ideal"), min_distance_A=1.0)
