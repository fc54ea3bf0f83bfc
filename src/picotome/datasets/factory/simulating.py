"""Many tilt series with many workers: simulated once, over the same executors as pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from picotome.datasets.factory.executors import connect_workers
from picotome.datasets.factory.making import TILT_TOPIC, log_tilt
from picotome.datasets.series import SeriesRecipe, series_identity, series_path, write_series
from picotome.datasets.store import is_intact
from picotome.progress import Track, silent


def simulate_missing(
    recipes: Sequence[SeriesRecipe], folder: Path, *, n_workers: int | None = None, track: Track = silent
) -> dict[str, str]:
    """Simulate every series that is not in the folder, over the processes of a local cluster.

    Parameters
    ----------
    n_workers
        Processes; default: one for each core.
    track
        Called as images and series are finished.

    Returns
    -------
    dict
        What went wrong, by the name of the series; the others are not stopped by it.
    """
    failed: dict[str, str] = {}
    waiting = [r for r in recipes if not is_intact(series_path(r, folder), identity=series_identity(r))]
    track("series", len(recipes) - len(waiting), len(recipes))
    if not waiting:
        return failed
    folder.mkdir(parents=True, exist_ok=True)
    with connect_workers(n_workers, None, n_tasks=len(waiting)) as client:
        from distributed import as_completed

        def show_tilts(event: tuple[float, tuple[str, int, int]]) -> None:
            track(*event[1])

        client.subscribe_topic(TILT_TOPIC, show_tilts)
        futures = {
            client.submit(_work, recipe, str(folder.resolve()), pure=False, retries=1): recipe
            for recipe in waiting
        }
        done = len(recipes) - len(waiting)
        for number, future in enumerate(as_completed(futures, loop=client.loop), start=done + 1):
            error = (
                future.result() if future.status == "finished" else f"its worker died: {future.exception()}"
            )
            if error:
                failed[futures[future].name] = error
            track("series", number, len(recipes))
        client.unsubscribe_topic(TILT_TOPIC)
    return failed


def _work(recipe: SeriesRecipe, folder: str) -> str:
    """Simulate one series in a worker; the one place where its failure is caught."""
    try:
        write_series(recipe, Path(folder), progress=partial(log_tilt, f"{recipe.engine} {recipe.name}"))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
