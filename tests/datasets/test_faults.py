"""Faults for real; after each, the same call ends with what an undisturbed run makes, bit for bit."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import faulty
import pytest
from pair_files import pair_file

from picotome.configs.loading import recipe_to_yaml
from picotome.configs.workers import LocalWorkers
from picotome.datasets.generate import generate
from picotome.datasets.manifest import read_manifest
from picotome.datasets.schema_check import schema_problems

HERE = Path(__file__).parent


@pytest.fixture
def fault(monkeypatch, tmp_path):
    """Set the fault that workers meet."""
    mark = tmp_path / "mark"
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("PICOTOME_TEST_MARK", str(mark))
    monkeypatch.setattr("picotome.datasets.generate.make_batch", faulty.work)

    def choose(text):
        monkeypatch.setenv("PICOTOME_TEST_FAULT", text)
        return mark

    return choose


@pytest.fixture(scope="module")
def threads():
    """A scheduler with one worker in this process, for faults that are not the workers'."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


def sums(folder):
    return {entry.task: entry.sha256 for entry in read_manifest(folder) if entry.split == "train"}


def is_as_undisturbed(folder, tiny_dataset):
    assert sums(folder) == sums(tiny_dataset)
    for entry in read_manifest(folder):
        assert entry.status == "done" and schema_problems(folder / entry.file, is_pair=True) == []
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    expected = {"recipe.yaml", "manifest.json", *(path.name for path in tiny_dataset.glob("train/*.h5"))}
    assert left == expected, left - expected


def nothing_half_written_is_listed(folder):
    for path in folder.rglob("*.h5"):
        if not path.name.startswith("."):
            assert schema_problems(path, is_pair=True) == []
    for entry in read_manifest(folder):
        assert entry.status == "failed" or (folder / entry.file).is_file()


def test_a_worker_killed_in_mid_write(fault, tiny_recipe, tiny_dataset, tmp_path):
    mark = fault("die:1")
    data = tmp_path / "data"
    generate(tiny_recipe, data, splits=("train",), n_workers=1)
    assert mark.exists(), "the fault did not happen"
    # Another worker made the particle, and what the first one left is gone.
    is_as_undisturbed(data, tiny_dataset)


def test_the_run_and_its_scheduler_killed_in_mid_write(fault, threads, tiny_recipe, tiny_dataset, tmp_path):
    mark = fault("wait:1")
    recipe, data = tmp_path / "recipe.yaml", tmp_path / "data"
    recipe.write_text(recipe_to_yaml(tiny_recipe))
    run = subprocess.Popen([sys.executable, HERE / "run_faulty.py", recipe, data])
    for _ in range(1200):
        if mark.exists() or run.poll() is not None:
            break
        time.sleep(0.1)
    # Meanwhile nobody else may start.
    with pytest.raises(ValueError, match=f"another run \\(process {run.pid} on"):
        generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    run.send_signal(signal.SIGKILL)
    run.wait()
    nothing_half_written_is_listed(data)
    assert list(data.rglob(".*.partial")) and (data / "run.lock").exists()
    generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    is_as_undisturbed(data, tiny_dataset)


def test_a_particle_that_raises(fault, threads, tiny_recipe, tiny_dataset, tmp_path):
    mark = fault("raise:1")
    data = tmp_path / "data"
    entries = generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    assert [entry.status for entry in entries] == ["done", "failed", "done"]
    assert "a fault by design" in entries[1].error
    nothing_half_written_is_listed(data)
    mark.touch()
    generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    is_as_undisturbed(data, tiny_dataset)


@pytest.mark.slow
def test_a_worker_over_its_memory_limit(fault, threads, tiny_recipe, tiny_dataset, tmp_path):
    mark = fault("memory:1")
    data = tmp_path / "data"
    cluster = LocalWorkers(kind="local", workers=1, memory="1GB")
    entries = generate(tiny_recipe, data, splits=("train",), cluster=cluster)
    assert entries[1].status == "failed" and "over its memory limit" in entries[1].error
    nothing_half_written_is_listed(data)
    mark.touch()
    generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    is_as_undisturbed(data, tiny_dataset)


@contextmanager
def mounted(folder, *options):
    """Mount something on a folder, or skip."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full(threads, tiny_recipe, tiny_dataset, tmp_path, monkeypatch):
    # There was space for all when the run began.
    monkeypatch.setattr("picotome.datasets.generate.refuse_full_disk", lambda *_: None)
    disk, data = tmp_path / "disk", tmp_path / "disk" / "data"
    room = int(1.6 * pair_file(tiny_dataset, "train", 0).stat().st_size)
    with mounted(disk, "-t", "tmpfs", "-o", f"size={room}", "tmpfs"):
        with pytest.raises(OSError, match="make space and run again"):
            generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
        nothing_half_written_is_listed(data)
        assert not list(data.rglob(".*.partial")) and not (data / "run.lock").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
        is_as_undisturbed(data, tiny_dataset)


def test_a_disk_that_has_no_space_for_all(threads, tiny_recipe, tiny_dataset, tmp_path):
    disk, data = tmp_path / "disk", tmp_path / "disk" / "data"
    one = pair_file(tiny_dataset, "train", 0).stat().st_size
    with mounted(disk, "-t", "tmpfs", "-o", f"size={2 * one}", "tmpfs"):
        with pytest.raises(OSError, match=r"its disk has \S+ MiB free: make space"):
            generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
        assert not list(data.rglob("*"))
        # Just enough for three, and the lists.
        subprocess.run(["mount", "-o", f"remount,size={4 * one}", disk], check=True)
        generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
        is_as_undisturbed(data, tiny_dataset)


def test_a_folder_that_cannot_be_written(threads, tiny_recipe, tiny_dataset, tmp_path):
    disk, data = tmp_path / "disk", tmp_path / "disk" / "data"
    with mounted(disk, "-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        data.mkdir()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(OSError, match="choose another --out"):
            generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
        assert not list(data.iterdir())
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
        is_as_undisturbed(data, tiny_dataset)


def test_files_from_another_age(threads, tiny_recipe, tiny_dataset, tmp_path):
    """Clocks of machines disagree, and jump: what the times no longer vouch for, the checksum does."""
    data = tmp_path / "data"
    generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    made = {path: path.stat().st_ino for path in data.rglob("*.h5")}
    for number, path in enumerate(made):
        os.utime(path, (number * 1.0e9, number * 1.0e9))
    generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    is_as_undisturbed(data, tiny_dataset)
    assert {path: path.stat().st_ino for path in made} == made, "a particle was made twice"


def test_parts_share_a_folder_and_a_run_joins_them(threads, tiny_recipe, tiny_dataset, tmp_path):
    data = tmp_path / "data"
    failures = []

    def make(number):
        try:
            generate(tiny_recipe, data, splits=("train",), scheduler_address=threads, part=(number, 2))
        except Exception as error:
            failures.append(error)

    parts = [threading.Thread(target=make, args=(number,)) for number in (1, 2)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert failures == []
    assert len(list(data.glob("journal-*"))) == 2 and sums(data) == sums(tiny_dataset)
    generate(tiny_recipe, data, splits=("train",), scheduler_address=threads)
    is_as_undisturbed(data, tiny_dataset)
