"""What a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    file: Annotated[Path, typer.Argument(help="Any file or folder that picotome made, or a recipe.")],
    out: Annotated[Path | None, typer.Option(help="PNG to draw; default: beside the file.")] = None,
) -> None:
    """Say what a file is, and draw it.

    Example: picotome show runs/quickstart/dataset/held_out/000000.h5
    """
    from picotome.report.show import show_path

    shown = show_path(file, out=out)
    typer.echo(shown.text)
    for picture in shown.pictures:
        typer.echo(f"picture: {picture}")
