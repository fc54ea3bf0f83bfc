"""Work of the factory with a fault in it; PICOTOME_TEST_FAULT says which, as ``kind:index``."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from picotome.datasets.factory import making

_hold = []


def work(recipe, folder, orders):
    kind, _, index = os.environ.get("PICOTOME_TEST_FAULT", ":").partition(":")
    if any(str(order.task[1]) == index for order in orders):
        _FAULTS[kind](Path(os.environ["PICOTOME_TEST_MARK"]))
    return making.make_batch(recipe, folder, orders)


def _half_written(mark, then):
    """Write the first half of a file, once, and then do something else."""
    if mark.exists():
        return

    def write_half(path, content):
        with path.open("wb") as handle:
            handle.write(content[: len(content) // 2])
        mark.touch()
        then()

    Path.write_bytes = write_half


def _die_in_the_middle_of_the_file(mark):
    """kill -9 between the first half of a file and its second, once."""
    _half_written(mark, lambda: os.kill(os.getpid(), signal.SIGKILL))


def _wait_in_the_middle_of_the_file(mark):
    """Stand still with half a file on the disk, until somebody kills us."""
    _half_written(mark, lambda: time.sleep(600))


def _raise(mark):
    if not mark.exists():
        raise RuntimeError("a fault by design")


def _eat_memory(mark):
    """Hold more than the worker may, in every process that tries."""
    if mark.exists():
        return
    for _ in range(60):
        _hold.append(np.ones(50 * 2**20 // 8))
        time.sleep(0.1)


_FAULTS = {
    "die": _die_in_the_middle_of_the_file,
    "wait": _wait_in_the_middle_of_the_file,
    "raise": _raise,
    "memory": _eat_memory,
}
