"""Particles and volumes to trace; the volumes are made here so that no other room is needed."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from scipy.spatial.transform import Rotation

from picotome.geometry import axis_A
from picotome.records import Specimen, Tomogram

# Heights of the ideal peaks: HAADF brightness relative to Pt, about Z^1.5.
HEIGHTS = {28: 0.21, 46: 0.45, 78: 1.0}


def f_c_c_ball(*, radius_A, lattice_A=3.92, displacement_A=0.0, shell_A=None, seed=0):
    """A ball of Pt, or of Pd in a shell of Pt, in a random orientation and off the voxel grid."""
    rng = np.random.default_rng(seed)
    crystal = bulk("Pt", "fcc", a=lattice_A, cubic=True).repeat([2 * int(radius_A / lattice_A) + 3] * 3)
    positions_A = crystal.positions - crystal.positions.mean(axis=0) + rng.uniform(-1, 1, 3)
    depth_A = radius_A - np.linalg.norm(positions_A, axis=1)
    positions_A, depth_A = positions_A[depth_A > 0], depth_A[depth_A > 0]
    positions_A = Rotation.random(rng=rng).apply(positions_A)
    positions_A = positions_A + rng.normal(0, displacement_A, positions_A.shape)
    in_core = np.zeros(len(depth_A), dtype=bool) if shell_A is None else depth_A > shell_A
    return Specimen(positions_A=positions_A, atomic_numbers=np.where(in_core, 46, 78))


def sum_of_gaussians(specimen, *, n=64, voxel_A=0.4, sigma_A=0.45):
    """The ideal tomogram, straight from its definition."""
    axes = axis_A(n, voxel_A)
    profiles = np.exp(-0.5 * ((axes[:, None, None] - specimen.positions_A) / sigma_A) ** 2)
    heights = np.array([HEIGHTS[z] for z in specimen.atomic_numbers.tolist()])
    volume = np.zeros((n, n, n))
    for start in range(0, len(heights), 200):
        px, py, pz = np.moveaxis(profiles[:, start : start + 200], -1, 0)
        xy = (px * heights[start : start + 200])[:, None, :] * py[None]
        volume += (xy.reshape(n * n, -1) @ pz.T).reshape(n, n, n)
    return Tomogram(volume=volume.astype(np.float32), voxel_size_A=voxel_A, kind="ideal")


def through_the_wedge(tomogram, *, half_angle_deg=25.0, noise=0.0, seed=0):
    """What is left of a tomogram without the directions near z that no tilt about y sees, and with noise."""
    volume = tomogram.volume
    kx, ky, kz = np.meshgrid(*[np.fft.fftfreq(n) for n in volume.shape], indexing="ij", sparse=True)
    unseen = np.arctan2(np.abs(kx), np.abs(kz)) < np.deg2rad(half_angle_deg)
    unseen = unseen & ((kx != 0) | (kz != 0)) & (ky == ky)
    left = np.fft.ifftn(np.where(unseen, 0.0, np.fft.fftn(volume))).real
    left += np.random.default_rng(seed).normal(0, noise, left.shape)
    return Tomogram(volume=left.astype(np.float32), voxel_size_A=tomogram.voxel_size_A, kind="degraded")


@pytest.fixture(scope="session")
def pt():
    return f_c_c_ball(radius_A=9.0, displacement_A=0.1, seed=1)


@pytest.fixture(scope="session")
def core_shell():
    return f_c_c_ball(radius_A=10.0, lattice_A=3.9, displacement_A=0.05, shell_A=3.0, seed=2)


@pytest.fixture(scope="session")
def measured():
    """The measured NiPdPt nanoparticle, where the data lie beside the project."""
    from ase.io import read

    path = Path(__file__).parents[3] / "shared" / "data" / "mea4_nanoparticle.xyz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in a folder shared/data beside the project")
    atoms = read(path)
    return Specimen(
        positions_A=atoms.positions - atoms.positions.mean(axis=0), atomic_numbers=np.asarray(atoms.numbers)
    )


@pytest.fixture(scope="session")
def make_ideal():
    return sum_of_gaussians


@pytest.fixture(scope="session")
def make_degraded():
    return through_the_wedge
