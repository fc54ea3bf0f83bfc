"""What each particle of a recipe is: which split, kind, engine and acquisition, on which random streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from picotome.configs.imaging import AcquisitionConfig, EngineName, plan_tilts
from picotome.configs.schema import Recipe
from picotome.configs.specimens import SpecimenConfig
from picotome.datasets.series import SeriesRecipe
from picotome.rng import stream
from picotome.simgen.derived import noise_free
from picotome.simgen.drawing import draw_from

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")

# Each split draws from its own block of random streams, so no particle is in two of them.
_FIRST_STREAM: dict[Split, int] = {"train": 0, "validation": 10_000_000, "held_out": 20_000_000}
# Simulations that pairs share draw from streams of their own, lest the first pair's errors repeat theirs.
_FIRST_SIMULATION = 5_000_000


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


def stream_number(split: Split, index: int) -> int:
    """Number of the random streams that a particle draws from."""
    return _FIRST_STREAM[split] + index


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
    number = stream_number(split, index)
    acquisition = plan_tilts(
        chosen.acquisition or recipe.acquisition,
        tilt_max_deg=_drawn(chosen.tilt_max_deg, recipe.seed, number, "wedge"),
        tilt_step_deg=_drawn(chosen.tilt_step_deg, recipe.seed, number, "tilt step"),
    )
    n_series = n_series_of(recipe, split, engine)
    first = index - index % n_series
    config = _kind(recipe, chosen.specimens, split, first, turn=index // n_series)
    return config, engine, acquisition


def _drawn(ends: tuple[float, float] | None, seed: int, number: int, purpose: str) -> float | None:
    return None if ends is None else draw_from(ends, rng=stream(seed, number, purpose))


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
    rng = stream(recipe.seed, stream_number(split, index), "kind")
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
