"""The forecast of a dataset, put together from counts of work and what a unit of it takes here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from picotome.configs.schema import Recipe
from picotome.configs.workers import LocalWorkers, QueueWorkers
from picotome.datasets.forecast.disk import files_bytes
from picotome.datasets.forecast.limits import Workers, existing_folder, find_workers, size_text
from picotome.datasets.forecast.measure import Measured, Start, measure
from picotome.datasets.forecast.work import Group, group_tasks
from picotome.datasets.generate import missing_tasks
from picotome.datasets.plan import Split

_HOUR_S = 3600.0
RUN_S = 0.006
"""Of the process that hands out the work, dask's scheduler in it, for each pair: benchmarks/factory.py."""


@dataclass(frozen=True)
class Forecast:
    """What is left to do of a dataset.

    Attributes
    ----------
    groups, measured
        Counts of each group of pairs, and what a pair of each takes.
    start
        What a worker takes before its first particle.
    workers
        How many, and what they may use.
    n_cores
        Processors that they run on at once.
    free_bytes
        On the dataset's disk.
    """

    groups: tuple[Group, ...]
    measured: tuple[Measured, ...]
    start: Start
    workers: Workers
    free_bytes: int

    @property
    def work_s(self) -> float:
        """Seconds of one processor for all particles, without the start of workers."""
        return sum(_group_s(*each) for each in self._both)

    @property
    def cpu_s(self) -> float:
        """Seconds of one processor in all."""
        once_s = self.start.seconds + sum(each.once_s for each in self.measured)
        return self.work_s + self.workers.number * once_s

    @property
    def wall_s(self) -> float:
        """Seconds on the clock, with every worker on a processor of its own where there are enough.

        One process hands out the work, and so very many workers wait for it.
        """
        once_s = self.start.seconds + sum(each.once_s for each in self.measured)
        longest_s = max((each.particle_s + each.pair_s for each in self.measured), default=0.0)
        n_pairs = sum(len(group.tasks) for group in self.groups)
        # The run itself starts first, and then its workers, side by side.
        return (
            self.start.seconds
            + once_s * self.workers.number / self.workers.n_cores
            + max(self.work_s / self.workers.n_cores, longest_s, n_pairs * RUN_S)
        )

    @property
    def worker_bytes(self) -> int:
        """Memory of a worker at its most."""
        return self.start.memory_bytes + max((each.memory_bytes for each in self.measured), default=0)

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files."""
        return files_bytes(self._both)

    @property
    def _both(self) -> list[tuple[Group, Measured]]:
        return list(zip(self.groups, self.measured, strict=True))


def _group_s(group: Group, measured: Measured) -> float:
    return group.n_simulated * measured.particle_s + len(group.tasks) * measured.pair_s


def forecast(
    recipe: Recipe,
    folder: Path,
    *,
    splits: Sequence[Split],
    n_workers: int | None = None,
    scheduler_address: str | None = None,
    cluster: LocalWorkers | QueueWorkers | None = None,
    part: tuple[int, int] | None = None,
) -> Forecast:
    """Forecast what `picotome.datasets.generate.generate` would take; it needs seconds, and makes nothing.

    The parameters are those of `generate`; the folder need not exist, and what it holds already is not
    counted.

    Raises
    ------
    ValueError
        If the folder holds a dataset of another recipe or a newer picotome, a scheduler does not answer, or
        none of the first particles of a group can be built.
    """
    tasks = missing_tasks(recipe, folder, splits=splits, part=part)
    disk = existing_folder(folder)
    free_bytes = shutil.disk_usage(disk).free
    if not tasks:
        return Forecast((), (), Start(0.0, 0), Workers(0, 1, None), free_bytes)
    workers = find_workers(n_workers, scheduler_address, n_tasks=len(tasks), cluster=cluster)
    groups = group_tasks(recipe, tasks, folder=folder)
    start, measured = measure(recipe, groups, folder=disk)
    return Forecast(tuple(groups), tuple(measured), start, workers, free_bytes)


def forecast_text(name: str, forecast: Forecast) -> str:
    """Say a forecast as lines."""
    if not forecast.groups:
        return f"{name}: nothing is left to make"
    rows = [("pairs", "particles", "atoms", "images", "probes", "plane waves", "core hours")]
    names = [""]
    for group, measured in zip(forecast.groups, forecast.measured, strict=True):
        n = group.n_simulated
        rows.append(
            (
                f"{len(group.tasks):,}",
                f"{n:,}",
                f"{measured.fewest_atoms:,}-{measured.most_atoms:,}",
                f"{group.n_images * n / len(group.firsts):,.0f}",
                f"{n * measured.n_probes:,.0f}" if measured.n_probes else "-",
                f"{n * measured.n_waves:,.0f}" if measured.n_waves else "-",
                f"{_group_s(group, measured) / _HOUR_S:.3g}",
            )
        )
        names.append(f"{group.split}, {group.engine}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    first = max(map(len, names))
    table = [
        f"{label:{first}s}  " + "  ".join(f"{cell:>{w}s}" for cell, w in zip(row, widths, strict=True))
        for label, row in zip(names, rows, strict=True)
    ]
    workers, hours = forecast.workers, forecast.cpu_s / _HOUR_S
    n_built = sum(each.n_built for each in forecast.measured)
    limit = "" if workers.limit_bytes is None else f"; it may use {size_text(workers.limit_bytes)}"
    return "\n".join(
        [
            f"{name}: {sum(len(group.tasks) for group in forecast.groups):,} pairs to make",
            *table,
            f"CPU-hours:   {hours:.3g} ({forecast.start.seconds:.1f} s to start a worker)",
            f"wall time:   {_duration(forecast.wall_s)} on {workers.number} workers{workers.note}",
            f"memory:      {size_text(forecast.worker_bytes)} for each worker{limit}",
            f"disk:        {size_text(forecast.disk_bytes)}; {size_text(forecast.free_bytes)} are free",
            f"From {n_built} particles that were built, and the steps of a few, timed on this machine.",
        ]
    )


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    if seconds < 7200.0:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
