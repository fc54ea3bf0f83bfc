import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from picotome.trace.refinement.rotations import rotation, rotation_vector

part = st.floats(-0.85, 0.85)
vectors = st.tuples(part, part, part)


@given(vectors)
def test_vector_and_matrix_are_inverses(vector):
    vector = torch.tensor([vector], dtype=torch.float64)
    torch.testing.assert_close(rotation_vector(rotation(vector)), vector, rtol=1e-8, atol=1e-12)


@given(vectors)
def test_they_are_those_of_scipy(vector):
    matrix = rotation(torch.tensor(vector, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(matrix, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(
        rotation_vector(torch.as_tensor(matrix)), Rotation.from_matrix(matrix).as_rotvec(), atol=1e-9
    )


def test_tiny_turns_keep_their_digits():
    vector = torch.tensor([[1e-11, -2e-10, 3e-8]], dtype=torch.float64)
    torch.testing.assert_close(rotation_vector(rotation(vector)), vector, rtol=1e-6, atol=0.0)


def test_many_at_a_time():
    vector = torch.linspace(-0.3, 0.3, 24, dtype=torch.float64).reshape(2, 4, 3)
    assert rotation(vector).shape == (2, 4, 3, 3)
    torch.testing.assert_close(rotation_vector(rotation(vector)), vector)
