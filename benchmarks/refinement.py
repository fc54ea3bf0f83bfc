"""Refinement by Gauss-Newton against plain Adam on the same likelihood, and how its time and memory grow.

    python benchmarks/refinement.py [--large]

f.c.c. Pt balls with 0.1 Å of disorder, imaged by the linear engine over ±65° in pixels of 0.4 Å at
1e4 e/Å² per image, with errors of 0.3° on three angles and 0.2 Å on both shifts of every image. The start is
0.2 Å (rms) beside the truth, at nominal geometry.

First the whole of `refine_trace` is timed. Then both methods start from the same model, aligned as
`refine_trace` does it, with everything free: atoms, brightness, probe, gain, background, two shifts and three
angles of each image. Adam gets a scale for each kind of unknown, a cosine decay to zero over all its steps,
and the best of several rates; its gradient comes from the same compiled loops. The cost is −2 log likelihood
plus weak priors: below one unit, differences are below the noise in any single unknown.

Each row of the table of growth runs in a process of its own, whose peak memory it states. Beside the seconds
on the clock stand those of all processors together, which other programs on the machine disturb less.
`--large` adds 20,000 atoms × 55 images, a few steps only.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.schema import RefinementConfig
from picotome.records import Specimen, Trace
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.threads import usable_threads
from picotome.trace.refinement.fit import fit_images, pixel_weights
from picotome.trace.refinement.linearised import Unknowns, linearise, transpose
from picotome.trace.refinement.noise import deviance
from picotome.trace.refinement.refine import refine_trace
from picotome.trace.refinement.start import begin
from picotome.trace.refinement.unknowns import free_unknowns, moved, prior, without_geometry

PIXEL_A, DOSE_E_PER_A2, START_RMS_A = 0.4, 1e4, 0.2
CONFIG = RefinementConfig(geometry=("tilt", "turns", "shifts"))
FREE = free_unknowns(CONFIG, n_groups=1)
N_ALIGN, N_ADAM, SHOWN = 4, 400, (25, 50, 100, 200, 300, 400)
# One step of Adam at rate 1, for each kind of unknown: Å, relative, rad, Å², …
SCALES = {
    "position": 0.01,
    "brightness": 0.01,
    "gain": 0.003,
    "background": 1e-4,
    "shift": 0.01,
    "turn": 4e-4,
    "core": 0.002,
    "tail": 0.01,
    "tail_fraction": 0.003,
    "spread": 5e-6,
    "focus": 1.0,
}
RATES = (1.0, 2.0)
# Atoms, images, pixels along an edge, most Gauss-Newton steps.
ROWS = ((400, 21, 72, 30), (1800, 21, 128, 30), (10_000, 21, 208, 30))
LARGE = (20_000, 55, 256, 2)


def ball(n_atoms):
    """An f.c.c. Pt ball in a random orientation."""
    from scipy.spatial.transform import Rotation

    rng = stream(0, n_atoms, "benchmark")
    reach = int((n_atoms / 4) ** (1 / 3)) + 1
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = (cells.reshape(-1, 1, 3) + basis).reshape(-1, 3) * 3.92 + rng.uniform(-1, 1, 3)
    sites = sites[np.argsort(np.linalg.norm(sites, axis=1))[:n_atoms]]
    turned = Rotation.from_rotvec([0.4, 0.7, 0.2]).apply(sites - sites.mean(axis=0))
    return Specimen(turned + rng.normal(0.0, 0.1, turned.shape), np.full(n_atoms, 78))


def problem(n_atoms, n_images, n_pixels):
    """Specimen, series and a trace to start from."""
    specimen = ball(n_atoms)
    series = simulate_series(
        specimen,
        engine="linear",
        volume=VolumeConfig(n_voxels=n_pixels, voxel_size_A=PIXEL_A),
        optics=OpticsConfig(source_size_A=0.3),
        acquisition=AcquisitionConfig(
            tilt_min_deg=-65.0,
            tilt_max_deg=65.0,
            n_tilts=n_images,
            dose_e_per_A2=DOSE_E_PER_A2,
            tilt_error_rms_deg=0.3,
            shift_error_rms_A=0.2,
        ),
        seed=0,
        index=0,
    )
    errors_A = stream(0, n_atoms, "start").normal(0.0, START_RMS_A / np.sqrt(3), (n_atoms, 3))
    each = float(series.images.sum(axis=(1, 2), dtype=np.float64).mean()) * PIXEL_A**2 / n_atoms
    trace = Trace(
        specimen.positions_A + errors_A,
        np.full(n_atoms, each),
        specimen.atomic_numbers,
        np.full(n_atoms, 0.45),
    )
    return specimen, series, trace


def aligned(series, trace):
    """Target, and the model that both methods start from."""
    target, model = begin(
        trace.positions_A,
        trace.intensities,
        atomic_numbers=trace.atomic_numbers,
        series=series,
        numbers=np.array([78]),
    )
    return target, fit_images(model, target, without_geometry(FREE), n_steps=N_ALIGN).model


def error_pm(positions_A, specimen):
    """3D RMSD after the best move and turn; the order of the atoms is that of the specimen."""
    from scipy.spatial.transform import Rotation

    a = positions_A - positions_A.mean(axis=0)
    b = specimen.positions_A - specimen.positions_A.mean(axis=0)
    left = a @ Rotation.align_vectors(b, a)[0].as_matrix().T - b
    return 100.0 * float(np.sqrt((left**2).sum(axis=1).mean()))


def clocks():
    """Seconds on the clock, and seconds that processors worked for this process."""
    return np.array([time.perf_counter(), time.process_time()])


def adam(start, target, rate):
    """Cost after each step, seconds of both clocks after each, and the last model."""
    model, moments = start, None
    costs, seconds, begun = [], [], clocks()
    for done in range(N_ADAM + 1):
        where = linearise(model, target.frame, free_images=FREE.images, free_common=FREE.common)
        misfit = deviance(target.images, where.images, target.noise)[target.inside].double().sum()
        offset, precision = prior(model, target.start, FREE)
        costs.append(float(misfit + sum((q * o**2).sum() for q, o in zip(precision, offset, strict=True))))
        seconds.append(clocks() - begun)
        if done == N_ADAM:
            break
        pull = transpose(where, (target.images - where.images) * pixel_weights(where.images, target))
        slope = [q * o - p for p, q, o in zip(pull, precision, offset, strict=True)]
        moments = moments or [(0.0 * g, 0.0 * g) for g in slope]
        moments = [
            (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2) for (m, v), g in zip(moments, slope, strict=True)
        ]
        now = rate * 0.5 * (1.0 + np.cos(np.pi * done / N_ADAM))
        step = [
            -now * size * (m / (1.0 - 0.9 ** (done + 1))) / ((v / (1.0 - 0.999 ** (done + 1))).sqrt() + 1e-12)
            for size, (m, v) in zip(scales(start), moments, strict=True)
        ]
        model = moved(model, Unknowns(*step), FREE)
    return np.array(costs), np.array(seconds), model.positions_A.numpy()


def scales(start):
    """One step of Adam at rate 1, for each unknown."""
    brightness = SCALES["brightness"] * float(start.brightness_A2.median())
    return Unknowns(
        torch.tensor([SCALES["position"]] * 3 + [brightness]),
        torch.tensor([SCALES[name.split("_")[0]] for name in FREE.images]),
        torch.tensor(
            [SCALES[name.removesuffix("_x").removesuffix("_y").removesuffix("_z")] for name in FREE.common]
        ),
    )


def compare(n_atoms, n_images, n_pixels, n_steps):
    """The whole refinement, then Gauss-Newton against Adam."""
    # Loops are compiled, and modules loaded, at the first call: that is not counted.
    _, series, trace = problem(40, 7, 40)
    refine_trace(trace, series, elements=["Pt"], config=CONFIG, min_distance_A=1.8)
    specimen, series, trace = problem(n_atoms, n_images, n_pixels)
    print(f"{n_atoms} atoms, {n_images} images of {n_pixels}², threads: {usable_threads()}")
    begun = clocks()
    refined = refine_trace(trace, series, elements=["Pt"], config=CONFIG, min_distance_A=1.8)
    wall, worked = clocks() - begun
    learned = refined.images
    print(
        f"  refine_trace   {wall:7.1f} s on the clock {worked:7.1f} s of processors   "
        f"{learned.n_added} atoms added, {learned.n_removed} removed, χ² {learned.chi2:.3f}"
    )
    target, start = aligned(series, trace)
    costs, times, begun = [], [], clocks()

    def note(cost, walk_A):
        costs.append(cost)
        times.append(clocks() - begun)

    fitted = fit_images(start, target, FREE, n_steps=n_steps, step_done=note)
    best = fitted.cost
    before_pm = error_pm(trace.positions_A, specimen)
    print(f"\ncost above the best found, {best:.1f} (error {before_pm:.1f} pm before)")
    print("  Gauss-Newton   " + "".join(f"{c - best:10.1f}" for c in costs))
    print("    s on clock   " + "".join(f"{t[0]:10.1f}" for t in times))
    print("    s processor  " + "".join(f"{t[1]:10.1f}" for t in times))
    print(f"    error {error_pm(fitted.model.positions_A.numpy(), specimen):.2f} pm")
    print("  Adam, steps    " + "".join(f"{n:10d}" for n in (0, *SHOWN)))
    for rate in RATES:
        found, seconds, positions_A = adam(start, target, rate)
        print(f"    rate {rate:3.1f}     " + "".join(f"{found[n] - best:10.1f}" for n in (0, *SHOWN)))
        print("    s processor  " + "".join(f"{seconds[n][1]:10.1f}" for n in (0, *SHOWN)))
        reached = np.flatnonzero(found < best + 1.0)
        when = f"after {seconds[reached[0]][1]:.1f} s of processors" if len(reached) else "never"
        print(f"    error {error_pm(positions_A, specimen):.2f} pm; within 1 of Gauss-Newton {when}")


def grow(n_atoms, n_images, n_pixels, n_steps):
    """One row of the table of growth, as JSON."""
    specimen, series, trace = problem(n_atoms, n_images, n_pixels)
    target, start = aligned(series, trace)
    before_MB = peak_MB()
    begun = clocks()
    fitted = fit_images(start, target, FREE, n_steps=n_steps)
    wall, worked = clocks() - begun
    error = error_pm(fitted.model.positions_A.numpy(), specimen)
    row = [fitted.n_steps, error, wall, worked, before_MB, peak_MB()]
    print(json.dumps(row))


def peak_MB():
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def table(rows):
    """Each row in a process of its own."""
    print("\n  atoms images pixels steps  error  on the clock  processors  a step, atom, image  peak memory")
    for row in rows:
        command = [sys.executable, __file__, "--row", json.dumps(row)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        n_steps, error, wall, worked, _, peak = json.loads(output)
        each = 1e6 * worked / (n_steps * row[0] * row[1])
        print(
            f"{row[0]:7d} {row[1]:6d} {row[2]:6d} {n_steps:5d} {error:5.1f} pm {wall:9.1f} s {worked:10.1f} s"
            f" {each:17.0f} µs {peak:12.0f} MB",
            flush=True,
        )


def main():
    if "--row" in sys.argv:
        torch.set_num_threads(1)
        grow(*json.loads(sys.argv[-1]))
        return
    torch.set_num_threads(1)
    compare(*ROWS[0])
    table([*ROWS, *([LARGE] if "--large" in sys.argv else [])])


if __name__ == "__main__":
    main()
