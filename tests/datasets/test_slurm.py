"""The factory on a real SLURM, started by the test."""

import subprocess
import sys
import time

import numpy as np
import pytest
from one_node_slurm import one_node_slurm, running_jobs, why_not

from picotome.configs import load_recipe
from picotome.configs.loading import recipe_to_yaml
from picotome.datasets.factory.verify import verify
from picotome.datasets.manifest import read_manifest
from picotome.datasets.store import read_pair

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(why_not()), reason=f"no SLURM: {why_not()}"),
]

PICOTOME = [sys.executable, "-m", "picotome"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node_slurm(tmp_path_factory.mktemp("slurm") / "here") as environment:
        yield environment


@pytest.fixture
def recipe_file(tiny_settings, tmp_path):
    """The tiny dataset with more particles, so that there is a middle of the run."""
    recipe = load_recipe("smoke", [*tiny_settings, "training_set.n_train=60"])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_to_yaml(recipe))
    return path


def until(condition, *, seconds=300.0):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it did not come"
        time.sleep(0.05)


def is_right(folder, tiny_dataset, *, n=63):
    listed = {entry.task: entry for entry in read_manifest(folder)}
    assert len(listed) == n and all(entry.status == "done" for entry in listed.values())
    for entry in read_manifest(tiny_dataset):
        ours, theirs = read_pair(folder / entry.file), read_pair(tiny_dataset / entry.file)
        np.testing.assert_array_equal(ours.degraded.volume, theirs.degraded.volume)
        np.testing.assert_array_equal(ours.ideal.volume, theirs.ideal.volume)
    assert verify(folder, n_sampled=2) == []


def test_a_run_outlives_a_job_that_is_cancelled(slurm, recipe_file, tiny_dataset, tmp_path):
    cluster = tmp_path / "slurm.yaml"
    cluster.write_text(
        "kind: slurm\nworkers: 2\nmemory: 2GB\nwalltime: '00:10:00'\nqueue: all\n"
        f"local_directory: {tmp_path / 'scratch'}\nlog_directory: {tmp_path / 'logs'}\n"
    )
    data = tmp_path / "data"
    command = [*PICOTOME, "generate", recipe_file, "--out", data, "--cluster", cluster]
    with subprocess.Popen(
        command, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        journal = data / "journal.jsonl"
        until(lambda: run.poll() is not None or (journal.is_file() and journal.read_bytes().count(b"\n") > 3))
        jobs = running_jobs(slurm)
        subprocess.run(["scancel", jobs[0]], env=slurm, check=True)
        assert run.poll() is None, run.stdout.read()
        until(lambda: jobs[0] not in running_jobs(slurm))
        said, _ = run.communicate(timeout=900)
    assert run.returncode == 0, said
    is_right(data, tiny_dataset)


def test_an_array_job_makes_the_parts_and_another_joins_them(slurm, recipe_file, tiny_dataset, tmp_path):
    data = tmp_path / "data"
    command = [*PICOTOME, "generate", recipe_file, "--out", data, "--array-script", "2"]
    text = subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout
    script = tmp_path / "array.sh"
    script.write_text(text.replace("--mem=3814M", "--mem=2000M"))

    def submit(*options):
        done = subprocess.run(
            ["sbatch", "--parsable", f"--output={tmp_path}/log-%a.txt", *options, script],
            env=slurm,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    job = submit()
    submit(f"--dependency=afterany:{job}", "--array=0")
    log = tmp_path / "log-0.txt"
    until(lambda: log.is_file() and "particles are in" in log.read_text(), seconds=900.0)
    until(lambda: not (data / "run.lock").exists())
    for number, share in ((1, 32), (2, 31)):
        assert f"{share} of {share} particles" in (tmp_path / f"log-{number}.txt").read_text()
    # The parts made everything, and the last job only joined their lists.
    assert "checking files: 63/63" in log.read_text() and "particles:" not in log.read_text()
    assert not list(data.glob("journal*")) and not list(data.glob("*.lock"))
    is_right(data, tiny_dataset)
