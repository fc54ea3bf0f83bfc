"""A contact sheet shows what a run would make, and says how large it is and what of."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from picotome.configs import load_recipe
from picotome.datasets.pairs import make_pair
from picotome.records import Specimen
from picotome.report.contact_sheet import Sample, caption, draw_contact_sheet, sample_particles

SMALL = ["engine=linear", "optics.abtem={}", "acquisition.n_tilts=2", "reconstruction.n_iterations=1"]


@pytest.mark.parametrize("split", ["held_out", "train"])
def test_the_sheet_shows_the_particles_that_a_run_makes(split):
    recipe = load_recipe("smoke", [*SMALL, "specimens=[{kind: wulff, diameter_A: [9, 11]}]"])
    samples = sample_particles(recipe, split)
    assert [sample.index for sample in samples] == list(range(9))
    assert len({len(sample.specimen.positions_A) for sample in samples}) > 1
    made = make_pair(recipe, split, 4).specimen
    np.testing.assert_array_equal(samples[4].specimen.positions_A, made.positions_A)


def test_a_caption_says_kind_width_and_composition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        # A rod of known length in any direction, with short cross-pieces.
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        positions_A = np.concatenate([np.outer([-10.0, 10.0], axis), rng.uniform(-2, 2, (2, 3))])
        text = caption(Sample(3, "file", Specimen(positions_A, np.array([46, 78, 78, 78]))))
        assert text.startswith("3  file, ")
        assert text.endswith("4 atoms: Pd 25 %, Pt 75 %")
        assert 19.8 < float(text.split(", ")[1].split(" ")[0]) <= 20.0


def test_what_cannot_be_built_leaves_an_empty_place_that_says_why(tmp_path):
    recipe = load_recipe(
        "smoke", ["volume.n_voxels=48", "specimens=[{kind: dumbbell, diameter_A: [16, 16]}]"]
    )
    samples = sample_particles(recipe, "held_out")
    assert all(sample.specimen is None and "volume.n_voxels" in sample.error for sample in samples)
    assert "volume.n_voxels" in caption(samples[0])
    draw_contact_sheet(tmp_path / "sheet.png", samples=samples, title="none $fits")
    assert imread(tmp_path / "sheet.png").shape[0] > 1000
