"""Two particles that have grown together, with or without twin planes at the neck."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.clusters import DumbbellSpecimen
from picotome.records import Specimen
from picotome.simgen.disorder import apply_disorder
from picotome.simgen.lattice import (
    Level,
    SitesWithin,
    atomic_number,
    cut_sites,
    facet_level,
    facets,
    fcc_lattice_A,
    n_sites,
)

# Rows are [1-10]/√2, [11-2]/√6 and [111]/√3 of the first grain: the particle's z is the twin's normal.
_TWIN_AXES = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0], [1.0, 1.0, 1.0]])
_TWIN_AXES /= np.linalg.norm(_TWIN_AXES, axis=1, keepdims=True)
_MIRROR = np.diag([1.0, 1.0, -1.0])


def build_dumbbell(config: DumbbellSpecimen, *, rng: np.random.Generator) -> Specimen:
    """Join two jittered Wulff particles over a neck of drawn width.

    Close-packed {111} layers are stacked along z, ABCABC… in one crystal; beyond a twin plane the order of
    the layers is reversed (ABCBA), so that the grains mirror each other in a layer that both share. A double
    twin has a mirrored lamella between two such layers. The first plane, or the middle of the lamella, passes
    through the neck. The line of the centres makes the drawn angle with z, its azimuth is free, and equal
    areas of the sphere are equally likely. Both particles have the facets of the grain that their centre
    lies in.

    Neck disorder is a static displacement with rms `neck_disorder_A` per axis at the plane of the neck, times
    exp(−d / `neck_length_A`) at distance d from it.

    Returns
    -------
    The specimen; `truth` also holds ``particle`` (n,), 0 or 1, the side of the neck; ``grain`` (n,), 0 up to
    the first twin plane, 1 beyond it, 2 beyond the second (a shared layer counts to the lower grain); and,
    where there are twin planes, ``twin_plane_distance_A`` (n,), signed, to the nearest one on the ideal
    lattice.

    Raises
    ------
    ValueError
        The lattice parameter is not known, or a particle is too small to hold 13 atoms.
    """
    lattice_A = fcc_lattice_A(config.element, lattice_A=config.lattice_A, key="element")
    spacing_A = lattice_A / math.sqrt(3.0)
    diameters_A = rng.uniform(*config.diameter_A, size=2)
    for diameter_A in diameters_A:
        n_sites(float(diameter_A), lattice_A=lattice_A)
    neck_A = float(rng.uniform(*config.neck) * diameters_A.min())
    cosines = np.cos(np.deg2rad(config.attachment_deg))
    axis = _direction(float(rng.uniform(cosines[1], cosines[0])), azimuth=rng.uniform(0.0, 2.0 * math.pi))
    reach_A = np.sqrt(diameters_A**2 - neck_A**2) / 2.0
    centres_A = np.array([-reach_A[0] * axis, reach_A[1] * axis])

    twin_heights = {"none": [], "single": [0], "double": [0, config.lamella_layers]}[config.twin]
    phase_A = 0.0 if config.twin == "single" else -0.5 * spacing_A * sum(twin_heights)
    phase_A += float(rng.uniform(-0.5, 0.5)) * spacing_A
    shift_A = rng.uniform(-0.5, 0.5, 2) * lattice_A
    planes_A = np.array([phase_A + height * spacing_A for height in twin_heights])

    level = _union(
        [
            _particle_level(
                config.facet_jitter,
                diameter_A=float(diameter_A),
                centre_A=centre_A,
                is_mirrored=config.twin == "single" and number == 1,
                rng=rng,
            )
            for number, (diameter_A, centre_A) in enumerate(zip(diameters_A, centres_A, strict=True))
        ]
    )
    volume_A3 = _volume_A3(diameters_A / 2.0, neck_A=neck_A)
    sites = cut_sites(
        level,
        sites_within=_stacked(lattice_A, twin_heights=twin_heights, phase_A=phase_A, shift_A=shift_A),
        n_atoms=round(4.0 * volume_A3 / lattice_A**3),
        nearest_A=lattice_A / math.sqrt(2.0),
        margin_A=lattice_A,
        radius_A=float(diameters_A.sum()) * 0.65 + lattice_A,
    )
    along_A = sites @ axis
    envelope = config.neck_disorder_A * np.exp(-np.abs(along_A) / config.neck_length_A)
    moved_A = rng.normal(size=sites.shape) * envelope[:, None]
    grain = (sites[:, 2, None] > planes_A + 1e-3).sum(axis=1)
    truth: dict[str, NDArray[Any]] = {
        "displacement_A": moved_A,
        "particle": (along_A > 0.0).astype(np.int64),
        "grain": grain.astype(np.int64),
    }
    if len(planes_A):
        distance_A = sites[:, 2, None] - planes_A
        nearest = np.abs(distance_A).argmin(axis=1)
        truth["twin_plane_distance_A"] = distance_A[np.arange(len(sites)), nearest]
    words = {"none": "one crystal", "single": "{111} twin", "double": "double {111} twin"}
    crystal = Specimen(
        positions_A=sites + moved_A,
        atomic_numbers=np.full(len(sites), atomic_number(config.element)),
        description=f"{config.element} dumbbell, {words[config.twin]}, {len(sites)} atoms, "
        f"{diameters_A[0]:.1f} and {diameters_A[1]:.1f} Å, neck {neck_A:.1f} Å, attached at "
        f"{math.degrees(math.acos(min(axis[2], 1.0))):.0f}° from ⟨111⟩, lattice {lattice_A:.3f} Å",
        truth=truth,
    )
    return apply_disorder(crystal, config=config.disorder, rng=rng)


def _direction(cosine: float, *, azimuth: float) -> NDArray[Any]:
    sine = math.sqrt(max(0.0, 1.0 - cosine**2))
    return np.array([sine * math.cos(azimuth), sine * math.sin(azimuth), cosine])


def _particle_level(
    jitter: float,
    *,
    diameter_A: float,
    centre_A: NDArray[Any],
    is_mirrored: bool,
    rng: np.random.Generator,
) -> Level:
    """Height above the surface of one Wulff particle, Å, in units that grow alike for all particles."""
    inverse_facets = facets(jitter, rng=rng) @ _TWIN_AXES.T
    if is_mirrored:
        inverse_facets = inverse_facets @ _MIRROR
    level = facet_level(inverse_facets)
    scale_A = _scale_A(inverse_facets, diameter_A=diameter_A)

    def above_surface(positions_A: NDArray[Any]) -> NDArray[Any]:
        height: NDArray[Any] = level(positions_A - centre_A) - scale_A
        return height

    return above_surface


def _scale_A(inverse_facets: NDArray[Any], *, diameter_A: float) -> float:
    """Scale at which a facetted particle has the volume of a sphere."""
    from scipy.spatial import ConvexHull

    # The corners of {r: q · r ≤ 1} are the poles of the hull of all q.
    hull = ConvexHull(inverse_facets)
    corners = -hull.equations[:, :3] / hull.equations[:, 3:]
    volume = float(ConvexHull(corners).volume)
    return diameter_A * math.cbrt(math.pi / 6.0 / volume)


def _union(levels: list[Level]) -> Level:
    def lowest(positions_A: NDArray[Any]) -> NDArray[Any]:
        height: NDArray[Any] = np.min([level(positions_A) for level in levels], axis=0)
        return height

    return lowest


def _volume_A3(radii_A: NDArray[Any], *, neck_A: float) -> float:
    """Volume of two overlapping spheres whose surfaces meet in a circle of diameter `neck_A`."""
    heights_A = radii_A - np.sqrt(radii_A**2 - neck_A**2 / 4.0)
    caps = math.pi * heights_A**2 * (3.0 * radii_A - heights_A) / 3.0
    return float((4.0 / 3.0 * math.pi * radii_A**3 - caps).sum())


def _stacked(
    lattice_A: float, *, twin_heights: list[int], phase_A: float, shift_A: NDArray[Any]
) -> SitesWithin:
    """Close-packed layers along z; those at `twin_heights` (in layers) are mirrors, 0 is at `phase_A`."""
    nearest_A, spacing_A = lattice_A / math.sqrt(2.0), lattice_A / math.sqrt(3.0)
    # From layer to layer the sites move by a third of the long diagonal: [11-2] a/6 in the first grain.
    step_A = np.array([0.0, nearest_A / math.sqrt(3.0)])

    def within(radius_A: float) -> NDArray[Any]:
        n_layers = math.ceil((radius_A + abs(phase_A)) / spacing_A) + 1
        layers = np.arange(-n_layers, n_layers + 1)
        # How many steps forward the stacking has gone at each layer, counted from layer 0.
        turns = np.array([sum(layer > height for height in twin_heights) for layer in layers[:-1] + 0.5])
        forward = np.concatenate([[0], np.cumsum(np.where(turns % 2 == 0, 1, -1))])
        forward -= forward[n_layers]
        n_rows = math.ceil((radius_A + lattice_A) / (nearest_A * math.sqrt(0.75))) + 2
        steps = np.arange(-2 * n_rows, 2 * n_rows + 1)
        i, j = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
        flat_A = np.stack([nearest_A * (i + 0.5 * j), nearest_A * math.sqrt(0.75) * j], axis=1) + shift_A
        flat_A = flat_A[np.linalg.norm(flat_A, axis=1) < radius_A + lattice_A]
        sites = np.concatenate(
            [
                np.column_stack(
                    [flat_A + (step % 3) * step_A, np.full(len(flat_A), phase_A + layer * spacing_A)]
                )
                for layer, step in zip(layers, forward, strict=True)
            ]
        )
        inside: NDArray[Any] = sites[np.einsum("ij,ij->i", sites, sites) <= radius_A**2]
        return inside

    return within
