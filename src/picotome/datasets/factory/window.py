"""Many small pieces of work through one dask client: a few for each worker at a time, none lost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Waiting at a worker while it works: it never idles for its next piece, and 100,000 pieces do not flood the
# scheduler.
_PER_WORKER = 4
_FEWEST = 8
_ASK_INTERVAL_S = 2.0
# The scheduler and the client handle some hundred futures a second; smaller pieces go together.
_FUTURES_PER_S = 50.0
_LARGEST_BATCH = 64
_UNDER_WAY = ("lost", "pending")
# Between two looks for a result: short at first, then longer, which costs nothing while particles are slow.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _PAUSE_GROWTH = 0.002, 0.1, 1.5


class SchedulerLostError(ValueError):
    """The scheduler went away while it had work of ours."""


class NoWorkersError(ValueError):
    """A scheduler answers, and nobody works for it."""


def spread(
    client: Any,
    work: Callable[[list[Item]], Sequence[Result | BaseException]],
    items: Sequence[Item],
    *,
    tell: Callable[[int, int], None] = lambda waiting, n_workers: None,
    patience_s: float | None = None,
) -> Iterator[tuple[Item, Result | BaseException]]:
    """Do `work` on every item, and give each with what came of it, as they finish.

    Parameters
    ----------
    work
        Called in workers with a few items; returns one result for each. It is pickled with each batch, so it
        must carry no arrays.
    tell
        Called with (items handed out and not finished, workers) now and then, also while nothing finishes.
    patience_s
        How long to wait for a first worker, or another where all have gone; None: for ever, as for a job that
        stands in a queue.

    Raises
    ------
    SchedulerLostError
        If the scheduler is gone.
    NoWorkersError
        If there was no worker for too long.
    """
    from distributed import as_completed

    queue = deque(items)
    alone: deque[Item] = deque()
    futures: dict[Any, list[Item]] = {}
    stream = as_completed(loop=client.loop)
    pace = _Pace(client)

    def fill() -> None:
        while (queue or alone) and len(futures) < max(_FEWEST, _PER_WORKER * pace.n_workers):
            if alone:
                batch = [alone.popleft()]
            else:
                batch = [queue.popleft() for _ in range(min(pace.batch, len(queue)))]
            # The work depends on its arguments alone, but a mended one must run again.
            future = client.submit(work, batch, pure=False)
            futures[future] = batch
            stream.add(future)

    fill()
    while futures:
        _wait(stream, pace, lambda: tell(sum(map(len, futures.values())), pace.n_workers), patience_s)
        future = next(stream)
        if future.status in _UNDER_WAY:
            # Its worker died with the result before it was fetched, and the scheduler has it done again.
            stream.add(future)
            continue
        batch = futures.pop(future)
        if future.status == "finished":
            results: Sequence[Result | BaseException] = future.result()
        elif future.status == "error":
            error = future.exception()
            if len(batch) > 1 and _is_killed(error):
                # One of them kills its workers; the others must not fall with it.
                alone.extend(batch)
                batch = []
            results = [error] * len(batch)
        else:
            raise SchedulerLostError(
                "the dask scheduler went away; what is finished is kept: start a scheduler and run again"
            )
        future.release()
        pace.count(len(batch))
        tell(sum(map(len, futures.values())), pace.n_workers)
        # Before the results are looked at: no worker waits for us.
        fill()
        yield from zip(batch, results, strict=True)


def _wait(stream: Any, pace: _Pace, tell: Callable[[], None], patience_s: float | None) -> None:
    """Wait for the next result, and look now and then whether there is anybody to make it."""
    begun = looked = time.monotonic()
    pause_s = _FIRST_PAUSE_S
    while not stream.has_ready():
        time.sleep(pause_s)
        pause_s = min(_PAUSE_GROWTH * pause_s, _LONGEST_PAUSE_S)
        now = time.monotonic()
        if now - looked < _ASK_INTERVAL_S:
            continue
        looked = now
        pace.look()
        tell()
        if pace.n_workers:
            begun = now
        elif patience_s is not None and now - begun > patience_s:
            raise NoWorkersError(
                f"the dask scheduler answers, but has had no workers for {patience_s:.0f} s; what is "
                "finished is kept: start workers (dask worker ADDRESS --nthreads 1) and run again"
            )


def is_fatal(error: BaseException) -> bool:
    """Whether every other particle would fail in the same way: a disk that is full or read-only."""
    import errno

    codes = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, OSError) and error.errno in codes


def lost_reason(error: BaseException) -> str:
    """Say in words why a result did not come back."""
    if _is_killed(error):
        return (
            "each worker that tried it died (over its memory limit, or killed): give workers more memory, "
            "then run again"
        )
    return f"{type(error).__name__}: {error}"


def _is_killed(error: BaseException) -> bool:
    return type(error).__name__ == "KilledWorker"


class _Pace:
    """How many workers there are, and how many items go together, asked and measured now and then."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._asked = time.monotonic()
        self._n_done = 0
        self.n_workers = len(client.nthreads())
        self.batch = 1

    def count(self, n_items: int) -> None:
        self._n_done += n_items
        elapsed = time.monotonic() - self._asked
        if elapsed > _ASK_INTERVAL_S:
            rate = self._n_done / elapsed
            self.batch = min(int(rate / _FUTURES_PER_S) + 1, _LARGEST_BATCH)
            self._asked, self._n_done = time.monotonic(), 0
            self.look()

    def look(self) -> None:
        """Ask how many workers there are; a scheduler that is away is told by its results."""
        with suppress(OSError):
            self.n_workers = sum(self._client.nthreads().values())
