"""PRISM's plane waves: a law in empty space, and abTEM's own propagation as the judge among atoms."""

import abtem
import numpy as np
import pytest

from picotome.configs.imaging import OpticsConfig
from picotome.simgen.abtem_engines import quiet_abtem, scattering_matrix, transmission_of
from picotome.simgen.cells import downsample_angle_mrad, plan_cells
from picotome.simgen.plane_waves import propagate_plane_waves
from picotome.units import wavelength_A


def test_in_empty_space_a_plane_wave_only_turns_its_phase():
    n_slices, thickness_A, extent_A = 5, 2.0, (8.0, 9.0)
    vectors = np.array([[0.0, 0.0], [3 / 8.0, -5 / 9.0], [-7 / 8.0, 2 / 9.0]])
    found = propagate_plane_waves(
        vectors,
        np.ones((n_slices, 48, 54), dtype=np.complex64),
        extent_A=extent_A,
        slice_thickness_A=thickness_A,
        beam_energy_eV=3e5,
        gpts=(48, 54),
    )
    x, y = (np.arange(n) * length / n for n, length in zip((48, 54), extent_A, strict=True))
    for wave, (kx, ky) in zip(found, vectors, strict=True):
        phase = 2.0 * (kx * x[:, None] + ky * y) - wavelength_A(3e5) * n_slices * thickness_A * (
            kx**2 + ky**2
        )
        np.testing.assert_allclose(wave, np.exp(1j * np.pi * phase), atol=2e-5)


@pytest.mark.parametrize("extent_A", [(3.0, 4.0), (18.0, 7.0)])
@pytest.mark.parametrize("outer_mrad", [60.0, 95.0])
def test_waves_and_probes_are_those_of_abtem(extent_A, outer_mrad):
    optics = OpticsConfig(convergence_mrad=14.0, detector_outer_mrad=outer_mrad)
    rng = np.random.default_rng(0)
    atoms_A = rng.uniform(size=(12, 3)) * [*extent_A, 5.0]
    (cell,) = plan_cells(atoms_A[None], defocus_A=np.zeros(1), optics=optics, windowed=True)
    potential = transmission_of(cell, np.full(12, 78), atoms_A, optics)
    with quiet_abtem():
        ours = scattering_matrix(cell, potential, optics)
        theirs = abtem.SMatrix(
            semiangle_cutoff=optics.convergence_mrad,
            energy=optics.beam_energy_eV,
            potential=potential,
            interpolation=(cell.x.interpolation, cell.y.interpolation),
            downsample=downsample_angle_mrad(cell, optics),
        ).build(lazy=False)
        assert extent_A[0] < 10.0 or cell.x.interpolation > cell.y.interpolation > 1
        assert (ours.metadata, ours.window_gpts) == (theirs.metadata, theirs.window_gpts)
        np.testing.assert_array_equal(ours.wave_vectors, theirs.wave_vectors)
        np.testing.assert_allclose(ours.array, theirs.array, atol=3e-5 * np.abs(theirs.array).max())
        scan = abtem.GridScan((1.0, 1.0), (3.0, 2.0), gpts=(4, 3))
        detector = abtem.AnnularDetector(inner=40.0, outer=outer_mrad)
        intensities = [
            np.asarray(each.reduce(scan=scan, detectors=detector).array) for each in (ours, theirs)
        ]
    np.testing.assert_allclose(*intensities, rtol=1e-3)
