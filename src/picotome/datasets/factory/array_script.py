"""A SLURM array job as a plain script, for sites where no scheduler of dask may run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from picotome.configs.workers import QueueWorkers
from picotome.datasets.factory.executors import export_lines


def array_script(
    recipe: str,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    n_parts: int,
    cluster: QueueWorkers | None = None,
) -> str:
    """Write the script of an array job that makes a dataset in parts, and of the job that joins them.

    Parameters
    ----------
    recipe
        Preset, or path of a recipe.
    out
        The dataset, on a file system that all nodes see.
    overrides
        Knobs changed with ``--set``.
    n_parts
        Tasks of the array, of one core each.
    cluster
        Memory, walltime, queue, account, directives and prologue; default: 4 GB and 1 hour.

    Raises
    ------
    ValueError
        If the cluster file is of another batch system.
    """
    config = cluster or QueueWorkers(kind="slurm", workers=n_parts, memory="4GB")
    if config.kind != "slurm":
        raise ValueError(
            f"--array-script writes scripts for SLURM; found a cluster file of kind {config.kind}"
        )
    known = Path(recipe).is_file()
    words = [
        config.python or sys.executable,
        *("-m", "picotome", "generate"),
        str(Path(recipe).resolve()) if known else recipe,
        *("--out", str(out.resolve())),
        *(word for override in overrides for word in ("--set", override)),
        *("--workers", "1"),
    ]
    head = {
        "job-name": "picotome",
        "ntasks": "1",
        "cpus-per-task": "1",
        "mem": f"{_megabytes(config.memory)}M",
        "time": config.walltime,
        "partition": config.queue,
        "account": config.account,
    }
    directives = [f"#SBATCH --{key}={value}" for key, value in head.items() if value is not None]
    directives += [f"#SBATCH {line}" for line in config.directives]
    lines = [
        "#!/bin/bash",
        *directives,
        f"#SBATCH --array=1-{n_parts}",
        f"# Each task makes its share of the particles in {out}; a task that was ended goes on when it",
        "# is submitted again. Submit this, then the job that makes what is missing and joins the lists:",
        "#   job=$(sbatch --parsable array.sh)",
        "#   sbatch --dependency=afterany:$job --array=0 array.sh",
        *export_lines(),
        *config.prologue,
        'if [ "$SLURM_ARRAY_TASK_ID" = 0 ]; then',
        f"  exec {shlex.join(words)}",
        "fi",
        f'exec {shlex.join(words)} --slice "$SLURM_ARRAY_TASK_ID/{n_parts}"',
    ]
    return "\n".join(lines)


def _megabytes(memory: str) -> int:
    from dask.utils import parse_bytes

    return int(parse_bytes(memory)) // 2**20
