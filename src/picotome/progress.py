"""Progress of long work: what functions report, and how the terminal shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Track = Callable[[str, int, int], None]
"""``track(task, done, total)``: called as a long piece of work advances."""


def silent(task: str, done: int, total: int) -> None:
    """Report nothing."""


@contextmanager
def terminal_progress() -> Iterator[Track]:
    """Show one bar for each task with the time left; plain lines where there is no terminal."""
    if not sys.stderr.isatty():
        yield _line_printer()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {}

        def track(task: str, done: int, total: int) -> None:
            if task not in bars:
                bars[task] = progress.add_task(task, total=total)
            progress.update(bars[task], completed=done, total=total)

        yield track


def _line_printer(interval_s: float = 15.0) -> Track:
    begun: dict[str, float] = {}
    first: dict[str, int] = {}
    last: dict[str, float] = {}

    def track(task: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun.setdefault(task, now)
        if done < total and now - last.get(task, -interval_s) < interval_s:
            return
        last[task] = now
        elapsed = now - begun[task]
        advanced = done - first.setdefault(task, done)
        waiting = advanced > 0 and done < total
        left = f", about {elapsed * (total - done) / advanced:.0f} s left" if waiting else ""
        sys.stderr.write(f"{task}: {done}/{total} after {elapsed:.0f} s{left}\n")
        sys.stderr.flush()

    return track
