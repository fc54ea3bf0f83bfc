"""Datasets at rest and in the making: how far they are, and whether they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DatasetArgument = Annotated[Path, typer.Argument(help="Folder made by picotome generate.")]


def status(dataset: DatasetArgument) -> None:
    """Show what of a dataset is done, failed and running, its rate and the time left, also while it is made.

    Example: picotome status data
    """
    from picotome.datasets.factory.status import read_status, status_text

    typer.echo(status_text(dataset, read_status(dataset)))
