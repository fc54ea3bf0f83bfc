"""Whether a dataset fits on its disk: at once where it surely does, else by the files of a few pairs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from picotome.configs.schema import Recipe
from picotome.datasets.forecast.limits import refuse_small_disk
from picotome.datasets.forecast.measure import Measured, measure
from picotome.datasets.forecast.work import Group, Task, group_tasks

# Of a pair's file, beside its arrays of images and volumes: atoms and their truth, axes, HDF5's own.
_REST_BYTES = 2**20


def refuse_full_disk(recipe: Recipe, folder: Path, tasks: Sequence[Task]) -> None:
    """Refuse to begin what the disk has no space for; nothing is measured where there is plenty.

    Raises
    ------
    OSError
        If the files would need more than is free.
    """
    free_bytes = shutil.disk_usage(folder).free
    groups = group_tasks(recipe, tasks, folder=folder)
    if _most_bytes(recipe, groups) <= free_bytes:
        return
    try:
        # Elsewhere: there may not be the space for one file.
        _, measured = measure(recipe, groups, folder=Path(tempfile.gettempdir()))
    except ValueError:
        # Particles that cannot be built are for the run itself to list.
        return
    refuse_small_disk(files_bytes(zip(groups, measured, strict=True)), free_bytes, folder)


def files_bytes(parts: Iterable[tuple[Group, Measured]]) -> int:
    """Count the bytes of all files."""
    return sum(
        len(group.tasks) * each.pair_bytes + group.n_simulated * each.simulation_bytes
        for group, each in parts
    )


def _most_bytes(recipe: Recipe, groups: Sequence[Group]) -> int:
    """Bytes of all files if nothing in them could be compressed."""
    n, itemsize = recipe.volume.n_voxels, 2 if recipe.storage.precision == "float16" else 4
    return sum(
        len(group.tasks) * (2 * itemsize * n**3 + _REST_BYTES)
        + 4 * (group.n_pair_images + group.n_images) * n**2
        for group in groups
    )
