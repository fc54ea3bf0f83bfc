"""The amorphous slab that a particle lies on, atom by atom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from picotome.configs.imaging import VolumeConfig
from picotome.configs.substrate import STEEPEST_DEG, SubstrateConfig
from picotome.records import Specimen, Substrate
from picotome.simgen.alloy import whole_numbers
from picotome.simgen.drawing import draw_from
from picotome.simgen.packing import pack_periodic
from picotome.units import AMU_PER_A3_PER_G_PER_CM3

# Beyond the field of view on each side: the tails of the atoms there reach into the images.
EDGE_A = 8.0
_MOST_ATOMS = 500_000


@dataclass(frozen=True)
class Material:
    """What a slab is made of.

    Attributes
    ----------
    name
        For people.
    formula
        Atoms of each element in a unit of the formula.
    density_g_per_cm3
        Where none is asked for.
    smallest_A
        Smallest distance of each pair of elements.
    """

    name: str
    formula: Mapping[str, int]
    density_g_per_cm3: float
    smallest_A: Mapping[frozenset[str], float]


# Evaporated a-C: 2.0 g/cm³ and bonds of 1.42 to 1.54 Å (Robertson, Mater. Sci. Eng. R 37, 129 (2002),
# doi:10.1016/S0927-796X(02)00005-0). Amorphous Si3N4: 2.9 to 3.1 g/cm³, Si-N 1.73 Å, N-N 2.8, Si-Si 3.0 Å
# (Misawa et al., J. Non-Cryst. Solids 34, 313 (1979)). The packing keeps
# the shortest bond, less a few per cent, and holds like atoms of the nitride apart as far as packs fast.
MATERIALS: Mapping[str, Material] = {
    "carbon": Material("amorphous C", {"C": 1}, 2.0, {frozenset({"C"}): 1.4}),
    "silicon_nitride": Material(
        "amorphous Si3N4",
        {"Si": 3, "N": 4},
        3.0,
        {frozenset({"Si", "N"}): 1.65, frozenset({"Si"}): 2.4, frozenset({"N"}): 2.2},
    ),
}


def build_substrate(
    config: SubstrateConfig,
    *,
    specimen: Specimen,
    volume: VolumeConfig,
    largest_tilt_deg: float,
    rng: np.random.Generator,
) -> Substrate:
    """Pack a slab and bring it up to the particle until the first two atoms touch.

    The slab has no edge: it repeats along x and y. One period is as wide as what one image sees of the slab
    at the largest tilt, so that no atom is seen twice in an image. Its surfaces are those of a cut through a
    larger packing; the density is the same up to them. The particle stays where it is.

    Parameters
    ----------
    specimen
        The particle, in place.
    largest_tilt_deg
        Of the series, without its errors.

    Raises
    ------
    ValueError
        A tilt beyond 80°, more than half a million atoms, or a density that cannot be packed.
    """
    if largest_tilt_deg > STEEPEST_DEG:
        raise ValueError(
            f"the series tilts to {largest_tilt_deg:g}°; allowed on a substrate is {STEEPEST_DEG:g}°: lower "
            f"acquisition.tilt_max_deg, or leave substrate out"
        )
    material = MATERIALS[config.material]
    density_g_per_cm3 = config.density_g_per_cm3 or material.density_g_per_cm3
    thickness_A = draw_from(config.thickness_A, rng=rng)
    period_A = _period_A(volume, thickness_A=thickness_A, largest_tilt_deg=largest_tilt_deg)
    cell_A = np.array([*period_A, thickness_A])
    symbols = list(material.formula)
    numbers = _draw_elements(
        material, density_g_per_cm3=density_g_per_cm3, volume_A3=float(cell_A.prod()), rng=rng
    )
    positions_A = pack_periodic(
        np.unique(numbers, return_inverse=True)[1],
        cell_A=cell_A,
        smallest_A=_smallest_A(sorted(symbols, key=_atomic_number), material),
        rng=rng,
    )
    # Depth grows away from the particle.
    away = 1.0 if config.side == "exit" else -1.0
    positions_A[:, 2] += _depth_at_contact_A(
        specimen.positions_A * [1.0, 1.0, away], positions_A, period_A=period_A, contact_A=config.contact_A
    )
    positions_A[:, 2] *= away
    return Substrate(
        positions_A=positions_A,
        atomic_numbers=numbers,
        period_A=period_A,
        thickness_A=thickness_A,
        description=f"{material.name}, {thickness_A:.1f} Å, {density_g_per_cm3:.2f} g/cm³, "
        f"{len(numbers)} atoms, {config.contact_A:g} Å from the particle on the {config.side} side",
    )


def _atomic_number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def _period_A(volume: VolumeConfig, *, thickness_A: float, largest_tilt_deg: float) -> NDArray[Any]:
    """(2,) widths of what one image sees of the slab at the largest tilt about y."""
    seen_A = volume.n_voxels * volume.voxel_size_A + 2.0 * EDGE_A
    tilt = math.radians(largest_tilt_deg)
    return np.array([seen_A / math.cos(tilt) + thickness_A * math.tan(tilt), seen_A])


def _draw_elements(
    material: Material, *, density_g_per_cm3: float, volume_A3: float, rng: np.random.Generator
) -> NDArray[Any]:
    """(n,) atomic numbers in random order, as many as the density asks for."""
    from ase.data import atomic_masses

    symbols = list(material.formula)
    shares = np.array([material.formula[symbol] for symbol in symbols], dtype=np.float64)
    shares /= shares.sum()
    elements = np.array([_atomic_number(symbol) for symbol in symbols], dtype=np.int64)
    mass_amu = float(shares @ atomic_masses[elements])
    n_atoms = round(density_g_per_cm3 * AMU_PER_A3_PER_G_PER_CM3 * volume_A3 / mass_amu)
    if n_atoms > _MOST_ATOMS:
        raise ValueError(
            f"the substrate would have {n_atoms} atoms; allowed are {_MOST_ATOMS}: lower "
            f"substrate.thickness_A, the largest tilt, or the box"
        )
    drawn: NDArray[Any] = rng.permutation(np.repeat(elements, whole_numbers(shares, n_atoms)))
    return drawn


def _smallest_A(symbols: list[str], material: Material) -> NDArray[Any]:
    return np.array([[material.smallest_A[frozenset({a, b})] for b in symbols] for a in symbols])


def _depth_at_contact_A(
    particle_A: NDArray[Any], slab_A: NDArray[Any], *, period_A: NDArray[Any], contact_A: float
) -> float:
    """How far down the slab goes until its nearest atom is `contact_A` from the particle's nearest.

    A slab atom at depth u and lateral distance d from an atom at depth v must move by v + √(c² − d²) − u.
    """
    tree = cKDTree(np.mod(slab_A[:, :2], period_A), boxsize=period_A)
    near = tree.query_ball_point(np.mod(particle_A[:, :2], period_A), contact_A)
    of_slab = np.concatenate([np.asarray(each, dtype=np.int64) for each in near])
    of_particle = np.repeat(np.arange(len(particle_A)), [len(each) for each in near])
    apart_A = particle_A[of_particle, :2] - slab_A[of_slab, :2]
    apart_A -= period_A * np.round(apart_A / period_A)
    room_A2 = np.maximum(contact_A**2 - np.square(apart_A).sum(axis=1), 0.0)
    return float((particle_A[of_particle, 2] + np.sqrt(room_A2) - slab_A[of_slab, 2]).max())
