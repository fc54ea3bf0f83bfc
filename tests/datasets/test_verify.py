"""What `picotome verify` finds, and what it mends."""

import shutil

import h5py
import numpy as np
import pytest
from pair_files import pair_file
from typer.testing import CliRunner

from picotome.cli import app
from picotome.datasets.factory import verify as verify_module
from picotome.datasets.factory.lock import hold_folder
from picotome.datasets.factory.verify import discard, verify
from picotome.datasets.manifest import read_manifest, write_manifest
from picotome.datasets.store import _checksum


@pytest.fixture
def copy(tiny_dataset, tmp_path):
    return shutil.copytree(tiny_dataset, tmp_path / "copy")


def rewrite(path, change):
    """Change a file and give it a checksum that matches, as a buggy writer would."""
    with h5py.File(path, "r+") as file:
        change(file)
        file.attrs["sha256"] = _checksum(file)


def test_a_whole_dataset_has_no_problem(copy):
    assert verify(copy, n_sampled=1) == []


def test_each_kind_of_damage_is_found_and_only_that(copy):
    pair_file(copy, "train", 0).write_bytes(pair_file(copy, "train", 0).read_bytes()[:-1000])
    with h5py.File(pair_file(copy, "train", 1), "r+") as file:
        file["ideal/volume"][3, 3, 3] += 1.0

    def spoil(file):
        file["degraded/volume"][0, 0, 0] = np.nan

    rewrite(pair_file(copy, "train", 2), spoil)
    pair_file(copy, "validation", 0).unlink()
    shutil.copy(pair_file(copy, "held_out", 0), pair_file(copy, "held_out", 1))
    (copy / "train" / ".particle_000000_0.h5.abc.partial").touch()
    shutil.copy(pair_file(copy, "held_out", 0), copy / "train" / "particle_000077_0.h5")
    found = {problem.task: problem.text for problem in verify(copy, n_sampled=0) if problem.task}
    assert set(found) == {("train", 0), ("train", 1), ("train", 2), ("validation", 0), ("held_out", 1)}
    assert "truncated" in found["train", 0] or "damaged" in found["train", 0]
    assert "checksum" in found["train", 1]
    assert "1 values that are not finite" in found["train", 2]
    assert "not there" in found["validation", 0]
    assert "another recipe" in found["held_out", 1]
    texts = [problem.text for problem in verify(copy, n_sampled=0) if not problem.task]
    assert len(texts) == 2 and ".partial" in texts[1] and "particle_000077_0.h5" in texts[0]


def test_a_file_with_other_numbers_is_found_by_simulating_it_again(copy):
    # The manifest and the checksum say it is right: only the physics knows.
    entries = {entry.task: entry for entry in read_manifest(copy)}

    def shift(file):
        file["ideal/volume"][...] *= 1.001

    for task in entries:
        rewrite(pair_file(copy, *task), shift)
        with h5py.File(pair_file(copy, *task)) as file:
            changed = {**entries[task].__dict__, "sha256": file.attrs["sha256"]}
            entries[task] = type(entries[task])(**changed)
    write_manifest(copy, entries.values())
    assert verify(copy, n_sampled=0) == []
    problems = verify(copy, n_sampled=1)
    assert [problem.text for problem in problems] == ["simulated again, it has other bits"]
    assert discard(copy, problems) == 1


def test_a_dataset_at_work_is_not_verified(copy, monkeypatch):
    with hold_folder(copy, name="00001-of-00002"), pytest.raises(ValueError, match="being made"):
        verify(copy)


def test_the_command_repairs(copy, tiny_dataset, monkeypatch):
    pair_file(copy, "train", 1).unlink()
    monkeypatch.setattr(verify_module, "_sample_problems", lambda *args, **more: iter(()))
    run = CliRunner().invoke
    found = run(app, ["verify", str(copy)])
    assert found.exit_code == 1 and "train 1: its file is not there" in found.output
    mended = run(app, ["verify", str(copy), "--repair", "--workers", "1"])
    assert mended.exit_code == 0 and "is whole" in mended.output, mended.output
    sums = [{e.task: e.sha256 for e in read_manifest(folder)} for folder in (copy, tiny_dataset)]
    assert sums[0] == sums[1]
