"""Many tilt series with many workers: simulated once, by the executors that make pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.factory.executors import connect_workers, patience_s
from picotome.datasets.factory.making import log_tilt, tilts_shown, waiting_shown
from picotome.datasets.factory.window import is_fatal, lost_reason, spread
from picotome.datasets.series import SeriesRecipe, series_identity, series_path, write_series
from picotome.datasets.store import is_intact
from picotome.progress import Track, silent


def simulate_missing(
    recipes: Sequence[SeriesRecipe],
    folder: Path,
    *,
    n_workers: int | None = None,
    scheduler_address: str | None = None,
    cluster: LocalWorkers | QueueWorkers | None = None,
    track: Track = silent,
) -> dict[str, str]:
    """Simulate every series that is not in the folder.

    Parameters
    ----------
    n_workers, scheduler_address, cluster
        Where the workers come from; see `picotome.datasets.generate.generate`.
    track
        Called as images and series are finished.

    Returns
    -------
    dict
        What went wrong, by the name of the series; the others are not stopped by it.

    Raises
    ------
    ValueError
        If the scheduler cannot be reached, or has no workers.
    OSError
        If the disk is full or read-only.
    """
    failed: dict[str, str] = {}
    waiting = [r for r in recipes if not is_intact(series_path(r, folder), identity=series_identity(r))]
    done = len(recipes) - len(waiting)
    track("series", done, len(recipes))
    if not waiting:
        return failed
    folder.mkdir(parents=True, exist_ok=True)
    show_waiting = waiting_shown(track)
    work = partial(_make, str(folder.resolve()))
    with (
        connect_workers(n_workers, scheduler_address, n_tasks=len(waiting), cluster=cluster) as client,
        tilts_shown(client, track),
    ):
        finished = spread(
            client,
            work,
            waiting,
            tell=lambda running, n_workers: show_waiting(n_workers),
            patience_s=patience_s(cluster),
        )
        for number, (recipe, result) in enumerate(finished, start=done + 1):
            if isinstance(result, BaseException):
                if is_fatal(result):
                    raise OSError(f"{folder} cannot take more files ({result})") from result
                failed[recipe.name] = lost_reason(result)
            elif result:
                failed[recipe.name] = result
            track("series", number, len(recipes))
    return failed


def _make(folder: str, recipes: Sequence[SeriesRecipe]) -> list[str]:
    """Simulate a few series in a worker; what went wrong with each."""
    return [_make_one(recipe, Path(folder)) for recipe in recipes]


def _make_one(recipe: SeriesRecipe, folder: Path) -> str:
    """Simulate one series; the one place where its failure is caught."""
    try:
        write_series(recipe, folder, progress=partial(log_tilt, f"{recipe.engine} {recipe.name}"))
    except Exception as error:
        if is_fatal(error):
            raise
        return f"{type(error).__name__}: {error}"
    return ""
