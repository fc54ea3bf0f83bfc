"""What there is to do for a dataset, counted: particles, pairs, images, and the steps of one pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from picotome.configs.imaging import AcquisitionConfig, EngineName
from picotome.configs.schema import Recipe
from picotome.datasets.plan import Split, n_series_of, particle_plan, particle_simulation
from picotome.datasets.simulations import has_simulation
from picotome.simgen.exposures import n_exposures

Task = tuple[Split, int]


@dataclass(frozen=True)
class Group:
    """Pairs of one split that one engine makes.

    Attributes
    ----------
    tasks
        Which.
    firsts
        One pair of each particle: pairs may share a simulation.
    n_stored
        Of these particles, how many need not be simulated: the dataset holds their images.
    n_images, n_pair_images
        Images of all these particles by the engine, and images of all pairs.
    """

    split: Split
    engine: EngineName
    tasks: tuple[Task, ...]
    firsts: tuple[Task, ...]
    n_stored: int
    n_images: int
    n_pair_images: int

    @property
    def n_simulated(self) -> int:
        """Particles that are yet to be simulated."""
        return len(self.firsts) - self.n_stored


def group_tasks(recipe: Recipe, tasks: Sequence[Task], *, folder: Path) -> list[Group]:
    """Sort pairs of a dataset by split and engine, and count their simulations and images."""
    found: dict[tuple[Split, EngineName], list[Task]] = {}
    for task in tasks:
        found.setdefault((task[0], particle_plan(recipe, *task)[1]), []).append(task)
    groups = []
    for (split, engine), members in found.items():
        n_series = n_series_of(recipe, split, engine)
        firsts = tuple({index // n_series: (split, index) for _, index in reversed(members)}.values())[::-1]
        n_images = sum(n_exposures(imaged_acquisition(recipe, task)) for task in firsts)
        n_pair_images = sum(n_exposures(particle_plan(recipe, *task)[2]) for task in members)
        n_stored = sum(_is_stored(recipe, task, folder) for task in firsts)
        groups.append(Group(split, engine, tuple(members), firsts, n_stored, n_images, n_pair_images))
    return groups


def _is_stored(recipe: Recipe, task: Task, folder: Path) -> bool:
    shared = particle_simulation(recipe, *task)
    return shared is not None and has_simulation(shared, folder)


def imaged_acquisition(recipe: Recipe, task: Task) -> AcquisitionConfig:
    """Acquisition of what an engine images for a pair: its own series, or the simulation it is drawn from."""
    shared = particle_simulation(recipe, *task)
    return particle_plan(recipe, *task)[2] if shared is None else shared.acquisition


def has_own_tilts(recipe: Recipe, task: Task) -> bool:
    """Whether the tilts of a pair, and so its projector, are those of no other pair."""
    acquisition = particle_plan(recipe, *task)[2]
    offset = acquisition.tilt_offset_deg
    drawn = acquisition.tilt_jitter_rms_deg[1] > 0.0 or acquisition.missing_fraction[1] > 0.0
    wedge = offset[0] < offset[1]
    chosen = recipe.training_set
    wedge |= (chosen.tilt_max_deg, chosen.tilt_step_deg) != (None, None) and task[0] != "held_out"
    return drawn or wedge or particle_simulation(recipe, *task) is not None


@dataclass(frozen=True)
class PairWork:
    """The steps of one pair, counted, or a mean of several; a wave engine's images are counted apart.

    Attributes
    ----------
    n_peaks
        Atoms × images × pixels of an image, for the linear engine.
    n_pixels
        Images × pixels of an image: recording.
    n_weights
        Voxels of a slice × images, where the projector is this pair's own.
    n_updates
        Voxels that are solved × images × iterations.
    n_voxels
        Of the box: the ideal tomogram, and the file.
    """

    n_peaks: float
    n_pixels: float
    n_weights: float
    n_updates: float
    n_voxels: float


@dataclass(frozen=True)
class PairCost:
    """Seconds of one processor for each unit of `PairWork`."""

    peak_s: float
    pixel_s: float
    weight_s: float
    update_s: float
    voxel_s: float


def count_pair(
    *,
    n_voxels: int,
    n_images: float,
    n_iterations: int,
    n_slices: int,
    n_atoms: int = 0,
    has_own_projector: bool = False,
) -> PairWork:
    """Count the steps of a pair.

    Parameters
    ----------
    n_voxels
        Along each edge of the box.
    n_iterations
        Of the solver; 1 where it does not iterate.
    n_slices
        Slices that are solved: those that show anything.
    n_atoms
        That the linear engine images; 0: another engine does.
    """
    n_pixels = n_images * n_voxels**2
    return PairWork(
        n_peaks=n_atoms * n_pixels,
        n_pixels=n_pixels,
        n_weights=n_pixels if has_own_projector else 0,
        n_updates=n_slices * n_pixels * n_iterations,
        n_voxels=n_voxels**3,
    )


def pair_seconds(work: PairWork, cost: PairCost) -> float:
    """Seconds of one processor for one pair, without its specimen and a wave engine's images."""
    return (
        cost.peak_s * work.n_peaks
        + cost.pixel_s * work.n_pixels
        + cost.weight_s * work.n_weights
        + cost.update_s * work.n_updates
        + cost.voxel_s * work.n_voxels
    )
