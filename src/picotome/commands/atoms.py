"""Atoms: traced, refined, scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from picotome.commands.options import (
    GeometryOption,
    MinDistanceOption,
    ModelOption,
    OpticsOption,
    OutFile,
    split_list,
)


def trace(
    tomogram: Annotated[Path, typer.Argument(help="File with a tomogram.")],
    elements: Annotated[str, typer.Option(help="Elements of the specimen, for example Pt or Pd,Pt.")],
    out: Annotated[Path, typer.Option(help="HDF5 file, or .xyz (positions in Å).")],
    name: Annotated[
        str | None,
        typer.Option(help="Which tomogram of the file; default: repaired, else degraded, else ideal."),
    ] = None,
    min_distance_A: MinDistanceOption = 1.8,
) -> None:
    """Find the atoms of a tomogram: positions in Å, intensities, species.

    Example: picotome trace repaired.h5 --elements Pd,Pt --out atoms.xyz
    """
    from picotome.datasets.stages import trace_file

    found = trace_file(
        tomogram, elements=split_list(elements), out=out, name=name, min_distance_A=min_distance_A
    )
    typer.echo(f"{len(found.positions_A)} atoms: {out}")


def refine(
    trace: Annotated[Path, typer.Argument(help="Found atoms: an HDF5 file that trace made.")],
    series: Annotated[Path, typer.Argument(help="The tilt series that they were traced from.")],
    out: Annotated[Path, typer.Option(help="HDF5 file, or .xyz (positions in Å, errors in pm).")],
    elements: Annotated[
        str, typer.Option(help="Elements of the specimen, for example Pd,Pt; default: those of the trace.")
    ] = "",
    geometry: GeometryOption = "tilt,turns,shifts",
    brightness: Annotated[str, typer.Option(help="One for each atom, or one for each element.")] = "atom",
    min_distance_A: MinDistanceOption = 1.8,
    recipe: OpticsOption = "",
    device: Annotated[str, typer.Option(help="cpu, or cuda where torch finds a GPU.")] = "cpu",
) -> None:
    """Fit the atoms to the images themselves: positions in Å, with an error in pm for each atom.

    Brightness, probe, gain, background and (unless none) the geometry of each image are fitted with them.

    Example: picotome refine atoms.h5 series.h5 --out refined.h5 --geometry tilt,turns,shifts,defocus
    """
    from picotome.configs import load_recipe
    from picotome.datasets.stages import refine_file, refinement_config
    from picotome.progress import terminal_progress
    from picotome.report.tables import refinement_lines

    config = refinement_config(
        geometry=() if geometry == "none" else split_list(geometry), brightness=brightness
    )
    with terminal_progress() as track:
        refined = refine_file(
            trace,
            series,
            out=out,
            elements=split_list(elements),
            config=config,
            min_distance_A=min_distance_A,
            device=device,
            optics=load_recipe(recipe).optics if recipe else None,
            track=track,
        )
    typer.echo(refinement_lines(refined.trace, refined.images))
    typer.echo(f"{len(refined.trace.positions_A)} atoms: {out}")


def locate(
    series: Annotated[Path, typer.Argument(help="File with a tilt series (simulate or import made it).")],
    elements: Annotated[str, typer.Option(help="Elements of the specimen, for example Pt or Pd,Pt.")],
    out: OutFile,
    geometry: GeometryOption = "tilt,turns,shifts",
    model: ModelOption = None,
    min_distance_A: MinDistanceOption = 1.8,
    recipe: OpticsOption = "",
) -> None:
    """Find the atoms of a tilt series by network and images together, each by what it is worth.

    Does reconstruct, trace, refine, apply, trace and refine, then refine, apply and trace once more with a
    little noise added, which tells how far to trust the network. The file also holds the atoms of the network
    (trace_unet) and of the images alone (trace_refined).

    Example: picotome locate series.h5 --elements Pd,Pt --out atoms.h5
    """
    from picotome.configs import load_recipe
    from picotome.datasets.stages import refinement_config
    from picotome.progress import terminal_progress
    from picotome.report.tables import refinement_lines, worth_table
    from picotome.train.stages import locate_file
    from picotome.train.weights import find_weights

    config = refinement_config(geometry=() if geometry == "none" else split_list(geometry), brightness="atom")
    weights = find_weights(model)
    with terminal_progress() as track:
        located = locate_file(
            series,
            out=out,
            elements=split_list(elements),
            weights=weights,
            refinement=config,
            min_distance_A=min_distance_A,
            optics=load_recipe(recipe).optics if recipe else None,
            track=track,
        )
    typer.echo(refinement_lines(located.refined.trace, located.refined.images))
    typer.echo(worth_table(located.joint.worth))
    typer.echo(f"{len(located.joint.trace.positions_A)} atoms: {out}")


def score(
    trace: Annotated[
        Path, typer.Argument(help="Found atoms: a file that trace made, or any that ASE reads.")
    ],
    truth: Annotated[Path, typer.Argument(help="True atoms: a file of picotome, or any that ASE reads.")],
    radius_A: Annotated[float, typer.Option("--radius-A", help="Largest distance of a match, Å.")] = 0.75,
    elements: Annotated[
        str,
        typer.Option(
            help="Score only these, where others cannot be seen (O beside Ba), such as Ba,Ti; default: all."
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="JSON file for all numbers.")] = None,
) -> None:
    """Hold found atoms against the true ones, one to one; errors in pm after the mean shift is removed.

    Example: picotome score atoms.h5 series.h5 --radius-A 0.75
    """
    from picotome.datasets.stages import score_file
    from picotome.report.tables import score_lines

    result = score_file(trace, truth, radius_A=radius_A, elements=split_list(elements), out=out)
    typer.echo(score_lines(result))
    if out is not None:
        typer.echo(f"numbers: {out}")
