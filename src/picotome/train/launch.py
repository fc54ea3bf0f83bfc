"""Where a training runs: one device, or those that ``torchrun`` started this process for."""

from __future__ import annotations

import os
import warnings

from lightning_fabric import Fabric


def launch(precision: str) -> Fabric:
    """Take the devices that this process was given, in Lightning's name of a precision."""
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with warnings.catch_warnings():
        # Lightning says so wherever SLURM is installed; one node or torchrun needs no srun.
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        fabric = Fabric(
            accelerator="auto",
            devices=n_here,
            num_nodes=n_processes // n_here,
            strategy="ddp" if n_processes > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
    fabric.launch()
    return fabric
