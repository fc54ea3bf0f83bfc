"""One particle in a worker, and what the run writes down about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from picotome.configs.schema import Recipe
from picotome.datasets.factory.window import is_fatal, lost_reason
from picotome.datasets.manifest import Entry, Task
from picotome.datasets.naming import find_pair, pair_identity, pair_path
from picotome.datasets.pairs import write_particle
from picotome.datasets.store import is_intact, read_provenance
from picotome.progress import Track

TILT_TOPIC = "picotome-tilts"


@dataclass(frozen=True)
class Order:
    """A particle to make.

    Attributes
    ----------
    identity
        That its file must have.
    name
        Of its progress bar, where it is slow enough to deserve one of its own.
    """

    task: Task
    identity: str
    name: str | None = None


def make_batch(recipe: Recipe, folder: str, orders: Sequence[Order]) -> list[Entry]:
    """Make a few particles, in a worker.

    Raises
    ------
    OSError
        If the disk is full or read-only: then no other particle can be made either.
    """
    return [make_one(recipe, Path(folder), order) for order in orders]


def make_one(recipe: Recipe, folder: Path, order: Order) -> Entry:
    """Make one particle; the one place where a particle's failure is caught."""
    begun = time.monotonic()
    progress = partial(log_tilt, order.name) if order.name is not None else None
    try:
        if pair_identity(recipe, *order.task) != order.identity:
            raise ValueError(
                "this worker would make another particle than was asked for: it has other versions of "
                "picotome, abtem, ase, numpy or scipy, or another file of atoms; install the same everywhere"
            )
        checksum, n_atoms = write_particle(recipe, folder, *order.task, progress=progress)
    except Exception as error:
        if is_fatal(error):
            raise
        return _failed(folder, order, f"{type(error).__name__}: {error}")
    seconds = round(time.monotonic() - begun, 3)
    path = pair_path(folder, *order.task, identity=order.identity)
    return _done(folder, path, order.task, order.identity, sha256=checksum, n_atoms=n_atoms, seconds=seconds)


def lost(folder: Path, order: Order, error: BaseException) -> Entry:
    """Entry of a particle whose worker did not answer; it may have finished the file before it died."""
    return found(folder, order.task, order.identity, None) or _failed(folder, order, lost_reason(error))


def found(folder: Path, task: Task, identity: str, known: Entry | None) -> Entry | None:
    """Entry of a finished file, or None.

    A file that is as the manifest says, by size and time of change, is not opened; the manifest may not list
    it yet if a run was killed, and then all of it is read.
    """
    path = find_pair(folder, *task, identity=identity)
    if path is None:
        return None
    status = path.stat()
    is_listed = known is not None and known.status == "done" and known.identity == identity
    if (
        known is not None
        and is_listed
        and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns)
    ):
        return known
    if not is_intact(path, identity=identity):
        return None
    provenance = read_provenance(path)
    entry = _done(
        folder,
        path,
        task,
        identity,
        sha256=str(provenance["sha256"]),
        n_atoms=int(provenance["n_atoms"]),
        seconds=0.0,
    )
    if known is not None and known.sha256 == entry.sha256:
        return replace(entry, seconds=known.seconds, at_s=known.at_s)
    return entry


def log_tilt(name: str, done: int, total: int) -> None:
    """Tell the scheduler's listeners, from inside a worker, that an image is finished."""
    from distributed import get_worker

    get_worker().log_event(TILT_TOPIC, (name, done, total))


@contextmanager
def tilts_shown(client: Any, track: Track, *, wanted: bool = True) -> Iterator[None]:
    """Show the images of slow particles as workers finish them."""

    def show_tilts(event: tuple[float, tuple[str, int, int]]) -> None:
        track(*event[1])

    if wanted:
        client.subscribe_topic(TILT_TOPIC, show_tilts)
    yield
    if wanted:
        client.unsubscribe_topic(TILT_TOPIC)


def waiting_shown(track: Track) -> Callable[[int], None]:
    """Give a function that is told the number of workers, and shows when there is none."""
    waits = False

    def show(n_workers: int) -> None:
        nonlocal waits
        if waits or n_workers == 0:
            waits = n_workers == 0
            track("waiting for workers", int(not waits), 1)

    return show


def _done(
    folder: Path, path: Path, task: Task, identity: str, *, sha256: str, n_atoms: int, seconds: float
) -> Entry:
    status = path.stat()
    return Entry(
        split=task[0],
        index=task[1],
        file=path.relative_to(folder).as_posix(),
        status="done",
        sha256=sha256,
        n_atoms=n_atoms,
        seconds=seconds,
        identity=identity,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def _failed(folder: Path, order: Order, error: str) -> Entry:
    """Entry of a failed particle; a damaged file of it goes away."""
    path = pair_path(folder, *order.task, identity=order.identity)
    path.unlink(missing_ok=True)
    split, index = order.task
    return Entry(
        split=split,
        index=index,
        file=path.relative_to(folder).as_posix(),
        status="failed",
        error=error,
        identity=order.identity,
    )
