"""Arguments and options that several commands share, and what turns them into values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from picotome.configs.schema import Recipe
    from picotome.configs.workers import LocalWorkers, QueueWorkers

RecipeArgument = Annotated[
    str, typer.Argument(help="Preset (smoke, quickstart, pt, batio3, …; docs/specimens.md) or a YAML file.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")]
OutFile = Annotated[Path, typer.Option("--out", help="HDF5 file to write.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one knob: key=value, for example optics.convergence_mrad=25 or specimens.0.n_atoms=300. "
        "Repeatable.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Local worker processes; default: one per core.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler-address", help="tcp://host:port of a running dask scheduler to use instead."),
]
ClusterOption = Annotated[
    Path | None,
    typer.Option(help="File that says where workers come from: SLURM, PBS, SGE (docs/clusters.md)."),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(help="Weights (.safetensors), or the folder that train wrote; default: those of picotome."),
]
GeometryOption = Annotated[
    str,
    typer.Option(
        help="What may be wrong with each image: any of tilt, turns (about x and z), shifts, defocus; "
        "none where the geometry is exact."
    ),
]
MinDistanceOption = Annotated[float, typer.Option("--min-distance-A", help="Closest two atoms can be, Å.")]
OpticsOption = Annotated[
    str,
    typer.Option(
        help="Recipe with the microscope's optics, which say how neighbouring atoms interfere; default: "
        "that of a simulated series."
    ),
]


def split_list(text: str) -> tuple[str, ...]:
    """Split what a user wrote with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def chosen_recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    """Load a preset or a recipe file with its changes."""
    from picotome.configs import load_recipe

    return load_recipe(name_or_path, overrides)


def chosen_cluster(path: Path | None) -> LocalWorkers | QueueWorkers | None:
    """Load the file of --cluster, if there is one."""
    from picotome.configs.workers import load_cluster

    return load_cluster(path) if path is not None else None


def exit_if_failed(failed: list[Any]) -> None:
    """Name what could not be made, and exit with code 1 if there is any."""
    for entry in failed:
        typer.echo(f"failed: {entry.split} {entry.index}: {entry.error}", err=True)
    if failed:
        raise typer.Exit(1)
