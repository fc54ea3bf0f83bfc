"""Half a voxel is 200 pm: one off-centre atom through the whole chain, in absolute coordinates."""

import numpy as np
import pytest

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import IdealConfig, ReconstructionConfig, TracingConfig
from picotome.recon.solvers import SOLVERS, reconstruct
from picotome.records import Specimen
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.ideal import ideal_tomogram
from picotome.trace.tracing import trace_tomogram

ATOM_A = np.array([[2.31, -1.17, 3.73]])
PT = Specimen(ATOM_A, np.array([78]))


@pytest.mark.parametrize("n_voxels", [48, 49])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("engine", ["linear", "prism"])
def test_an_atom_is_found_where_it_was_put(engine, solver, n_voxels):
    series = simulate_series(
        PT,
        engine=engine,
        volume=VolumeConfig(n_voxels=n_voxels, voxel_size_A=0.4),
        optics=OpticsConfig(),
        acquisition=AcquisitionConfig(n_tilts=9 if engine == "prism" else 21, dose_e_per_A2=None),
        seed=0,
        index=0,
    )
    tomogram = reconstruct(series, config=ReconstructionConfig(solver=solver))
    found = trace_tomogram(tomogram, elements=["Pt"], config=TracingConfig())
    error_pm = 100 * np.linalg.norm(found.positions_A[0] - ATOM_A[0])
    assert error_pm < 8
    assert len(found.positions_A) == 1 or solver == "wbp"


@pytest.mark.parametrize("n_voxels", [48, 49])
def test_an_ideal_atom_is_found_where_it_was_put(n_voxels):
    volume = VolumeConfig(n_voxels=n_voxels, voxel_size_A=0.4)
    ideal = ideal_tomogram(PT, volume=volume, config=IdealConfig(), brightness_A2={"Pt": 0.02})
    found = trace_tomogram(ideal, elements=["Pt"], config=TracingConfig())
    assert np.abs(found.positions_A - ATOM_A).max() < 0.001
