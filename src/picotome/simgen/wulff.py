"""Particles of one element cut by facets."""

from __future__ import annotations

import numpy as np

from picotome.configs.specimens import WulffSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import atomic_number, cut_crystal, facet_level, facets, fcc_lattice_A


def build_wulff(config: WulffSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut an f.c.c. crystal by {111}, {100} and {110} facets at jittered Wulff distances."""
    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    diameter_A = rng.uniform(*config.diameter_A)
    level = facet_level(facets(config.facet_jitter, rng=rng))
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=lattice_A, rng=rng)
    crystal = Specimen(
        positions_A=sites,
        atomic_numbers=np.full(len(sites), atomic_number(config.element)),
        description=f"{config.element} Wulff particle, {len(sites)} atoms, {diameter_A:.1f} Å, "
        f"lattice {lattice_A:.3f} Å",
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)
