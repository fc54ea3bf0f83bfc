"""Particles of one element cut by facets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.specimens import WulffSpecimen, parse_miller
from picotome.records import Specimen
from picotome.simgen.crystals import (
    SHAPES,
    Lattice,
    all_facets,
    facet_of_atoms,
    lattice_sites,
    metal_lattice,
    usual_energies,
)
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import SitesWithin, atomic_number, cut_sites, facet_level, n_atoms_in, trim


def build_wulff(config: WulffSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Cut a crystal by facets at jittered Wulff distances.

    Without `facets` and `shape` an f.c.c. crystal has {111}, {100} and {110}, a b.c.c. one {110}, {100} and
    {111}, an h.c.p. one (001), {100} and {101} (three-index), with energies that count broken bonds. Surface
    energies and distances are the same thing here: Wulff, Z. Kristallogr. 34, 449 (1901),
    doi:10.1524/zkri.1901.34.1.449; the size follows from `diameter_A` or `n_atoms`. The last layer is filled
    from the middle of each facet, so that any number of atoms can be had; with `n_atoms` it is exact, unless
    every atom that could go would leave others with fewer than three neighbours.

    Returns
    -------
    The specimen; `truth` also holds ``facet`` (n, 3), the Miller indices of the facet that a surface atom is
    nearest to (in the crystal's own axes, whatever the orientation), 0 0 0 inside.

    Raises
    ------
    ValueError
        The lattice is not known, there are fewer than 13 atoms, or the facets do not close a particle.
    """
    lattice = metal_lattice(
        config.element,
        structure=config.structure,
        lattice_A=config.lattice_A,
        lattice_c_A=config.lattice_c_A,
    )
    if config.n_atoms is None:
        diameter_A = float(rng.uniform(*config.diameter_A))
        n_atoms = n_atoms_in(diameter_A, atom_volume_A3=lattice.atom_volume_A3)
    else:
        n_atoms = round(rng.uniform(*config.n_atoms))
        diameter_A = float(np.cbrt(6.0 / np.pi * n_atoms * lattice.atom_volume_A3))
    energies = usual_energies(lattice)
    if config.shape is not None:
        if lattice.structure == "hcp":
            raise ValueError(f"shape is {config.shape} for {config.element}, h.c.p.; allowed are facets")
        energies = SHAPES[config.shape]
    if config.facets is not None:
        energies = {parse_miller(key): value for key, value in config.facets.items()}
    millers, inverse_facets = all_facets(lattice, energies, jitter=config.facet_jitter, rng=rng)
    level = facet_level(inverse_facets)
    offset_A = rng.uniform(-0.5, 0.5, 3) * lattice.a_A
    sites = cut_sites(
        level,
        sites_within=_within(lattice, np.zeros(3) if config.centred else offset_A),
        n_atoms=n_atoms,
        nearest_A=lattice.nearest_A,
        margin_A=max(lattice.a_A, lattice.c_A),
        radius_A=0.65 * diameter_A + lattice.a_A,
    )
    if config.n_atoms is not None:
        sites = trim(sites, n_atoms=n_atoms, nearest_A=lattice.nearest_A)
    facet = facet_of_atoms(
        sites,
        lattice=lattice,
        millers=millers,
        inverse_facets=inverse_facets,
        scale_A=float(level(sites).max()),
    )
    shape = config.shape.replace("_", " ") if config.shape is not None else "Wulff particle"
    c_A = f", {lattice.c_A:.3f} Å" if lattice.structure == "hcp" else ""
    crystal = Specimen(
        positions_A=sites,
        atomic_numbers=np.full(len(sites), atomic_number(config.element)),
        description=f"{config.element} {shape}, {len(sites)} atoms, {diameter_A:.1f} Å, "
        f"lattice {lattice.a_A:.3f} Å{c_A}",
        truth={"facet": facet},
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _within(lattice: Lattice, offset_A: NDArray[Any]) -> SitesWithin:
    def sites_within(radius_A: float) -> NDArray[Any]:
        return lattice_sites(lattice, radius_A=radius_A, offset_A=offset_A)

    return sites_within
