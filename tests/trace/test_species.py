import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picotome.trace.brightness import darkest_atom
from picotome.trace.species import assign_species, by_element


def brightness(counts, *, spread=0.1, power=1.5, seed=0):
    """Intensities of so many atoms of each element, and their atomic numbers."""
    numbers = np.repeat(list(counts), list(counts.values()))
    noise = np.random.default_rng(seed).normal(0, spread, len(numbers))
    return (numbers / 78) ** power * np.exp(noise), numbers


@pytest.mark.parametrize("power", [1.3, 1.5, 1.7, 1.9])
@pytest.mark.parametrize(
    "counts",
    [
        {46: 150, 78: 200},
        {46: 3, 78: 300},
        {46: 300, 78: 3},
        {28: 500, 46: 430, 78: 820},
        {28: 5, 46: 300, 78: 300},
        {28: 300, 46: 300, 78: 5},
    ],
)
def test_classes_are_told_apart_even_when_one_is_rare(counts, power):
    intensities, numbers = brightness(counts, spread=0.06, power=power)
    found = assign_species(intensities, elements=["Ni", "Pd", "Pt"][-len(counts) :])
    assert (found == numbers).mean() > 0.99
    for z in counts:
        assert (found[numbers == z] == z).mean() > 0.6


def test_accuracy_is_near_that_of_the_best_threshold():
    intensities, numbers = brightness({46: 400, 78: 400}, spread=0.25)
    found = assign_species(intensities, elements=["Pd", "Pt"])
    best = max(((intensities > t) == (numbers == 78)).mean() for t in intensities)
    assert (found == numbers).mean() > best - 0.02


def test_an_absent_middle_element_does_not_split_the_others():
    intensities, numbers = brightness({28: 200, 78: 200}, spread=0.1)
    found = assign_species(intensities, elements=["Ni", "Pd", "Pt"])
    assert (found == numbers).mean() > 0.97


@pytest.mark.parametrize("elements", [["Pd", "Pt"], ["Ni", "Pd", "Pt"]])
@pytest.mark.parametrize("spread", [0.0, 0.004, 0.1])
def test_one_cluster_is_the_heaviest_element(elements, spread):
    intensities, _ = brightness({78: 300}, spread=spread)
    assert (assign_species(intensities, elements=elements) == 78).all()


def test_one_element_needs_no_intensities():
    assert assign_species(np.array([1e-9, 1.0, 1e9]), elements=["Fe"]).tolist() == [26, 26, 26]
    assert assign_species(np.zeros(0), elements=["Fe", "Pt"]).shape == (0,)


@settings(max_examples=15)
@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_unit_and_order_do_not_matter(factor, seed):
    intensities, _ = brightness({46: 60, 78: 80}, spread=0.15)
    found = assign_species(intensities, elements=["Pd", "Pt"])
    order = np.random.default_rng(seed).permutation(len(intensities))
    again = assign_species(factor * intensities[order], elements=["Pt", "Pd", "Pt"])
    np.testing.assert_array_equal(again, found[order])


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_a_brighter_atom_is_never_lighter(seed):
    intensities, _ = brightness({28: 40, 46: 60, 78: 80}, spread=0.3, seed=seed)
    found = assign_species(np.sort(intensities), elements=["Ni", "Pd", "Pt"])
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("n_false", [0, 20, 300])
@pytest.mark.parametrize("counts", [{78: 300}, {46: 120, 78: 250}])
def test_the_cut_lies_between_non_atoms_and_atoms(counts, n_false):
    intensities, numbers = brightness(counts, spread=0.12)
    lightest = (min(counts) / 78) ** 1.5
    false = 0.35 * lightest * np.exp(np.random.default_rng(1).normal(0, 0.2, n_false))
    cut = darkest_atom(np.concatenate([intensities, false]), np.array(list(counts)))
    assert 0.3 * lightest < cut < 0.85 * lightest
    assert (intensities > cut).mean() > 0.99
    assert n_false == 0 or (false < cut).mean() > 0.95
    assert set(numbers.tolist()) == set(counts)


@pytest.mark.parametrize(
    ("intensities", "elements", "message"),
    [
        ([1.0], [], "one or more symbols"),
        ([1.0], "Pt", "one or more symbols"),
        ([1.0], ["Pt", "Xx"], "'Xx'"),
        ([1.0, -1.0], ["Pd", "Pt"], "above 0"),
        ([1.0, np.nan], ["Pt"], "finite"),
        ([[1.0]], ["Pt"], "one axis"),
    ],
)
def test_bad_input_is_refused(intensities, elements, message):
    with pytest.raises(ValueError, match=message):
        assign_species(np.array(intensities), elements=elements)


def test_masks_part_the_atoms_and_name_absent_elements():
    numbers = np.array([78, 28, 78, 46])
    masks = by_element(numbers, present=np.array([78, 46, 79]))
    assert list(masks) == ["Pd", "Pt", "Au"]
    assert not masks["Au"].any()
    assert np.sum(list(by_element(numbers).values()), axis=0).tolist() == [1, 1, 1, 1]
