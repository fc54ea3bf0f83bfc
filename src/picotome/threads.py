"""Work in as many threads as this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def usable_threads() -> int:
    """Count the threads to use: ``OMP_NUM_THREADS`` where it is set, else the processors allowed.

    Raises
    ------
    ValueError
        If ``OMP_NUM_THREADS`` is not a number above 0.
    """
    # OpenMP allows a list, one number for each level of nesting; the first is ours.
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if not wanted:
        return _allowed_processors()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(
            f"OMP_NUM_THREADS is {wanted!r}; allowed is a whole number above 0: correct or unset it"
        )
    return int(wanted)


def map_in_threads(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Do `work` on every item; the items must not depend on one another."""
    n_threads = min(usable_threads(), len(items))
    if n_threads <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(work, items):
            pass


def _allowed_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
