"""Datasets and the networks that learn from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picotome.commands.options import (
    ClusterOption,
    ModelOption,
    OutFile,
    OutFolder,
    RecipeArgument,
    SchedulerOption,
    SetOption,
    WorkersOption,
    chosen_cluster,
    chosen_recipe,
    exit_if_failed,
)

if TYPE_CHECKING:
    from picotome.configs.workers import LocalWorkers, QueueWorkers


def generate(
    recipe: RecipeArgument,
    out: OutFolder,
    set_: SetOption = None,
    workers: WorkersOption = None,
    scheduler_address: SchedulerOption = None,
    cluster: ClusterOption = None,
    slice_: Annotated[
        str | None,
        typer.Option("--slice", help="Make one part of the particles: 3/100 is the third of a hundred."),
    ] = None,
    array_script: Annotated[
        int | None,
        typer.Option("--array-script", min=1, help="Print a SLURM script of so many tasks, make nothing."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what it would take (time, memory, disk), make nothing."),
    ] = False,
) -> None:
    """Make the dataset of a recipe: one HDF5 file per particle, and a manifest.

    Finished and intact files are skipped. A particle that fails is listed and does not stop the others.

    Example: picotome generate quickstart --out data --set training_set.n_train=1000 --workers 8
    """
    from picotome.datasets.generate import generate as generate_all
    from picotome.datasets.plan import SPLITS
    from picotome.progress import terminal_progress
    from picotome.report.dataset_card import CARD_NAME, write_dataset_card

    chosen = chosen_recipe(recipe, set_ or [])
    where = chosen_cluster(cluster)
    if array_script is not None:
        typer.echo(_array_script(recipe, out, set_ or [], n_parts=array_script, where=where))
        return
    part = _part(slice_) if slice_ is not None else None
    if dry_run:
        from picotome.datasets.forecast.forecast import forecast, forecast_text
        from picotome.datasets.forecast.limits import refuse_small_disk, refuse_small_memory

        forecasted = forecast(
            chosen,
            out,
            splits=SPLITS,
            n_workers=workers,
            scheduler_address=scheduler_address,
            cluster=where,
            part=part,
        )
        typer.echo(forecast_text(chosen.name, forecasted))
        refuse_small_memory(forecasted.worker_bytes, forecasted.workers)
        refuse_small_disk(forecasted.disk_bytes, forecasted.free_bytes, out)
        return
    with terminal_progress() as track:
        entries = generate_all(
            chosen,
            out,
            splits=SPLITS,
            n_workers=workers,
            scheduler_address=scheduler_address,
            cluster=where,
            part=part,
            track=track,
        )
    failed = [entry for entry in entries if entry.status == "failed"]
    typer.echo(f"{len(entries) - len(failed)} of {len(entries)} particles are in {out}")
    if write_dataset_card(out, recipe=chosen):
        typer.echo(f"card: {out / CARD_NAME}")
    exit_if_failed(failed)


def _part(text: str) -> tuple[int, int]:
    """Read 3/100."""
    which, _, of = text.partition("/")
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise ValueError(f"--slice is {text!r}; allowed is i/n with i from 1 to n, such as 3/100")
    return int(which), int(of)


def _array_script(
    recipe: str, out: Path, overrides: list[str], *, n_parts: int, where: LocalWorkers | QueueWorkers | None
) -> str:
    from picotome.datasets.factory.array_script import array_script

    if where is not None and where.kind == "local":
        raise ValueError("--array-script writes scripts for SLURM; found a cluster file of kind local")
    return array_script(recipe, out, overrides=overrides, n_parts=n_parts, cluster=where)


def train(
    dataset: Annotated[
        str, typer.Argument(help="Folder made by picotome generate; with --online, or a preset or YAML file.")
    ],
    out: OutFolder,
    online: Annotated[
        bool,
        typer.Option(
            "--online",
            help="Make the pairs to learn from on the way, on the training's device; store only those to "
            "validate with.",
        ),
    ] = False,
    set_: SetOption = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Weights (.safetensors), or the folder that train wrote, to learn on from."),
    ] = None,
) -> None:
    """Train the 3D U-Net on a dataset; a checkpoint each epoch, resumed by the same command.

    The recipe is the dataset's own; --set changes its network and training sections. With --online an epoch
    is training_set.n_train particles that were never seen before. With --start it goes on from what other
    weights have learned, which takes fewer epochs.

    Example: picotome train data --out model --set training.n_epochs=50
    """
    from picotome.datasets.generate import generate as generate_all
    from picotome.progress import terminal_progress
    from picotome.report.figures import draw_training
    from picotome.train.loop import train as train_network
    from picotome.train.online.honoured import refuse_offline_recipe
    from picotome.train.weights import find_weights

    overrides = [*(set_ or []), *(["training_set.online=true"] if online else [])]
    folder = Path(dataset)
    stored = (folder / "recipe.yaml").is_file()
    if not stored and not online:
        raise FileNotFoundError(
            f"{dataset} holds no dataset (no recipe.yaml); make one with `picotome generate`, or train on "
            "pairs made on the way: --online with a preset or a recipe"
        )
    chosen = chosen_recipe(str(folder / "recipe.yaml") if stored else dataset, overrides)
    with terminal_progress() as track:
        if not stored:
            refuse_offline_recipe(chosen)
            folder = out / "dataset"
            generate_all(chosen, folder, splits=("validation",), track=track)
        trained = train_network(
            folder,
            recipe=chosen,
            out=out,
            start=find_weights(start) if start is not None else None,
            track=track,
        )
    draw_training(out / "training.png", history=trained.history)
    best = trained.history[trained.best_epoch]
    typer.echo(
        f"best epoch {trained.best_epoch}: {best['rmsd_pm']:.2f} pm, recall {best['recall']:.4f}, precision "
        f"{best['precision']:.4f} on the validation particles ({trained.precision})"
    )
    typer.echo(f"weights: {trained.model}\ncurves: {out / 'training.png'}")


def apply(
    tomogram: Annotated[Path, typer.Argument(help="File with a degraded tomogram.")],
    out: OutFile,
    model: ModelOption = None,
) -> None:
    """Repair a tomogram with a trained network, in tiles when it is large.

    Example: picotome apply tomogram.h5 --out repaired.h5
    """
    from picotome.train.stages import apply_file
    from picotome.train.weights import find_weights

    weights = find_weights(model)
    if model is None:
        typer.echo(f"weights: {weights.name}, which come with picotome (docs/model-card.md)")
    repaired = apply_file(tomogram, weights=weights, out=out)
    typer.echo(f"volume {repaired.volume.shape} of {repaired.voxel_size_A:g} Å: {out}")
