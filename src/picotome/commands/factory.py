"""Datasets at rest and in the making: how far they are, and whether they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from picotome.commands.options import (
    ClusterOption,
    SchedulerOption,
    WorkersOption,
    chosen_cluster,
    chosen_recipe,
)

DatasetArgument = Annotated[Path, typer.Argument(help="Folder made by picotome generate.")]


def status(dataset: DatasetArgument) -> None:
    """Show what of a dataset is done, failed and running, its rate and the time left, also while it is made.

    Example: picotome status data
    """
    from picotome.datasets.factory.status import read_status, status_text

    typer.echo(status_text(dataset, read_status(dataset)))


def verify(
    dataset: DatasetArgument,
    repair: Annotated[bool, typer.Option("--repair", help="Make anew what is wrong or missing.")] = False,
    sample: Annotated[
        int, typer.Option(min=0, help="Particles simulated again, to see that they have the same bits.")
    ] = 1,
    workers: WorkersOption = None,
    scheduler_address: SchedulerOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Check every file of a dataset: there, listed, unaltered, of the schema, finite.

    Ends with code 1 if anything is wrong, or still wrong after the repair.

    Example: picotome verify data --repair --sample 10
    """
    from picotome.datasets.factory.verify import discard
    from picotome.datasets.factory.verify import verify as verify_all
    from picotome.datasets.generate import generate
    from picotome.datasets.plan import SPLITS
    from picotome.progress import terminal_progress

    with terminal_progress() as track:
        problems = verify_all(dataset, n_sampled=sample, track=track)
        for problem in problems:
            typer.echo(f"wrong: {problem}", err=True)
        if problems and repair:
            discard(dataset, problems)
            generate(
                chosen_recipe(str(dataset / "recipe.yaml"), []),
                dataset,
                splits=SPLITS,
                n_workers=workers,
                scheduler_address=scheduler_address,
                cluster=chosen_cluster(cluster),
                track=track,
            )
            # What was made a moment ago need not be simulated a third time.
            problems = verify_all(dataset, n_sampled=0, track=track)
            for problem in problems:
                typer.echo(f"still wrong: {problem}", err=True)
    if problems:
        typer.echo(f"{len(problems)} problems in {dataset}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{dataset} is whole")
