"""Calibrate the linear engine of a recipe: small specimens, a few wave images of each, a fit, a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig, LinearConfig, VolumeConfig
from picotome.configs.loading import recipe_to_yaml
from picotome.configs.schema import Recipe
from picotome.configs.specimens import FileSpecimen, SpecimenConfig
from picotome.datasets.identity import versions
from picotome.datasets.safe_write import write_text
from picotome.datasets.stages import check_out
from picotome.geometry import half_extent_A, tilt_rotations
from picotome.progress import Track, silent
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.calibration import (
    Deviation,
    WaveImages,
    at_wave_vibration,
    deviation,
    fit_linear,
    linear_images,
    with_linear,
)
from picotome.simgen.engines import ENGINES, Engine
from picotome.simgen.lattice import fcc_lattice_A
from picotome.simgen.particles import MARGIN_A, build_specimen

_SUFFIXES = (".yaml", ".yml")
_N_IMAGES = 6
# Wave images of more atoms take longer and hold no other atoms.
_DIAMETER_A = 16.0
_BOX_A = 28.0
_FEWEST_VOXELS = 16
_THICKEST_SHELL = 0.3
# A particle that is long and does not fit the box in a drawn orientation is turned again.
_MOST_DRAWS = 100
# Where the random streams of the calibration start: no particle of a dataset has these.
_FIRST_FITTED, _FIRST_HELD_OUT = 30_000_000, 40_000_000
_WHAT_DIFFERS = ("kind", "element", "core", "shell", "composition", "order", "path")
_VERSIONED = ("picotome", "abtem", "numpy", "scipy")


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What a calibration found.

    Attributes
    ----------
    linear
        The section `optics.linear` that was written: the fitted one, or the recipe's own where the fit is no
        better on images that it has not seen.
    improved
        Whether it is the fitted one.
    before, after
        Deviation with the recipe's own knobs and with the fitted ones, by ``fitted`` and ``held out``.
    n_specimens
        Kinds of specimen, in both sets.
    engine
        What the images were made by.
    pixel_size_A
        Of the example.
    wave, calibrated
        (n, n) the held-out image whose deviation is the median, by the wave and by the calibrated linear
        engine.
    """

    linear: LinearConfig
    improved: bool
    before: dict[str, Deviation]
    after: dict[str, Deviation]
    n_specimens: int
    engine: str
    pixel_size_A: float
    wave: NDArray[Any]
    calibrated: NDArray[Any]


def calibrate_file(
    recipe: Recipe, *, out: Path, engine: str = "prism", n_images: int | None = None, track: Track = silent
) -> Calibrated:
    """Fit the linear engine of a recipe to wave images, and write the recipe with what was found.

    Every kind of specimen in the recipe is built twice, at most 16 Å wide: one to be fitted, another, turned
    and tilted in other ways, to be held out. Images are free of noise and of every imperfection. The fit is
    kept only if it comes closer to the images held out than the recipe's own knobs do.

    Parameters
    ----------
    recipe
        What to calibrate for.
    out
        YAML to write: the recipe with the fitted `optics.linear`, if it is better; the deviation is in its
        head.
    engine
        ``prism`` or ``multislice``.
    n_images
        Images to fit, at least one for each kind of specimen; half as many are held out. Default: 6.
    track
        Called as images and steps of the fit are finished.

    Raises
    ------
    ValueError
        The engine, the number of images or the name of the file is not allowed, or a specimen cannot be
        built.
    """
    check_out(out, _SUFFIXES)
    image = _wave_engine(engine)
    configs = _distinct([*recipe.specimens, *recipe.training_set.specimens])
    n_fitted = max(_N_IMAGES, len(configs)) if n_images is None else n_images
    if n_fitted < len(configs):
        raise ValueError(
            f"--images is {n_fitted}; allowed is {len(configs)} or more, one for each kind of specimen in "
            f"the recipe"
        )
    n_held_out = max(len(configs), math.ceil(n_fitted / 2))
    volume = _small_volume(recipe.volume)
    done = 0

    def advance(_done: int, _total: int) -> None:
        nonlocal done
        done += 1
        track(f"{engine} images", done, n_fitted + n_held_out)

    fitted, held_out = (
        _wave_images(recipe, configs, image, n_images=n, first=first, volume=volume, progress=advance)
        for n, first in ((n_fitted, _FIRST_FITTED), (n_held_out, _FIRST_HELD_OUT))
    )
    found = fit_linear(
        fitted,
        volume=volume,
        optics=at_wave_vibration(recipe.optics),
        progress=lambda step, most: track("fit", step, most),
    )
    sets = {"fitted": fitted, "held out": held_out}
    before, after = (
        {name: deviation(waves, volume=volume, optics=optics) for name, waves in sets.items()}
        for optics in (recipe.optics, with_linear(recipe.optics, found))
    )
    improved = after["held out"].rms < before["held out"].rms
    linear = found if improved else recipe.optics.linear
    judged = (after if improved else before)["held out"]
    shown = int(np.argsort(judged.each)[(n_held_out - 1) // 2])
    made = [
        linear_images(wave, volume=volume, optics=with_linear(recipe.optics, linear)) for wave in held_out
    ]
    result = Calibrated(
        linear=linear,
        improved=improved,
        before=before,
        after=after,
        n_specimens=len(configs),
        engine=engine,
        pixel_size_A=volume.voxel_size_A,
        wave=np.concatenate([wave.images for wave in held_out])[shown],
        calibrated=np.concatenate(made)[shown],
    )
    write_text(out, _head(result) + recipe_to_yaml(_with_section(recipe, linear)))
    return result


def _with_section(recipe: Recipe, linear: LinearConfig) -> Recipe:
    return recipe.model_copy(update={"optics": with_linear(recipe.optics, linear)})


def _head(result: Calibrated) -> str:
    """Comment at the head of the recipe: where `optics.linear` comes from and how good it is."""
    before, after = result.before["held out"], result.after["held out"]
    made_with = ", ".join(f"{name} {number}" for name, number in versions(_VERSIONED).items())
    if not result.improved:
        lines = [
            f"optics.linear is as it was: it differs from {len(after.each)} {result.engine} images by "
            f"{before.rms:.1%}, worst {before.worst:.1%},",
            f"and a fit to {len(result.after['fitted'].each)} others by {after.rms:.1%}, which is no better.",
            f"Made with {made_with}.",
        ]
        return "".join(f"# {line}\n" for line in lines)
    lines = [
        f"optics.linear is fitted to {len(result.after['fitted'].each)} {result.engine} images of "
        f"{result.n_specimens} kinds of specimen, at most {_DIAMETER_A:g} Å wide.",
        f"It differs from {len(after.each)} other images (rms of the difference over rms of the image) by",
        f"  {after.rms:.1%}, worst {after.worst:.1%} (before: {before.rms:.1%}, worst {before.worst:.1%});",
        f"  {after.rms_free:.1%} where each has a gain of its own (before: {before.rms_free:.1%}).",
        f"These gains spread by {after.gain_rms:.1%} rms: acquisition.gain_rms should cover that.",
        "The thermal vibration is that of the wave images. Ranges have zero width; widen them for training.",
        f"Made with {made_with}.",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _wave_engine(name: str) -> Engine:
    wave = {key: engine for key, engine in ENGINES.items() if key != "linear"}
    for key, engine in wave.items():
        if key == name:
            return engine
    raise ValueError(f"--engine is {name!r}; allowed is {' or '.join(wave)}")


def _distinct(configs: Sequence[SpecimenConfig]) -> list[SpecimenConfig]:
    """Return one config for each kind of specimen and its elements, the first of each."""
    found: dict[str, SpecimenConfig] = {}
    for config in configs:
        found.setdefault(repr([getattr(config, key, None) for key in _WHAT_DIFFERS]), config)
    return list(found.values())


def _small_volume(volume: VolumeConfig) -> VolumeConfig:
    n_voxels = 2 * math.ceil(0.5 * _BOX_A / volume.voxel_size_A)
    return volume.model_copy(update={"n_voxels": min(volume.n_voxels, max(n_voxels, _FEWEST_VOXELS))})


def _wave_images(
    recipe: Recipe,
    configs: Sequence[SpecimenConfig],
    image: Engine,
    *,
    n_images: int,
    first: int,
    volume: VolumeConfig,
    progress: Callable[[int, int], None],
) -> list[WaveImages]:
    """Build one small specimen of each kind and image it; images are dealt to the kinds in turn."""
    waves = []
    for index, config in enumerate(configs):
        number = first + index
        specimen = _small_specimen(config, recipe=recipe, volume=volume, number=number)
        n = len(range(index, n_images, len(configs)))
        rng = stream(recipe.seed, number, "poses")
        turned = not isinstance(config, FileSpecimen)
        rotations = _poses(specimen, recipe.acquisition, n=n, turned=turned, volume=volume, rng=rng)
        defocus_A = np.full(n, recipe.optics.defocus_A)
        images = image(
            specimen,
            rotations=rotations,
            shifts_A=np.zeros((n, 2)),
            defocus_A=defocus_A,
            volume=volume,
            optics=recipe.optics,
            rng=stream(recipe.seed, number, "engine"),
            progress=progress,
        )
        waves.append(WaveImages(specimen, rotations, defocus_A, images))
    return waves


def _poses(
    specimen: Specimen,
    acquisition: AcquisitionConfig,
    *,
    n: int,
    turned: bool,
    volume: VolumeConfig,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """(n, 3, 3) rotations: tilts spread over the range, where `turned` of a particle that lies in n ways."""
    low, high = acquisition.widest_tilts_deg
    rotations = tilt_rotations(low + (high - low) * (rng.permutation(n) + rng.uniform(size=n)) / n)
    if not turned:
        return rotations
    from scipy.spatial.transform import Rotation

    half_A = half_extent_A(volume.n_voxels, volume.voxel_size_A) - MARGIN_A
    for index, tilt in enumerate(rotations):
        for _ in range(_MOST_DRAWS):
            rotation = tilt @ Rotation.from_quat(rng.normal(size=4)).as_matrix()
            if np.abs(specimen.positions_A @ rotation[:2].T).max() <= half_A:
                rotations[index] = rotation
                break
    return rotations


def _small_specimen(config: SpecimenConfig, *, recipe: Recipe, volume: VolumeConfig, number: int) -> Specimen:
    """Build a specimen at most 16 Å wide: made so, or cut from the middle of a file's."""
    rng = stream(recipe.seed, number, "build")
    if isinstance(config, FileSpecimen):
        return _cut(build_specimen(config, volume=recipe.volume, rng=rng))
    key = "width_A" if config.kind == "layered" else "diameter_A"
    low, high = getattr(config, key)
    widest = min(high, _DIAMETER_A)
    diameter_A = (min(low, widest), widest)
    update: dict[str, Any] = {key: diameter_A}
    if config.kind == "core_shell":
        update["shell_thickness_A"] = tuple(
            min(t, _THICKEST_SHELL * diameter_A[0]) for t in config.shell_thickness_A
        )
        if config.shell_monolayers is not None:
            layer_A = fcc_lattice_A(config.shell, lattice_A=config.shell_lattice_A, key="shell") / math.sqrt(
                3.0
            )
            most = max(1.0, math.floor(_THICKEST_SHELL * diameter_A[0] / layer_A))
            update["shell_monolayers"] = tuple(min(n, most) for n in config.shell_monolayers)
    return build_specimen(config.model_copy(update=update), volume=volume, rng=rng)


def _cut(specimen: Specimen) -> Specimen:
    """Atoms within 8 Å of the one nearest to the middle, with the middle of what is left at the origin."""
    positions_A = specimen.positions_A
    middle_A = positions_A[np.linalg.norm(positions_A, axis=1).argmin()]
    near = np.linalg.norm(positions_A - middle_A, axis=1) < 0.5 * _DIAMETER_A
    left_A = positions_A[near]
    return Specimen(
        positions_A=left_A - 0.5 * (left_A.min(axis=0) + left_A.max(axis=0)),
        atomic_numbers=specimen.atomic_numbers[near],
        description=f"the middle of {specimen.description}",
    )
