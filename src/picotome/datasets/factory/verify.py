"""Whether every file of a dataset is what it should be; make anew what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from picotome.configs.loading import load_recipe, parse_recipe
from picotome.configs.schema import Recipe
from picotome.datasets.factory.lock import hold_folder, live_locks
from picotome.datasets.manifest import Entry, Task, read_manifest
from picotome.datasets.naming import find_pair, identities_of, pair_path
from picotome.datasets.pairs import write_particle
from picotome.datasets.plan import SPLITS, n_particles
from picotome.datasets.safe_write import partial_files
from picotome.datasets.schema_check import schema_problems
from picotome.datasets.store import is_intact, read_provenance
from picotome.progress import Track, silent
from picotome.rng import stream


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a dataset.

    Attributes
    ----------
    task
        The particle; None where the problem is not one particle's.
    text
        What is wrong.
    path
        The particle's file, where there is one.
    """

    task: Task | None
    text: str
    path: Path | None = None

    def __str__(self) -> str:
        """Name the particle and say what is wrong with it."""
        return f"{self.task[0]} {self.task[1]}: {self.text}" if self.task is not None else self.text


def verify(folder: Path, *, n_sampled: int = 1, track: Track = silent) -> list[Problem]:
    """Check a dataset: each particle of its recipe is there, listed, unaltered, of the schema and finite.

    Parameters
    ----------
    folder
        The dataset.
    n_sampled
        How many particles are simulated again, to see that they come out with the same bits.
    track
        Called as files are checked.

    Returns
    -------
    list of Problem
        Everything that is wrong.

    Raises
    ------
    FileNotFoundError
        If the folder holds no dataset.
    ValueError
        If a run is at work on it, or a newer picotome made it.
    """
    recipe = _recipe(folder)
    with hold_folder(folder) as lock:
        for path, owner in live_locks(folder).items():
            if path != lock.path:
                raise ValueError(f"{folder} is being made ({owner}); verify it when that run has ended")
        listed = {entry.task: entry for entry in read_manifest(folder)}
        wanted = [(split, index) for split in SPLITS for index in range(n_particles(recipe, split))]
        identity_of = identities_of(recipe)
        problems: list[Problem] = []
        for done, task in enumerate(wanted, start=1):
            problems.extend(_file_problems(folder, recipe, task, identity_of(*task), listed.get(task)))
            track("verifying files", done, len(wanted))
        problems.extend(_strangers(folder, listed))
        bad = {problem.task for problem in problems}
        good = {task: folder / listed[task].file for task in wanted if task not in bad}
        problems.extend(_sample_problems(good, seed=recipe.seed, n_sampled=n_sampled, track=track))
    return problems


def discard(folder: Path, problems: Sequence[Problem]) -> int:
    """Remove what is wrong, so that the same recipe makes it anew; return how many files went.

    Files that the dataset does not list are left: they may be somebody's.
    """
    paths = {problem.path for problem in problems if problem.path is not None and problem.path.is_file()}
    for path in paths:
        path.unlink()
    return len(paths)


def _recipe(folder: Path) -> Recipe:
    if not (folder / "recipe.yaml").is_file():
        raise FileNotFoundError(
            f"{folder} holds no dataset (no recipe.yaml); make one with `picotome generate`"
        )
    return load_recipe(str(folder / "recipe.yaml"))


def _file_problems(
    folder: Path, recipe: Recipe, task: Task, identity: str, entry: Entry | None
) -> Iterator[Problem]:
    # A file that is listed is looked at whatever its name is.
    listed = folder / entry.file if entry is not None else None
    path = listed if listed is not None and listed.is_file() else find_pair(folder, *task, identity=identity)
    if path is None:
        told = f"; {entry.error}" if entry is not None and entry.error else ""
        yield Problem(task, f"its file is not there{told}")
        return
    problems = schema_problems(path, n_voxels=recipe.volume.n_voxels, is_pair=True)
    if problems:
        yield Problem(task, "; ".join(problems), path)
        return
    provenance = read_provenance(path)
    found = str(provenance.get("identity"))
    if found != identity:
        yield Problem(task, "was made from another recipe, or with other versions of the libraries", path)
    elif not is_intact(path, identity=identity):
        yield Problem(task, "was altered or damaged: its checksum does not match", path)
    elif entry is None or entry.status != "done" or entry.sha256 != provenance["sha256"]:
        yield Problem(task, "the manifest does not list this file, or with another checksum", path)


def _strangers(folder: Path, listed: dict[Task, Entry]) -> Iterator[Problem]:
    """Files that nobody listed, and what killed writers left."""
    names = {entry.file for entry in listed.values()}
    for split in SPLITS:
        for path in sorted((folder / split).glob("*.h5")):
            if str(path.relative_to(folder)) not in names:
                yield Problem(None, f"{path} is not in the manifest")
    for path in partial_files(folder):
        yield Problem(None, f"{path} was left by a killed run; `picotome generate` removes it")


def _sample_problems(
    files: Mapping[Task, Path], *, seed: int, n_sampled: int, track: Track
) -> Iterator[Problem]:
    """Simulate a few particles again and compare their checksums, which cover every number of a file."""
    rng = stream(seed, 0, "verify")
    tasks = list(files)
    chosen = rng.choice(len(tasks), size=min(n_sampled, len(tasks)), replace=False) if tasks else np.array([])
    with TemporaryDirectory() as scratch:
        for done, number in enumerate(sorted(chosen.tolist()), start=1):
            task = tasks[number]
            provenance = read_provenance(files[task])
            # Of the same identity; but the file also says how many particles were asked for when it was made.
            asked = parse_recipe(provenance["recipe"], str(files[task]))
            checksum, _ = write_particle(asked, Path(scratch), *task)
            pair_path(Path(scratch), *task, identity=provenance["identity"]).unlink()
            if checksum != provenance["sha256"]:
                yield Problem(task, "simulated again, it has other bits", files[task])
            track("simulating again", done, len(chosen))
