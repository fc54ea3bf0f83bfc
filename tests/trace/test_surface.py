import numpy as np
import pytest
from ase.build import bulk
from ase.cluster import Decahedron, Icosahedron, Octahedron

from picotome.trace.surface import find_surface


@pytest.mark.parametrize(
    ("particle", "n_surface"),
    [
        # Magic numbers (Martin, doi:10.1016/0370-1573(95)00083-6).
        (Icosahedron("Pt", 3), 42),
        (Icosahedron("Pt", 5), 162),
        (Octahedron("Pt", 7, 3), 92),  # cuboctahedron of 147
        (Octahedron("Pt", 9, 4), 162),  # cuboctahedron of 309
        (Octahedron("Pt", 7, 2), 122),  # truncated octahedron of 201
        (Octahedron("Pt", 5, 0), 66),
    ],
)
@pytest.mark.parametrize("displacement_A", [0.0, 0.1])
def test_magic_clusters_have_their_known_surface(particle, n_surface, displacement_A):
    noise_A = np.random.default_rng(0).normal(0, displacement_A, particle.positions.shape)
    assert find_surface(particle.positions + noise_A).sum() == n_surface


def test_a_twinned_particle_has_the_atoms_that_lack_neighbours():
    positions_A = Decahedron("Pt", 4, 3, 0).positions
    distance_A = np.linalg.norm(positions_A[:, None] - positions_A, axis=-1)
    nearest_A = np.sort(distance_A, axis=1)[:, 1].min()
    coordination = (distance_A < 1.2 * nearest_A).sum(axis=1) - 1
    np.testing.assert_array_equal(find_surface(positions_A), coordination < 12)


def test_a_vacancy_is_no_surface():
    positions_A = bulk("Pt", cubic=True).repeat(6).positions
    middle = np.argmin(np.linalg.norm(positions_A - positions_A.mean(axis=0), axis=1))
    kept = np.arange(len(positions_A)) != middle
    surface = find_surface(positions_A)
    np.testing.assert_array_equal(find_surface(positions_A[kept]), surface[kept])
    assert 0 < surface.sum() < len(surface)


def test_lonely_atoms_are_surface():
    assert find_surface(np.zeros((1, 3))).tolist() == [True]
    assert find_surface(np.array([[0.0, 0, 0], [2.7, 0, 0]])).all()
