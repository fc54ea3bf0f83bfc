from dataclasses import replace

import numpy as np
import pytest

from picotome.records import Trace
from picotome.trace.refinement.union import unite
from picotome.trace.tracing import EMPTY_TRACE


def trace(x_A, brightness):
    n = len(x_A)
    positions_A = np.zeros((n, 3))
    positions_A[:, 0] = x_A
    return Trace(positions_A, np.array(brightness, dtype=float), np.full(n, 78), np.full(n, 0.4))


def test_atoms_of_both_each_once_on_one_scale():
    first, second = trace([0.0, 3.0], [1.0, 2.0]), trace([0.1, 2.9, 6.0, 4.0], [10.0, 20.0, 5.0, 7.0])
    both = unite(first, second, min_distance_A=1.8)
    # That at 4 Å is too close to the first trace's at 3 Å to be another atom.
    np.testing.assert_array_equal(both.positions_A[:, 0], [0.0, 3.0, 6.0])
    np.testing.assert_allclose(both.intensities, [1.0, 2.0, 0.5])
    np.testing.assert_array_equal(both.atomic_numbers, [78, 78, 78])


def test_nothing_adds_nothing():
    some = trace([0.0, 3.0], [1.0, 2.0])
    assert unite(some, EMPTY_TRACE, min_distance_A=1.8) is some
    assert unite(EMPTY_TRACE, some, min_distance_A=1.8) is some
    assert not len(unite(EMPTY_TRACE, EMPTY_TRACE, min_distance_A=1.8).positions_A)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_trace_united_with_itself_is_itself(scale):
    some = trace([0.0, 3.0, 6.0], [1.0, 2.0, 3.0])
    same = trace([0.0, 3.0, 6.0], [scale, 2.0 * scale, 3.0 * scale])
    both = unite(some, same, min_distance_A=1.8)
    np.testing.assert_array_equal(both.positions_A, some.positions_A)
    np.testing.assert_array_equal(both.intensities, some.intensities)


def test_each_atom_keeps_what_a_network_has_said_of_it():
    drawn = replace(trace([0.0, 3.0], [1.0, 2.0]), chance=np.array([0.6, 1.0]))
    both = unite(drawn, trace([0.1, 6.0], [10.0, 5.0]), min_distance_A=1.8)
    np.testing.assert_array_equal(both.chance, [0.6, 1.0, np.nan])
    other_way = unite(trace([6.0], [5.0]), drawn, min_distance_A=1.8)
    np.testing.assert_array_equal(other_way.chance, [np.nan, 0.6, 1.0])
    assert unite(trace([0.0], [1.0]), trace([6.0], [5.0]), min_distance_A=1.8).chance is None
