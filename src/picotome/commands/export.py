"""What other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    file: Annotated[Path, typer.Argument(help="HDF5 file of picotome: a pair, a series, a tomogram, atoms.")],
    out: Annotated[
        Path, typer.Option(help="File to write; its ending says the format, where --format is not given.")
    ],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="mrc, emd or tiff (volumes, series), xyz (atoms) or npz (everything)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Which record of the file; default: repaired, else degraded, ideal, series; of atoms: the "
            "last trace, else the specimen."
        ),
    ] = None,
) -> None:
    """Write a record for HyperSpy, tomviz, ImageJ, IMOD, ASE or NumPy; docs/file-format.md says the axes.

    Example: picotome export repaired.h5 --format mrc --out repaired.mrc
    """
    from picotome.datasets.export import export_file

    exported = export_file(file, out=out, format_name=format_, name=name)
    what = "everything" if exported.name is None else exported.name
    typer.echo(f"{what}: {', '.join(str(path) for path in exported.files)}")
