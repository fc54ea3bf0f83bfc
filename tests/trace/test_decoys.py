"""The cut of repaired tomograms: against the best cut that someone who knows the atoms would make."""

import numpy as np
import pytest

from picotome.trace.decoys import FAINTEST, drawn_peaks

NI_PT = np.array([28, 78])
NI = (28 / 78) ** 1.6


def peaks(n_atoms, n_decoys, *, scale, seed, faintness=0.25):
    """Brightness of atoms, half Ni and half Pt, and of decoys; those of Ni have a faint tail."""
    rng = np.random.default_rng(seed)
    pt = rng.normal(1.0, 0.1, n_atoms // 2)
    ni = NI * np.clip(rng.normal(1.1, faintness, n_atoms - n_atoms // 2), 0.2, None)
    decoys = NI * rng.exponential(scale, n_decoys)
    return np.concatenate([pt, ni]), decoys


def darkest_atom(brightness, numbers):
    return drawn_peaks(brightness, numbers).darkest_atom


def wrong(cut, atoms, decoys):
    return int((atoms < cut).sum() + (decoys > cut).sum())


@pytest.mark.parametrize("n_decoys", [0, 30, 300, 3000])
@pytest.mark.parametrize("scale", [0.05, 0.12, 0.2])
def test_the_cut_errs_little_more_than_the_best_one(n_decoys, scale):
    least, found = [], []
    for seed in range(10):
        atoms, decoys = peaks(400, n_decoys, scale=scale, seed=seed)
        every = np.concatenate([atoms, decoys])
        least.append(min(wrong(cut, atoms, decoys) for cut in NI * np.linspace(FAINTEST, 1.5, 300)))
        found.append(wrong(darkest_atom(every, NI_PT), atoms, decoys))
    assert np.mean(found) <= 1.8 * np.mean(least) + 1


def test_more_decoys_raise_the_cut():
    cuts = []
    for n_decoys in (0, 100, 1000, 10_000):
        atoms, decoys = peaks(400, n_decoys, scale=0.15, seed=4)
        cuts.append(darkest_atom(np.concatenate([atoms, decoys]), NI_PT))
    assert cuts == sorted(cuts)
    assert cuts[-1] > 1.5 * cuts[0]


def test_the_unit_of_brightness_does_not_matter():
    every = np.concatenate(peaks(300, 200, scale=0.1, seed=5))
    cut = darkest_atom(every, NI_PT)
    assert darkest_atom(7.3 * every, NI_PT) == pytest.approx(7.3 * cut)


def test_atoms_that_no_decoy_comes_near_are_all_kept():
    rng = np.random.default_rng(6)
    atoms = rng.normal(1.0, 0.05, 200)
    assert darkest_atom(atoms, np.array([78])) < atoms.min()
    faint = 0.03 * rng.random(50)
    cut = darkest_atom(np.concatenate([atoms, faint]), np.array([78]))
    assert faint.max() < cut < atoms.min()


@pytest.mark.parametrize("n_decoys", [300, 1000])
def test_of_peaks_with_one_chance_that_part_are_atoms(n_decoys):
    """Near the cut itself the window, which is as wide as the gap, makes it an overestimate."""
    chances, true = [], []
    for seed in range(40):
        atoms, decoys = peaks(400, n_decoys, scale=0.15, seed=seed)
        every = np.concatenate([atoms, decoys])
        chances.append(drawn_peaks(every, NI_PT).chance(every))
        true.append(np.arange(len(every)) < len(atoms))
    chance, is_atom = np.concatenate(chances), np.concatenate(true)
    for low, high, error in ((0.5, 0.7, 0.2), (0.7, 0.9, 0.05), (0.9, 1.01, 0.01)):
        chosen = (chance >= low) & (chance < high)
        assert is_atom[chosen].mean() == pytest.approx(chance[chosen].mean(), abs=error)


def test_the_cut_is_at_even_chances():
    drawn = drawn_peaks(np.concatenate(peaks(400, 300, scale=0.15, seed=7)), NI_PT)
    below, above = drawn.chance(drawn.darkest_atom * np.array([0.97, 1.03]))
    assert below < 0.5 < above
