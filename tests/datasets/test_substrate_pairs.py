"""A substrate in a dataset: beside the particle, never part of it."""

import numpy as np
import pytest

from picotome.configs import load_recipe
from picotome.datasets.naming import pair_identity
from picotome.datasets.pairs import make_pair
from picotome.datasets.schema_check import schema_problems
from picotome.datasets.store import read_pair, write_pair
from picotome.recon.background import find_background
from picotome.records import TiltSeries
from picotome.trace.scoring import score_trace
from picotome.trace.tracing import trace_tomogram

SUBSTRATE = ["substrate={thickness_A: 15}"]


@pytest.fixture(scope="module")
def recipes(tiny_settings):
    quiet = [*tiny_settings, "acquisition.n_tilts=11", "reconstruction.n_iterations=30"]
    return {
        "vacuum": load_recipe("smoke", quiet),
        "slab": load_recipe("smoke", [*quiet, *SUBSTRATE]),
        "kept": load_recipe("smoke", [*quiet, *SUBSTRATE, "reconstruction.subtract_background=false"]),
    }


@pytest.fixture(scope="module")
def pairs(recipes):
    return {name: make_pair(recipe, "held_out", 0) for name, recipe in recipes.items()}


def test_the_particle_is_the_same_with_and_without(pairs):
    for name in ("positions_A", "atomic_numbers"):
        np.testing.assert_array_equal(
            getattr(pairs["slab"].specimen, name), getattr(pairs["vacuum"].specimen, name)
        )
    np.testing.assert_array_equal(pairs["slab"].ideal.volume, pairs["vacuum"].ideal.volume)
    for name, values in pairs["vacuum"].series.truth.items():
        if name != "background":
            np.testing.assert_array_equal(pairs["slab"].series.truth[name], values)
    assert pairs["vacuum"].substrate is None
    assert (pairs["slab"].series.images - pairs["vacuum"].series.images).mean() > 0


def test_the_slab_is_made_anew_from_seed_and_index_alone(recipes, pairs):
    again, other = (make_pair(recipes["slab"], "held_out", index).substrate for index in (0, 1))
    np.testing.assert_array_equal(again.positions_A, pairs["slab"].substrate.positions_A)
    assert not np.array_equal(other.positions_A, again.positions_A)
    assert pair_identity(recipes["slab"], "held_out", 0) != pair_identity(recipes["vacuum"], "held_out", 0)


def test_files_keep_the_slab_apart(pairs, tmp_path):
    for name, pair in pairs.items():
        path = tmp_path / f"{name}.h5"
        write_pair(path, pair, provenance={})
        assert schema_problems(path, is_pair=True) == []
        read = read_pair(path)
        np.testing.assert_array_equal(read.specimen.positions_A, pair.specimen.positions_A)
        if pair.substrate is None:
            assert read.substrate is None
        else:
            np.testing.assert_array_equal(read.substrate.positions_A, pair.substrate.positions_A)
            assert read.substrate.thickness_A == 15.0
            assert "amorphous C, 15.0 Å, 2.00 g/cm³" in read.substrate.description


def test_atoms_are_found_on_the_slab_and_its_own_are_no_matter(recipes, pairs):
    scores = {}
    for name, pair in pairs.items():
        elements = ["Pt"]
        trace = trace_tomogram(pair.degraded, elements=elements, config=recipes[name].tracing)
        scores[name] = score_trace(trace, pair.specimen, config=recipes[name].scoring)
    assert scores["slab"].n_true == len(pairs["slab"].specimen.positions_A)
    assert scores["slab"].recall > scores["vacuum"].recall - 0.05
    assert scores["slab"].precision > scores["vacuum"].precision - 0.05
    # What the subtraction is for: without it the level is spread over the box.
    edges = {name: pair.degraded.volume[:6].mean() for name, pair in pairs.items()}
    assert edges["slab"] < 0.5 * edges["kept"]


def test_the_background_is_the_mean_outside_of_the_particle():
    rng = np.random.default_rng(0)
    axis = np.arange(-32, 32) * 0.4
    particle = np.exp(-0.5 * (axis[:, None] ** 2 + (axis - 2.0) ** 2) / 4.0**2)
    levels = np.array([0.0, 0.02, 0.3])
    images = np.stack([rng.poisson(200 * (particle + level)) / 200 for level in levels])
    found = find_background(TiltSeries(images=images, tilt_deg=np.zeros(3), pixel_size_A=0.4))
    # The tails of so broad a particle reach beyond its mask.
    np.testing.assert_allclose(found, levels, atol=0.02)
    np.testing.assert_allclose(np.diff(found), np.diff(levels), atol=0.01)


def test_no_series_looks_along_the_slab():
    with pytest.raises(ValueError, match=r"acquisition\.tilt_max_deg reaches 85° with a substrate"):
        load_recipe("smoke", [*SUBSTRATE, "acquisition.tilt_max_deg=85"])
    with pytest.raises(ValueError, match=r"acquisition\.tilt_min_deg reaches 85° with a substrate"):
        load_recipe("smoke", [*SUBSTRATE, "acquisition.tilt_offset_deg=[-25, 10]"])
