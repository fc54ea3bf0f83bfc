"""Simulations that many pairs of a dataset are drawn from: made by whoever needs one first, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from picotome.datasets.series import SeriesRecipe, read_series, series_identity, series_path, write_series
from picotome.datasets.store import is_intact
from picotome.records import Specimen, TiltSeries

FOLDER = "simulations"


def stored_simulation(
    recipe: SeriesRecipe, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Specimen, TiltSeries]:
    """Read a simulation from a dataset, after making it if it is not there whole.

    Whoever comes while another makes it waits. Who dies while making it leaves nothing behind: its lock goes
    with its process, and the file appears only when it is complete.

    Parameters
    ----------
    recipe
        Which simulation.
    folder
        The dataset.
    progress
        Called with (images done, images in all).
    """
    path = series_path(recipe, folder / FOLDER)
    if not is_intact(path, identity=series_identity(recipe)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            if not is_intact(path, identity=series_identity(recipe)):
                write_series(recipe, path.parent, progress=progress)
    return read_series(recipe, path.parent)


def has_simulation(recipe: SeriesRecipe, folder: Path) -> bool:
    """Tell whether a dataset holds a simulation; its file is not opened."""
    return series_path(recipe, folder / FOLDER).is_file()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that the system releases when its process ends, in whatever way."""
    with lock.open("w") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        except (ImportError, OSError):
            # No such locks on this system or disk. Then two may make the same file; each renames a whole one
            # into place, and both are the same to the last bit.
            pass
        yield
