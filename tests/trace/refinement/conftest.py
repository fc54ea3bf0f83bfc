"""Small particles, their image models and series; noise is drawn here so that no other room is needed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from picotome.geometry import tilt_rotations
from picotome.records import Specimen, TiltSeries, Trace
from picotome.trace.refinement.fit import Target, expected_images
from picotome.trace.refinement.model import Frame, ImageModel, pad_images
from picotome.trace.refinement.noise import Noise

PIXEL_A = 0.4
BRIGHTNESS_A2 = {28: 0.012, 46: 0.028, 78: 0.062}


def ball(n_atoms=40, *, numbers=(78,), seed=0):
    """An f.c.c. ball in a random orientation, off the pixels, with 0.1 Å of disorder; elements at random."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = (cells + basis).reshape(-1, 3) * 3.92 + rng.uniform(-1, 1, 3)
    sites = sites[np.argsort(np.linalg.norm(sites, axis=1))[:n_atoms]]
    positions_A = Rotation.random(rng=rng).apply(sites - sites.mean(axis=0)) + rng.normal(0, 0.1, sites.shape)
    return Specimen(positions_A=positions_A, atomic_numbers=rng.choice(numbers, n_atoms))


def model_of(specimen, tilt_deg, *, seed=0, rotation_deg=0.0, shift_A=0.0, defocus_A=0.0, gain=0.0):
    """The image model of a specimen, its geometry wrong by normal numbers of these sizes."""
    rng = np.random.default_rng(seed)
    n = len(tilt_deg)

    def tensor(values):
        return torch.as_tensor(np.asarray(values, dtype=np.float64))

    return ImageModel(
        positions_A=tensor(specimen.positions_A),
        brightness_A2=tensor([BRIGHTNESS_A2[z] for z in specimen.atomic_numbers.tolist()]),
        group=torch.as_tensor(np.searchsorted(np.unique(specimen.atomic_numbers), specimen.atomic_numbers)),
        chance=tensor(np.full(len(specimen.positions_A), np.nan)),
        core_A2=tensor(0.4**2),
        tail_A2=tensor(0.9**2),
        tail_fraction=tensor(0.15),
        spread=tensor(2.2e-4),
        rotations=tensor(tilt_rotations(tilt_deg, rng.normal(0, 1, (n, 3)) * rotation_deg)),
        shift_A=tensor(rng.normal(0, 1, (n, 2)) * shift_A),
        defocus_A=tensor(rng.normal(0, 1, n) * defocus_A),
        gain=tensor(np.exp(rng.normal(0, 1, n) * gain)),
        background=tensor(np.full(n, 1e-3)),
        interference=torch.zeros(n, 1),
        coherence=tensor(1.0),
    )


def frame_of(shape=(36, 36), reach=6):
    return Frame(shape, PIXEL_A, reach)


def target_of(truth, start, frame, *, n_incident=1e6, floor=0.0, misfit=0.0):
    """What to fit: the images of a model, without noise."""
    inside = pad_images(torch.ones(len(truth.gain), *frame.shape), frame) > 0
    floor = floor or 0.5 / n_incident
    of_image = torch.full((len(truth.gain), 1), misfit, dtype=torch.float64) if misfit else None
    target = Target(inside.float(), inside, frame, start, Noise(n_incident, floor, of_image))
    return replace(target, images=expected_images(truth, target) * inside)


def series_of(truth, tilt_deg, frame, *, dose_e_per_A2=None, seed=0):
    """The tilt series that a model predicts, with counting noise."""
    reach = frame.reach
    target = target_of(truth, truth, frame)
    images = target.images.reshape(-1, *frame.padded)[:, reach:-reach, reach:-reach].double().numpy()
    if dose_e_per_A2 is not None:
        incident = dose_e_per_A2 * PIXEL_A**2
        images = np.random.default_rng(seed).poisson(images * incident) / incident
    return TiltSeries(
        images=images.astype(np.float32), tilt_deg=tilt_deg, pixel_size_A=PIXEL_A, dose_e_per_A2=dose_e_per_A2
    )


def trace_of(specimen, *, error_A=0.0, seed=0):
    """A trace that is off by normal numbers of this size along each axis."""
    rng = np.random.default_rng(seed)
    n = len(specimen.positions_A)
    return Trace(
        positions_A=specimen.positions_A + rng.normal(0, 1, (n, 3)) * error_A,
        intensities=np.array([BRIGHTNESS_A2[z] for z in specimen.atomic_numbers.tolist()]),
        atomic_numbers=specimen.atomic_numbers,
        sigma_A=np.full(n, 0.45),
    )


def rigid_error_A(found_A, true_A):
    """(n, 3) what is left of the differences after the best move and turn."""
    a, b = found_A - found_A.mean(axis=0), true_A - true_A.mean(axis=0)
    return a @ Rotation.align_vectors(b, a)[0].as_matrix().T - b


@pytest.fixture(scope="session")
def make_ball():
    return ball


@pytest.fixture(scope="session")
def make_model():
    return model_of


@pytest.fixture(scope="session")
def make_frame():
    return frame_of


@pytest.fixture(scope="session")
def make_target():
    return target_of


@pytest.fixture(scope="session")
def make_series():
    return series_of


@pytest.fixture(scope="session")
def make_trace():
    return trace_of


@pytest.fixture(scope="session")
def rigid_error():
    return rigid_error_A


@pytest.fixture
def tilt_deg():
    return np.linspace(-60.0, 60.0, 9)
