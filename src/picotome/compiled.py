"""Loops that numpy cannot do, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., None])


def compiled(function: Kernel) -> Kernel:
    """Compile a function at its first call, one to two seconds, and keep the result on disk.

    Later processes, such as dask's workers, load it in tenths of a second. It is kept beside the function's
    file or, where that folder is read-only, in the user's cache folder. Contraction (a · b + c rounded once)
    is the only liberty the compiler gets: sums keep their order.
    """
    try:
        fast = njit(nogil=True, fastmath={"contract"}, cache=True)(function)
    except RuntimeError:
        # Neither folder is writable: compile once in each process.
        fast = njit(nogil=True, fastmath={"contract"})(function)
    return cast(Kernel, fast)
