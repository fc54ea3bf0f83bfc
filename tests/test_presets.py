"""Every system of the field runs through the whole job at a small size, with its truth in its files."""

import json

import pytest
from typer.testing import CliRunner

from picotome.cli import app
from picotome.configs import load_recipe
from picotome.configs.loading import preset_names
from picotome.datasets.pairs import build_particle
from picotome.datasets.store import read_pair, read_records
from picotome.trace.scoring import scored_atoms

ALWAYS = {"displacement_A", "strain", "n_vacant_neighbours"}
# What the files of each system say of its atoms, beside positions and elements.
TRUTH = {
    "pt": ALWAYS | {"facet", "terrace", "is_adatom", "is_step_edge"},
    "pdpt_core_shell": ALWAYS | {"facet", "is_shell", "misfit_strain", "is_adatom"},
    "pt_dumbbell": ALWAYS | {"grain", "particle", "twin_plane_distance_A", "terrace"},
    "ptni": ALWAYS | {"is_surface", "sublattice", "is_adatom"},
    "ptni_ga": ALWAYS | {"is_surface", "is_adatom"},
    "batio3": ALWAYS | {"off_centre_A", "polarisation_C_per_m2"},
    "amorphous": set(),
    "crox": ALWAYS | {"layer"},
}
# The particles are the preset's own, in coarse voxels.
SMALL = (
    "volume={n_voxels: 56, voxel_size_A: 0.64}",
    "optics.abtem={}",
    "engine=linear",
    "acquisition.n_tilts=7",
    "acquisition.dose_e_per_A2=null",
    "training_set.acquisition=null",
    "training_set.n_train=2",
    "training_set.n_validation=1",
    "n_held_out=1",
    "network={channels: [4, 4, 4, 8, 8, 4]}",
    "training={patch_voxels: 48, n_epochs: 1, n_loader_workers: 0}",
    "refinement={geometry: [], n_steps: 2, change_atoms: false}",
)


@pytest.fixture(scope="module")
def scheduler():
    """One worker in this process for all presets."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_every_system_of_the_field_is_a_preset():
    assert set(TRUTH) <= set(preset_names())


@pytest.mark.parametrize("preset", TRUTH)
def test_a_preset_runs_through_the_whole_job(preset, scheduler, tmp_path, monkeypatch):
    # Measuring which arithmetic is faster takes longer than the two steps of this training.
    monkeypatch.setattr("picotome.train.loop.choose_precision", lambda *_, **__: "32-true")
    settings = [part for item in SMALL for part in ("--set", item)]
    command = ["run", preset, "--out", str(tmp_path), "--scheduler-address", scheduler, *settings]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    (row,) = summary["specimens"]
    assert set(row["stages"]) == {"raw", "unet", "refined", "joint"}
    specimen = read_pair(next(tmp_path.glob("dataset/held_out/particle_000000_*.h5"))).specimen
    recipe = load_recipe(preset)
    each = [build_particle(recipe, "held_out", index).truth for index in range(len(recipe.specimens))]
    assert set().union(*each) == TRUTH[preset]
    assert set(specimen.truth) == set(each[0])
    assert all(len(values) == len(specimen.positions_A) for values in specimen.truth.values())
    scored = scored_atoms(specimen, config=recipe.scoring)
    assert row["n_true"] == row["stages"]["raw"]["n_true"] == len(scored.positions_A)
    (found,) = (tmp_path / "held_out").glob("*.h5")
    whole = read_records(found)["specimen"]
    assert len(whole.positions_A) == len(specimen.positions_A)
