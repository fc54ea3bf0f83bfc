"""What a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    file: Annotated[
        Path, typer.Argument(help="Any file or folder that picotome made, a recipe or a preset.")
    ],
    out: Annotated[Path | None, typer.Option(help="PNG to draw; default: beside the file.")] = None,
) -> None:
    """Say what a file is, and draw it.

    Of a recipe it draws nine of its particles, with size and composition.

    Example: picotome show runs/quickstart/dataset/held_out/particle_000000_*.h5
    """
    from picotome.progress import terminal_progress
    from picotome.report.show import show_path

    with terminal_progress() as track:
        shown = show_path(file, out=out, track=track)
    typer.echo(shown.text)
    for picture in shown.pictures:
        typer.echo(f"picture: {picture}")
