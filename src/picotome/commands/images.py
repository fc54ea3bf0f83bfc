"""Tilt series: simulated, imported, calibrated, reconstructed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from picotome.commands.options import (
    OutFile,
    RecipeArgument,
    SetOption,
    chosen_recipe,
)


def simulate(
    structure: Annotated[Path, typer.Argument(help="Atoms: any file that ASE reads (positions in Å).")],
    out: OutFile,
    recipe: Annotated[str, typer.Option(help="Recipe for box, optics and acquisition.")] = "quickstart",
    engine: Annotated[
        str | None, typer.Option(help="prism, multislice or linear; default: the recipe's.")
    ] = None,
    set_: SetOption = None,
) -> None:
    """Simulate the HAADF tilt series of a structure (fractions of the incident electrons per pixel).

    Example: picotome simulate particle.xyz --out series.h5 --engine linear --set volume.n_voxels=128
    """
    from picotome.datasets.stages import simulate_file
    from picotome.progress import terminal_progress

    specimen = f"specimens=[{{kind: file, path: {str(structure)!r}}}]"
    overrides = [specimen, *(set_ or []), *([f"engine={engine}"] if engine else [])]
    with terminal_progress() as track:
        series = simulate_file(chosen_recipe(recipe, overrides), out=out, track=track)
    typer.echo(
        f"{len(series.tilt_deg)} images of {series.images.shape[1]} × {series.images.shape[2]} pixels: {out}"
    )


def calibrate(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option("--out", help="Recipe to write (.yaml), with optics.linear fitted.")],
    engine: Annotated[str, typer.Option(help="prism or multislice.")] = "prism",
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Images to fit; half as many are held out. Default: 6."),
    ] = None,
    set_: SetOption = None,
) -> None:
    """Fit the linear engine to a few wave images of the recipe's kinds of specimen, at most 16 Å wide.

    Prints how far it stays from images that were not fitted, and draws one of them beside the recipe.

    Example: picotome calibrate quickstart --out calibrated.yaml
    """
    from picotome.datasets.calibrate import calibrate_file
    from picotome.progress import terminal_progress
    from picotome.report.engine_calibration import calibration_lines, draw_engine_calibration

    chosen = chosen_recipe(recipe, set_ or [])
    with terminal_progress() as track:
        result = calibrate_file(chosen, out=out, engine=engine, n_images=images, track=track)
    picture = out.with_suffix(".png")
    draw_engine_calibration(picture, result=result)
    typer.echo(calibration_lines(result))
    typer.echo(f"recipe: {out}\npicture: {picture}")


def import_(
    file: Annotated[Path, typer.Argument(help="MRC, TIFF, NPY/NPZ, MATLAB .mat or HDF5.")],
    out: OutFile,
    tilts: Annotated[
        str | None,
        typer.Option(help="Tilts in degrees: a .tlt, .rawtlt, .txt, .csv or .npy file, or key:NAME."),
    ] = None,
    pixel_size_A: Annotated[float | None, typer.Option("--pixel-size-A", help="Edge of a pixel, Å.")] = None,
    tilt_axis: Annotated[
        str | None,
        typer.Option(
            help="Where the tilt axis lies in the images as stored: rows (along array axis 0, vertical on "
            "screen; IMOD's stacks) or columns (along array axis 1, horizontal)."
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Array inside an NPZ, .mat or HDF5 file.")] = None,
    stack_axis: Annotated[
        int | None, typer.Option(help="Array axis that counts the images: 0, 1 or 2.")
    ] = None,
    flip_tilt: Annotated[bool, typer.Option("--flip-tilt", help="Reverse the sign of the tilts.")] = False,
) -> None:
    """Read somebody else's tilt series into picotome's frame (tilt axis along y, pixel n // 2 is the origin).

    Example: picotome import stack.mrc --tilts stack.rawtlt --tilt-axis rows --out series.h5
    """
    from picotome.datasets.stages import import_file

    series = import_file(
        file,
        out=out,
        tilts=tilts,
        pixel_size_A=pixel_size_A,
        tilt_axis=tilt_axis,
        key=key,
        stack_axis=stack_axis,
        flip_tilt=flip_tilt,
    )
    typer.echo(
        f"{len(series.tilt_deg)} images of {series.images.shape[1]} × {series.images.shape[2]} pixels of "
        f"{series.pixel_size_A:g} Å, tilts {series.tilt_deg.min():g} to {series.tilt_deg.max():g}°: {out}"
    )


def reconstruct(
    series: Annotated[Path, typer.Argument(help="File with a tilt series (simulate or import made it).")],
    out: OutFile,
    solver: Annotated[str, typer.Option(help="sirt (positive, with momentum) or wbp.")] = "sirt",
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of sirt.")] = 30,
    align: Annotated[
        bool, typer.Option("--align", help="First shift the images to a common centre of mass.")
    ] = False,
    subtract_background: Annotated[
        bool,
        typer.Option(
            "--subtract-background", help="First subtract each image's mean outside of the particle."
        ),
    ] = False,
    refined: Annotated[
        Path | None,
        typer.Option(
            help="File that `refine` wrote: take each image's angles, shift, gain and background from it."
        ),
    ] = None,
) -> None:
    """Reconstruct the tomogram of a tilt series (image unit per Å).

    Example: picotome reconstruct series.h5 --out tomogram.h5 --iterations 30

    Again, once its geometry is known: picotome reconstruct series.h5 --refined refined.h5 --out again.h5
    """
    from picotome.datasets.stages import reconstruct_file

    tomogram = reconstruct_file(
        series,
        out=out,
        solver=solver,
        n_iterations=iterations,
        align=align,
        subtract_background=subtract_background,
        refined=refined,
    )
    typer.echo(f"volume {tomogram.volume.shape} of {tomogram.voxel_size_A:g} Å: {out}")
