"""Aberrations, focal spread and phonons; judges: abTEM's own probe, exact quadrature, textbook optics."""

import numpy as np
import pytest

from picotome.configs.imaging import AbtemConfig, LinearConfig, OpticsConfig, VolumeConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen
from picotome.simgen.aberrations import abtem_aberrations, fixed_phase, focal_nodes, probe_reach_A
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.brightness import atom_image
from picotome.simgen.cells import plan_cells
from picotome.simgen.engines import ENGINES
from picotome.simgen.ignored import IgnoredKnobWarning, ignored_knobs
from picotome.simgen.linear import peak_gaussians, peak_profile
from picotome.units import wavelength_A

VOLUME = VolumeConfig(n_voxels=32, voxel_size_A=0.4)
QUICK = {
    "detector_outer_mrad": 72.0,
    "abtem": AbtemConfig(sampling_A=0.09, vacuum_A=3.0, scan_step_A=0.28, prism_window_A=6.0),
    "linear": LinearConfig(default_debye_waller_A2=0.0),
}
ABERRATED = [
    {"c30_um": 8.0},
    {"c30_um": -8.0},
    {"c50_mm": 5.0},
    {"c30_um": -10.0, "c50_mm": 5.0},
]


def image(engine, specimen, *, optics, defocus_A=0.0, seed=0):
    return ENGINES[engine](
        specimen,
        rotations=tilt_rotations(np.zeros(1)),
        shifts_A=np.zeros((1, 2)),
        defocus_A=np.full(1, defocus_A),
        volume=VOLUME,
        optics=optics,
        rng=np.random.default_rng(seed),
    )[0]


def deviation(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("settings", ABERRATED)
@pytest.mark.parametrize("defocus_A", [-20.0, 30.0])
def test_our_probe_is_that_of_abtem_with_its_signs(settings, defocus_A):
    import abtem

    optics = OpticsConfig(**settings)
    n, extent_A = 256, 25.6
    theirs = abtem.Probe(
        energy=optics.beam_energy_eV,
        semiangle_cutoff=optics.convergence_mrad,
        extent=extent_A,
        gpts=n,
        defocus=defocus_A,
        soft=False,
        **abtem_aberrations(optics),
    ).build(lazy=False)
    expected = np.abs(np.asarray(theirs.array)) ** 2
    k = np.fft.fftfreq(n, extent_A / n)
    k2 = k[:, None] ** 2 + k**2
    wavelength = wavelength_A(optics.beam_energy_eV)
    aperture = np.sqrt(k2) * wavelength < optics.convergence_mrad * 1e-3
    wave = aperture * np.exp(1j * (np.pi * wavelength * defocus_A * k2 - fixed_phase(optics, k2)))
    found = np.fft.fftshift(np.abs(np.fft.ifft2(wave)) ** 2)
    np.testing.assert_allclose(
        found / found.sum(), expected / expected.sum(), atol=1e-5 * expected.max() / expected.sum()
    )
    # The rays stay within the disc that the cells leave room for.
    r = np.hypot(*np.meshgrid(*2 * [(np.arange(n) - n // 2) * extent_A / n]))
    inside = found[r <= probe_reach_A(optics, defocus_A) + 1.5].sum() / found.sum()
    assert inside > 0.9


def test_scherzer_focus_is_where_the_textbook_says():
    # Uncorrected Cs 1 mm at 200 kV: Δz = 0.87 (Cs λ)^½ and α = 1.41 (λ / Cs)^¼ for the least probe (Kirkland,
    # doi:10.1007/978-3-030-33260-0, eq. 3.8: 433 Å and 10.3 mrad); beyond the atom is our positive sign.
    optics = OpticsConfig(beam_energy_eV=200e3, convergence_mrad=10.0, c30_um=1000.0, source_size_A=0.0)
    focus_A = np.linspace(-900, 900, 37)
    heights = [peak_profile("C", np.zeros(1), optics=optics, defocus_A=f)[0] for f in focus_A]
    scherzer_A = 0.87 * np.sqrt(1e7 * wavelength_A(200e3))
    assert focus_A[int(np.argmax(heights))] == pytest.approx(scherzer_A, abs=100.0)


@pytest.mark.parametrize("settings", ABERRATED)
def test_aberrations_keep_the_flux_of_an_atom(settings):
    sharp = atom_image("Pd", optics=OpticsConfig())[0]
    assert atom_image("Pd", optics=OpticsConfig(**settings))[0] == pytest.approx(sharp, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"c30_um": 8.0}, 0.015),
        ({"c30_um": -10.0, "c50_mm": 5.0}, 0.015),
        ({"focal_spread_A": 30.0}, 0.004),
        ({"c30_um": 3.0, "focal_spread_A": 20.0}, 0.01),
    ],
)
def test_gaussians_reproduce_the_exact_aberrated_peak(settings, allowed):
    optics = OpticsConfig(**settings)
    depths = np.array([-15.0, -4.3, 7.1])
    pixel_A2 = 0.4**2 / 12
    weights, sigmas = peak_gaussians("Pt", depths, optics=optics, extra_variance_A2=pixel_A2)
    radius = np.linspace(0, 6, 300)
    area = np.sqrt(radius)
    for weight, depth in zip(weights, depths, strict=True):
        exact = peak_profile("Pt", radius, optics=optics, defocus_A=float(depth), extra_variance_A2=pixel_A2)
        fitted = (np.exp(-0.5 * (radius[:, None] / sigmas) ** 2) / (2 * np.pi * sigmas**2)) @ weight
        assert np.linalg.norm(area * (fitted - exact)) < allowed * np.linalg.norm(area * exact)


@pytest.mark.parametrize("engine", ["prism", "multislice"])
@pytest.mark.parametrize(
    ("settings", "defocus_A"),
    [({"c30_um": 4.0}, 15.0), ({"c30_um": -4.0}, 15.0), ({"c50_mm": 6.0}, -10.0)],
)
def test_one_aberrated_atom_looks_alike_in_all_engines(engine, settings, defocus_A):
    optics = OpticsConfig(**QUICK, **settings)
    specimen = Specimen(positions_A=np.array([[0.33, -0.41, 0.0]]), atomic_numbers=np.array([78]))
    expected = image("linear", specimen, optics=optics, defocus_A=defocus_A)
    found = image(engine, specimen, optics=optics, defocus_A=defocus_A)
    # The detector's edge falls on the coarse angles of a small cell: 5 % of the flux, aberrated or not.
    assert found.sum() == pytest.approx(expected.sum(), rel=0.06)
    assert deviation(found / found.sum(), expected / expected.sum()) < 0.025
    # Cs and defocus balance or add up: the wrong sign of either would be seen.
    other = optics.model_copy(update={"c30_um": -optics.c30_um, "c50_mm": -optics.c50_mm})
    assert deviation(image("linear", specimen, optics=other, defocus_A=defocus_A), expected) > 0.1


def test_focal_spread_is_the_incoherent_mean_over_the_focus():
    specimen = Specimen(positions_A=np.array([[0.1, 0.2, 0.0]]), atomic_numbers=np.array([46]))
    spread_A = 25.0
    settings = {"optics": OpticsConfig(**QUICK)}
    focus_A = np.linspace(-4, 4, 33) * spread_A
    law = np.exp(-0.5 * (focus_A / spread_A) ** 2)
    law /= law.sum()
    for engine in ("linear", "prism"):
        blurred = image(engine, specimen, optics=OpticsConfig(**QUICK, focal_spread_A=spread_A))
        sharp = image(engine, specimen, **settings)
        assert deviation(sharp, blurred) > 0.15
        if engine == "linear":
            mean = sum(
                w * image(engine, specimen, defocus_A=f, **settings)
                for f, w in zip(focus_A, law, strict=True)
            )
            assert deviation(blurred, mean) < 0.005
            linear = blurred
        else:
            assert deviation(blurred, linear) < 0.03


def test_focal_nodes_have_the_stated_spread():
    for spread_A in (0.0, 5.0, 60.0):
        nodes_A, weights = focal_nodes(OpticsConfig(focal_spread_A=spread_A))
        assert weights.sum() == pytest.approx(1.0)
        assert weights @ nodes_A == pytest.approx(0.0, abs=1e-9)
        assert np.sqrt(weights @ nodes_A**2) == pytest.approx(spread_A, rel=1e-3)


def test_cells_leave_room_for_the_aberrated_disc():
    posed = np.zeros((1, 2, 3))
    posed[0, 1] = 4.0
    plain, aberrated = (
        plan_cells(posed, defocus_A=np.zeros(1), optics=OpticsConfig(c30_um=c30), windowed=True)[0]
        for c30 in (0.0, 8.0)
    )
    reach_A = 8e4 * 0.03**3
    assert probe_reach_A(OpticsConfig(c30_um=8.0), 0.0) == pytest.approx(reach_A)
    assert aberrated.x.window_A >= plain.x.window_A + 2 * reach_A - 1e-9 or aberrated.x.interpolation == 1
    assert aberrated.x.length_A >= 4.0 + 2 * (1.5 + reach_A)


def test_phonons_may_differ_by_element():
    def drawn(**settings):
        abtem = QUICK["abtem"].model_copy(update={"n_frozen_phonons": 1, **settings})
        optics = OpticsConfig(**{**QUICK, "abtem": abtem})
        pair = Specimen(positions_A=np.array([[-3.0, 0, 0], [3.0, 0, 0]]), atomic_numbers=np.array([28, 78]))
        return image("prism", pair, optics=optics)

    np.testing.assert_array_equal(drawn(), drawn(element_phonon_rms_A={"Ni": 0.07}))
    still, moved = drawn(phonon_rms_A=0.0), drawn(phonon_rms_A=0.0, element_phonon_rms_A={"Ni": 0.3})
    change = np.abs(moved - still)
    # Nickel is at negative x; platinum stays where it was.
    assert change[:16].max() > 0.05 * still[:16].max()
    assert change[16:].max() < 0.01 * still.max()


def test_knobs_that_no_engine_reads_are_named():
    optics = OpticsConfig(
        linear=LinearConfig(saturation=0.1), abtem=AbtemConfig(prism_window_A=7.0, phonon_rms_A=0.1)
    )
    assert ignored_knobs({"linear", "prism"}, OpticsConfig()) == []
    # What is imaged, not how exactly another engine would compute it.
    assert ignored_knobs({"linear"}, optics) == ["optics.abtem.phonon_rms_A"]
    for_multislice = ignored_knobs({"multislice"}, optics)
    assert for_multislice[:2] == ["optics.linear.saturation", "optics.abtem.prism_window_A"]
    assert "n_frozen_phonons is 0" in for_multislice[2]
    assert len(ignored_knobs({"prism", "linear"}, optics)) == 1


def test_python_is_warned_of_ignored_knobs_by_a_category_of_its_own():
    from picotome.configs.imaging import AcquisitionConfig

    specimen = Specimen(positions_A=np.zeros((1, 3)), atomic_numbers=np.array([78]))
    with pytest.warns(IgnoredKnobWarning, match=r"engine linear ignores optics\.abtem\.n_frozen_phonons"):
        simulate_series(
            specimen,
            engine="linear",
            volume=VOLUME,
            optics=OpticsConfig(abtem=AbtemConfig(n_frozen_phonons=4)),
            acquisition=AcquisitionConfig(n_tilts=2),
            seed=1,
            index=0,
        )
