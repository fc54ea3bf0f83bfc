"""The model card: what a network learned from, how well it does and where it fails, as Markdown.

Made anew with ``python -m picotome.train.model_card benchmark.json > docs/model-card.md``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from picotome.configs.imaging import AcquisitionConfig
from picotome.configs.schema import Recipe, TrainingConfig
from picotome.configs.specimens import SpecimenConfig
from picotome.train.checkpoint import ModelCard

_STAGES = ("raw", "unet")
_COLUMNS = ("recall", "precision", "rmsd_pm", "surface_rmsd_pm", "core_rmsd_pm")

_LIMITS = """\
- It learned compact f.c.c. particles in vacuum, most of them regular. Supports, amorphous specimens and other
  lattices are outside of what it has seen, and disordered particles are repaired less well. Larger ones want
  more tilts, as many for their diameter (docs/refinement.md).
- It repairs tomograms of `picotome reconstruct` with the recipe's solver and number of iterations. Another
  reconstruction has another noise and another wedge. Where images may be wrong it does best on the tomogram
  of a refined geometry (`picotome reconstruct --refined`).
- Tomograms of another voxel size are resampled to the model's, up to a factor of 1.5.
- It does not know the dose, the tilts or the elements of the tomogram that it is given, and gives no error
  bars.
- A network can draw an atom where a lattice would have one. Refine its atoms against the images
  (`picotome refine`): `support` says of each what the measurement itself knows of it, `chance` what the
  network does.
"""


def model_card_text(
    card: ModelCard, recipe: Recipe, *, n_parameters: int, rows: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Describe a network for those who use it.

    Parameters
    ----------
    card
        What is stored beside the weights.
    recipe
        What it was trained by.
    n_parameters
        Number of weights.
    rows
        Rows of ``benchmark.json``; those of the stages ``raw`` and ``unet`` are shown.

    Raises
    ------
    ValueError
        If the weights are of another recipe.
    """
    if card.recipe != recipe.name:
        raise ValueError(
            f"the weights are of the recipe {card.recipe!r}, the recipe is {recipe.name!r}; give both alike"
        )
    parts = [
        f"# Model card: {card.recipe}\n",
        _summary(card, n_parameters),
        "## Data\n",
        _data(recipe),
        "## Training\n",
        _training(card, recipe),
        "## Scores\n",
        _validation(card, recipe),
        *([_table(rows)] if rows else []),
        "## Limits\n",
        _LIMITS,
    ]
    return "\n".join(parts)


def _summary(card: ModelCard, n_parameters: int) -> str:
    narrowest = card.narrowest_tilt_max_deg
    widest = f"{card.tilt_min_deg:g} to {card.tilt_max_deg:g}°"
    tilts = widest if narrowest is None else f"±{narrowest:g}° to ±{card.tilt_max_deg:g}°"
    return (
        "A 3D U-Net that repairs what noise, bad images and the missing wedge do to a tomogram of atoms. "
        "`picotome apply` uses it where no other weights are given.\n\n"
        "| | |\n|---|---|\n"
        f"| input, output | tomogram with voxels of {card.voxel_size_A:g} Å; one Gaussian of sigma "
        f"{card.peak_sigma_A:g} Å for each atom |\n"
        f"| tilts | {tilts} |\n"
        f"| size | {n_parameters:,} numbers, {4e-6 * n_parameters:.1f} MB (float32, safetensors) |\n"
        f"| made with | picotome {card.picotome}, recipe `{card.recipe}` |\n"
        "| licence | as picotome: GPL-3.0-or-later |\n"
    )


def _data(recipe: Recipe) -> str:
    chosen, optics = recipe.training_set, recipe.optics
    acquisition = chosen.acquisition or recipe.acquisition
    n_linear = chosen.n_train - chosen.n_prism
    engines = f"{n_linear} imaged by the engine `{chosen.engine}`"
    if chosen.n_prism:
        shared = f"; {chosen.simulation.n_series} from each simulation" if chosen.simulation else ""
        engines += f", {chosen.n_prism} by `prism` (multislice{shared})"
    lines = [
        f"{chosen.n_train} simulated particles to learn from, {engines}, and {chosen.n_validation} to choose "
        f"the epoch by, imaged by `{chosen.engine}`; no measured data. "
        f"Boxes of {recipe.volume.n_voxels}³ voxels, reconstructed by {_reconstruction(recipe)}."
        f" {_step(recipe)}{_refined(recipe)} "
        f"Microscope: {optics.beam_energy_eV / 1e3:g} kV, "
        f"{optics.convergence_mrad:g} mrad, detector {optics.detector_inner_mrad:g} to "
        f"{optics.detector_outer_mrad:g} mrad, source size {optics.source_size_A:g} Å.\n",
        *_kinds(chosen.specimens),
        "\nDrawn for each particle:\n",
        "| what | range |\n|---|---|",
        *(f"| {what} | {value} |" for what, value in _ranges(recipe, acquisition)),
        "",
    ]
    return "\n".join(lines)


def _step(recipe: Recipe) -> str:
    """Say how densely the specimens are tilted, which a drawn wedge keeps."""
    acquisition, (low, high) = recipe.learned_acquisition, recipe.learned_steps_deg
    steps = f"{low:.3g}°" if low == high else f"{low:.3g} to {high:.3g}° (drawn for each particle)"
    axes = "about each of two axes" if acquisition.scheme == "dual_axis" else "about one axis"
    lost = (
        f", of which a part of {_plain(acquisition.missing_fraction)} is lost"
        if acquisition.missing_fraction[1]
        else ""
    )
    return f"One image for every {steps} of tilt {axes}{lost}."


def _reconstruction(recipe: Recipe) -> str:
    chosen = recipe.reconstruction
    rounds = f" ({chosen.n_iterations} iterations)" if chosen.solver == "sirt" else ""
    return f"{chosen.solver}{rounds} from {'aligned' if chosen.align else 'unaligned'} images"


def _refined(recipe: Recipe) -> str:
    """Say how many tomograms are those of a refined geometry."""
    refined = recipe.training_set.refined
    if refined is None:
        return ""
    tilt, shift, focus, gain = (
        _plain(span)
        for span in (
            refined.tilt_error_rms_deg,
            refined.shift_error_rms_A,
            refined.defocus_error_rms_A,
            refined.gain_error_rms,
        )
    )
    return (
        f" {refined.share:.0%} of the tomograms are made with the geometry of each image known but for "
        f"errors of {tilt}° about three axes, {shift} Å, {focus} Å of focus and {gain} of gain (rms), as a "
        "refinement leaves it."
    )


def _kinds(specimens: Sequence[SpecimenConfig]) -> list[str]:
    """List the kinds, with their shares where these are not all alike."""
    weights = [specimen.weight for specimen in specimens]
    if min(weights) == max(weights):
        return ["Kinds, in turn:\n", *(f"- {_kind(specimen)}" for specimen in specimens)]
    total = sum(weights)
    named = (f"- {specimen.weight / total:.0%}: {_kind(specimen)}" for specimen in specimens)
    return ["Kinds, with their share of the particles:\n", *named]


def _kind(specimen: SpecimenConfig) -> str:
    """Name a kind by what is set for it."""
    settings = specimen.model_dump(mode="json", exclude_unset=True, exclude={"kind", "weight", "disorder"})
    named = ", ".join(f"{key} {_plain(value)}" for key, value in settings.items())
    return f"{specimen.kind}: {named}" if named else specimen.kind


def _plain(value: Any) -> str:
    """Write a number, a range (two numbers), what is set by name, or a list of these."""
    match value:
        case {"kind": kind, **settings}:
            named = ", ".join(f"{key} {_plain(setting)}" for key, setting in settings.items())
            return f"{kind} ({named})" if named else str(kind)
        case Mapping():
            return " ".join(f"{key} {_plain(setting)}" for key, setting in value.items())
        case [int() | float() as low, int() | float() as high]:
            return f"{low:g}" if low == high else f"{low:g} to {high:g}"
        case [*parts]:
            return ", ".join(map(_plain, parts))
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
    return str(value)


def _ranges(recipe: Recipe, acquisition: AcquisitionConfig) -> list[tuple[str, str]]:
    linear = recipe.optics.linear
    dose = acquisition.dose_e_per_A2
    drawn: list[tuple[str, tuple[float, float]]] = [
        ("tilt error about three axes, rms, °", acquisition.tilt_error_rms_deg),
        ("shift error, rms, Å", acquisition.shift_error_rms_A),
        ("defocus, rms, Å", acquisition.defocus_rms_A),
        ("gain of each image, rms", acquisition.gain_rms),
        ("background, of the brightest pixel", acquisition.background),
        ("further blur, sigma, Å (linear engine)", linear.extra_blur_A),
        ("Debye-Waller B, Å² (linear engine)", linear.default_debye_waller_A2),
        ("saturation (linear engine)", linear.saturation),
    ]
    if linear.lens_strength_A2[1] > 0.0:
        drawn.append(("atoms as lenses, Å² (linear engine)", linear.lens_strength_A2))
    if acquisition.tilt_offset_deg != (0.0, 0.0):
        drawn.insert(0, ("added to all tilts, °", acquisition.tilt_offset_deg))
    if recipe.training_set.tilt_max_deg is not None:
        drawn.insert(0, ("largest tilt, ±°", recipe.training_set.tilt_max_deg))
    counted = "no noise" if dose is None else f"{_plain(dose)} (log-uniform)"
    return [("dose, e/Å² and image", counted), *((what, _plain(value)) for what, value in drawn)]


def _training(card: ModelCard, recipe: Recipe) -> str:
    knobs = TrainingConfig.model_validate(card.training) if card.training else recipe.training
    n_patches = recipe.training_set.n_train * knobs.patches_per_particle
    n_steps = math.ceil(n_patches / knobs.batch_size) * knobs.n_epochs
    loss = "mean squared error of normalised volumes"
    if knobs.peak_weight:
        loss += (
            f", voxels at atoms, true ones and drawn ones, weighted 1 + {knobs.peak_weight:g} / v² times for "
            "a brightness v beside the brightest atom: a picometre costs much the same at every element"
        )
    start = f"Started from the weights of the recipe `{card.start}`. " if card.start else ""
    course = card.note or (
        f"{n_steps:,} steps in {knobs.n_epochs} epochs. The epoch that is best at the atoms of the "
        f"validation particles is kept: {card.epoch} (counted from 0)."
    )
    return (
        f"{start}Channels {', '.join(map(str, recipe.network.channels))}; patches of "
        f"{knobs.patch_voxels}³ voxels, {knobs.batch_size} in a step; Adam with one cycle up to "
        f"{knobs.learning_rate:g}; {loss}; arithmetic {card.precision}. {course}\n"
    )


def _validation(card: ModelCard, recipe: Recipe) -> str:
    names = {"recall": "recall", "precision": "precision", "rmsd_pm": "RMSD, pm", "ospa_pm": "OSPA, pm"}
    known = {names[key]: value for key, value in card.score.items() if key in names}
    return (
        f"Validation particles (mean over all, matched one to one within {recipe.scoring.radius_A:g} Å):\n\n"
        f"| {' | '.join(known)} |\n|{'---|' * len(known)}\n"
        f"| {' | '.join(f'{value:.4g}' for value in known.values())} |\n"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [row for row in rows if row["stage"] in _STAGES]
    lines = [
        "Specimens that it has never seen, imaged by PRISM; `raw` is the tomogram of the images as they are "
        "told to be, `unet` that of the geometry which refining the raw trace found, after the repair:\n",
        "| specimen | dose, e/Å² | imperfection | stage | recall | precision | RMSD, pm | "
        "surface RMSD, pm | core RMSD, pm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in shown:
        where = f"| {row['specimen']} | {row['dose_e_per_A2']:g} | {row['imperfection']} | {row['stage']} |"
        lines.append(where + "".join(f" {_number(row.get(key))} |" for key in _COLUMNS))
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    import sys

    from picotome.configs.loading import load_recipe
    from picotome.train.checkpoint import load_weights
    from picotome.train.weights import find_weights

    network, stored = load_weights(find_weights(None))
    benchmark = json.loads(Path(sys.argv[1]).read_text("utf-8")) if len(sys.argv) > 1 else ()
    size = sum(parameter.numel() for parameter in network.parameters())
    sys.stdout.write(model_card_text(stored, load_recipe(stored.recipe), n_parameters=size, rows=benchmark))
