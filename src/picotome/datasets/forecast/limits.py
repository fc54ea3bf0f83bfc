"""What workers and the disk allow, and a refusal of what they do not, before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.factory.executors import connect_workers, n_cores

_GIB, _MIB = 2.0**30, 2.0**20


@dataclass(frozen=True)
class Workers:
    """Where a dataset would be made.

    Attributes
    ----------
    number
        Of processes.
    n_cores
        Processors that they have together.
    limit_bytes
        Memory at which dask ends one of them; None: not known.
    note
        For people.
    more_memory
        What to do to give each of them more; None: have fewer of them.
    """

    number: int
    n_cores: int
    limit_bytes: int | None
    note: str = ""
    more_memory: str | None = None


def find_workers(
    n_workers: int | None,
    scheduler_address: str | None,
    *,
    n_tasks: int,
    cluster: LocalWorkers | QueueWorkers | None = None,
) -> Workers:
    """Say what workers a run would have; see `picotome.datasets.factory.executors.connect_workers`.

    Raises
    ------
    ValueError
        If a scheduler does not answer.
    """
    import dask
    from dask.utils import parse_bytes
    from distributed.system import MEMORY_LIMIT

    share = float(dask.config.get("distributed.worker.memory.terminate") or 1.0)
    if isinstance(cluster, QueueWorkers):
        number = min(cluster.workers, n_tasks)
        note = f" of {cluster.kind}, if their processors are as fast as this one"
        limit = int(share * parse_bytes(cluster.memory))
        return Workers(number, number, limit, note, "raise `memory` in the cluster file")
    if scheduler_address is not None:
        with connect_workers(None, scheduler_address, n_tasks=n_tasks) as client:
            found = client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [each["memory_limit"] for each in found if each["memory_limit"]]
        number = max(len(found), 1)
        return Workers(
            number=number,
            n_cores=number,
            limit_bytes=int(share * min(limits)) if limits else None,
            note=" of the scheduler",
            more_memory="start its workers with a higher --memory-limit",
        )
    config = cluster or LocalWorkers(kind="local", workers=n_workers)
    number = min(config.workers or n_cores(), n_tasks)
    limit = parse_bytes(config.memory) if config.memory else MEMORY_LIMIT // number
    more = "raise `memory` in the cluster file" if config.memory else None
    return Workers(number, min(number, n_cores()), int(share * limit), more_memory=more)


def refuse_small_memory(worker_bytes: int, workers: Workers) -> None:
    """Refuse workers that would be ended for their memory.

    Raises
    ------
    ValueError
        If one needs more than it may use; the message says what would do.
    """
    limit = workers.limit_bytes
    if limit is None or worker_bytes <= limit:
        return
    n_fitting = limit * workers.number // worker_bytes
    smaller = (
        "take smaller particles, fewer voxels, or for wave engines a narrower annulus or a smaller window"
    )
    if workers.more_memory is not None:
        advice = f"{workers.more_memory}, or {smaller}"
    elif n_fitting > 0:
        advice = f"give --workers {n_fitting}"
    else:
        advice = f"use a machine with more memory, or {smaller}"
    raise ValueError(
        f"a worker would need {size_text(worker_bytes)} of memory and is ended at {size_text(limit)}: "
        f"{advice}"
    )


def refuse_small_disk(needed_bytes: int, free_bytes: int, folder: Path) -> None:
    """Refuse a dataset that the disk has no space for.

    Raises
    ------
    OSError
        If it needs more than is free.
    """
    if needed_bytes > free_bytes:
        raise OSError(
            f"{folder} would need {size_text(needed_bytes)} and its disk has {size_text(free_bytes)} free: "
            "make space, use --out on another disk, fewer particles, or storage.precision=float16"
        )


def size_text(n_bytes: float) -> str:
    """Say a number of bytes."""
    return f"{n_bytes / _GIB:,.2f} GiB" if n_bytes >= 0.1 * _GIB else f"{n_bytes / _MIB:,.1f} MiB"


def existing_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    folder = folder.resolve()
    while not folder.is_dir():
        folder = folder.parent
    return folder
