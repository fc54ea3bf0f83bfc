"""A SLURM of one node, on the loopback interface, that lives as long as a test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")


def why_not():
    """Return why no SLURM can be started here; empty if one can."""
    # Debian's daemons are in a folder that is not on everybody's path.
    missing = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root to start jobs"


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def one_node_slurm(folder, *, n_cpus=4, memory_MB=8000):
    """Start munged, slurmctld and slurmd; give the environment in which sbatch finds them."""
    folder.mkdir(mode=0o755)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    # Sockets have short paths.
    munge = f"/tmp/picotome-munge-{os.getpid()}"
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        f"""ClusterName=picotome
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={_free_port()}
SlurmdPort={_free_port()}
AuthType=auth/munge
AuthInfo=socket={munge}
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={memory_MB} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:4
"""
    )
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    options = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    daemons = []
    try:
        for command in (
            ["munged", "--foreground", "--force", f"--socket={munge}", f"--key-file={key}"]
            + [f"--{name}-file={folder}/munge/{name}" for name in ("log", "pid", "seed")],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D"],
        ):
            daemons.append(subprocess.Popen(command, **options))
            time.sleep(0.5)
        _wait_for_node(environment, folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--state=RUNNING"], **options, timeout=20)
        time.sleep(0.5)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait_for_node(environment, folder):
    for _ in range(120):
        done = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.25)
    logs = [path.read_text()[-1500:] for path in sorted(folder.glob("*.log"))]
    raise RuntimeError("\n".join([f"SLURM did not start: {done}", *logs]))


def running_jobs(environment):
    """Numbers of the jobs that run."""
    done = subprocess.run(
        ["squeue", "-h", "-t", "RUNNING", "-o", "%A"], env=environment, capture_output=True, text=True
    )
    return done.stdout.split()
