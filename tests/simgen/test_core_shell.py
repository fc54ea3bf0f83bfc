"""Core-shell particles: layers, interfaces, off-centre cores, and the misfit with its strain."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ase.neighborlist import PrimitiveNeighborList
from hypothesis import given, settings
from hypothesis import strategies as st

from picotome.configs.specimens import CoreShellSpecimen, DisorderConfig
from picotome.records import Specimen
from picotome.rng import stream
from picotome.simgen.core_shell import build_core_shell
from picotome.simgen.crystals import all_facets, fcc, usual_energies
from picotome.simgen.lattice import fcc_sites
from picotome.simgen.misfit import local_strain, sphere_in_sphere

CALM = DisorderConfig(strain_rms=0.0, displacement_rms_A=0.0)


def _build(seed: int = 0, **changes: object) -> Specimen:
    settings_ = {"kind": "core_shell", "diameter_A": 26.0, "relax": False, "disorder": CALM, **changes}
    return build_core_shell(CoreShellSpecimen.model_validate(settings_), rng=stream(5, seed, "build"))


def _lattice_A(specimen: Specimen) -> float:
    return float(np.where(specimen.truth["is_shell"] == 1, 3.92, 3.89).mean())


def _is_in_outer_planes(sites: np.ndarray, normals: np.ndarray, spacing_A: float, n: float) -> np.ndarray:
    heights = sites @ (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T
    below_outermost = (heights.max(axis=0) - heights) / spacing_A
    return (below_outermost < n - 0.5).any(axis=1)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_monolayers_are_layers_of_111(n_layers: int, seed: int) -> None:
    specimen = _build(seed, shell_monolayers=n_layers, facet_jitter=0.0)
    sites, is_shell, a = specimen.positions_A, specimen.truth["is_shell"] == 1, _lattice_A(specimen)
    of_111 = np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    of_100 = np.concatenate([np.eye(3), -np.eye(3)])
    of_110 = np.array([v for v in np.ndindex(3, 3, 3) if np.count_nonzero(np.array(v) - 1) == 2]) - 1
    assert len(of_110) == 12
    must = _is_in_outer_planes(sites, of_111, a / np.sqrt(3.0), n_layers)
    assert is_shell[must].all()
    # What else is shell lies under {100} or {110}, where layers are thinner.
    may = must | _is_in_outer_planes(sites, of_100, a / 2.0, np.ceil(n_layers * 2 / np.sqrt(3.0)))
    may |= _is_in_outer_planes(sites, of_110, a / np.sqrt(8.0), np.ceil(n_layers * np.sqrt(8.0 / 3.0)))
    assert not is_shell[~may].any()
    assert 0 < is_shell.sum() < len(sites)


def test_a_graded_interface_has_its_width() -> None:
    thickness_A, width_A = 6.0, 5.0
    share = {-0.5: [], 0.0: [], 0.5: []}
    for seed in range(6):
        specimen = _build(
            seed, diameter_A=36.0, shell_thickness_A=thickness_A, interface_width_A=width_A, facet_jitter=0.0
        )
        sites = specimen.positions_A
        lattice = fcc(_lattice_A(specimen))
        _, q = all_facets(lattice, usual_energies(lattice), jitter=0.0, rng=np.random.default_rng(0))
        depth = (((sites @ q.T).max() - sites @ q.T) / np.linalg.norm(q, axis=1)).min(axis=1)
        for where, found in share.items():
            near = np.abs(depth - thickness_A - where * width_A) < 0.8
            found.append(np.mean(specimen.truth["is_shell"][near] == 0))
    assert np.mean(share[-0.5]) == pytest.approx(0.1, abs=0.06)
    assert np.mean(share[0.0]) == pytest.approx(0.5, abs=0.08)
    assert np.mean(share[0.5]) == pytest.approx(0.9, abs=0.06)
    sharp, graded = (_build(1, shell_thickness_A=4.0, interface_width_A=w) for w in (0.0, 3.0))
    np.testing.assert_allclose(graded.truth["is_shell"].mean(), sharp.truth["is_shell"].mean(), atol=0.08)


def test_an_off_centre_core_is_where_it_was_asked() -> None:
    for seed in range(4):
        specimen = _build(seed, shell_thickness_A=5.0, off_centre_A=3.0, facet_jitter=0.0)
        core = specimen.truth["is_shell"] == 0
        sites = specimen.positions_A
        moved_A = np.linalg.norm(sites[core].mean(axis=0) - sites.mean(axis=0))
        assert moved_A == pytest.approx(3.0, abs=0.9)
        assert "core off centre by 3.0 Å" in specimen.description
        # Still covered: no surface atom is core.
        assert not (core & specimen.truth["facet"].any(axis=1)).any()


@settings(max_examples=30)
@given(
    core=st.floats(-0.1, 0.1),
    shell=st.floats(-0.1, 0.1),
    nu=st.floats(0.0, 0.49),
    ratio=st.floats(0.2, 0.9),
)
def test_the_sphere_in_a_sphere_is_elastic(core: float, shell: float, nu: float, ratio: float) -> None:
    radius_A, core_A = 12.0, 12.0 * ratio
    directions = np.random.default_rng(0).normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def field(r: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sphere_in_sphere(
            directions * r,
            core_radius_A=core_A,
            radius_A=radius_A,
            core_misfit=core,
            shell_misfit=shell,
            poisson_ratio=nu,
        )

    # The volume changes as if the parts were taken apart.
    outside, strain = field(radius_A)
    mean = shell + (core - shell) * ratio**3
    np.testing.assert_allclose(outside, mean * radius_A * directions, atol=1e-12)
    # No force on the surface: stress of what is left of the strain after each part's own.
    elastic = strain - shell * np.eye(3)
    stress = nu / (1.0 - 2.0 * nu) * np.trace(elastic, axis1=1, axis2=2)[:, None, None] * np.eye(3) + elastic
    np.testing.assert_allclose(np.einsum("nij,nj->ni", stress, directions), 0.0, atol=1e-12)
    # Continuous at the interface, and the strain is the gradient of the displacement.
    np.testing.assert_allclose(field(core_A - 1e-9)[0], field(core_A + 1e-9)[0], atol=1e-9)
    step = 1e-5
    for r in (0.5 * core_A, 0.5 * (core_A + radius_A)):
        _, strain = field(r)
        for axis in np.eye(3):
            ahead, behind = (
                sphere_in_sphere(
                    directions * r + sign * step * axis,
                    core_radius_A=core_A,
                    radius_A=radius_A,
                    core_misfit=core,
                    shell_misfit=shell,
                    poisson_ratio=nu,
                )[0]
                for sign in (1, -1)
            )
            np.testing.assert_allclose((ahead - behind) / (2 * step), strain @ axis, atol=1e-7)


def test_imposed_misfit_is_recovered_by_least_squares() -> None:
    specimen = _build(2, core="Rh", shell="Au", imposed="radial", shell_thickness_A=4.0)
    moved = specimen.truth["displacement_A"]
    sites = specimen.positions_A - moved
    # Rh 3.80, Au 4.08: the common lattice is a perfect one in between.
    a = np.where(specimen.truth["is_shell"] == 1, 4.08, 3.80).mean()
    squares = 2.0 * ((sites[:40, None] - sites) ** 2).sum(axis=2) / a**2
    np.testing.assert_allclose(squares, np.rint(squares), atol=1e-6)
    strain = specimen.truth["misfit_strain"]
    inner = np.linalg.norm(strain - strain[np.linalg.norm(sites, axis=1).argmin()], axis=(1, 2)) < 1e-12
    assert inner.sum() > 100
    design = np.column_stack([sites[inner], np.ones(inner.sum())])
    fitted = np.linalg.lstsq(design, moved[inner], rcond=None)[0][:3].T
    np.testing.assert_allclose(fitted, strain[inner][0], atol=1e-6)
    # The core is drawn out by the shell, but not as far as the shell's lattice.
    assert 3.80 / a - 1 < fitted[0, 0] < 0.0


def test_a_uniform_strain_is_found_at_every_atom() -> None:
    sites = fcc_sites(3.92, radius_A=9.0, offset_A=np.array([0.4, 1.1, 0.2]))
    rng = np.random.default_rng(1)
    gradient = rng.normal(0.0, 0.02, (3, 3))
    found = local_strain(sites, sites @ gradient.T, nearest_A=3.92 / np.sqrt(2.0))
    bound = np.broadcast_to((gradient + gradient.T) / 2.0, found.shape)
    np.testing.assert_allclose(found, bound, atol=1e-9)


@pytest.mark.parametrize(("core", "shell", "sign"), [("Cu", "Au", -1), ("Au", "Cu", 1)])
def test_emt_shrinks_the_small_and_swells_the_large(core: str, shell: str, sign: int) -> None:
    specimen = _build(0, core=core, shell=shell, relax=True, diameter_A=17.0, shell_thickness_A=3.0)
    dilation = np.trace(specimen.truth["misfit_strain"], axis1=1, axis2=2)
    inside = specimen.truth["is_shell"] == 0
    assert sign * (dilation[inside].mean() - dilation[~inside].mean()) > 0.01
    sites = specimen.positions_A - specimen.truth["displacement_A"]
    squares = 2.0 * ((sites[:30, None] - sites) ** 2).sum(axis=2)
    a2 = np.sort(squares[0])[1]
    np.testing.assert_allclose(squares / a2, np.rint(squares / a2), atol=1e-6)


def test_a_relaxed_particle_leaves_no_lists_of_neighbours_in_memory() -> None:
    """Workers make hundreds: what only a search for cycles among the oldest objects finds would pile up."""
    gc.collect()
    gc.disable()
    try:
        _build(relax=True, diameter_A=17.0)
        # isinstance would ask every object for its class, and some of torch's answer with a warning.
        left = [thing for thing in gc.get_objects() if issubclass(type(thing), PrimitiveNeighborList)]
    finally:
        gc.enable()
    assert not left


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shell_monolayers": 6, "diameter_A": 20.0}, "shell_thickness_A is 13.58 .*shell_monolayers"),
        ({"shell_monolayers": 0.2}, "shell_monolayers is 0.2; allowed is 1 or more"),
        ({"off_centre_A": 4.0, "shell_thickness_A": 3.0}, "off_centre_A is 4.00 .* lays the core bare"),
        ({"relax": True, "imposed": "radial"}, "imposed is radial with relax: true"),
        ({"core": "Fe"}, "core is Fe, whose lattice is bcc"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _build(**changes)


def test_any_element_goes_with_a_lattice() -> None:
    specimen = _build(core="Co", core_lattice_A=3.54, imposed="radial")
    assert set(specimen.atomic_numbers) == {27, 78}
