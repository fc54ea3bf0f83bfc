"""Physics that the engines must show: brightness by element, and abTEM's own source and noise."""

import numpy as np
import pytest

from picotome.configs.imaging import AbtemConfig, LinearConfig, OpticsConfig, VolumeConfig
from picotome.records import Specimen
from picotome.simgen.acquisition import add_counting_noise
from picotome.simgen.engines import ENGINES

VOLUME = VolumeConfig(n_voxels=24, voxel_size_A=0.4)
OPTICS = OpticsConfig(
    detector_outer_mrad=72.0,
    abtem=AbtemConfig(sampling_A=0.09, vacuum_A=2.5, scan_step_A=0.28, prism_window_A=6.0),
    linear=LinearConfig(default_debye_waller_A2=0.0),
)


def image(engine, positions_A, *, number=78, rotation=None):
    positions_A = np.atleast_2d(np.asarray(positions_A, dtype=float))
    return ENGINES[engine](
        Specimen(positions_A=positions_A, atomic_numbers=np.full(len(positions_A), number)),
        rotations=np.eye(3)[None] if rotation is None else rotation[None],
        shifts_A=np.zeros((1, 2)),
        defocus_A=np.zeros(1),
        volume=VOLUME,
        optics=OPTICS,
        rng=np.random.default_rng(0),
    )[0].astype(np.float64)


@pytest.mark.parametrize("engine", ["linear", "prism"])
def test_total_intensity_grows_with_a_power_of_the_atomic_number(engine):
    total = {z: image(engine, [0.1, 0.2, 0.0], number=z).sum() for z in (28, 46, 78)}
    for light, heavy in ((28, 46), (46, 78)):
        # Measured: 1.50 and 1.34; Pt scatters beyond the Born approximation (40 to 72 mrad, convergence 30).
        assert 1.3 < np.log(total[heavy] / total[light]) / np.log(heavy / light) < 2.0


def test_counting_noise_has_the_statistics_of_abtems():
    import abtem

    rng = np.random.default_rng(0)
    level, dose_e_per_A2, pixel_A = 0.04, 1e4, 0.4
    flat = np.full((200, 200), level)
    ours = add_counting_noise(flat, dose_e_per_A2=dose_e_per_A2, pixel_size_A=pixel_A, rng=rng)
    theirs = abtem.measurements.Images(flat.astype(np.float32), sampling=pixel_A).poisson_noise(
        dose_per_area=dose_e_per_A2, seed=1
    )
    # abTEM returns electrons, we the fraction of the incident ones.
    counted = np.asarray(theirs.compute().array) / (dose_e_per_A2 * pixel_A**2)
    assert ours.mean() == pytest.approx(counted.mean(), rel=0.002)
    assert ours.std() == pytest.approx(counted.std(), rel=0.02)


def test_source_size_blurs_as_abtems_gaussian_filter():
    import abtem

    from picotome.simgen.cells import Axis, Cell
    from picotome.simgen.resampling import resample_scan

    axis = Axis(window_A=9.6, n_window=48, interpolation=1, n_scan=24)
    cell = Cell(x=axis, y=axis, depth_A=2.0, n_slices=1, centre_A=np.array([-0.01, -0.01, 0.0]))
    rng = np.random.default_rng(0)
    scan = rng.uniform(size=(24, 24))
    sharp, blurred = (
        resample_scan(scan, cell, volume=VOLUME, source_size_A=sigma_A) for sigma_A in (0.0, 0.8)
    )
    theirs = abtem.measurements.Images(sharp.astype(np.float32), sampling=0.4).gaussian_filter(
        0.8, boundary="periodic"
    )
    expected = np.asarray(theirs.compute().array)
    np.testing.assert_allclose(blurred, expected, atol=0.01 * expected.max())
