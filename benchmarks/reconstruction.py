"""Time and error of `picotome.recon` against ASTRA's CPU SIRT, side by side on the same specimen.

    pip install astra-toolbox
    python benchmarks/reconstruction.py

144³ voxels of 0.357 Å, 21 tilts over ±65°, atoms as Gaussians of sigma 0.45 Å projected analytically.
ASTRA reconstructs a few central slices one by one, on one processor, as its CPU code does; its time is scaled
to all slices (those without atoms take it just as long; picotome skips them, and their number is printed).
Runs alternate and the fastest of each counts, so what picotome's very first call on a machine takes to
compile its kernels, one to two seconds, is left out. Beside the seconds on the clock stand those of all
processors together, which other programs on the machine disturb less.

Errors are over those central slices, relative to the true volume, after several numbers of iterations.
picotome trusts each pixel by its noise, ASTRA trusts all alike: with noise that is part of the difference.
Momentum runs through the same sequence of reconstructions in far fewer iterations, and so into the noise
sooner: with noise, compare the best of each row, not columns. Where the best lies depends on the noise; a
rule that stops there would have to know the noise, which a reconstruction is not told.
"""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np

from picotome.configs.schema import ReconstructionConfig
from picotome.geometry import axis_A
from picotome.recon.solvers import reconstruct
from picotome.records import TiltSeries
from picotome.rng import stream
from picotome.threads import usable_threads

N, VOXEL_A, SIGMA_A, N_ITERATIONS, N_SLICES, N_ROUNDS = 144, 0.357, 0.45, 100, 4, 3
TILT_DEG = np.linspace(-65.0, 65.0, 21)
COUNTS_OF_BRIGHTEST = 50.0
ERRORS_AFTER = (5, 10, 15, 20, 30, 50, 100, 200, 300)


def atoms_A():
    """Positions of an f.c.c. Pt particle of 4 nm diameter with 0.1 Å of disorder, turned off its axes."""
    from scipy.spatial.transform import Rotation

    rng = stream(0, 0, "benchmark")
    cells = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = (cells + basis).reshape(-1, 3) * 3.912 @ Rotation.from_euler("xyz", [0.4, 0.7, 0.2]).as_matrix().T
    inside = sites[np.linalg.norm(sites, axis=1) < 20.0]
    return inside + rng.normal(0.0, 0.1, inside.shape)


def peaks(axis, centres):
    """(n_atoms, n) Gaussians of unit integral along one axis."""
    height = 1.0 / (np.sqrt(2.0 * np.pi) * SIGMA_A)
    return height * np.exp(-((axis[None] - centres[:, None]) ** 2) / (2.0 * SIGMA_A**2))


def specimen(atoms, axis, counts):
    """Images, and the true volume of the central slices, sampled on an axis across the tilt axis."""
    y = peaks(axis_A(N, VOXEL_A), atoms[:, 1])
    angles = np.deg2rad(TILT_DEG)
    across = [atoms[:, 0] * np.cos(a) + atoms[:, 2] * np.sin(a) for a in angles]
    images = np.stack([peaks(axis, x).T @ y for x in across])
    if counts is not None:
        gain = counts / images.max()
        images = stream(0, 0, "noise").poisson(images * gain) / gain
    x, z = peaks(axis, atoms[:, 0]), peaks(axis, atoms[:, 2])
    truth = np.einsum("ax,ay,az->xyz", x, y[:, central()], z, optimize=True)
    return images.astype(np.float32), truth


def central():
    """The slices that ASTRA reconstructs."""
    return slice((N - N_SLICES) // 2, (N + N_SLICES) // 2)


def relative_error(volume, truth):
    """Root mean square error over the root mean square of the truth."""
    return float(np.linalg.norm(volume - truth) / np.linalg.norm(truth))


def clocks():
    """Seconds on the clock, and seconds that processors worked for this process."""
    return np.array([time.perf_counter(), time.process_time()])


def ours(images, n_iterations):
    """Run picotome; returns volume and both seconds, those of building the projector anew included."""
    from picotome.recon import projector

    projector._cached_projector.cache_clear()
    series = TiltSeries(images, TILT_DEG, VOXEL_A)
    start = clocks()
    volume = reconstruct(series, config=ReconstructionConfig(solver="sirt", n_iterations=n_iterations)).volume
    return volume, clocks() - start


def astra_sirt(images, kind, n_iterations):
    """ASTRA's CPU SIRT with positivity on (n_tilts, n, slices) images; returns volume and both seconds."""
    import astra

    geometry = astra.create_vol_geom(N, N)
    rays = astra.create_proj_geom("parallel", 1.0, N, np.deg2rad(TILT_DEG))
    planes = []
    start = clocks()
    projector = astra.create_projector(kind, rays, geometry)
    for sinogram in np.moveaxis(images, 2, 0):
        measured = astra.data2d.create("-sino", rays, np.ascontiguousarray(sinogram / VOXEL_A))
        found = astra.data2d.create("-vol", geometry, 0.0)
        settings = astra.astra_dict("SIRT")
        settings["ProjectorId"] = projector
        settings["ProjectionDataId"] = measured
        settings["ReconstructionDataId"] = found
        settings["option"] = {"MinConstraint": 0.0}
        algorithm = astra.algorithm.create(settings)
        astra.algorithm.run(algorithm, n_iterations)
        # ASTRA's rows run downwards: row is -z, column is x.
        planes.append(astra.data2d.get(found)[::-1].T.copy())
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([measured, found])
    seconds = clocks() - start
    astra.projector.delete(projector)
    return np.stack(planes, axis=1), seconds


def main():
    atoms = atoms_A()
    # ASTRA's origin is the middle of the box; picotome's is voxel n // 2. Each gets images in its own frame.
    our_axis = axis_A(N, VOXEL_A)
    astra_axis = (np.arange(N) - (N - 1) / 2.0) * VOXEL_A
    print(f"{N}³ voxels, {len(TILT_DEG)} tilts, {len(atoms)} atoms, threads: {usable_threads()}")
    astra_kinds = ("linear", "strip") if find_spec("astra") else ()
    if not astra_kinds:
        print("ASTRA is not installed (pip install astra-toolbox): only picotome is timed")

    images, _ = specimen(atoms, our_axis, COUNTS_OF_BRIGHTEST)
    astra_images, _ = specimen(atoms, astra_axis, COUNTS_OF_BRIGHTEST)
    times = dict.fromkeys(("picotome", *astra_kinds), np.full(2, np.inf))
    for _ in range(N_ROUNDS):
        times["picotome"] = np.minimum(times["picotome"], ours(images, N_ITERATIONS)[1])
        for kind in astra_kinds:
            seconds = astra_sirt(astra_images[:, :, central()], kind, N_ITERATIONS)[1] * N / N_SLICES
            times[kind] = np.minimum(times[kind], seconds)
    n_empty = int((images.max(axis=(0, 1)) <= 0).sum())
    print(f"\n{N_ITERATIONS} iterations of SIRT on the whole volume, {n_empty} of {N} slices empty")
    for name, (seconds, worked) in times.items():
        label = name if name == "picotome" else f"ASTRA {name}"
        ratio = seconds / times["picotome"][0]
        note = "" if name == "picotome" else f"  {ratio:.0f} ×  (from {N_SLICES} slices)"
        print(f"  {label:14s} {seconds:7.2f} s on the clock {worked:7.2f} s of processors{note}")

    for counts in (None, 1000.0, 200.0, COUNTS_OF_BRIGHTEST):
        what = "no noise" if counts is None else f"Poisson noise, {counts:g} counts in the brightest pixel"
        print(f"\nrelative error, {what}\n  iterations    " + "".join(f"{n:7d}" for n in ERRORS_AFTER))
        images, truth = specimen(atoms, our_axis, counts)
        middle = images[:, :, central()]
        print_errors("picotome", [relative_error(ours(middle, n)[0], truth) for n in ERRORS_AFTER])
        images, truth = specimen(atoms, astra_axis, counts)
        middle = images[:, :, central()]
        for kind in astra_kinds:
            errors = [relative_error(astra_sirt(middle, kind, n)[0], truth) for n in ERRORS_AFTER]
            print_errors(f"ASTRA {kind}", errors)


def print_errors(name, errors):
    """One row: the error after each number of iterations, and the best."""
    print(f"  {name:14s}" + "".join(f"{error:7.3f}" for error in errors) + f"   best {min(errors):.3f}")


if __name__ == "__main__":
    main()
