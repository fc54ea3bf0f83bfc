"""Make the particles of a recipe with many workers; resume where a run was ended.

Workers write their own files; only names and checksums travel through the scheduler. One process, this one,
writes the journal and the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from picotome.configs.loading import recipe_to_yaml
from picotome.configs.schema import Recipe
from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.factory.executors import connect_workers, patience_s
from picotome.datasets.factory.lock import Lock, hold_folder, live_locks
from picotome.datasets.factory.making import Order, found, lost, make_batch, tilts_shown, waiting_shown
from picotome.datasets.factory.refusal import refuse_another_maker, refuse_another_recipe
from picotome.datasets.factory.window import is_fatal, spread
from picotome.datasets.forecast.disk import refuse_full_disk
from picotome.datasets.manifest import (
    Entry,
    Journal,
    NewerDatasetError,
    Task,
    open_journal,
    read_manifest,
    write_manifest,
)
from picotome.datasets.naming import identities_of
from picotome.datasets.plan import Split, engines_of, n_particles, n_series_of, particle_plan
from picotome.datasets.safe_write import remove_partial, write_text
from picotome.progress import Track, silent
from picotome.simgen.ignored import warn_of_ignored_knobs

_TRACK_INTERVAL = 100


def generate(
    recipe: Recipe,
    folder: Path,
    *,
    splits: Sequence[Split],
    n_workers: int | None = None,
    scheduler_address: str | None = None,
    cluster: LocalWorkers | QueueWorkers | None = None,
    part: tuple[int, int] | None = None,
    track: Track = silent,
) -> list[Entry]:
    """Make every pair of the given splits that is not already finished and intact.

    Parameters
    ----------
    recipe
        What to make.
    folder
        The dataset; made if absent.
    splits
        Which splits to make.
    n_workers
        Processes of a local cluster; default: one for each core.
    scheduler_address
        ``tcp://host:port`` of a running dask scheduler, used instead of a local cluster.
    cluster
        Where the workers come from, used instead of both.
    part
        (which, of how many), from 1: make only every so-many-th particle. Several parts may run at once, on
        machines that know nothing of one another; a run of the whole then joins their lists.
    track
        Called as particles finish.

    Returns
    -------
    list of Entry
        One for each particle of the splits, or of the part; a failed one does not stop the others.

    Raises
    ------
    ValueError
        If the scheduler cannot be reached, or the folder holds a dataset of another recipe, of other versions
        of the libraries or of a newer picotome, or another run is at work on it.
    OSError
        If the folder cannot be written in, or its disk is full or too small for what is left to make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{part[0]:05d}-of-{part[1]:05d}" if part is not None else ""
    with _held(folder, part, name=name) as lock:
        known = _known_entries(folder)
        refuse_another_recipe(folder, recipe)
        warn_of_ignored_knobs(engines_of(recipe, splits), recipe.optics)
        wanted = _wanted(recipe, splits, part)
        if part is None:
            remove_partial(folder)
        is_new = not (folder / "recipe.yaml").is_file()
        if not known:
            # What is asked for is to be seen while the files are looked through.
            _write_recipe(folder, recipe)
        entries, waiting = _look(recipe, folder, wanted, known, lock, track)
        try:
            refuse_full_disk(recipe, folder, [order.task for order in waiting])
        except OSError:
            # Who asks for less then makes no other dataset of this folder.
            if is_new:
                (folder / "recipe.yaml").unlink(missing_ok=True)
            raise
        _write_recipe(folder, recipe)
        if part is None:
            # Entries of other splits stay; those of these are made anew: a particle may have failed.
            others = [entry for task, entry in known.items() if task[0] not in splits]
            write_manifest(folder, [*others, *entries.values()])
        with open_journal(folder, name=name) as journal:
            if part is not None:
                for task, entry in entries.items():
                    if entry is not known.get(task):
                        journal.add(entry)
            if waiting:
                with connect_workers(
                    n_workers, scheduler_address, n_tasks=len(waiting), cluster=cluster
                ) as client:
                    _run(
                        client,
                        recipe,
                        folder,
                        waiting,
                        entries,
                        journal,
                        lock,
                        track,
                        patience=patience_s(cluster),
                    )
        if part is None:
            # Workers that were lost on the way may have left half a file; those of this run have ended.
            remove_partial(folder)
            write_manifest(folder, [*others, *entries.values()])
    return [entries[task] for task in wanted]


def missing_tasks(
    recipe: Recipe, folder: Path, *, splits: Sequence[Split], part: tuple[int, int] | None = None
) -> list[Task]:
    """Name the particles that `generate` would make; nothing is written.

    Raises
    ------
    ValueError
        As `generate`, if the folder holds a dataset of another recipe or a newer picotome.
    """
    known = _known_entries(folder)
    refuse_another_recipe(folder, recipe)
    identity_of = identities_of(recipe)
    wanted = _wanted(recipe, splits, part)
    return [task for task in wanted if found(folder, task, identity_of(*task), known.get(task)) is None]


def _wanted(recipe: Recipe, splits: Sequence[Split], part: tuple[int, int] | None) -> list[Task]:
    wanted = [(split, index) for split in splits for index in range(n_particles(recipe, split))]
    return wanted if part is None else wanted[part[0] - 1 :: part[1]]


@contextmanager
def _held(folder: Path, part: tuple[int, int] | None, *, name: str) -> Iterator[Lock]:
    """Hold the folder: alone, or together with the other parts of the same division."""
    with hold_folder(folder, name=name) as lock:
        for path, owner in live_locks(folder).items():
            shares = part is not None and path.stem.endswith(f"-of-{part[1]:05d}")
            if path != lock.path and not shares:
                raise ValueError(
                    f"{folder} is being made by another run ({owner}); wait for it, watch it with "
                    f"`picotome status {folder}`, or stop it and run again"
                )
        yield lock


def _write_recipe(folder: Path, recipe: Recipe) -> None:
    text, path = recipe_to_yaml(recipe), folder / "recipe.yaml"
    # Parts start together, and all say the same.
    if not path.is_file() or path.read_text("utf-8") != text:
        write_text(path, text)


def _look(
    recipe: Recipe,
    folder: Path,
    wanted: Sequence[Task],
    known: dict[Task, Entry],
    lock: Lock,
    track: Track,
) -> tuple[dict[Task, Entry], list[Order]]:
    """Tell finished particles from those to make; a file that is as listed is not opened."""
    identity_of = identities_of(recipe)
    entries: dict[Task, Entry] = {}
    waiting: list[Order] = []
    for done, task in enumerate(wanted, start=1):
        identity = identity_of(*task)
        before = known.get(task)
        entry = found(folder, task, identity, before)
        if entry is not None:
            entries[task] = entry
        else:
            if before is not None:
                refuse_another_maker(folder, before, recipe, identity=identity)
            waiting.append(Order(task, identity, name=_progress_name(recipe, task)))
        if done % _TRACK_INTERVAL == 0 or done == len(wanted):
            track("checking files", done, len(wanted))
            lock.tell(total=len(wanted), done=len(entries))
    waiting.sort(key=partial(_rank, recipe))
    return entries, waiting


def _run(
    client: Any,
    recipe: Recipe,
    folder: Path,
    waiting: list[Order],
    entries: dict[Task, Entry],
    journal: Journal,
    lock: Lock,
    track: Track,
    *,
    patience: float | None,
) -> None:
    """Have every order made, and write down what became of it."""
    begun = time.monotonic()
    n_before, n_failed = len(entries), 0
    show_waiting = waiting_shown(track)

    def tell(running: int, n_workers: int) -> None:
        lock.tell(
            total=n_before + len(waiting),
            done=len(entries) - n_failed,
            failed=n_failed,
            running=min(running, n_workers),
            workers=n_workers,
        )
        show_waiting(n_workers)

    work = partial(make_batch, recipe, str(folder.resolve()))
    with tilts_shown(client, track, wanted=any(order.name for order in waiting)):
        for done, (order, result) in enumerate(
            spread(client, work, waiting, tell=tell, patience_s=patience), start=1
        ):
            if isinstance(result, BaseException):
                if is_fatal(result):
                    raise OSError(
                        f"{folder} cannot take more files ({result}); {len(entries)} particles are kept: "
                        "make space and run again"
                    ) from result
                result = lost(folder, order, result)
            entry = replace(result, at_s=round(time.monotonic() - begun, 3))
            journal.add(entry)
            entries[order.task] = entry
            n_failed += entry.status == "failed"
            track("particles", done, len(waiting))


def _progress_name(recipe: Recipe, task: Task) -> str | None:
    """Name the bar of a particle that is slow enough to deserve one of its own."""
    config, engine, _ = particle_plan(recipe, *task)
    return None if engine == "linear" else f"{engine} {config.kind} {task[1]}"


def _rank(recipe: Recipe, order: Order) -> int:
    """Order the tasks: slow ones first, so that what is left at the end finishes together.

    Of pairs drawn from one simulation the first, which makes it, is slow. The others come at the very end and
    apart: a worker that meets one before its simulation is made can only wait.
    """
    split, index = order.task
    _, engine, _ = particle_plan(recipe, split, index)
    if engine == "linear":
        return 1
    nth = index % n_series_of(recipe, split, engine)
    return 1 + nth if nth else 0


def _known_entries(folder: Path) -> dict[Task, Entry]:
    try:
        return {entry.task: entry for entry in read_manifest(folder)}
    except NewerDatasetError:
        raise
    except (FileNotFoundError, ValueError):
        # A damaged manifest is rebuilt from the files, which carry their own checksums.
        return {}
