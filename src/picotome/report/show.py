"""Say what any file of picotome is, and draw it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from picotome.configs.loading import load_recipe, preset_names, recipe_to_yaml
from picotome.datasets.manifest import MANIFEST_NAME, read_manifest
from picotome.datasets.pairs import elements_of
from picotome.datasets.plan import SPLITS, Split
from picotome.datasets.store import Record, read_provenance, read_records
from picotome.progress import Track, silent
from picotome.records import ImageFit, Specimen, TiltSeries, Tomogram, Trace
from picotome.report.contact_sheet import draw_contact_sheet, sample_particles
from picotome.report.figures import draw_series, draw_specimen, draw_tomogram, draw_trace, draw_training
from picotome.report.tables import score_table


@dataclass(frozen=True)
class Shown:
    """What to tell and which pictures were drawn."""

    text: str
    pictures: tuple[Path, ...] = ()


def show_path(path: Path, *, out: Path | None = None, track: Track = silent) -> Shown:
    """Describe and draw a file or folder.

    Parameters
    ----------
    path
        HDF5 file of records, dataset or run folder, weights, training history, summary, recipe or the name of
        a preset.
    out
        Base name of the pictures; default: the file's own.
    track
        Called as particles of a recipe are built.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is nothing of picotome's.
    """
    if not path.exists():
        if str(path) in preset_names():
            return _show_recipe(path, out or Path(f"{path}.png"), track)
        raise FileNotFoundError(
            f"nothing at {path}, and no preset of that name; presets are {', '.join(preset_names())}"
        )
    if path.is_dir():
        return _show_folder(path)
    by_suffix: dict[str, Callable[[Path, Path], Shown]] = {
        ".h5": _show_records,
        ".hdf5": _show_records,
        ".safetensors": _show_weights,
        ".json": _show_json,
        ".yaml": partial(_show_recipe, track=track),
        ".yml": partial(_show_recipe, track=track),
    }
    if path.suffix not in by_suffix:
        raise ValueError(
            f"{path} is no file of picotome; known are {', '.join(by_suffix)} and the folders it makes"
        )
    return by_suffix[path.suffix](path, out or path.with_suffix(".png"))


def _show_records(path: Path, out: Path) -> Shown:
    records, provenance = read_records(path), read_provenance(path)
    lines = [f"{path}: {', '.join(records)}"]
    pictures = []
    for name, record in records.items():
        lines.append(f"  {name}: {_describe(record)}")
        if isinstance(record, ImageFit):
            continue
        picture = out if len(records) == 1 else out.with_name(f"{out.stem}_{name}.png")
        _draw(record, picture)
        pictures.append(picture)
    for key in ("split", "index", "seed", "engine", "source", "versions"):
        if key in provenance:
            lines.append(f"  {key}: {provenance[key]}")
    return Shown("\n".join(lines), tuple(pictures))


def _describe(record: Record) -> str:
    if isinstance(record, Specimen):
        return (
            f"{len(record.positions_A)} true atoms of {', '.join(elements_of(record))}. {record.description}"
        )
    if isinstance(record, TiltSeries):
        dose = "dose unknown" if record.dose_e_per_A2 is None else f"{record.dose_e_per_A2:g} e/Å² per image"
        axes = "" if record.azimuth_deg is None else f" about {len(np.unique(record.azimuth_deg))} axes"
        tilts = (
            f"{len(record.tilt_deg)} tilts{axes} {np.min(record.tilt_deg):g} to {np.max(record.tilt_deg):g}°"
        )
        return (
            f"{tilts}, images {record.images.shape[1:]} of {record.pixel_size_A:g} Å, {record.engine}, {dose}"
        )
    if isinstance(record, Tomogram):
        return f"{record.kind} tomogram {record.volume.shape}, voxels of {record.voxel_size_A:g} Å"
    if isinstance(record, ImageFit):
        turned = np.sqrt(np.mean(record.tilt_error_deg**2))
        shifted = np.sqrt(np.mean(record.shift_error_A**2))
        vouched = f", {record.n_vouched} kept on a network's word" if record.n_vouched else ""
        return (
            f"fit to {len(record.gain)} images: angles off by {turned:.3f}° rms, shifts by {shifted:.3f} Å "
            f"rms; probe core {record.core_sigma_A:.2f} Å, tail {record.tail_sigma_A:.2f} Å "
            f"({record.tail_fraction:.0%}); χ² {record.chi2:.2f}, unexplained {record.misfit:.1%}; "
            f"{record.n_added} atoms added, {record.n_removed} removed{vouched}"
        )
    counts = {
        int(z): int(n) for z, n in zip(*np.unique(record.atomic_numbers, return_counts=True), strict=True)
    }
    return f"{len(record.positions_A)} found atoms; by atomic number {counts}"


def _draw(record: Record, path: Path) -> None:
    if isinstance(record, Specimen):
        draw_specimen(path, specimen=record)
    elif isinstance(record, TiltSeries):
        draw_series(path, series=record)
    elif isinstance(record, Tomogram):
        draw_tomogram(path, tomogram=record)
    elif isinstance(record, Trace):
        draw_trace(path, trace=record)


def _show_weights(path: Path, out: Path) -> Shown:
    from picotome.train.checkpoint import load_weights

    network, card = load_weights(path)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    lines = [
        f"{path}: weights of a 3D U-Net, {n_parameters} parameters, recipe {card.recipe!r}, "
        f"epoch {card.epoch}, {card.precision}",
        f"  voxels of {card.voxel_size_A:g} Å, tilts {card.tilt_min_deg:g} to {card.tilt_max_deg:g}°",
        f"  validation: {', '.join(f'{key} {value:.4g}' for key, value in card.score.items())}",
    ]
    return Shown("\n".join(lines))


def _show_json(path: Path, out: Path) -> Shown:
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if isinstance(data, Mapping) and "specimens" in data and "recipe" in data:
        return Shown(
            f"{path}: summary of a run of {data['recipe']['name']!r}\n{score_table(data['specimens'])}"
        )
    if path.name == MANIFEST_NAME:
        return _show_folder(path.parent)
    if isinstance(data, list) and data and "ospa_pm" in data[0]:
        draw_training(out, history=data)
        return Shown(f"{path}: {len(data)} epochs of training", (out,))
    raise ValueError(f"{path} is JSON, but no summary, manifest or training history of picotome")


def _show_recipe(path: Path, out: Path, track: Track) -> Shown:
    """Print the whole recipe and draw what it makes: the particles to learn from, too, if of other kinds."""
    recipe = load_recipe(str(path))
    lines = [f"# {path}: a recipe, with all defaults\n{recipe_to_yaml(recipe).rstrip()}"]
    sheets: dict[Split, Path] = {"held_out": out}
    if recipe.training_set.specimens != recipe.specimens:
        sheets["train"] = out.with_name(f"{out.stem}_train.png")
    for split, picture in sheets.items():
        samples = sample_particles(recipe, split, track=track)
        title = recipe.name if len(sheets) == 1 else f"{recipe.name}, {split.replace('_', '-')} particles"
        draw_contact_sheet(picture, samples=samples, title=title)
        lines.extend(
            f"# {split} {sample.index}: {sample.specimen.description}"
            if sample.specimen is not None
            else f"# {split} {sample.index} cannot be built: {sample.error}"
            for sample in samples
        )
    return Shown("\n".join(lines), tuple(sheets.values()))


def _show_folder(path: Path) -> Shown:
    if (path / "summary.json").is_file():
        return _show_json(path / "summary.json", path / "summary.png")
    if (path / MANIFEST_NAME).is_file():
        entries = read_manifest(path)
        lines = [f"{path}: a dataset"]
        for split in SPLITS:
            mine = [entry for entry in entries if entry.split == split]
            failed = [entry for entry in mine if entry.status == "failed"]
            lines.append(f"  {split}: {len(mine) - len(failed)} done, {len(failed)} failed")
            lines.extend(f"    {entry.index}: {entry.error}" for entry in failed)
        return Shown("\n".join(lines))
    if (path / "history.json").is_file():
        return _show_json(path / "history.json", path / "training.png")
    raise ValueError(f"{path} is no run, dataset or model folder of picotome")
