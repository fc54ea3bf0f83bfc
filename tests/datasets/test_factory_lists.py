"""The manifest, its journals, the lock of a folder and the status, without making a particle."""

import json
import os
import subprocess
import sys
import time

import pytest

from picotome.configs.loading import recipe_to_yaml
from picotome.datasets.factory import lock as lock_module
from picotome.datasets.factory.lock import hold_folder, live_locks, read_lock
from picotome.datasets.factory.status import read_status, status_text
from picotome.datasets.manifest import (
    Entry,
    journal_path,
    open_journal,
    read_manifest,
    write_manifest,
)


def entry(index, *, split="train", status="done", **more):
    return Entry(
        split=split,
        index=index,
        file=f"{split}/particle_{index:06d}_0123456789abcdef.h5",
        status=status,
        **more,
    )


@pytest.fixture
def quick(monkeypatch):
    """Beats that a test can wait for."""
    monkeypatch.setattr(lock_module, "BEAT_S", 0.05)


def test_a_journal_is_read_over_the_manifest_and_spent_by_it(tmp_path):
    write_manifest(tmp_path, [entry(0), entry(1, status="failed", error="no")])
    with open_journal(tmp_path) as journal:
        journal.add(entry(1, sha256="b"))
        journal.add(entry(2, split="held_out"))
        found = read_manifest(tmp_path)
    assert [(e.split, e.index, e.status) for e in found] == [
        ("held_out", 2, "done"),
        ("train", 0, "done"),
        ("train", 1, "done"),
    ]
    write_manifest(tmp_path, found)
    assert not journal_path(tmp_path).exists()
    assert read_manifest(tmp_path) == found
    assert json.loads((tmp_path / "manifest.json").read_text())["format_version"] == 2


def test_half_a_line_is_nobodys_and_spoils_no_other(tmp_path):
    with open_journal(tmp_path) as journal:
        journal.add(entry(0))
        journal.add(entry(1))
    path = journal_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    assert [e.index for e in read_manifest(tmp_path)] == [0]
    with open_journal(tmp_path) as journal:
        journal.add(entry(2))
    assert [e.index for e in read_manifest(tmp_path)] == [0, 2]


def test_a_failure_in_one_journal_does_not_undo_what_another_made(tmp_path):
    for name, line in (("1-of-2", entry(0, sha256="a")), ("2-of-2", entry(0, status="failed", error="no"))):
        with open_journal(tmp_path, name=name) as journal:
            journal.add(line)
    assert [e.sha256 for e in read_manifest(tmp_path)] == ["a"]


def test_a_manifest_of_a_newer_picotome_is_refused_not_rebuilt(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format_version": 99, "particles": [{"novel": 1}]}')
    with pytest.raises(ValueError, match="upgrade picotome"):
        read_manifest(tmp_path)


def test_a_held_folder_stops_a_second_run(tmp_path, quick):
    with hold_folder(tmp_path) as lock:
        lock.tell(total=5, done=2)
        with pytest.raises(ValueError, match=rf"another run \(process {os.getpid()} on"):
            hold_folder(tmp_path).__enter__()
        time.sleep(0.3)
        assert read_lock(lock.path).progress == {"total": 5, "done": 2}
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_set_aside_at_once(tmp_path, monkeypatch):
    hold = (
        "import sys, time; from pathlib import Path; from picotome.datasets.factory.lock import hold_folder\n"
        "with hold_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match="another run"):
        hold_folder(tmp_path).__enter__()
    process.kill()
    process.communicate()
    # Whoever waited for a beat would come to the time limit of the tests.
    monkeypatch.setattr(lock_module, "BEAT_S", 1000.0)
    with hold_folder(tmp_path) as lock:
        assert read_lock(lock.path).pid == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mtime_s", [0, 2_000_000_000])
def test_an_owner_elsewhere_lives_while_its_count_rises_whatever_the_clocks_say(tmp_path, quick, mtime_s):
    path = tmp_path / "run.lock"
    with hold_folder(tmp_path):
        text = path.read_text()
    there = {**json.loads(text), "machine": "elsewhere", "token": "t", "started": "2100-01-01 00:00:00 UTC"}
    path.write_text(json.dumps(there))
    os.utime(path, (mtime_s, mtime_s))
    # Nobody beats: dead, however new the file looks.
    assert live_locks(tmp_path) == {}
    beat = (
        "import json, sys, time; p = sys.argv[1]; v = json.load(open(p)); print(flush=True)\n"
        "for n in range(1000):\n"
        "    open(p, 'r+').write(json.dumps({**v, 'beat': n}).ljust(1024)); time.sleep(0.02)"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", beat, path], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        with pytest.raises(ValueError, match="2100-01-01"):
            hold_folder(tmp_path).__enter__()
    finally:
        process.kill()
        process.communicate()
    with hold_folder(tmp_path) as lock:
        assert read_lock(lock.path).token != "t"


def test_a_run_that_slept_notices_that_it_was_replaced(tmp_path, quick):
    with hold_folder(tmp_path) as lock:
        other = {**json.loads(lock.path.read_text()), "token": "other"}
        lock.path.unlink()
        lock.path.write_text(json.dumps(other))
        time.sleep(0.3)
        with pytest.raises(ValueError, match="another took over"):
            lock.tell(done=1)
    assert json.loads(lock.path.read_text())["token"] == "other"


def test_status_while_a_run_is_at_work_and_after(tiny_recipe, tmp_path, quick):
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(tiny_recipe))
    write_manifest(tmp_path, [entry(0, split="validation")])
    with hold_folder(tmp_path) as lock, open_journal(tmp_path) as journal:
        journal.add(entry(0, at_s=10.0))
        journal.add(entry(1, at_s=12.0))
        journal.add(entry(0, split="held_out", status="failed", error="no such file", at_s=14.0))
        lock.tell(total=6, done=3, failed=1, running=2, workers=2)
        time.sleep(0.3)
        status = read_status(tmp_path)
        text = status_text(tmp_path, status)
    # 3 of 6 are missing, one comes every 2 s.
    assert (status.per_hour, status.left_s, status.running) == (1800.0, 6.0, 2)
    assert status.done == {"train": 2, "validation": 1, "held_out": 0}
    for part in (
        "3 of 6",
        "held_out 0: no such file",
        "running: 2 on 2 workers",
        "1800 particles an hour, about 6 s",
    ):
        assert part in text, text
    after = read_status(tmp_path)
    assert (after.owners, after.per_hour) == ((), None)
    assert "no run is at work" in status_text(tmp_path, after)


def test_status_of_100_000_particles_is_quick(tiny_recipe, tmp_path):
    counts = {"n_train": 98_000, "n_validation": 1_000}
    recipe = tiny_recipe.model_copy(
        update={"training_set": tiny_recipe.training_set.model_copy(update=counts), "n_held_out": 1_000}
    )
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    more = {
        "sha256": "a" * 64,
        "identity": "b" * 64,
        "size": 10**7,
        "mtime_ns": 10**18,
        "seconds": 1.5,
        "n_atoms": 9,
    }
    write_manifest(tmp_path, [entry(i, **more) for i in range(50_000)])
    with open_journal(tmp_path) as journal:
        for i in range(50_000, 98_000):
            journal.add(entry(i, at_s=float(i), **more))

    def cpu_s(function, *args):
        begun = time.process_time()
        function(*args)
        return time.process_time() - begun

    assert read_status(tmp_path).done["train"] == 98_000
    # Against parsing half of the list and no more: the other half, the rows and their counts cost about
    # seven times that, whatever their number. How many seconds it is, benchmarks/factory.py prints.
    parsing = min(cpu_s(json.loads, (tmp_path / "manifest.json").read_text()) for _ in range(3))
    assert min(cpu_s(read_status, tmp_path) for _ in range(3)) < 20 * parsing
