"""The modifiers by kind, and how a list of them is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from picotome.configs.modifiers import ModifierConfig
from picotome.records import Specimen
from picotome.simgen.modifiers.atoms import add_adatoms, cut_step, remove_atoms
from picotome.simgen.modifiers.layers import fault_stacking, relax_surface
from picotome.simgen.modifiers.strains import (
    disorder_by_element,
    strain_radially,
    strain_towards_support,
    strain_uniformly,
    strain_with_gradient,
)


class Modifier(Protocol):
    """Change a specimen and what its truth says.

    ``positions_A - displacement_A`` stays the lattice, for atoms that were added too; ``strain`` grows by
    what a smooth field adds. Every field of the truth keeps one row for each atom.
    """

    def __call__(self, specimen: Specimen, *, config: Any, rng: np.random.Generator) -> Specimen:
        """Draw everything that the config leaves open from `rng`."""
        ...


# Before the specimen is turned: x, y and z are those of its builder, the cubic axes of a crystal.
IN_OWN_AXES: Mapping[str, Modifier] = {
    "strain": strain_uniformly,
    "strain_gradient": strain_with_gradient,
    "radial_strain": strain_radially,
    "surface_relaxation": relax_surface,
    "vacancies": remove_atoms,
    "adatoms": add_adatoms,
    "step": cut_step,
    "stacking_fault": fault_stacking,
    "static_disorder": disorder_by_element,
}
# After it is turned: z is the beam at zero tilt, and the support lies at larger z.
IN_BOX_AXES: Mapping[str, Modifier] = {"support_strain": strain_towards_support}


def apply_modifiers(
    specimen: Specimen,
    modifiers: Sequence[ModifierConfig],
    *,
    among: Mapping[str, Modifier],
    streams: Sequence[np.random.Generator],
) -> Specimen:
    """Apply those of a list that are in `among`, in their order, each with the stream of its place.

    Raises
    ------
    ValueError
        A modifier does not fit the specimen; the message names its place and kind.
    """
    for place, (config, rng) in enumerate(zip(modifiers, streams, strict=True)):
        if config.kind in among:
            try:
                specimen = among[config.kind](specimen, config=config, rng=rng)
            except ValueError as error:
                raise ValueError(f"modifiers[{place}] ({config.kind}): {error}") from error
    return specimen
