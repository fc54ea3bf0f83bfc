"""Random connected shapes: unions of spheres."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.specimens import BlobSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import Level, atomic_number, cut_crystal, fcc_lattice_A


def build_blob(config: BlobSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut an f.c.c. crystal by a union of spheres, each centred inside an earlier one."""
    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    diameter_A = rng.uniform(*config.diameter_A)
    level = _blob_level(config.n_spheres, diameter_A=diameter_A, rng=rng)
    sites = cut_crystal(level, diameter_A=diameter_A, lattice_A=lattice_A, rng=rng)
    crystal = Specimen(
        positions_A=sites,
        atomic_numbers=np.full(len(sites), atomic_number(config.element)),
        description=f"{config.element} blob of {config.n_spheres} spheres, {len(sites)} atoms, "
        f"{diameter_A:.1f} Å, lattice {lattice_A:.3f} Å",
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _blob_level(n_spheres: int, *, diameter_A: float, rng: np.random.Generator) -> Level:
    """Distance outside a random union of spheres that has the volume of one sphere of `diameter_A`."""
    radii = rng.uniform(0.5, 1.0, n_spheres)
    centres = np.zeros((n_spheres, 3))
    for i in range(1, n_spheres):
        # A centre inside an earlier sphere leaves no thin necks.
        parent = int(rng.integers(i))
        direction = rng.normal(size=3)
        step = rng.uniform(0.5, 1.0) * radii[parent] / np.linalg.norm(direction)
        centres[i] = centres[parent] + step * direction
    low, high = (centres - radii[:, None]).min(axis=0), (centres + radii[:, None]).max(axis=0)
    centres -= (low + high) / 2.0

    def outside(positions: NDArray[Any], scale: float) -> NDArray[Any]:
        distance = np.full(len(positions), np.inf)
        for centre, radius in zip(centres * scale, radii * scale, strict=True):
            np.minimum(distance, np.linalg.norm(positions - centre, axis=1) - radius, out=distance)
        return distance

    n_points = 40
    axes = [(np.arange(n_points) + 0.5) / n_points * edge - edge / 2.0 for edge in high - low]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    volume = np.mean(outside(grid, 1.0) < 0.0) * np.prod(high - low)
    scale_A = diameter_A * float(math.pi / 6.0 / volume) ** (1.0 / 3.0)
    return lambda positions_A: outside(positions_A, scale_A)
