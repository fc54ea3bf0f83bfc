import json
import shutil
from dataclasses import replace
from pathlib import Path

import dying_worker
import numpy as np
import pytest
from pair_files import pair_file

from picotome.configs import load_recipe
from picotome.datasets import identity as identity_module
from picotome.datasets.factory.verify import verify
from picotome.datasets.generate import generate
from picotome.datasets.manifest import read_manifest, write_manifest
from picotome.datasets.naming import pair_identity
from picotome.datasets.pairs import make_pair
from picotome.datasets.plan import SPLITS, particle_plan
from picotome.datasets.store import read_pair, read_provenance


def checksums(folder):
    return {(entry.split, entry.index): entry.sha256 for entry in read_manifest(folder)}


def test_any_number_of_workers_makes_the_same_bits(tiny_recipe, tiny_dataset, tmp_path):
    generate(tiny_recipe, tmp_path, splits=SPLITS, n_workers=1)
    assert checksums(tmp_path) == checksums(tiny_dataset)
    for entry in read_manifest(tmp_path):
        ours, theirs = read_pair(tmp_path / entry.file), read_pair(tiny_dataset / entry.file)
        for name in ("degraded", "ideal"):
            np.testing.assert_array_equal(getattr(ours, name).volume, getattr(theirs, name).volume)


def test_a_worker_makes_what_the_function_makes(tiny_recipe, tiny_dataset):
    made, stored = make_pair(tiny_recipe, "train", 1), read_pair(pair_file(tiny_dataset, "train", 1))
    np.testing.assert_array_equal(made.degraded.volume, stored.degraded.volume)
    np.testing.assert_array_equal(made.ideal.volume, stored.ideal.volume)
    np.testing.assert_array_equal(made.series.images, stored.series.images)


def test_no_particle_is_in_two_splits(tiny_dataset):
    entries = read_manifest(tiny_dataset)
    assert {split: sum(e.split == split for e in entries) for split in SPLITS} == {
        "train": 3,
        "validation": 1,
        "held_out": 2,
    }
    positions = [read_pair(tiny_dataset / entry.file).specimen.positions_A.tobytes() for entry in entries]
    assert len(set(positions)) == len(entries)


def test_files_say_where_they_come_from(tiny_recipe, tiny_dataset):
    provenance = read_provenance(pair_file(tiny_dataset, "held_out", 1))
    assert provenance["recipe"] == tiny_recipe.model_dump(mode="json")
    assert (provenance["split"], provenance["index"], provenance["engine"]) == ("held_out", 1, "linear")
    assert set(provenance["versions"]) >= {"picotome", "abtem", "ase", "numpy"}


def test_the_same_call_skips_what_is_intact_and_mends_what_is_not(tiny_recipe, tiny_dataset, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_dataset, folder)
    damaged, missing = pair_file(folder, "train", 0), pair_file(folder, "train", 2)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    missing.unlink()
    kept = pair_file(folder, "train", 1)
    before = kept.stat().st_mtime_ns
    generate(tiny_recipe, folder, splits=SPLITS, n_workers=1)
    assert kept.stat().st_mtime_ns == before
    assert checksums(folder) == checksums(tiny_dataset)
    # A run that was killed before it wrote its manifest adopts the finished files.
    (folder / "manifest.json").unlink()
    generate(tiny_recipe, folder, splits=SPLITS, n_workers=1)
    assert checksums(folder) == checksums(tiny_dataset)


def test_identity_follows_what_changes_a_pair_and_nothing_else(tiny_recipe, tiny_settings):
    identity = pair_identity(tiny_recipe, "train", 0)
    changed = ["seed=8", "acquisition.n_tilts=6", "optics.source_size_A=0.3", "ideal.peak_sigma_A=0.5"]
    unchanged = ["training.n_epochs=9", "name=other", "tracing.min_distance_A=1.5"]

    for override in changed:
        assert pair_identity(load_recipe("smoke", [*tiny_settings, override]), "train", 0) != identity
    for override in unchanged:
        assert pair_identity(load_recipe("smoke", [*tiny_settings, override]), "train", 0) == identity


def test_the_first_particles_are_imaged_by_prism(tiny_settings):
    recipe = load_recipe("smoke", [*tiny_settings, "training_set.n_prism=2"])
    engines = [particle_plan(recipe, "train", index)[1] for index in range(3)]
    assert engines == ["prism", "prism", "linear"]
    assert particle_plan(recipe, "validation", 0)[1] == "linear"
    assert pair_identity(recipe, "train", 2) == pair_identity(load_recipe("smoke", tiny_settings), "train", 2)


def test_each_particle_to_learn_from_draws_its_own_wedge(tiny_settings):
    recipe = load_recipe("smoke", [*tiny_settings, "training_set.tilt_max_deg=[45, 75]"])
    step_deg = 120 / 4
    drawn = [particle_plan(recipe, "train", index)[2] for index in range(40)]
    for acquisition in drawn:
        assert acquisition.tilt_min_deg == -acquisition.tilt_max_deg
        found_deg = 2 * acquisition.tilt_max_deg / (acquisition.n_tilts - 1)
        # As close to the step as a whole number of images allows.
        assert abs(2 * acquisition.tilt_max_deg / step_deg - (acquisition.n_tilts - 1)) <= 0.5, found_deg
    largest = [acquisition.tilt_max_deg for acquisition in drawn]
    assert 45 <= min(largest) < 52 and 68 < max(largest) <= 75
    assert particle_plan(recipe, "held_out", 0)[2] == recipe.acquisition
    assert particle_plan(recipe, "train", 3)[2] == drawn[3] != particle_plan(recipe, "validation", 3)[2]
    assert len(make_pair(recipe, "train", 0).series.tilt_deg) == drawn[0].n_tilts


@pytest.mark.parametrize("wedge", [[], ["training_set.tilt_max_deg=[45, 75]"]], ids=["one wedge", "wedges"])
def test_each_particle_to_learn_from_draws_how_densely_it_is_tilted(tiny_settings, wedge):
    """By any law, beside the same draw of the wedge; never the held-out ones."""
    recipe = load_recipe("smoke", [*tiny_settings, *wedge, "training_set.tilt_step_deg={log: [4, 40]}"])
    drawn = [particle_plan(recipe, "train", index)[2] for index in range(100)]
    spans = [acquisition.tilt_max_deg - acquisition.tilt_min_deg for acquisition in drawn]
    for acquisition, span in zip(drawn, spans, strict=True):
        assert round(span / 40) + 1 <= acquisition.n_tilts <= round(span / 4) + 1
    counted = sorted(acquisition.n_tilts for acquisition in drawn)
    # The middle of a logarithmic range is 12.6°.
    assert counted[5] <= 6 and counted[-5] >= 26 and 8 <= counted[50] <= 13
    assert particle_plan(recipe, "held_out", 0)[2] == recipe.acquisition
    plain = load_recipe("smoke", [*tiny_settings, *wedge])
    undrawn = [particle_plan(plain, "train", index)[2] for index in range(100)]
    assert spans == [acquisition.tilt_max_deg - acquisition.tilt_min_deg for acquisition in undrawn]
    assert len(make_pair(recipe, "train", 0).series.tilt_deg) == drawn[0].n_tilts


def test_a_failed_particle_is_listed_and_the_others_are_made(tiny_settings, tmp_path):

    atoms = tmp_path / "atoms.xyz"
    specimens = f"specimens=[{{kind: file, path: {atoms}}}, {{kind: wulff, diameter_A: 9}}]"
    recipe = load_recipe("smoke", [*tiny_settings, specimens])
    entries = generate(recipe, tmp_path / "data", splits=("held_out",), n_workers=1)
    assert [entry.status for entry in entries] == ["failed", "done"]
    assert "atoms.xyz" in entries[0].error
    listed = json.loads((tmp_path / "data" / "manifest.json").read_text())["particles"]
    assert [row["status"] for row in listed] == ["failed", "done"]
    atoms.write_text("2\n\nPt 0 0 0\nPt 2.7 0 0\n")
    entries = generate(recipe, tmp_path / "data", splits=("held_out",), n_workers=1)
    assert [entry.status for entry in entries] == ["done", "done"]


def test_an_existing_scheduler_is_used(tiny_recipe, tiny_dataset, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        generate(tiny_recipe, tmp_path, splits=("validation",), scheduler_address=cluster.scheduler_address)
    assert checksums(tmp_path).items() <= checksums(tiny_dataset).items()


def test_a_scheduler_that_is_not_there_is_one_clear_error(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("picotome.datasets.factory.executors.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(ValueError, match=r"tcp://127\.0\.0\.1:1"):
        generate(tiny_recipe, tmp_path, splits=("train",), scheduler_address="tcp://127.0.0.1:1")


def test_a_killed_worker_takes_at_most_its_own_particle(tiny_recipe, tiny_dataset, tmp_path, monkeypatch):
    # The first try at one particle kills its worker, as the kernel does when memory is short.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr("picotome.datasets.generate.make_batch", dying_worker.work)
    monkeypatch.setenv("PICOTOME_TEST_DIED", str(tmp_path / "died"))
    generate(tiny_recipe, tmp_path / "data", splits=("train",), n_workers=1)
    assert (tmp_path / "died").exists()
    assert checksums(tmp_path / "data").items() <= checksums(tiny_dataset).items()
    assert len(checksums(tmp_path / "data")) == 3


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed=8", "seed: 7 -> 8"),
        ("volume.n_voxels=64", r"volume\.n_voxels: \d+ -> 64"),
        ("training_set.engine=multislice", r"training_set\.engine: linear -> multislice"),
        ("training_set.n_prism=1", r"training_set\.n_prism: 0 -> 1"),
        ("specimens.0.diameter_A=9.5", r"specimens\.0\.diameter_A: .* -> \[9\.5, 9\.5\]"),
        ("training_set.n_train=2", r"training_set\.n_train: 3 -> 2"),
        ("training_set.online=true", r"training_set\.online: False -> True"),
    ],
)
def test_another_recipe_does_not_touch_a_dataset(tiny_settings, tiny_dataset, override, says):
    before = contents(tiny_dataset)
    with pytest.raises(ValueError, match=f"{says}\nuse another --out, such as .*dataset_2") as error:
        generate(load_recipe("smoke", [*tiny_settings, override]), tiny_dataset, splits=SPLITS, n_workers=1)
    # That key, and no other.
    assert str(error.value).count("->") == 1
    assert contents(tiny_dataset) == before


def test_other_versions_of_the_libraries_do_not_touch_a_dataset(tiny_recipe, tiny_dataset, monkeypatch):
    before, real = contents(tiny_dataset), identity_module._version
    monkeypatch.setattr(identity_module, "_version", lambda name: "99" if name == "ase" else real(name))
    with pytest.raises(ValueError, match=f"ase: {real('ase')} -> 99\n") as error:
        generate(tiny_recipe, tiny_dataset, splits=SPLITS, n_workers=1)
    assert str(error.value).count("->") == 1
    assert contents(tiny_dataset) == before


def test_more_particles_may_be_asked_for(tiny_settings, tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "copy")
    # And knobs that no particle depends on may change.
    more = load_recipe("smoke", [*tiny_settings, "training_set.n_validation=2", "training.n_epochs=9"])
    generate(more, folder, splits=SPLITS, n_workers=1)
    assert checksums(tiny_dataset).items() < checksums(folder).items()
    assert len(checksums(folder)) == 7
    assert load_recipe(str(folder / "recipe.yaml")) == more


def test_a_dataset_whose_files_are_named_by_index_goes_on(tiny_recipe, tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "copy")
    older = []
    for entry in read_manifest(folder):
        name = f"{entry.split}/{entry.index:06d}.h5"
        (folder / entry.file).rename(folder / name)
        older.append(replace(entry, file=name))
    write_manifest(folder, older)
    files = {path: path.stat().st_ino for path in folder.glob("*/*.h5")}
    assert verify(folder, n_sampled=0) == []
    assert set(generate(tiny_recipe, folder, splits=SPLITS, n_workers=1)) == set(older)
    # The files speak for themselves where the list is lost.
    (folder / "manifest.json").unlink()
    generate(tiny_recipe, folder, splits=SPLITS, n_workers=1)
    assert checksums(folder) == checksums(tiny_dataset)
    assert {path: path.stat().st_ino for path in folder.glob("*/*.h5")} == files


def test_a_damaged_manifest_is_rebuilt(tiny_recipe, tiny_dataset, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_dataset, folder)
    (folder / "manifest.json").write_text("{")
    generate(tiny_recipe, folder, splits=SPLITS, n_workers=1)
    assert checksums(folder) == checksums(tiny_dataset)


def test_a_damaged_manifest_says_what_to_do(tmp_path):
    (tmp_path / "manifest.json").write_text('{"particles": [{"no": 1}]}')
    with pytest.raises(ValueError, match="picotome generate"):
        read_manifest(tmp_path)


def test_weights_share_the_particles_out(tiny_recipe):
    def kinds(weights, n):
        specimens = tuple(
            s.model_copy(update={"weight": w}) for s, w in zip(tiny_recipe.specimens, weights, strict=True)
        )
        recipe = tiny_recipe.model_copy(update={"specimens": specimens})
        return [particle_plan(recipe, "held_out", index)[0].kind for index in range(n)]

    first, second = (s.kind for s in tiny_recipe.specimens)
    assert kinds((2.0, 2.0), 4) == [first, second, first, second]
    drawn = kinds((3.0, 1.0), 400)
    # Binomial: 300 ± 8.7.
    assert 265 < drawn.count(first) < 335
    assert drawn == kinds((3.0, 1.0), 400)
