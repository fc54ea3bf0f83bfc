"""Workers from anywhere, as one dask client: this machine, a running scheduler, or a batch system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from picotome.configs.workers import LocalWorkers, QueueWorkers

CONNECT_TIMEOUT_S = 10
WORKERS_TIMEOUT_S = 300.0
"""How long a scheduler may be without workers."""

# One thread per library in a worker: the parallelism is over particles.
_THREAD_KNOBS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Memory of arrays is kept for the next ones. As dask sets it, glibc gives every array of more than 128 KiB
# back to the system, which then clears its pages for the next one: a quarter of the time of a PRISM image.
_MALLOC_KNOBS = {"MALLOC_TRIM_THRESHOLD_": str(256 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}
# dask's profiler keeps what each second of an hour was spent on: 17 MiB for 100 pairs.
_PROFILE_KNOBS = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
WORKER_ENVIRONMENT = {**dict.fromkeys(_THREAD_KNOBS, "1"), **_MALLOC_KNOBS, **_PROFILE_KNOBS}
_JOB_CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster"}
_COMMANDS = {"slurm": "sbatch", "pbs": "qsub", "sge": "qsub"}


@contextmanager
def connect_workers(
    n_workers: int | None,
    scheduler_address: str | None,
    *,
    n_tasks: int,
    cluster: LocalWorkers | QueueWorkers | None = None,
) -> Iterator[Any]:
    """Give a client of one-threaded workers.

    Parameters
    ----------
    n_workers
        Processes on this machine; default: one for each core.
    scheduler_address
        ``tcp://host:port`` of a running dask scheduler, used instead.
    n_tasks
        How much there is to do: more workers are not started.
    cluster
        Where the workers come from, used instead of both.

    Raises
    ------
    ValueError
        If the scheduler does not answer, or the batch system is not there.
    """
    if isinstance(cluster, QueueWorkers):
        with _job_workers(cluster, n_tasks=n_tasks) as client:
            yield client
    elif scheduler_address is not None:
        with _connect(scheduler_address) as client:
            yield client
    else:
        config = cluster or LocalWorkers(kind="local", workers=n_workers)
        with _local_workers(config, n_tasks=n_tasks) as client:
            yield client


def patience_s(cluster: LocalWorkers | QueueWorkers | None) -> float | None:
    """How long to wait for a worker: jobs stand in a queue as long as they must."""
    return None if isinstance(cluster, QueueWorkers) else WORKERS_TIMEOUT_S


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(
            f"no dask scheduler answers at {address!r} within {CONNECT_TIMEOUT_S} s; "
            f"the address looks like tcp://host:8786 ({error})"
        ) from error


@contextmanager
def _local_workers(config: LocalWorkers, *, n_tasks: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    knobs = {
        # fork would copy locks that a thread of ours holds, and HDF5's state.
        "distributed.worker.multiprocessing-method": "spawn",
        # Workers of this machine take dask's settings from this process, not from their environment.
        "distributed.worker.profile.enabled": False,
    }
    with (
        dask.config.set(knobs),
        with_environment(WORKER_ENVIRONMENT),
        LocalCluster(
            n_workers=min(config.workers or n_cores(), n_tasks),
            threads_per_worker=1,
            processes=True,
            memory_limit=config.memory or "auto",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _job_workers(config: QueueWorkers, *, n_tasks: int) -> Iterator[Any]:
    import shutil
    import warnings

    try:
        import dask_jobqueue
    except ImportError as error:
        raise ValueError(
            f"a cluster file of kind {config.kind} needs dask-jobqueue: pip install 'picotome[cluster]'"
        ) from error
    from distributed import Client

    if shutil.which(_COMMANDS[config.kind]) is None:
        raise ValueError(
            f"no {_COMMANDS[config.kind]} on this machine: run where {config.kind} jobs are submitted, "
            "or print a script with `picotome generate --array-script`"
        )
    n_workers = min(config.workers, n_tasks)
    # A job holds `cores` workers; so small a run needs no whole one.
    n_here = min(config.cores, n_workers)
    options: dict[str, Any] = {
        "cores": n_here,
        "processes": n_here,
        "memory": _times(config.memory, n_here),
        "walltime": config.walltime,
        "queue": config.queue,
        "job_extra_directives": list(config.directives),
        "job_script_prologue": [*export_lines(), *config.prologue],
        "local_directory": config.local_directory,
        "log_directory": config.log_directory,
        "job_name": "picotome",
        "scheduler_options": {"dashboard_address": ":0"},
        # A worker that idles because its scheduler died gives its node back.
        "death_timeout": 60,
        **({"interface": config.interface} if config.interface else {}),
        **({"python": config.python} if config.python else {}),
        **({"project" if config.kind == "sge" else "account": config.account} if config.account else {}),
    }
    with warnings.catch_warnings():
        # dask-jobqueue's own calls of dask.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        cluster = getattr(dask_jobqueue, _JOB_CLASSES[config.kind])(**options)
    with cluster:
        # Adapting to a fixed number is what replaces a job that expired, was cancelled or lost its node.
        cluster.adapt(minimum=n_workers, maximum=n_workers, interval="5s", wait_count=1)
        with Client(cluster, set_as_default=False) as client:
            yield client


def export_lines() -> list[str]:
    """Say the environment of workers as lines of a shell script."""
    return [f"export {key}={value}" for key, value in WORKER_ENVIRONMENT.items()]


def _times(memory: str, n: int) -> str:
    from dask.utils import parse_bytes

    return f"{parse_bytes(memory) * n}B"


def n_cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def with_environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that spawned workers inherit."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value
