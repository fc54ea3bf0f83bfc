"""Substrates: density, contact, their own random stream, and images against the law of independent atoms."""

import numpy as np
import pytest
from ase.data import atomic_masses, chemical_symbols
from scipy.spatial import cKDTree

from picotome.configs.imaging import AbtemConfig, LinearConfig, OpticsConfig, VolumeConfig
from picotome.configs.specimens import WulffSpecimen
from picotome.configs.substrate import SubstrateConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen, Substrate
from picotome.rng import stream
from picotome.simgen.brightness import cross_section_A2
from picotome.simgen.engines import ENGINES
from picotome.simgen.linear import peak_profile
from picotome.simgen.particles import build_specimen
from picotome.simgen.pose import pose_substrate
from picotome.simgen.substrate import MATERIALS, build_substrate

VOLUME = VolumeConfig(n_voxels=48, voxel_size_A=0.4)
OPTICS = OpticsConfig(
    detector_outer_mrad=72.0,
    abtem=AbtemConfig(sampling_A=0.09, vacuum_A=1.5, scan_step_A=0.4, prism_window_A=5.0),
    linear=LinearConfig(default_debye_waller_A2=0.0),
)
GRAMS_PER_AMU_A3 = 1.66053906660


def particle():
    return build_specimen(
        WulffSpecimen(kind="wulff", diameter_A=12.0), volume=VOLUME, rng=stream(1, 0, "build")
    )


def slab(*, volume=VOLUME, tilt_deg=60.0, seed=0, **settings):
    return build_substrate(
        SubstrateConfig(**{"thickness_A": 20.0, **settings}),
        specimen=particle(),
        volume=volume,
        largest_tilt_deg=tilt_deg,
        rng=stream(seed, 0, "substrate"),
    )


@pytest.fixture(scope="module")
def slabs():
    return {material: slab(material=material) for material in MATERIALS}


@pytest.mark.parametrize("material", MATERIALS)
def test_density_composition_and_distances_are_as_stated(slabs, material):
    made = slabs[material]
    volume_A3 = made.period_A.prod() * made.thickness_A
    grams = atomic_masses[made.atomic_numbers].sum() * GRAMS_PER_AMU_A3
    assert grams / volume_A3 == pytest.approx(MATERIALS[material].density_g_per_cm3, rel=1e-3)
    # The same near the surfaces as inside.
    depth = made.positions_A[:, 2] - made.positions_A[:, 2].min()
    per_layer = np.histogram(depth, bins=4, range=(0, made.thickness_A))[0]
    np.testing.assert_allclose(per_layer, per_layer.mean(), rtol=0.05)
    symbols = np.array(chemical_symbols)[made.atomic_numbers]
    counts = {symbol: int((symbols == symbol).sum()) for symbol in MATERIALS[material].formula}
    for symbol, share in MATERIALS[material].formula.items():
        total = sum(MATERIALS[material].formula.values())
        assert counts[symbol] == pytest.approx(len(symbols) * share / total, abs=1)
    first, second = cKDTree(made.positions_A).query_pairs(3.0, output_type="ndarray").T
    apart = np.linalg.norm(made.positions_A[first] - made.positions_A[second], axis=1)
    smallest = [
        MATERIALS[material].smallest_A[frozenset({a, b})]
        for a, b in zip(symbols[first], symbols[second], strict=True)
    ]
    assert (apart >= np.array(smallest) - 1e-9).all()


@pytest.mark.parametrize("side", ["exit", "entrance"])
@pytest.mark.parametrize("contact_A", [2.2, 6.0])
def test_the_particle_touches_the_slab_at_the_stated_distance(side, contact_A):
    made, lying = slab(side=side, contact_A=contact_A), particle()
    repeats = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) * made.period_A
    everywhere = np.concatenate([made.positions_A + np.array([*repeat, 0.0]) for repeat in repeats])
    nearest = cKDTree(everywhere).query(lying.positions_A)[0].min()
    assert nearest == pytest.approx(contact_A, abs=1e-9)
    away = 1.0 if side == "exit" else -1.0
    assert (away * made.positions_A[:, 2]).mean() > (away * lying.positions_A[:, 2]).max()


def test_the_surface_is_a_flat_cut_with_no_island_left_above(slabs):
    depth = slabs["carbon"].positions_A[:, 2]
    assert np.ptp(depth) == pytest.approx(slabs["carbon"].thickness_A, abs=0.05)


def test_a_window_is_filled_with_each_atom_once_at_the_largest_tilt(slabs):
    made = slabs["carbon"]
    (rotation,) = tilt_rotations(np.array([60.0]))
    half_A = 0.5 * VOLUME.n_voxels * VOLUME.voxel_size_A
    window_A = np.array([[-half_A, half_A]] * 2)
    posed_A, index = pose_substrate(made, rotation=rotation, shift_A=np.array([0.3, -0.2]), window_A=window_A)
    assert len(np.unique(index)) == len(index)
    expected = len(made.positions_A) / made.period_A.prod() * (2 * half_A) ** 2 / np.cos(np.deg2rad(60))
    # Fewer fluctuations than independent atoms would have.
    assert len(index) == pytest.approx(expected, abs=3 * np.sqrt(expected))
    for axis in (0, 1):
        filled = np.histogram(posed_A[:, axis], bins=4, range=(-half_A, half_A))[0]
        np.testing.assert_allclose(filled, filled.mean(), rtol=0.1)
    # Atoms are where the specimen's frame says.
    back_A = (posed_A - [0.3, -0.2, 0.0]) @ rotation - made.positions_A[index]
    np.testing.assert_allclose(
        back_A[:, :2] / made.period_A, np.round(back_A[:, :2] / made.period_A), atol=1e-9
    )
    np.testing.assert_allclose(back_A[:, 2], 0.0, atol=1e-9)


def test_a_slab_is_not_looked_at_edge_on(slabs):
    (rotation,) = tilt_rotations(np.array([86.0]))
    with pytest.raises(ValueError, match=r"tilted by 86\.0°; allowed is 85°"):
        pose_substrate(
            slabs["carbon"], rotation=rotation, shift_A=np.zeros(2), window_A=np.array([[-5.0, 5]] * 2)
        )
    with pytest.raises(ValueError, match="allowed on a substrate is 80°"):
        slab(tilt_deg=81.0)


def image(engine, specimen, *, substrate, tilt_deg=(0.0,), optics=OPTICS, volume=VOLUME):
    n = len(tilt_deg)
    return ENGINES[engine](
        specimen,
        rotations=tilt_rotations(np.array(tilt_deg)),
        shifts_A=np.zeros((n, 2)),
        defocus_A=np.zeros(n),
        volume=volume,
        optics=optics,
        rng=np.random.default_rng(0),
        substrate=substrate,
    )


def lone_atom():
    return Specimen(positions_A=np.zeros((1, 3)), atomic_numbers=np.array([78]))


def level_law(made, *, optics, tilt_deg):
    """Cross-section times areal density over the cosine."""
    numbers, counts = np.unique(made.atomic_numbers, return_counts=True)
    flux_A2 = sum(
        n * cross_section_A2(chemical_symbols[z], optics=optics) for z, n in zip(numbers, counts, strict=True)
    )
    return flux_A2 / made.period_A.prod() / np.cos(np.deg2rad(tilt_deg))


@pytest.mark.parametrize("material", MATERIALS)
def test_mean_is_cross_section_times_areal_density_over_the_cosine(material):
    made, tilt_deg = slab(material=material, thickness_A=10.0), np.array([0.0, 30.0, 45.0])
    pictures = image("linear", lone_atom(), substrate=made, tilt_deg=tilt_deg)
    pictures = pictures - image("linear", lone_atom(), substrate=None, tilt_deg=tilt_deg)
    found = pictures.mean(axis=(1, 2))
    # The grain does not average out over so small a field: 300 atoms of Si.
    law = level_law(made, optics=OPTICS, tilt_deg=tilt_deg)
    np.testing.assert_allclose(found, law, rtol=0.1)
    assert found.mean() == pytest.approx(law.mean(), rel=0.06)
    # Atom by atom: what lies in the field of view.
    half_A = 0.5 * VOLUME.n_voxels * VOLUME.voxel_size_A
    window_A = np.array([[-half_A, half_A]] * 2) - 0.5 * VOLUME.voxel_size_A
    for level, rotation in zip(found, tilt_rotations(tilt_deg), strict=True):
        _, index = pose_substrate(made, rotation=rotation, shift_A=np.zeros(2), window_A=window_A)
        seen = Substrate(made.positions_A[index], made.atomic_numbers[index], np.full(2, 2.0 * half_A), 10.0)
        assert level == pytest.approx(level_law(seen, optics=OPTICS, tilt_deg=0.0), rel=0.03)


def test_independent_atoms_fluctuate_by_campbells_law_and_packed_ones_less():
    # Campbell: the variance of a shot noise is the density of its events times the integral of their square.
    volume = VolumeConfig(n_voxels=128, voxel_size_A=0.4)
    made = slab(volume=volume, tilt_deg=0.0, thickness_A=10.0)
    rng = np.random.default_rng(0)
    anywhere = made.positions_A.copy()
    anywhere[:, :2] = rng.uniform(size=(len(anywhere), 2)) * made.period_A
    poisson = Substrate(anywhere, made.atomic_numbers, made.period_A, made.thickness_A)
    found = {}
    for name, atoms in (("packed", made), ("poisson", poisson)):
        picture = image("linear", lone_atom(), substrate=atoms, volume=volume)[0]
        # Away from the platinum atom in the middle.
        found[name] = np.concatenate([picture[:48], picture[-48:]])
    radius = np.linspace(0, 12, 2000)
    middle_A = made.positions_A[:, 2].mean()
    profile = peak_profile("C", radius, optics=OPTICS, defocus_A=-middle_A, extra_variance_A2=0.4**2 / 12)
    flux_A2 = cross_section_A2("C", optics=OPTICS)
    density = len(made.positions_A) / made.period_A.prod()
    variance = density * flux_A2**2 * np.trapezoid(2 * np.pi * radius * profile**2, radius)
    for picture in found.values():
        assert picture.mean() == pytest.approx(density * flux_A2, rel=0.03)
    assert found["poisson"].var() == pytest.approx(variance, rel=0.15)
    # Atoms that keep apart are fewer than chance has it where there are already some: structure factor.
    assert 0.3 * variance < found["packed"].var() < 0.8 * variance


def test_prism_sees_the_slab_that_the_linear_engine_draws_at_a_high_tilt():
    volume = VolumeConfig(n_voxels=24, voxel_size_A=0.4)
    made = slab(volume=volume, thickness_A=8.0, tilt_deg=50.0, contact_A=2.2)
    linear, prism = (
        image(engine, lone_atom(), substrate=made, tilt_deg=(50.0,), volume=volume)[0]
        for engine in ("linear", "prism")
    )
    corners = np.hypot(*np.meshgrid(*2 * [np.arange(24) - 12.0])) > 9
    # Windows cut where the waves leave the cell lost the grain (0.15 for 35 atoms of Pt on 20 Å at 60°).
    assert prism[corners].mean() == pytest.approx(linear[corners].mean(), rel=0.12)
    assert np.corrcoef(prism[corners], linear[corners])[0, 1] > 0.7
    # The particle's own light is not lost on its way through the cell.
    assert prism.sum() == pytest.approx(linear.sum(), rel=0.12)
