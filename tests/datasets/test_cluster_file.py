"""The file of --cluster, and the script of an array job."""

import subprocess

import pytest
from typer.testing import CliRunner

from picotome.cli import app
from picotome.configs.workers import load_cluster
from picotome.datasets.factory.array_script import array_script
from picotome.datasets.factory.executors import connect_workers

SLURM = """
kind: slurm
workers: 64
cores: 16
memory: 4GB
walltime: '12:00:00'
queue: short
account: aet
directives: [--constraint=rome]
prologue: [module load python]
"""


def write(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kind: slurm\nworkers: 2\nmemory: 4GB\nmemori: 5",
            "memori: unknown key\nkeys of kind slurm are kind, workers",
        ),
        ("kind: slrum", "'slrum'; allowed is one of local, slurm, pbs, sge"),
        ("kind: pbs\nworkers: 2", "memory: missing; limit of one worker"),
        ("kind: sge\nworkers: 2\nmemory: 4", "such as 4GB"),
        ("kind: slurm\nworkers: 0\nmemory: 4GB", "workers: found 0; Input should be greater"),
        ("kind: slurm\nworkers: 1\nmemory: 4GB\nwalltime: 12:00:00", "in quotes"),
        ("[1, 2]", "mapping of keys to values"),
        ("{", "not plain YAML"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(ValueError) as caught:
        load_cluster(write(tmp_path, text))
    assert message in str(caught.value)


def test_a_missing_file_points_to_the_docs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"docs/clusters\.md"):
        load_cluster(tmp_path / "no.yaml")


def test_a_batch_system_that_is_not_there_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = load_cluster(write(tmp_path, SLURM))
    with (
        pytest.raises(ValueError, match="no sbatch on this machine"),
        connect_workers(None, None, n_tasks=4, cluster=cluster),
    ):
        pass


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("slurm", ["#SBATCH -p short", "#SBATCH -A aet", "--mem=", "--constraint=rome"]),
        ("pbs", ["#PBS -q short", "#PBS -A aet", "walltime=12:00:00", "--constraint=rome"]),
        ("sge", ["#$ -q short", "#$ -P aet", "h_rt=12:00:00", "--constraint=rome"]),
    ],
)
def test_each_batch_system_gets_its_own_job(tmp_path, monkeypatch, kind, expected):
    """The jobs are dask-jobqueue's; a stand-in for the command that submits keeps what it was given."""
    command = {"slurm": "sbatch", "pbs": "qsub", "sge": "qsub"}[kind]
    kept = tmp_path / "job.sh"
    submit = tmp_path / command
    submit.write_text(
        f'#!/bin/bash\ncp "$1" {kept}.new\nmv {kept}.new {kept}\necho "Submitted batch job 7"\n'
    )
    submit.chmod(0o755)
    for other in ("scancel", "qdel"):
        (tmp_path / other).write_text("#!/bin/bash\n")
        (tmp_path / other).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    cluster = load_cluster(write(tmp_path, SLURM.replace("slurm", kind)))
    with connect_workers(None, None, n_tasks=1000, cluster=cluster):
        for _ in range(100):
            if kept.is_file():
                break
            subprocess.run(["sleep", "0.1"], check=True)
    job = kept.read_text()
    for part in (
        *expected,
        "export OMP_NUM_THREADS=1",
        "module load python",
        "--nworkers 16",
        "--nthreads 1",
    ):
        assert part in job, job


def test_the_array_script_is_a_script_that_makes_every_part(tmp_path):
    cluster = load_cluster(write(tmp_path, SLURM))
    text = array_script("smoke", tmp_path / "data", overrides=["seed=3"], n_parts=8, cluster=cluster)
    for part in ("--mem=3814M", "--time=12:00:00", "--partition=short", "--array=1-8", "module load python"):
        assert part in text, text
    script = tmp_path / "array.sh"
    # Whoever calls picotome is asked what it would do.
    script.write_text(text.replace("module load python", "").replace("exec ", "echo "))
    for number, end in (("3", "--slice 3/8"), ("0", "--workers 1")):
        done = subprocess.run(
            ["bash", script],
            env={"SLURM_ARRAY_TASK_ID": number, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and done.stdout.splitlines()[0].endswith(end), done
        assert f"--out {tmp_path / 'data'} --set seed=3" in done.stdout


def test_the_command_prints_the_script(tmp_path):
    out = str(tmp_path / "data")
    done = CliRunner().invoke(app, ["generate", "smoke", "--out", out, "--array-script", "4"])
    assert done.exit_code == 0 and done.output.startswith("#!/bin/bash") and "--array=1-4" in done.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "1", "1/0"])
def test_a_wrong_slice_is_one_clear_error(tmp_path, text):
    done = CliRunner().invoke(app, ["generate", "smoke", "--out", str(tmp_path), "--slice", text])
    assert isinstance(done.exception, ValueError) and "i from 1 to n" in str(done.exception)
