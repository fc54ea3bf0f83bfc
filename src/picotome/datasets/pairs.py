"""One particle of a dataset from the recipe and its index: the whole generator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from picotome.configs.imaging import AcquisitionConfig, EngineName
from picotome.configs.schema import Recipe, ReconstructionConfig, TracingConfig
from picotome.configs.specimens import SpecimenConfig, source_file
from picotome.datasets.identity import identity, knobs, versions
from picotome.datasets.series import SeriesRecipe, series_identity, simulate
from picotome.datasets.simulations import stored_simulation
from picotome.datasets.store import IDENTITY_FORMAT, write_pair
from picotome.recon.alignment import common_move
from picotome.recon.solvers import reconstruct
from picotome.records import Pair, Specimen, Substrate, TiltSeries
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.brightness import brightness_table
from picotome.simgen.derived import derive_series, noise_free
from picotome.simgen.drawing import draw_from
from picotome.simgen.ideal import ideal_tomogram
from picotome.simgen.particles import build_specimen
from picotome.simgen.substrate import build_substrate

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")

# Each split draws from its own block of random streams, so no particle is in two of them.
_FIRST_STREAM: dict[Split, int] = {"train": 0, "validation": 10_000_000, "held_out": 20_000_000}
# Simulations that pairs share draw from streams of their own, lest the first pair's errors repeat theirs.
_FIRST_SIMULATION = 5_000_000
# Libraries whose version changes the numbers of a pair.
_JUDGES = ("abtem", "ase", "numpy", "scipy")


def n_particles(recipe: Recipe, split: Split) -> int:
    """Count the particles that a recipe asks to be stored in one split."""
    held_out = recipe.n_held_out if recipe.n_held_out is not None else len(recipe.specimens)
    counts: dict[Split, int] = {
        # Online ones are made by the training itself.
        "train": 0 if recipe.training_set.online else recipe.training_set.n_train,
        "validation": recipe.training_set.n_validation,
        "held_out": held_out,
    }
    return counts[split]


def particle_plan(
    recipe: Recipe, split: Split, index: int
) -> tuple[SpecimenConfig, EngineName, AcquisitionConfig]:
    """Which specimen kind, engine and acquisition one particle of a split gets."""
    if split == "held_out":
        config = _kind(recipe, recipe.specimens, split, index, turn=index)
        return config, recipe.engine, recipe.acquisition
    chosen = recipe.training_set
    # The slow ones are the first, so that workers which take particles in turn do not end waiting for one.
    engine: EngineName = "prism" if split == "train" and index < chosen.n_prism else chosen.engine
    acquisition = chosen.acquisition or recipe.acquisition
    if chosen.tilt_max_deg is not None:
        rng = stream(recipe.seed, _FIRST_STREAM[split] + index, "wedge")
        acquisition = _with_wedge(acquisition, tilt_max_deg=draw_from(chosen.tilt_max_deg, rng=rng))
    n_series = n_series_of(recipe, split, engine)
    first = index - index % n_series
    config = _kind(recipe, chosen.specimens, split, first, turn=index // n_series)
    return config, engine, acquisition


def n_series_of(recipe: Recipe, split: Split, engine: EngineName) -> int:
    """Count the pairs, one index after the other, that an engine's particles in a split give."""
    simulation = recipe.training_set.simulation
    return 1 if simulation is None or split == "held_out" or engine == "linear" else simulation.n_series


def particle_simulation(recipe: Recipe, split: Split, index: int) -> SeriesRecipe | None:
    """Tell which simulation a pair is drawn from; None where its particle is imaged for it alone."""
    config, engine, acquisition = particle_plan(recipe, split, index)
    shared = recipe.training_set.simulation
    n_series = n_series_of(recipe, split, engine)
    if shared is None or n_series == 1:
        return None
    first = index - index % n_series
    return SeriesRecipe(
        name=f"{split}_{first:06d}",
        specimen=config,
        engine=engine,
        volume=recipe.volume,
        optics=recipe.optics,
        acquisition=noise_free(acquisition, shared),
        seed=recipe.seed,
        index=_FIRST_STREAM[split] + _FIRST_SIMULATION + first,
    )


def _kind(
    recipe: Recipe, specimens: Sequence[SpecimenConfig], split: Split, index: int, *, turn: int
) -> SpecimenConfig:
    """Take the entries of a list in turn, or, where their weights differ, draw one by them."""
    weights = [specimen.weight for specimen in specimens]
    if min(weights) == max(weights):
        return specimens[turn % len(specimens)]
    rng = stream(recipe.seed, _FIRST_STREAM[split] + index, "kind")
    return specimens[int(rng.choice(len(weights), p=[weight / sum(weights) for weight in weights]))]


def engines_of(recipe: Recipe, splits: Sequence[Split]) -> set[EngineName]:
    """Engines that make the particles of some splits."""
    chosen = recipe.training_set
    engines: set[EngineName] = set()
    for split in splits:
        if split == "held_out":
            engines.add(recipe.engine)
        elif split == "train" and chosen.n_prism > 0:
            engines |= {"prism", chosen.engine}
        else:
            engines.add(chosen.engine)
    return engines


def _with_wedge(acquisition: AcquisitionConfig, *, tilt_max_deg: float) -> AcquisitionConfig:
    """Tilt to ± a maximum instead, with as many images as keep the step."""
    span_deg = acquisition.tilt_max_deg - acquisition.tilt_min_deg
    n_steps = round((acquisition.n_tilts - 1) * 2.0 * tilt_max_deg / span_deg)
    update = {
        "tilts_deg": None,
        "tilt_min_deg": -tilt_max_deg,
        "tilt_max_deg": tilt_max_deg,
        "n_tilts": max(n_steps, 1) + 1,
    }
    return acquisition.model_copy(update=update)


def make_pair(
    recipe: Recipe,
    split: Split,
    index: int,
    *,
    simulated: tuple[Specimen, TiltSeries] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pair:
    """Build, image and reconstruct one particle, and make its ideal tomogram.

    The result depends on the first three arguments alone: bit-identical on any number of workers.

    Parameters
    ----------
    recipe
        The whole recipe.
    split, index
        Which particle.
    simulated
        The simulation that the pair is drawn from (`particle_simulation`), where it is at hand; else it is
        made here.
    progress
        Called with (images done, images in all).
    """
    _, engine, acquisition = particle_plan(recipe, split, index)
    number = _FIRST_STREAM[split] + index
    shared = particle_simulation(recipe, split, index)
    substrate = None
    if shared is not None:
        specimen, images = simulated or simulate(shared, progress=progress)
        series = derive_series(
            images, specimen, volume=recipe.volume, acquisition=acquisition, seed=recipe.seed, index=number
        )
    else:
        specimen = build_particle(recipe, split, index)
        substrate = substrate_of(recipe, specimen, acquisition=acquisition, index=number)
        series = simulate_series(
            specimen,
            engine=engine,
            volume=recipe.volume,
            optics=recipe.optics,
            acquisition=acquisition,
            seed=recipe.seed,
            index=number,
            substrate=substrate,
            progress=progress,
            # Whoever made the recipe is told once, not by every particle.
            warn=False,
        )
    degraded = reconstruct(series, config=reconstruction_of(recipe))
    brightness_A2 = brightness_table(list(elements_of(specimen)), optics=recipe.optics)
    # Shifts that the images have in common show the specimen moved, and nobody can know: the ideal follows.
    move_A = common_move(series, series.truth["shift_error_A"])
    seen = replace(specimen, positions_A=specimen.positions_A + move_A)
    ideal = ideal_tomogram(seen, volume=recipe.volume, config=recipe.ideal, brightness_A2=brightness_A2)
    return Pair(specimen=specimen, series=series, degraded=degraded, ideal=ideal, substrate=substrate)


def substrate_of(
    recipe: Recipe, specimen: Specimen, *, acquisition: AcquisitionConfig, index: int
) -> Substrate | None:
    """Build what a specimen lies on, on a random stream of its own; None in vacuum."""
    if recipe.substrate is None:
        return None
    return build_substrate(
        recipe.substrate,
        specimen=specimen,
        volume=recipe.volume,
        largest_tilt_deg=max(abs(acquisition.tilt_min_deg), abs(acquisition.tilt_max_deg)),
        rng=stream(recipe.seed, index, "substrate"),
    )


def reconstruction_of(recipe: Recipe) -> ReconstructionConfig:
    """Return how a recipe's series are reconstructed: without the background of a substrate."""
    config = recipe.reconstruction
    if config.subtract_background is not None:
        return config
    return config.model_copy(update={"subtract_background": recipe.substrate is not None})


def build_particle(recipe: Recipe, split: Split, index: int) -> Specimen:
    """Build one particle without imaging it.

    Raises
    ------
    ValueError, FileNotFoundError
        See `picotome.simgen.particles.build_specimen`.
    """
    config, _, acquisition = particle_plan(recipe, split, index)
    shared = particle_simulation(recipe, split, index)
    number = shared.index if shared is not None else _FIRST_STREAM[split] + index
    rng = stream(recipe.seed, number, "build")
    return build_specimen(config, volume=recipe.volume, rng=rng, scheme=acquisition.scheme)


def elements_of(specimen: Specimen) -> tuple[str, ...]:
    """Chemical symbols that a specimen is made of, by atomic number."""
    from ase.data import chemical_symbols

    return tuple(chemical_symbols[z] for z in sorted(set(specimen.atomic_numbers.tolist())))


def traced_elements(specimen: Specimen, *, config: TracingConfig) -> tuple[str, ...]:
    """Elements that a tracer is told of: those of a specimen that the recipe says can be told apart.

    Where none of `config.elements` is in the specimen, they are what somebody believes it is made of.
    """
    present = elements_of(specimen)
    if config.elements is None:
        return present
    return tuple(element for element in config.elements if element in present) or config.elements


def pair_path(folder: Path, split: Split, index: int) -> Path:
    """Where the file of a particle is in a dataset."""
    return folder / split / f"{index:06d}.h5"


def pair_identity(recipe: Recipe, split: Split, index: int) -> str:
    """Hash of everything that determines a pair; a file with another identity is made anew."""
    return identities_of(recipe)(split, index)


def identities_of(recipe: Recipe) -> Callable[[Split, int], str]:
    """Give a function that hashes many pairs of one recipe: what they share is prepared once."""
    shared: dict[str, Any] = {
        "seed": recipe.seed,
        "volume": knobs(recipe.volume),
        "optics": knobs(recipe.optics),
        "reconstruction": knobs(recipe.reconstruction),
        "ideal": knobs(recipe.ideal),
        "versions": versions(("picotome", *_JUDGES)),
        "format": IDENTITY_FORMAT,
    }
    if recipe.substrate is not None:
        shared["substrate"] = knobs(recipe.substrate)
    if knobs(recipe.storage):
        shared["storage"] = knobs(recipe.storage)
    # The recipe's own entries; a specimen is known by what it is, and they live as long as the recipe.
    parts: dict[int, dict[str, Any]] = {}
    for config in (*recipe.specimens, *recipe.training_set.specimens):
        parts[id(config)] = {"specimen": knobs(config)}
        source = source_file(config)
        if source is not None and source.is_file():
            parts[id(config)]["file"] = hashlib.sha256(source.read_bytes()).hexdigest()
    acquisitions = {id(a): knobs(a) for a in (recipe.acquisition, recipe.training_set.acquisition) if a}

    def pair(split: Split, index: int) -> str:
        config, engine, acquisition = particle_plan(recipe, split, index)
        drawn = acquisitions.get(id(acquisition))
        simulation = particle_simulation(recipe, split, index)
        return identity(
            {
                **shared,
                **parts[id(config)],
                "split": split,
                "index": index,
                "engine": engine,
                "acquisition": knobs(acquisition) if drawn is None else drawn,
                **({} if simulation is None else {"simulation": series_identity(simulation)}),
            }
        )

    return pair


def write_particle(
    recipe: Recipe,
    folder: Path,
    split: Split,
    index: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, int]:
    """Make one pair and write its file.

    Returns
    -------
    tuple
        The file's SHA-256 and the particle's number of atoms.
    """
    shared = particle_simulation(recipe, split, index)
    simulated = None if shared is None else stored_simulation(shared, folder, progress=progress)
    pair = make_pair(recipe, split, index, simulated=simulated, progress=progress)
    provenance: dict[str, Any] = {
        "identity": pair_identity(recipe, split, index),
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "split": split,
        "index": index,
        "n_atoms": len(pair.specimen.positions_A),
        "engine": pair.series.engine,
        "versions": versions(("picotome", *_JUDGES)),
    }
    if shared is not None:
        provenance["simulation"] = series_identity(shared)
    checksum = write_pair(
        pair_path(folder, split, index), pair, provenance=provenance, precision=recipe.storage.precision
    )
    return checksum, len(pair.specimen.positions_A)
