"""Fan the particles of a recipe out over dask.distributed workers; resume where a run was ended.

Workers write their own files; only names and checksums travel through the scheduler.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from picotome.configs.loading import load_recipe, recipe_to_yaml
from picotome.configs.schema import Recipe
from picotome.datasets.manifest import MANIFEST_NAME, Entry, read_manifest, write_manifest
from picotome.datasets.pairs import (
    Split,
    engines_of,
    n_particles,
    pair_identity,
    pair_path,
    particle_plan,
    write_particle,
)
from picotome.datasets.safe_write import write_text
from picotome.datasets.store import is_intact, read_provenance
from picotome.progress import Track, silent
from picotome.simgen.ignored import warn_of_ignored_knobs

TILT_TOPIC = "picotome-tilts"
_MANIFEST_INTERVAL_S = 5.0
_CONNECT_TIMEOUT_S = 10
# One thread per library in a worker: the parallelism is over particles.
_THREAD_KNOBS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
ONE_THREAD = dict.fromkeys(_THREAD_KNOBS, "1")

# The sections of a recipe that its pairs depend on, beside the specimens themselves.
DATA_SECTIONS = ("seed", "volume", "optics", "acquisition", "reconstruction", "ideal", "storage")

Task = tuple[Split, int]


def generate(
    recipe: Recipe,
    folder: Path,
    *,
    splits: Sequence[Split],
    n_workers: int | None = None,
    scheduler_address: str | None = None,
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
    track
        Called as particles finish.

    Returns
    -------
    list of Entry
        One for each particle of the splits; a failed one does not stop the others.

    Raises
    ------
    ValueError
        If the scheduler cannot be reached, or the folder holds a dataset of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refuse_another_recipe(folder, recipe, sections=DATA_SECTIONS)
    write_text(folder / "recipe.yaml", recipe_to_yaml(recipe))
    warn_of_ignored_knobs(engines_of(recipe, splits), recipe.optics)
    wanted: list[Task] = [(split, index) for split in splits for index in range(n_particles(recipe, split))]
    known = _known_entries(folder)
    # Entries of these splits are made anew: a particle may have failed, or belong to an earlier recipe.
    entries = {task: entry for task, entry in known.items() if task[0] not in splits}
    waiting: list[Task] = []
    for done, task in enumerate(wanted, start=1):
        path = pair_path(folder, *task)
        if is_intact(path, identity=pair_identity(recipe, *task)):
            entries[task] = _finished(path, task, known.get(task))
        else:
            waiting.append(task)
        track("checking files", done, len(wanted))
    # The slow ones first: what is left at the end then finishes together.
    waiting.sort(key=lambda task: _progress_name(recipe, task) is None)
    if waiting:
        with connect_workers(n_workers, scheduler_address, n_tasks=len(waiting)) as client:
            _run(client, recipe, folder, waiting, entries, track)
    write_manifest(folder, entries.values())
    return [entries[task] for task in wanted]


def refuse_another_recipe(folder: Path, recipe: Recipe, *, sections: Sequence[str]) -> None:
    """Protect what a folder holds from a recipe that would overwrite it.

    Raises
    ------
    ValueError
        If the folder's ``recipe.yaml`` differs in one of the sections; the message names the keys.
    """
    if not (folder / "recipe.yaml").is_file():
        return
    before = load_recipe(str(folder / "recipe.yaml")).model_dump(mode="json")
    now = recipe.model_dump(mode="json")
    changed = [key for section in sections for key in _changed(before[section], now[section], section)]
    if changed:
        raise ValueError(
            f"{folder} was made with another recipe ({', '.join(changed)} differ); use another --out, or "
            "remove the folder"
        )


def _changed(before: Any, now: Any, key: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [found for part in now for found in _changed(before.get(part), now[part], f"{key}.{part}")]
    return [] if before == now else [key]


def _run(
    client: Any, recipe: Recipe, folder: Path, waiting: list[Task], entries: dict[Task, Entry], track: Track
) -> None:
    from distributed import as_completed

    names = {task: _progress_name(recipe, task) for task in waiting}
    slow = [name for name in names.values() if name is not None]

    def show_tilts(event: tuple[float, tuple[str, int, int]]) -> None:
        track(*event[1])

    if slow:
        client.subscribe_topic(TILT_TOPIC, show_tilts)
    futures = {
        client.submit(_work, recipe, str(folder.resolve()), task, names[task], pure=False, retries=2): task
        for task in waiting
    }
    written = time.monotonic()
    for done, future in enumerate(as_completed(futures, loop=client.loop), start=1):
        task = futures[future]
        # Whatever raised inside came back as an entry; what did not come back at all died with its workers.
        finished = future.status == "finished"
        entries[task] = future.result() if finished else _failed(task, folder, _lost(future))
        future.release()
        track("particles", done, len(waiting))
        if time.monotonic() - written > _MANIFEST_INTERVAL_S:
            write_manifest(folder, entries.values())
            written = time.monotonic()
    if slow:
        client.unsubscribe_topic(TILT_TOPIC)


def _work(recipe: Recipe, folder: str, task: Task, name: str | None) -> Entry:
    """Make one particle in a worker; the one place where a particle's failure is caught."""
    begun = time.monotonic()
    progress = partial(log_tilt, name) if name is not None else None
    try:
        checksum, n_atoms = write_particle(recipe, Path(folder), *task, progress=progress)
    except Exception as error:
        return _failed(task, Path(folder), error)
    return Entry(
        split=task[0],
        index=task[1],
        file=_relative(task),
        status="done",
        sha256=checksum,
        n_atoms=n_atoms,
        seconds=round(time.monotonic() - begun, 3),
    )


def log_tilt(name: str, done: int, total: int) -> None:
    """Tell the scheduler's listeners, from inside a worker, that an image is finished."""
    from distributed import get_worker

    get_worker().log_event(TILT_TOPIC, (name, done, total))


def _progress_name(recipe: Recipe, task: Task) -> str | None:
    """Name the bar of a particle that is slow enough to deserve one of its own."""
    config, engine, _ = particle_plan(recipe, *task)
    return None if engine == "linear" else f"{engine} {config.kind} {task[1]}"


def _failed(task: Task, folder: Path, error: BaseException | None) -> Entry:
    pair_path(folder, *task).unlink(missing_ok=True)
    text = f"{type(error).__name__}: {error}"
    return Entry(split=task[0], index=task[1], file=_relative(task), status="failed", error=text)


def _lost(future: Any) -> BaseException:
    error = future.exception() if future.status == "error" else None
    return error or RuntimeError("its workers were lost (memory or time limit, or by hand); run again")


def _finished(path: Path, task: Task, known: Entry | None) -> Entry:
    """Entry of an intact file; the manifest may not list it yet, if a run was killed."""
    provenance = read_provenance(path)
    checksum = str(provenance["sha256"])
    if known is not None and known.sha256 == checksum:
        return known
    n_atoms = int(provenance["n_atoms"])
    split, index = task
    return Entry(
        split=split, index=index, file=_relative(task), status="done", sha256=checksum, n_atoms=n_atoms
    )


def _relative(task: Task) -> str:
    return str(pair_path(Path(), *task))


def _known_entries(folder: Path) -> dict[Task, Entry]:
    if not (folder / MANIFEST_NAME).is_file():
        return {}
    try:
        return {(entry.split, entry.index): entry for entry in read_manifest(folder)}
    except ValueError:
        # A damaged manifest is rebuilt from the files, which carry their own checksums.
        return {}


@contextmanager
def connect_workers(n_workers: int | None, scheduler_address: str | None, *, n_tasks: int) -> Iterator[Any]:
    """Give a client of the scheduler at an address, or of a local cluster of one-threaded processes."""
    from distributed import Client, LocalCluster

    if scheduler_address is not None:
        try:
            client = Client(scheduler_address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(
                f"no dask scheduler answers at {scheduler_address!r} within {_CONNECT_TIMEOUT_S} s; "
                f"the address looks like tcp://host:8786 ({error})"
            ) from error
        with client:
            yield client
        return
    n_processes = min(n_workers or os.cpu_count() or 1, n_tasks)
    with (
        _environment(ONE_THREAD),
        LocalCluster(
            n_workers=n_processes, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that spawned workers inherit."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value
