from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import RefinementConfig
from picotome.records import Specimen
from picotome.trace.refinement.interference import lens_of, with_interference
from picotome.trace.refinement.refine import refine_trace

OPTICS = OpticsConfig()


def of_points(lens, model, frame, rotation, shift_A, focus_A):
    """Cross terms of single scattering, summed over plane waves of the probe and points of the detector."""
    k = np.linspace(-lens.outer_per_A, lens.outer_per_A, 301)
    kx, ky = np.meshgrid(k, k, indexing="ij")
    square = kx**2 + ky**2
    ring = (square > lens.inner_per_A**2) & (square < lens.outer_per_A**2)
    kx, ky, square = kx[ring], ky[ring], square[ring]
    f = 1.0 / (square + lens.screening_per_A**2)
    q = np.linspace(-lens.aperture_per_A, lens.aperture_per_A, 161)
    qx, qy = (values.ravel() for values in np.meshgrid(q, q, indexing="ij"))
    hole = qx**2 + qy**2 < lens.aperture_per_A**2
    qx, qy = qx[hole], qy[hole]

    posed = model.positions_A.numpy() @ rotation.T
    posed[:, :2] += shift_A
    size, pixel_A, n_sub = frame.padded[0], frame.pixel_size_A, 4
    steps = (np.arange(size * n_sub) + 0.5) / n_sub - 0.5
    at_A = (steps - frame.reach - frame.shape[0] // 2) * pixel_A
    amplitude = []
    for (x, y, z), bright in zip(posed, model.brightness_A2.numpy(), strict=True):
        phase = np.exp(-1j * np.pi * lens.wavelength_A * (z - focus_A) * (qx**2 + qy**2))
        along_x = np.exp(2j * np.pi * (at_A - x)[:, None] * qx)
        along_y = np.exp(2j * np.pi * (at_A - y)[:, None] * qy)
        wave = np.einsum("aq,bq,q->ab", along_x, along_y, phase)
        # ∫ |ψ|² = 1 over an aperture of so many points.
        wave *= np.sqrt((q[1] - q[0]) ** 2 / len(qx))
        scattered = f * np.exp(1j * np.pi * (lens.wavelength_A * square * z - 2.0 * (kx * x + ky * y)))
        amplitude.append((np.sqrt(bright) * wave, scattered / np.sqrt((f**2).sum())))
    cross = 0.0
    for i, (wave_i, out_i) in enumerate(amplitude):
        for wave_j, out_j in amplitude[:i]:
            cross = cross + 2.0 * np.real(wave_i * wave_j.conj() * (out_i * out_j.conj()).sum())
    return cross.reshape(size, n_sub, size, n_sub).mean(axis=(1, 3))


@pytest.fixture
def sharp_pair(make_model, make_frame):
    """Three atoms near one column, out of focus by different amounts, and a source without size."""
    positions_A = np.array([[0.1, -0.3, -4.0], [0.35, -0.15, 2.5], [-0.4, 0.3, 7.0]])
    specimen = Specimen(positions_A=positions_A, atomic_numbers=np.array([78, 78, 78]))
    frame = make_frame((21, 21), 4)
    model = make_model(specimen, np.array([10.0]), rotation_deg=0.2, shift_A=0.1, defocus_A=3.0)
    lens = lens_of(OPTICS, np.array([78]))
    sharp = torch.as_tensor(lens.airy_A2 + frame.pixel_size_A**2 / 12.0, dtype=torch.float64)
    return replace(model, core_A2=sharp), frame, lens


def test_pattern_is_the_sum_over_plane_waves_and_detector_points(sharp_pair):
    model, frame, lens = sharp_pair
    drawn = with_interference(model, frame, lens).interference[0].numpy().reshape(frame.padded)
    summed = of_points(
        lens, model, frame, model.rotations[0].numpy(), model.shift_A[0].numpy(), float(model.defocus_A[0])
    )
    assert np.abs(summed).max() > 0.05 * float(model.brightness_A2[0])
    assert np.abs(drawn - summed).max() < 0.03 * np.abs(summed).max()


def test_atoms_far_apart_do_not_interfere(make_model, make_frame):
    apart = Specimen(positions_A=np.array([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), atomic_numbers=np.full(2, 78))
    model = make_model(apart, np.array([0.0]))
    drawn = with_interference(model, make_frame(), lens_of(OPTICS, np.array([78])))
    assert float(drawn.interference.abs().max()) == 0.0


def test_refinement_that_knows_the_optics_places_atoms_better(
    make_ball, make_model, make_frame, make_series, make_trace, tilt_deg
):
    specimen = make_ball(60, seed=4)
    frame = make_frame((44, 44), 6)
    truth = with_interference(make_model(specimen, tilt_deg), frame, lens_of(OPTICS, np.array([78])))
    partly = replace(truth, coherence=torch.tensor(0.8, dtype=torch.float64))
    # Counting noise far below what interference does.
    series = make_series(partly, tilt_deg, frame, dose_e_per_A2=1e8)

    def refined(optics):
        return refine_trace(
            make_trace(specimen, error_A=0.05),
            series,
            elements=("Pt",),
            config=RefinementConfig(change_atoms=False),
            min_distance_A=1.8,
            optics=optics,
        )

    def error_A(found):
        near_A, _ = cKDTree(found.trace.positions_A).query(specimen.positions_A)
        return float(np.sqrt(np.mean(near_A**2)))

    knows, ignores = refined(OPTICS), refined(None)
    assert knows.images.coherence == pytest.approx(0.8, abs=0.02)
    assert ignores.images.coherence is None
    assert error_A(knows) < 0.5 * error_A(ignores)
