"""The engines judge one another: linear peaks, PRISM and plain multislice share only the atoms' potential."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.special import j1

from picotome.configs.imaging import AbtemConfig, LinearConfig, OpticsConfig, VolumeConfig
from picotome.geometry import axis_A, tilt_rotations
from picotome.records import Specimen
from picotome.simgen.brightness import atom_image, brightness_table, cross_section_A2
from picotome.simgen.cells import downsample_angle_mrad, fast_size, plan_cells
from picotome.simgen.engines import ENGINES
from picotome.simgen.linear import peak_gaussians, peak_profile
from picotome.units import wavelength_A

VOLUME = VolumeConfig(n_voxels=32, voxel_size_A=0.4)
# Atoms at rest, as the wave engines have them; a small detector and window to be quick.
OPTICS = OpticsConfig(
    detector_outer_mrad=72.0,
    abtem=AbtemConfig(sampling_A=0.09, vacuum_A=2.0, scan_step_A=0.28, prism_window_A=5.0),
    linear=LinearConfig(default_debye_waller_A2=0.0),
)
# The tails of a peak, and of a probe out of focus, in a cell that holds them.
ROOMY = OPTICS.model_copy(update={"abtem": AbtemConfig(vacuum_A=3.5)})
WAVE_ENGINES = ["prism", "multislice"]
TILT_DEG = np.array([0.0, 40.0, -65.0])
SHIFTS_A = np.array([[0.0, 0.0], [0.13, 0.21], [-0.07, 0.4]])


def atoms(positions_A, symbol_number=78):
    positions_A = np.atleast_2d(np.asarray(positions_A, dtype=float))
    return Specimen(positions_A=positions_A, atomic_numbers=np.full(len(positions_A), symbol_number))


def image(
    engine,
    specimen,
    *,
    tilt_deg=TILT_DEG,
    shifts_A=None,
    defocus_A=0.0,
    optics=OPTICS,
    volume=VOLUME,
    seed=0,
):
    n = len(tilt_deg)
    shifts_A = np.zeros((n, 2)) if shifts_A is None else shifts_A
    return ENGINES[engine](
        specimen,
        rotations=tilt_rotations(tilt_deg),
        shifts_A=shifts_A,
        defocus_A=np.broadcast_to(np.asarray(defocus_A, dtype=float), n),
        volume=volume,
        optics=optics,
        rng=np.random.default_rng(seed),
    )


def fit_centre_A(picture, volume=VOLUME):
    """Position of a single peak: its centroid in a smooth window that follows it."""
    axis = axis_A(volume.n_voxels, volume.voxel_size_A)
    start = np.array([picture.sum(axis=1) @ axis, picture.sum(axis=0) @ axis]) / picture.sum()
    for _ in range(20):
        window = np.exp(-np.square(axis - start[0]))[:, None] * np.exp(-np.square(axis - start[1]))
        weighted = picture * window
        mean = np.array([weighted.sum(axis=1) @ axis, weighted.sum(axis=0) @ axis]) / weighted.sum()
        # The window holds the centroid back: go further.
        start = start + 1.3 * (mean - start)
    return start


def rms_deviation(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_atom_is_where_geometry_says(engine):
    position_A = np.array([0.83, -0.41, 1.7])
    images = image(engine, atoms(position_A), shifts_A=SHIFTS_A)
    expected = (position_A @ tilt_rotations(TILT_DEG).transpose(0, 2, 1))[:, :2] + SHIFTS_A
    found = np.array([fit_centre_A(picture) for picture in images])
    np.testing.assert_allclose(found, expected, atol=0.005)


@pytest.mark.parametrize("voxel_size_A", [0.35, 0.5])
@pytest.mark.parametrize("n_voxels", [32, 33])
def test_off_centre_atom_agrees_to_one_picometre_on_any_grid(n_voxels, voxel_size_A):
    volume = VolumeConfig(n_voxels=n_voxels, voxel_size_A=voxel_size_A)
    specimen = atoms([0.83, -0.41, 1.7])
    settings = {"shifts_A": SHIFTS_A[1:2], "tilt_deg": TILT_DEG[1:2], "volume": volume}
    found = fit_centre_A(image("prism", specimen, **settings)[0], volume)
    expected = fit_centre_A(image("linear", specimen, **settings)[0], volume)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("number", [28, 46, 78])
def test_one_atom_has_the_same_flux_and_shape_in_all_engines(number):
    specimen = atoms([0.33, -0.41, 0.0], number)
    settings = {"tilt_deg": np.zeros(1), "optics": ROOMY}
    linear, prism, multislice = (image(engine, specimen, **settings)[0] for engine in ENGINES_IN_ORDER)
    assert prism.sum() == pytest.approx(linear.sum(), rel=0.03)
    assert rms_deviation(prism, multislice) < 0.02
    assert rms_deviation(linear, multislice) < 0.02


ENGINES_IN_ORDER = ["linear", "prism", "multislice"]


def test_brightness_grows_with_a_power_of_the_atomic_number():
    # 2 is Rutherford's; screening and the strong scattering of heavy atoms bring it down to about 1.5.
    table = brightness_table(["Ni", "Pd", "Pt"], optics=OPTICS)
    for light, heavy, ratio in (("Ni", "Pd", 46 / 28), ("Pd", "Pt", 78 / 46)):
        assert 1.3 < np.log(table[heavy] / table[light]) / np.log(ratio) < 2.0


def test_light_atoms_obey_the_born_approximation():
    # Second judge: abTEM's own scattering factor, integrated over the annulus.
    from abtem.parametrizations import LobatoParametrization

    from picotome.units import lorentz_factor

    optics = OpticsConfig(convergence_mrad=1.5)
    wavelength = wavelength_A(optics.beam_energy_eV)
    q = np.linspace(optics.detector_inner_mrad, optics.detector_outer_mrad, 2000) * 1e-3 / wavelength
    factor = np.array([LobatoParametrization().scattering_factor("C")(float(k2)) for k2 in q**2])
    born = np.trapezoid(2 * np.pi * q * (lorentz_factor(300e3) * wavelength * factor) ** 2, q)
    assert cross_section_A2("C", optics=optics) == pytest.approx(born, rel=0.02)


def test_a_small_probe_and_a_far_detector_make_the_image_the_probe():
    # Incoherence is complete where the inner angle is several times the probe's.
    optics = OpticsConfig(convergence_mrad=8.0, detector_inner_mrad=60.0, source_size_A=0.0)
    frequency, transfer = atom_image("Ni", optics=optics)[1:]
    cutoff = optics.convergence_mrad * 1e-3 / wavelength_A(optics.beam_energy_eV)
    x = np.clip(frequency / cutoff / 2, 0, 1)
    np.testing.assert_allclose(transfer, 2 / np.pi * (np.arccos(x) - x * np.sqrt(1 - x**2)), atol=0.03)
    radius = np.array([0.2, 0.5, 1.0])
    v = 2 * np.pi * radius * cutoff
    airy = np.pi * cutoff**2 * (2 * j1(v) / v) ** 2
    np.testing.assert_allclose(peak_profile("Ni", radius, optics=optics), airy, rtol=0.05)


@pytest.mark.parametrize(("source_size_A", "allowed"), [(0.0, 0.02), (0.2, 0.006), (0.35, 0.004)])
@pytest.mark.parametrize("symbol", ["C", "Ni", "Pt"])
def test_gaussians_reproduce_the_exact_peak_at_any_depth(symbol, source_size_A, allowed):
    optics = OpticsConfig(source_size_A=source_size_A)
    pixel = 0.4**2 / 12
    # Distances between the nodes that the weights are fitted at.
    depths = np.array([[-20.0, -7.3], [0.0, 13.1]])
    weights, sigmas = peak_gaussians(symbol, depths, optics=optics, extra_variance_A2=pixel)
    radius = np.linspace(0, 5, 300)
    area = np.sqrt(radius)
    for index in np.ndindex(depths.shape):
        exact = peak_profile(
            symbol, radius, optics=optics, defocus_A=float(depths[index]), extra_variance_A2=pixel
        )
        fitted = (np.exp(-0.5 * (radius[:, None] / sigmas) ** 2) / (2 * np.pi * sigmas**2)) @ weights[index]
        assert np.linalg.norm(area * (fitted - exact)) < allowed * np.linalg.norm(area * exact)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0)
    # Large weights of both signs would leave rounding errors and negative tails.
    assert np.abs(weights).max() < 2.0
    assert (weights[..., -1] > 0).all()


@pytest.mark.parametrize("symbol", ["C", "Pt"])
def test_defocus_keeps_the_flux_and_spreads_it_over_the_disc_of_geometrical_optics(symbol):
    sharp, *_ = atom_image(symbol, optics=OPTICS)
    for defocus_A in (-90.0, 90.0):
        flux, frequency, transfer = atom_image(symbol, optics=OPTICS, defocus_A=defocus_A)
        assert flux == pytest.approx(sharp, rel=1e-6)
        # The transform of a disc of radius α |Δz|: 2.7 Å, wide against the Airy disc.
        argument = 2 * np.pi * frequency[1:] * 0.03 * abs(defocus_A)
        disc = 2 * j1(argument) / argument
        low = frequency[1:] < 0.35
        np.testing.assert_allclose(transfer[1:][low], disc[low], atol=0.1)
        assert disc[low].min() < -0.1


def test_linear_pixels_hold_the_integral_of_the_exact_peak():
    # The pixel's box is replaced by its variance; compare with 9 × 9 point samples in each pixel.
    optics = OPTICS
    sub = (np.arange(9) - 4) / 9 * VOLUME.voxel_size_A
    axis = (axis_A(VOLUME.n_voxels, VOLUME.voxel_size_A)[:, None] + sub).ravel()
    radius = np.linspace(0, 12, 1500)
    profile = peak_profile("Pt", radius, optics=optics) * cross_section_A2("Pt", optics=optics)
    fine = np.interp(np.hypot(axis[:, None], axis), radius, profile)
    n = VOLUME.n_voxels
    exact = fine.reshape(n, 9, n, 9).mean(axis=(1, 3))
    found = image("linear", atoms([0.0, 0.0, 0.0]), tilt_deg=np.zeros(1))[0]
    assert rms_deviation(found, exact) < 0.005


CLUSTER_A = np.array(
    [[x, y, z] for x in (-2, 0, 2) for y in (-2, 0, 2) for z in (-2, 0, 2) if (x + y + z) % 4 == 0],
    dtype=float,
)


@pytest.fixture(scope="module")
def cluster():
    from scipy.spatial.transform import Rotation

    return atoms(CLUSTER_A @ Rotation.from_euler("xyz", [20, 33, 10], degrees=True).as_matrix().T)


@pytest.fixture(scope="module")
def cluster_images(cluster):
    return {engine: image(engine, cluster, tilt_deg=np.array([25.0])) for engine in ENGINES}


def test_engines_agree_on_a_small_particle(cluster_images):
    # Measured: 1 % and 2 %.
    assert rms_deviation(cluster_images["prism"], cluster_images["multislice"]) < 0.03
    assert rms_deviation(cluster_images["linear"], cluster_images["multislice"]) < 0.06


@pytest.mark.parametrize(("engine", "allowed"), [("linear", 0.005), ("prism", 0.04)])
def test_total_intensity_is_the_same_at_all_tilts(cluster, engine, allowed):
    totals = image(engine, cluster, tilt_deg=np.array([-65.0, 30.0])).sum(axis=(1, 2))
    assert np.ptp(totals) < allowed * totals.mean()


def test_equal_atoms_are_equally_bright_wherever_they_fall_on_the_grid():
    # abTEM's own potential spreads atoms over four grid points: 9 % between these places.
    sampling = OPTICS.abtem.sampling_A
    totals = []
    for offset in (0.0, 0.25, 0.5):
        # A hydrogen atom far away holds the cell in place.
        specimen = Specimen(
            positions_A=np.array(
                [[offset * sampling, offset * sampling, 0.0], [2.0, 2.0, 0.0], [-2.0, -2, 0]]
            ),
            atomic_numbers=np.array([78, 1, 1]),
        )
        totals.append(image("prism", specimen, tilt_deg=np.zeros(1)).sum())
    assert np.ptp(totals) < 0.025 * np.mean(totals)


@pytest.mark.parametrize("engine", ["linear", "prism"])
def test_a_shift_of_whole_pixels_moves_the_image(cluster, engine):
    settings = {"tilt_deg": np.array([25.0])}
    still = image(engine, cluster, **settings)[0]
    moved = image(engine, cluster, shifts_A=np.array([[0.8, -0.4]]), **settings)[0]
    np.testing.assert_allclose(
        moved[8:-8, 8:-8], np.roll(still, (2, -1), axis=(0, 1))[8:-8, 8:-8], atol=2e-3 * still.max()
    )


@pytest.mark.parametrize("engine", WAVE_ENGINES)
def test_focus_lies_in_the_middle_of_the_atoms(engine):
    # Two markers far above and below set the middle; the atom there must be the sharpest of the three.
    optics = OPTICS.model_copy(update={"convergence_mrad": 36.0, "source_size_A": 0.05})
    specimen = atoms([[-2.0, 0.0, 14.0], [0.0, 0.0, 0.0], [2.0, 0.0, -14.0]], 28)
    picture = image(engine, specimen, tilt_deg=np.zeros(1), optics=optics)[0]
    above, middle, below = (picture[16 + shift, 16] for shift in (-5, 0, 5))
    assert middle > 1.3 * above
    assert middle > 1.3 * below
    # Not alike, because an atom is a lens of its own: the other engine knows. 1 Å of defocus is 18 %.
    expected = image("linear", specimen, tilt_deg=np.zeros(1), optics=optics)[0]
    assert above / below == pytest.approx(expected[11, 16] / expected[21, 16], rel=0.06)


@pytest.mark.parametrize("engine", ENGINES)
def test_positive_defocus_focuses_beyond_the_middle_along_the_beam(engine):
    # The beam runs towards +z: positive defocus sharpens the atom at z = +14 Å.
    optics = OPTICS.model_copy(update={"convergence_mrad": 36.0, "source_size_A": 0.1})
    specimen = atoms([[-2.0, 0.0, 14.0], [0.0, 0.0, 0.0], [2.0, 0.0, -14.0]], 28)
    settings = {"tilt_deg": np.zeros(3), "defocus_A": np.array([-14.0, 0.0, 14.0]), "optics": optics}
    pictures = image(engine, specimen, **settings)
    at_atoms = pictures[:, [21, 16, 11], 16]
    np.testing.assert_array_equal(at_atoms.argmax(axis=1), [0, 1, 2])
    # In focus all three are alike.
    np.testing.assert_allclose(np.diagonal(at_atoms), at_atoms[1, 1], rtol=0.15)


@pytest.mark.parametrize("number", [28, 78])
def test_one_atom_out_of_focus_looks_alike_in_all_engines(number):
    specimen = atoms([0.33, -0.41, 0.0], number)
    settings = {"tilt_deg": np.zeros(3), "defocus_A": np.array([-20.0, 0.0, 20.0]), "optics": ROOMY}
    linear, prism, multislice = (image(engine, specimen, **settings) for engine in ENGINES_IN_ORDER)
    for i in range(3):
        assert rms_deviation(linear[i], multislice[i]) < 0.02
        assert rms_deviation(prism[i], multislice[i]) < 0.02
    # A heavy atom is a lens of its own: the sign of the defocus shows, and is the same in all engines.
    for pictures in (linear, prism, multislice):
        contrast = pictures[2].max() / pictures[0].max() - 1.0
        assert contrast > (0.08 if number == 78 else 0.03)
    assert rms_deviation(linear[1], linear[2]) > 0.2


@pytest.mark.parametrize("engine", WAVE_ENGINES)
def test_engines_agree_on_a_particle_out_of_focus(engine, cluster):
    settings = {"tilt_deg": np.array([25.0]), "defocus_A": -25.0}
    linear, wave = image("linear", cluster, **settings)[0], image(engine, cluster, **settings)[0]
    focused = image("linear", cluster, tilt_deg=np.array([25.0]))[0]
    assert rms_deviation(linear, wave) < 0.05
    assert rms_deviation(focused, wave) > 0.15


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("defocus_A", [np.zeros(2), np.array([np.nan])])
def test_defocus_is_one_number_for_each_image(engine, defocus_A):
    with pytest.raises(ValueError, match="defocus_A has shape"):
        ENGINES[engine](
            atoms([0.0, 0.0, 0.0]),
            rotations=tilt_rotations(np.zeros(1)),
            shifts_A=np.zeros((1, 2)),
            defocus_A=defocus_A,
            volume=VOLUME,
            optics=OPTICS,
            rng=np.random.default_rng(0),
        )


def test_linear_images_are_never_negative(cluster):
    optics = OpticsConfig(source_size_A=0.0)
    pictures = image("linear", cluster, defocus_A=np.array([-60.0, 0.0, 60.0]), optics=optics)
    assert pictures.min() >= 0.0
    np.testing.assert_allclose(pictures.sum(axis=(1, 2)), pictures[1].sum(), rtol=0.02)


def test_frozen_phonons_are_drawn_from_the_generator(cluster):
    optics = OPTICS.model_copy(
        update={
            "abtem": AbtemConfig(
                sampling_A=0.09, scan_step_A=0.4, vacuum_A=1.5, prism_window_A=5.0, n_frozen_phonons=1
            )
        }
    )
    settings = {"tilt_deg": np.zeros(1), "optics": optics}
    first, again, other = (image("prism", cluster, seed=seed, **settings) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert 0.005 < rms_deviation(other, first) < 0.5


def with_linear(**settings):
    return OPTICS.model_copy(update={"linear": LinearConfig(**{"default_debye_waller_A2": 0.0, **settings})})


def test_saturation_and_blur_act_as_stated(cluster):
    plain = image("linear", cluster)
    dimmed = image("linear", cluster, optics=with_linear(saturation=0.2))
    np.testing.assert_allclose(dimmed, plain * (1 - 0.2 * plain / plain.max()), rtol=1e-5)
    blurred = image("linear", cluster, optics=with_linear(extra_blur_A=0.3))
    wider = image("linear", cluster, optics=with_linear(default_debye_waller_A2=8 * np.pi**2 * 0.09))
    np.testing.assert_allclose(blurred, wider, rtol=1e-4)
    assert blurred.max() < 0.9 * plain.max()


def test_ranges_are_drawn_once_for_the_series(cluster):
    optics = OpticsConfig(linear=LinearConfig(extra_blur_A=(0.0, 0.5)))
    same_view = {"tilt_deg": np.zeros(2), "optics": optics}
    first, other = (
        image("linear", cluster, seed=1, **same_view),
        image("linear", cluster, seed=2, **same_view),
    )
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.allclose(first, other, rtol=0.01)


def test_stated_brightness_is_used():
    optics = OpticsConfig(linear=LinearConfig(brightness_A2={"Pt": 0.5}))
    total = image("linear", atoms([0.0, 0, 0]), optics=optics, tilt_deg=np.zeros(1)).sum() * 0.4**2
    assert total == pytest.approx(0.5, rel=0.02)


def test_cells_hold_the_atoms_their_vacuum_and_the_window(cluster):
    posed = cluster.positions_A[None] + np.array([1.0, -2.0, 0.5])
    (cell,) = plan_cells(posed, defocus_A=np.zeros(1), optics=OPTICS, windowed=True)
    (blurred,) = plan_cells(posed, defocus_A=np.array([-50.0]), optics=OPTICS, windowed=False)
    assert blurred.x.length_A == pytest.approx(np.ptp(posed[0, :, 0]) + 2 * (OPTICS.abtem.vacuum_A + 1.5))
    np.testing.assert_allclose(cell.centre_A, 0.5 * (posed.max(axis=(0, 1)) + posed.min(axis=(0, 1))))
    for axis, extent in zip((cell.x, cell.y), np.ptp(posed[0], axis=0)[:2], strict=True):
        assert axis.length_A >= extent + 2 * OPTICS.abtem.vacuum_A - 1e-6
        assert axis.window_A >= OPTICS.abtem.prism_window_A
        assert axis.length_A / axis.gpts <= OPTICS.abtem.sampling_A + 1e-9
        assert axis.length_A / axis.n_scan <= OPTICS.abtem.scan_step_A


def test_fast_sizes_are_even_and_smooth():
    assert [fast_size(n) for n in (2, 61, 67, 101, 103, 330)] == [2, 64, 70, 104, 104, 330]


@pytest.mark.parametrize("extent_A", [(0.0, 0.0), (4.0, 9.0), (17.4, 16.9), (35.0, 12.0)])
def test_prism_windows_are_square_and_transform_fast(extent_A):
    import abtem

    posed = np.array([[[0.0, 0.0, 0.0], [*extent_A, 1.0]]])
    (cell,) = plan_cells(posed, defocus_A=np.zeros(1), optics=OpticsConfig(), windowed=True)
    matrix = abtem.SMatrix(
        semiangle_cutoff=30.0,
        energy=300e3,
        extent=(cell.x.length_A, cell.y.length_A),
        gpts=(cell.x.gpts, cell.y.gpts),
        interpolation=(cell.x.interpolation, cell.y.interpolation),
        downsample=downsample_angle_mrad(cell, OpticsConfig()),
    )
    assert cell.x.window_A == cell.y.window_A
    for n in matrix.window_gpts:
        assert n == fast_size(n)
        assert n // 2 * wavelength_A(300e3) / cell.x.window_A >= 0.095


def test_importing_the_engines_does_not_import_abtem():
    code = (
        "import sys, picotome.simgen.acquisition; sys.exit('abtem' in sys.modules or 'dask' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rings_of_a_wide_detector_add_up():
    """Beyond what the default grid of the wave engines allows, too: the user's grid is what counts."""
    fine = OpticsConfig(detector_outer_mrad=150.0, abtem=AbtemConfig(sampling_A=0.043))
    inner, outer = fine.detector_inner_mrad, fine.detector_outer_mrad
    split = [
        fine.model_copy(update={"detector_inner_mrad": low, "detector_outer_mrad": high})
        for low, high in ((inner, 95.0), (95.0, outer))
    ]
    whole, *rings = (cross_section_A2("Pt", optics=optics) for optics in (fine, *split))
    assert whole == pytest.approx(sum(rings), rel=2e-3)
    image("linear", atoms([0.0, 0.0, 0.0]), tilt_deg=[0.0], optics=fine)
