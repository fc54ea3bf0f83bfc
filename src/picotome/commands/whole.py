"""The whole job, and the table that anyone can repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from picotome.commands.options import (
    ClusterOption,
    ModelOption,
    OutFolder,
    RecipeArgument,
    SchedulerOption,
    SetOption,
    WorkersOption,
    chosen_cluster,
    chosen_recipe,
    exit_if_failed,
)


def run(
    recipe: RecipeArgument,
    out: OutFolder,
    set_: SetOption = None,
    workers: WorkersOption = None,
    scheduler_address: SchedulerOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Do the whole job: particles, tilt series, tomograms, network, atoms, scores in pm, report.

    The same command again resumes what was ended and skips what is finished.

    Example: picotome run quickstart --out runs/quickstart
    """
    from picotome.pipeline import run as run_all
    from picotome.progress import terminal_progress
    from picotome.report.tables import score_table

    chosen = chosen_recipe(recipe, set_ or [])
    with terminal_progress() as track:
        result = run_all(
            chosen,
            out,
            n_workers=workers,
            scheduler_address=scheduler_address,
            cluster=chosen_cluster(cluster),
            track=track,
        )
    typer.echo(score_table(result.summary["specimens"]))
    typer.echo(f"report: {result.report}")
    exit_if_failed(result.failed)


def benchmark(
    out: OutFolder,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small particles, one dose: minutes instead of an hour.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of simulated series; default: the folder cache in --out.")
    ] = None,
    workers: WorkersOption = None,
    scheduler_address: SchedulerOption = None,
    cluster: ClusterOption = None,
    model: ModelOption = None,
    particle: Annotated[
        Path | None, typer.Option(help="Structure to add to the table: any file that ASE reads (Å).")
    ] = None,
    particle_engine: Annotated[
        list[str] | None, typer.Option(help="linear (default) or prism, for --particle. Repeatable.")
    ] = None,
) -> None:
    """Find the atoms of simulated particles at every stage, dose and imperfection, beside the bound.

    A fixed, seeded table: benchmark.json, benchmark.md and pictures. Simulated series are kept, and the same
    command again repeats nothing that is finished.

    Example: picotome benchmark --out benchmark --quick
    """
    from picotome.benchmark.page import terminal_table
    from picotome.benchmark.plan import full_plan, particle_engines, quick_plan, with_particle
    from picotome.benchmark.run import JSON_NAME, PAGE_NAME, PICTURE_NAME, run_benchmark
    from picotome.progress import terminal_progress

    plan = quick_plan() if quick else full_plan()
    if particle is not None:
        plan = with_particle(plan, particle, engines=particle_engines(particle_engine or ["linear"]))
    with terminal_progress() as track:
        result = run_benchmark(
            plan,
            out,
            cache=cache,
            n_workers=workers,
            scheduler_address=scheduler_address,
            cluster=chosen_cluster(cluster),
            model=model,
            track=track,
        )
    typer.echo(terminal_table(result.rows))
    typer.echo(f"numbers: {out / JSON_NAME}\npage: {out / PAGE_NAME}\npicture: {out / PICTURE_NAME}")
    for name, error in result.failed.items():
        typer.echo(f"failed: {name}: {error}", err=True)
    if result.failed:
        raise typer.Exit(1)
