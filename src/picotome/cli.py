"""The command line: parse, call one function, say where the result is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from picotome.configs.schema import Recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Training data, networks and picometre scores for atomic electron tomography.",
)

RecipeArgument = Annotated[
    str, typer.Argument(help="Preset (smoke, quickstart, general, paper) or a YAML file.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")]
OutFile = Annotated[Path, typer.Option("--out", help="HDF5 file to write.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change one knob: key=value, for example optics.convergence_mrad=25. Repeatable."
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Local worker processes; default: one per core.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler-address", help="tcp://host:port of a running dask scheduler to use instead."),
]


def main() -> None:
    """Run the command line; every foreseen error is one message and exit code 1."""
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from picotome import __version__

        typer.echo(f"picotome {__version__}")
        raise typer.Exit


@app.command()
def run(
    recipe: RecipeArgument,
    out: OutFolder,
    set_: SetOption = None,
    workers: WorkersOption = None,
    scheduler_address: SchedulerOption = None,
) -> None:
    """Do the whole job: particles, tilt series, tomograms, network, atoms, scores in pm, report.

    The same command again resumes what was ended and skips what is finished.

    Example: picotome run quickstart --out runs/quickstart
    """
    from picotome.pipeline import run as run_all
    from picotome.progress import terminal_progress
    from picotome.report.tables import score_table

    chosen = _recipe(recipe, set_ or [])
    with terminal_progress() as track:
        result = run_all(chosen, out, n_workers=workers, scheduler_address=scheduler_address, track=track)
    typer.echo(score_table(result.summary["specimens"]))
    typer.echo(f"report: {result.report}")
    _exit_if_failed(result.failed)


@app.command()
def generate(
    recipe: RecipeArgument,
    out: OutFolder,
    set_: SetOption = None,
    workers: WorkersOption = None,
    scheduler_address: SchedulerOption = None,
) -> None:
    """Make the dataset of a recipe: one HDF5 file per particle, and a manifest.

    Finished and intact files are skipped. A particle that fails is listed and does not stop the others.

    Example: picotome generate quickstart --out data --set training_set.n_train=1000 --workers 8
    """
    from picotome.datasets.generate import generate as generate_all
    from picotome.datasets.pairs import SPLITS
    from picotome.progress import terminal_progress

    chosen = _recipe(recipe, set_ or [])
    with terminal_progress() as track:
        entries = generate_all(
            chosen, out, splits=SPLITS, n_workers=workers, scheduler_address=scheduler_address, track=track
        )
    failed = [entry for entry in entries if entry.status == "failed"]
    typer.echo(f"{len(entries) - len(failed)} of {len(entries)} particles are in {out}")
    _exit_if_failed(failed)


@app.command()
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
        series = simulate_file(_recipe(recipe, overrides), out=out, track=track)
    typer.echo(
        f"{len(series.tilt_deg)} images of {series.images.shape[1]} × {series.images.shape[2]} pixels: {out}"
    )


@app.command()
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

    chosen = _recipe(recipe, set_ or [])
    with terminal_progress() as track:
        result = calibrate_file(chosen, out=out, engine=engine, n_images=images, track=track)
    picture = out.with_suffix(".png")
    draw_engine_calibration(picture, result=result)
    typer.echo(calibration_lines(result))
    typer.echo(f"recipe: {out}\npicture: {picture}")


@app.command("import")
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


@app.command()
def reconstruct(
    series: Annotated[Path, typer.Argument(help="File with a tilt series (simulate or import made it).")],
    out: OutFile,
    solver: Annotated[str, typer.Option(help="sirt (positive, with momentum) or wbp.")] = "sirt",
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of sirt.")] = 30,
    align: Annotated[
        bool, typer.Option("--align", help="First shift the images to a common centre of mass.")
    ] = False,
) -> None:
    """Reconstruct the tomogram of a tilt series (image unit per Å).

    Example: picotome reconstruct series.h5 --out tomogram.h5 --iterations 30
    """
    from picotome.datasets.stages import reconstruct_file

    tomogram = reconstruct_file(series, out=out, solver=solver, n_iterations=iterations, align=align)
    typer.echo(f"volume {tomogram.volume.shape} of {tomogram.voxel_size_A:g} Å: {out}")


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="Folder made by picotome generate.")],
    out: OutFolder,
    set_: SetOption = None,
) -> None:
    """Train the 3D U-Net on a dataset; a checkpoint each epoch, resumed by the same command.

    The recipe is the dataset's own; --set changes its network and training sections.

    Example: picotome train data --out model --set training.n_epochs=50
    """
    from picotome.progress import terminal_progress
    from picotome.report.figures import draw_training
    from picotome.train.loop import train as train_network

    if not (dataset / "recipe.yaml").is_file():
        raise FileNotFoundError(
            f"{dataset} holds no dataset (no recipe.yaml); make one with `picotome generate`"
        )
    chosen = _recipe(str(dataset / "recipe.yaml"), set_ or [])
    with terminal_progress() as track:
        trained = train_network(dataset, recipe=chosen, out=out, track=track)
    draw_training(out / "training.png", history=trained.history)
    best = trained.history[trained.best_epoch]
    typer.echo(
        f"best epoch {trained.best_epoch}: {best['rmsd_pm']:.2f} pm, recall {best['recall']:.4f}, precision "
        f"{best['precision']:.4f} on the validation particles ({trained.precision})"
    )
    typer.echo(f"weights: {trained.model}\ncurves: {out / 'training.png'}")


@app.command()
def apply(
    tomogram: Annotated[Path, typer.Argument(help="File with a degraded tomogram.")],
    out: OutFile,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Weights (.safetensors), or the folder that train wrote; default: those of picotome."
        ),
    ] = None,
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


@app.command()
def trace(
    tomogram: Annotated[Path, typer.Argument(help="File with a tomogram.")],
    elements: Annotated[str, typer.Option(help="Elements of the specimen, for example Pt or Pd,Pt.")],
    out: Annotated[Path, typer.Option(help="HDF5 file, or .xyz (positions in Å).")],
    name: Annotated[
        str | None,
        typer.Option(help="Which tomogram of the file; default: repaired, else degraded, else ideal."),
    ] = None,
    min_distance_A: Annotated[
        float, typer.Option("--min-distance-A", help="Closest two atoms can be, Å.")
    ] = 1.8,
) -> None:
    """Find the atoms of a tomogram: positions in Å, intensities, species.

    Example: picotome trace repaired.h5 --elements Pd,Pt --out atoms.xyz
    """
    from picotome.datasets.stages import trace_file

    found = trace_file(tomogram, elements=_list(elements), out=out, name=name, min_distance_A=min_distance_A)
    typer.echo(f"{len(found.positions_A)} atoms: {out}")


@app.command()
def refine(
    trace: Annotated[Path, typer.Argument(help="Found atoms: an HDF5 file that trace made.")],
    series: Annotated[Path, typer.Argument(help="The tilt series that they were traced from.")],
    out: Annotated[Path, typer.Option(help="HDF5 file, or .xyz (positions in Å, errors in pm).")],
    elements: Annotated[
        str, typer.Option(help="Elements of the specimen, for example Pd,Pt; default: those of the trace.")
    ] = "",
    geometry: Annotated[
        str,
        typer.Option(
            help="What may be wrong with each image: any of tilt, turns (about x and z), shifts, defocus; "
            "none where the geometry is exact."
        ),
    ] = "tilt,turns,shifts",
    brightness: Annotated[str, typer.Option(help="One for each atom, or one for each element.")] = "atom",
    min_distance_A: Annotated[
        float, typer.Option("--min-distance-A", help="Closest two atoms can be, Å.")
    ] = 1.8,
    device: Annotated[str, typer.Option(help="cpu, or cuda where torch finds a GPU.")] = "cpu",
) -> None:
    """Fit the atoms to the images themselves: positions in Å, with an error in pm for each atom.

    Brightness, probe, gain, background and (unless none) the geometry of each image are fitted with them.

    Example: picotome refine atoms.h5 series.h5 --out refined.h5 --geometry tilt,turns,shifts,defocus
    """
    from picotome.datasets.stages import refine_file, refinement_config
    from picotome.progress import terminal_progress
    from picotome.report.tables import refinement_lines

    config = refinement_config(geometry=() if geometry == "none" else _list(geometry), brightness=brightness)
    with terminal_progress() as track:
        refined = refine_file(
            trace,
            series,
            out=out,
            elements=_list(elements),
            config=config,
            min_distance_A=min_distance_A,
            device=device,
            track=track,
        )
    typer.echo(refinement_lines(refined.trace, refined.images))
    typer.echo(f"{len(refined.trace.positions_A)} atoms: {out}")


@app.command()
def score(
    trace: Annotated[
        Path, typer.Argument(help="Found atoms: a file that trace made, or any that ASE reads.")
    ],
    truth: Annotated[Path, typer.Argument(help="True atoms: a file of picotome, or any that ASE reads.")],
    radius_A: Annotated[float, typer.Option("--radius-A", help="Largest distance of a match, Å.")] = 0.75,
    out: Annotated[Path | None, typer.Option(help="JSON file for all numbers.")] = None,
) -> None:
    """Hold found atoms against the true ones, one to one; errors in pm after the mean shift is removed.

    Example: picotome score atoms.h5 series.h5 --radius-A 0.75
    """
    from picotome.datasets.stages import score_file
    from picotome.report.tables import score_lines

    result = score_file(trace, truth, radius_A=radius_A, out=out)
    typer.echo(score_lines(result))
    if out is not None:
        typer.echo(f"numbers: {out}")


@app.command()
def benchmark(
    out: OutFolder,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small particles, one dose: minutes instead of an hour.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of simulated series; default: the folder cache in --out.")
    ] = None,
    workers: WorkersOption = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Weights (.safetensors), or the folder that train wrote; default: those of picotome."
        ),
    ] = None,
    particle: Annotated[
        Path | None, typer.Option(help="Structure to add to the table: any file that ASE reads (Å).")
    ] = None,
    particle_engine: Annotated[
        list[str] | None, typer.Option(help="linear (default) or prism, for --particle. Repeatable.")
    ] = None,
) -> None:
    """Find the atoms of simulated particles at every stage, dose and imperfection, beside the bound.

    A fixed, seeded table: benchmark.json, benchmark.md and a picture. Simulated series are kept, and the same
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
        result = run_benchmark(plan, out, cache=cache, n_workers=workers, model=model, track=track)
    typer.echo(terminal_table(result.rows))
    typer.echo(f"numbers: {out / JSON_NAME}\npage: {out / PAGE_NAME}\npicture: {out / PICTURE_NAME}")
    for name, error in result.failed.items():
        typer.echo(f"failed: {name}: {error}", err=True)
    if result.failed:
        raise typer.Exit(1)


@app.command()
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


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    from picotome.configs import load_recipe

    return load_recipe(name_or_path, overrides)


def _exit_if_failed(failed: list[Any]) -> None:
    for entry in failed:
        typer.echo(f"failed: {entry.split} {entry.index}: {entry.error}", err=True)
    if failed:
        raise typer.Exit(1)
