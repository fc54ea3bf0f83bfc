"""One stage on one file: what the commands simulate, import, reconstruct, trace, refine and score do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import (
    Recipe,
    ReconstructionConfig,
    RefinementConfig,
    ScoringConfig,
    TracingConfig,
)
from picotome.configs.specimens import FileSpecimen
from picotome.datasets.export import write_xyz
from picotome.datasets.foreign import import_series
from picotome.datasets.identity import versions
from picotome.datasets.pairs import substrate_of
from picotome.datasets.safe_write import safe_write, write_text
from picotome.datasets.store import Record, pick, read_provenance, read_records, specimen_of, write_records
from picotome.progress import Track, silent
from picotome.recon.solvers import reconstruct
from picotome.records import ImageFit, Score, Specimen, TiltSeries, Tomogram, Trace
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.particles import build_specimen, read_structure
from picotome.trace.numbers import score_numbers
from picotome.trace.scoring import score_trace, scored_atoms
from picotome.trace.tracing import trace_tomogram

if TYPE_CHECKING:
    from picotome.trace.refinement.refine import Refined

HDF5_SUFFIXES = (".h5", ".hdf5")
_VERSIONED = ("picotome", "abtem", "ase", "h5py", "numpy", "scipy")


def simulate_file(recipe: Recipe, *, out: Path, track: Track = silent) -> TiltSeries:
    """Image the recipe's first specimen and write specimen and series."""
    check_out(out)
    specimen = build_specimen(
        recipe.specimens[0],
        volume=recipe.volume,
        rng=stream(recipe.seed, 0, "build"),
        scheme=recipe.acquisition.scheme,
    )

    def progress(done: int, total: int) -> None:
        track(f"{recipe.engine} images", done, total)

    substrate = substrate_of(recipe, specimen, acquisition=recipe.acquisition, index=0)
    series = simulate_series(
        specimen,
        engine=recipe.engine,
        volume=recipe.volume,
        optics=recipe.optics,
        acquisition=recipe.acquisition,
        seed=recipe.seed,
        index=0,
        substrate=substrate,
        progress=progress,
    )
    provenance = {"recipe": recipe.model_dump(mode="json")}
    records: dict[str, Record] = {"specimen": specimen, "series": series}
    if substrate is not None:
        records["substrate"] = substrate
    write_stage(out, records, provenance=provenance)
    return series


def import_file(
    file: Path,
    *,
    out: Path,
    tilts: str | None,
    pixel_size_A: float | None,
    tilt_axis: str | None,
    key: str | None,
    stack_axis: int | None,
    flip_tilt: bool,
) -> TiltSeries:
    """Read somebody else's series and write it as ours; see `picotome.datasets.foreign.import_series`."""
    check_out(out)
    series = import_series(
        file,
        tilts=tilts,
        pixel_size_A=pixel_size_A,
        tilt_axis=tilt_axis,
        key=key,
        stack_axis=stack_axis,
        flip_tilt=flip_tilt,
    )
    write_stage(out, {"series": series}, provenance={"source": file.name})
    return series


def reconstruct_file(
    file: Path,
    *,
    out: Path,
    solver: str,
    n_iterations: int,
    align: bool = False,
    subtract_background: bool = False,
    refined: Path | None = None,
) -> Tomogram:
    """Reconstruct the series of a file; the specimen, where known, travels along.

    With `refined`, a file of `refine_file`, geometry, gain and background of the images are what was found
    there.
    """
    check_out(out)
    if refined is not None and (align or subtract_background):
        raise ValueError(
            "--align and --subtract-background are for images whose geometry is not known; "
            "leave them out where --refined tells it"
        )
    try:
        config = ReconstructionConfig.model_validate(
            {
                "solver": solver,
                "n_iterations": n_iterations,
                "align": align,
                "subtract_background": subtract_background,
            }
        )
    except ValidationError as error:
        raise ValueError(
            f"--solver is {solver!r} and --iterations {n_iterations}; {error.errors()[0]['msg']}"
        ) from error
    records = read_records(file)
    series = pick(records, TiltSeries, file)
    fit = pick(read_records(refined), ImageFit, refined) if refined is not None else None
    tomogram = reconstruct(series, config=config, fit=fit)
    source = [file.name, refined.name] if refined is not None else file.name
    write_stage(
        out,
        {**specimen_of(records), "degraded": tomogram},
        provenance={"source": source, "reconstruction": config.model_dump()},
    )
    return tomogram


def trace_file(
    file: Path, *, elements: Sequence[str], out: Path, name: str | None, min_distance_A: float
) -> Trace:
    """Trace a tomogram of a file and write the atoms as HDF5 or XYZ."""
    check_out(out, (*HDF5_SUFFIXES, ".xyz"))
    try:
        config = TracingConfig.model_validate({"elements": tuple(elements), "min_distance_A": min_distance_A})
    except ValidationError as error:
        raise ValueError(f"--elements or --min-distance-A: {error.errors()[0]['msg']}") from error
    if not elements:
        raise ValueError("--elements is empty; name at least one element, for example --elements Pt")
    records = read_records(file)
    names = (name,) if name is not None else ("repaired", "degraded", "ideal")
    tomogram = pick(records, Tomogram, file, names)
    trace = trace_tomogram(tomogram, elements=elements, config=config)
    if out.suffix == ".xyz":
        _write_xyz(out, trace)
    else:
        provenance = {"source": file.name, "elements": list(elements)}
        write_stage(out, {**specimen_of(records), "trace": trace}, provenance=provenance)
    return trace


def refinement_config(*, geometry: Sequence[str], brightness: str) -> RefinementConfig:
    """Turn what the command line says into a configuration."""
    try:
        return RefinementConfig.model_validate({"geometry": tuple(geometry), "brightness": brightness})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"--{first['loc'][0]}: {first['msg']}; found {first['input']!r}") from error


def simulated_optics(series_path: Path) -> OpticsConfig | None:
    """Optics in the recipe that a series' file holds; None if it holds none that this version reads."""
    recipe = read_provenance(series_path).get("recipe", {})
    try:
        return OpticsConfig.model_validate(recipe["optics"])
    except (KeyError, ValidationError):
        return None


def refine_file(
    trace_path: Path,
    series_path: Path,
    *,
    out: Path,
    elements: Sequence[str],
    config: RefinementConfig,
    min_distance_A: float,
    device: str,
    optics: OpticsConfig | None = None,
    track: Track,
) -> Refined:
    """Refine the trace of one file against the series of another, and write atoms and image fit.

    Where `optics` is None, those of the recipe that the series was simulated with are used, if it was.
    """
    from picotome.trace.refinement.refine import refine_trace

    check_out(out, (*HDF5_SUFFIXES, ".xyz"))
    trace = _read_trace(trace_path)
    if not np.isfinite(trace.intensities).all():
        raise ValueError(
            f"{trace_path} holds no brightness of the atoms; give the HDF5 file that `picotome trace` wrote"
        )
    records = read_records(series_path)
    series = pick(records, TiltSeries, series_path)
    from ase.data import chemical_symbols

    known = sorted({int(number) for number in trace.atomic_numbers if number > 0})
    symbols = tuple(elements) or tuple(chemical_symbols[number] for number in known)
    if not symbols:
        raise ValueError(f"{trace_path} names no elements; state them, for example --elements Pd,Pt")
    refined = refine_trace(
        trace,
        series,
        elements=symbols,
        config=config,
        min_distance_A=min_distance_A,
        optics=optics if optics is not None else simulated_optics(series_path),
        device=device,
        progress=lambda done, most: track("refine", done, most),
    )
    if out.suffix == ".xyz":
        _write_xyz(out, refined.trace)
    else:
        provenance = {"source": [trace_path.name, series_path.name], "elements": list(symbols)}
        stored = {**specimen_of(records), "trace": refined.trace, "images": refined.images}
        write_stage(out, stored, provenance=provenance)
    return refined


def score_file(
    trace_path: Path,
    truth_path: Path,
    *,
    radius_A: float,
    elements: Sequence[str] = (),
    out: Path | None,
) -> Score:
    """Score found atoms of one file against true atoms of another: those of `elements`, or all."""
    try:
        config = ScoringConfig(radius_A=radius_A, elements=tuple(elements) or None)
    except ValidationError as error:
        wrong = error.errors()[0]
        option = f"--radius-A is {radius_A:g}" if wrong["loc"][0] == "radius_A" else "--elements"
        raise ValueError(f"{option}; {wrong['msg'].removeprefix('Value error, ')}") from error
    trace = _read_trace(trace_path)
    score = score_trace(trace, scored_atoms(_read_specimen(truth_path), config=config), config=config)
    if out is not None:
        write_text(out, json.dumps(score_numbers(score), indent=1, allow_nan=False))
    return score


def check_out(out: Path, suffixes: Sequence[str] = HDF5_SUFFIXES) -> None:
    """Refuse a name that cannot be written before any long work starts."""
    if out.suffix not in suffixes:
        raise ValueError(f"--out is {str(out)!r}; allowed is a name that ends in {' or '.join(suffixes)}")


def write_stage(out: Path, records: dict[str, Record], *, provenance: dict[str, Any]) -> None:
    """Write the records of a stage; `provenance` says where they come from."""
    write_records(out, records, provenance={**provenance, "versions": versions(_VERSIONED)})


def _write_xyz(out: Path, trace: Trace) -> None:
    with safe_write(out) as temporary:
        write_xyz(temporary, trace)


def _read_trace(path: Path) -> Trace:
    if path.suffix in HDF5_SUFFIXES:
        trace: Trace = pick(
            read_records(path), Trace, path, ("trace", "trace_refined", "trace_unet", "trace_raw")
        )
        return trace
    atoms = read_structure(FileSpecimen(kind="file", path=str(path)), rng=stream(0, 0, "build"))
    nothing = np.full(len(atoms.positions_A), np.nan)
    return Trace(
        positions_A=atoms.positions_A,
        intensities=nothing,
        atomic_numbers=atoms.atomic_numbers,
        sigma_A=nothing,
    )


def _read_specimen(path: Path) -> Specimen:
    if path.suffix in HDF5_SUFFIXES:
        specimen: Specimen = pick(read_records(path), Specimen, path)
        return specimen
    return read_structure(FileSpecimen(kind="file", path=str(path)), rng=stream(0, 0, "build"))
