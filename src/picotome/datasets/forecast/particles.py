"""A few particles of a group, built to learn their sizes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from picotome.configs.schema import Recipe
from picotome.datasets.forecast.work import Group, Task
from picotome.datasets.pairs import build_particle, substrate_of
from picotome.datasets.plan import particle_plan, stream_number
from picotome.records import Specimen, Substrate

# No more than so many are built, nor for longer than this once each kind had its turn.
_MOST, _MOST_S = 48, 2.0


@dataclass(frozen=True, eq=False)
class Built:
    """A particle, what it lies on, and the seconds of one processor that both took."""

    task: Task
    specimen: Specimen
    substrate: Substrate | None
    seconds: float

    @property
    def n_atoms(self) -> int:
        """Atoms of the particle."""
        return len(self.specimen.positions_A)

    @property
    def n_scattering(self) -> int:
        """Atoms of the particle and of one period of its substrate."""
        return self.n_atoms + (0 if self.substrate is None else len(self.substrate.positions_A))


def build_particles(recipe: Recipe, group: Group) -> list[Built]:
    """Build the first particles of a group, by number of atoms: at least one of each kind that takes turns.

    Raises
    ------
    ValueError
        If none of them can be built; what the builder says.
    """
    kinds = recipe.specimens if group.split == "held_out" else recipe.training_set.specimens
    built: list[Built] = []
    failed: ValueError | None = None
    begun = time.process_time()
    for number, task in enumerate(group.firsts[:_MOST]):
        if number >= len(kinds) and time.process_time() - begun > _MOST_S:
            break
        try:
            built.append(_build(recipe, task))
        except ValueError as error:
            # As in the run itself, a particle that cannot be built does not stop the others.
            failed = error
    if not built and failed is not None:
        raise failed
    return sorted(built, key=lambda each: each.n_atoms)


def spread_out(built: Sequence[Built], n: int) -> list[Built]:
    """Choose up to n of them, of all sizes."""
    n = min(n, len(built))
    return [built[(2 * k + 1) * len(built) // (2 * n)] for k in range(n)]


def _build(recipe: Recipe, task: Task) -> Built:
    begun = time.process_time()
    specimen = build_particle(recipe, *task)
    acquisition, number = particle_plan(recipe, *task)[2], stream_number(*task)
    substrate = substrate_of(recipe, specimen, acquisition=acquisition, index=number)
    return Built(task, specimen, substrate, time.process_time() - begun)
