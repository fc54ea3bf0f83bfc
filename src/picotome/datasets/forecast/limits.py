"""What workers and the disk allow, and a refusal of what they do not, before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.factory.executors import connect_workers, n_cores

_GIB = 2.0**30


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
    """

    number: int
    n_cores: int
    limit_bytes: int | None
    note: str = ""


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
        return Workers(number, number, int(share * parse_bytes(cluster.memory)), note)
    if scheduler_address is not None:
        with connect_workers(None, scheduler_address, n_tasks=n_tasks) as client:
            found = client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [each["memory_limit"] for each in found if each["memory_limit"]]
        number = max(len(found), 1)
        return Workers(number, number, int(share * min(limits)) if limits else None, " of the scheduler")
    config = cluster or LocalWorkers(kind="local", workers=n_workers)
    number = min(config.workers or n_cores(), n_tasks)
    limit = parse_bytes(config.memory) if config.memory else MEMORY_LIMIT // number
    return Workers(number, min(number, n_cores()), int(share * limit))


def existing_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    folder = folder.resolve()
    while not folder.is_dir():
        folder = folder.parent
    return folder
