from dataclasses import replace

import numpy as np
import torch

from picotome.configs.schema import RefinementConfig
from picotome.geometry import azimuth_rotation
from picotome.trace.refinement.bound import bound_positions
from picotome.trace.refinement.refine import refine_trace


def test_atoms_and_geometry_are_found_about_two_axes(
    make_ball, make_model, make_frame, make_series, make_trace, rigid_error
):
    specimen = make_ball(30, seed=3)
    tilt_deg = np.tile(np.linspace(-60, 60, 7), 2)
    azimuth_deg = np.repeat([0.0, 90.0], 7)
    truth = make_model(specimen, tilt_deg, rotation_deg=0.3, shift_A=0.2)
    turns = torch.as_tensor(np.stack([azimuth_rotation(a) for a in azimuth_deg]))
    truth = replace(truth, rotations=truth.rotations @ turns)
    series = make_series(truth, tilt_deg, make_frame((36, 36)), dose_e_per_A2=1e5)
    series = replace(series, azimuth_deg=azimuth_deg)
    refined = refine_trace(
        make_trace(specimen, error_A=0.1),
        series,
        elements=("Pt",),
        config=RefinementConfig(geometry=("tilt", "turns", "shifts")),
        min_distance_A=1.8,
    )
    found_A = refined.trace.positions_A
    nearest = np.linalg.norm(found_A[:, None] - specimen.positions_A, axis=-1).argmin(axis=1)
    assert sorted(nearest) == list(range(30))
    left_pm = 100 * np.sqrt((rigid_error(found_A, specimen.positions_A[nearest]) ** 2).sum(axis=1).mean())
    bound = bound_positions(specimen, series, config=RefinementConfig(geometry=("tilt", "turns", "shifts")))
    assert left_pm < 1.5 * bound.crlb_pm
    assert refined.images.chi2 < 1.15
    # The depth of an atom is no worse known than its place in the plane: there is hardly a wedge.
    single = replace(series, tilt_deg=np.linspace(-60, 60, 14), azimuth_deg=None)
    one_axis = bound_positions(specimen, single, config=RefinementConfig(geometry=()))
    two_axes = bound_positions(specimen, series, config=RefinementConfig(geometry=()))
    assert two_axes.crlb_pm < one_axis.crlb_pm
