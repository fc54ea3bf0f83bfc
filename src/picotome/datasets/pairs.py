"""One particle of a dataset from the recipe and its index: the whole generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from picotome.configs.imaging import AcquisitionConfig
from picotome.configs.schema import Recipe, ReconstructionConfig, TracingConfig
from picotome.datasets.identity import JUDGES, versions
from picotome.datasets.naming import pair_identity, pair_path
from picotome.datasets.plan import Split, particle_plan, particle_simulation, stream_number
from picotome.datasets.refined import guess_fit
from picotome.datasets.series import series_identity, simulate
from picotome.datasets.simulations import stored_simulation
from picotome.datasets.store import write_pair
from picotome.recon.alignment import common_move
from picotome.recon.solvers import reconstruct
from picotome.records import ImageFit, Pair, Specimen, Substrate, TiltSeries
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.brightness import brightness_table
from picotome.simgen.derived import derive_series
from picotome.simgen.ideal import ideal_tomogram
from picotome.simgen.particles import build_specimen
from picotome.simgen.substrate import build_substrate


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
    number = stream_number(split, index)
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
    fit = learned_fit(recipe, split, index, series=series)
    degraded = reconstruct(series, config=reconstruction_of(recipe), fit=fit)
    brightness_A2 = brightness_table(list(elements_of(specimen)), optics=recipe.optics)
    # Shifts that the images have in common show the specimen moved, and nobody can know: the ideal follows.
    known_A = fit.shift_error_A if fit is not None else 0.0
    move_A = common_move(series, series.truth["shift_error_A"] - known_A)
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
        largest_tilt_deg=max(map(abs, acquisition.widest_tilts_deg)),
        rng=stream(recipe.seed, index, "substrate"),
    )


def learned_fit(recipe: Recipe, split: Split, index: int, *, series: TiltSeries) -> ImageFit | None:
    """Draw the geometry that a pair's tomogram is made with; None: that which the images are told to have."""
    refined = recipe.training_set.refined
    if refined is None or split == "held_out":
        return None
    rng = stream(recipe.seed, stream_number(split, index), "refined geometry")
    if rng.random() >= refined.share:
        return None
    return guess_fit(series, config=refined, optics=recipe.optics, rng=rng)


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
    number = shared.index if shared is not None else stream_number(split, index)
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
    identity = pair_identity(recipe, split, index)
    provenance: dict[str, Any] = {
        "identity": identity,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "split": split,
        "index": index,
        "n_atoms": len(pair.specimen.positions_A),
        "engine": pair.series.engine,
        "versions": versions(JUDGES),
    }
    if shared is not None:
        provenance["simulation"] = series_identity(shared)
    path = pair_path(folder, split, index, identity=identity)
    checksum = write_pair(path, pair, provenance=provenance, precision=recipe.storage.precision)
    return checksum, len(pair.specimen.positions_A)
