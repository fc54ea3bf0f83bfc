"""What a missing wedge of 80° costs: FePt, reconstructed and traced from all tilts and from a part of them.

The data are the FePt teaching series of the GENFIRE workshop (GitHub: apryor6/FeT2017-GENFIRE-Workshop), as
one NPZ with the arrays ``full`` (37 tilts, −90 to 90°), ``tilt_deg``, ``wedge`` (21 tilts, −50 to 50°) and
``wedge_tilt_deg``. Their source states neither pixel size, nor tilt axis, nor the sign of the tilts:

* The tilt axis is found from the images: projected onto it, all images of a series are the same.
* The sign does not matter here: the other one gives the mirror image, as well reconstructed as this.
* The pixel size only scales the result. The default of 0.3725 Å makes the nearest neighbours of the atoms
  found 2.7 Å, as in FePt (L1₀: a = 3.85 Å, c = 3.71 Å; 2.67 to 2.72 Å). Distances are printed in pixels too.

Run: python examples/fept_wedge.py fept_tilt_series.npz --out fept
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from picotome.configs.schema import ReconstructionConfig, TracingConfig
from picotome.datasets.foreign import TILT_AXES, import_series, profile_change
from picotome.geometry import A_to_index, axis_A
from picotome.recon.solvers import reconstruct
from picotome.records import TiltSeries, Tomogram, Trace
from picotome.trace.matching import match_translated
from picotome.trace.tracing import trace_tomogram
from picotome.units import PM_PER_A

ELEMENTS = ("Fe", "Pt")
SERIES = {"full": "tilt_deg", "wedge": "wedge_tilt_deg"}
RADIUS_A = 0.75


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="fept_tilt_series.npz")
    parser.add_argument("--out", type=Path, default=Path("fept"), help="folder for the picture")
    parser.add_argument("--pixel-size-A", dest="pixel_size_A", type=float, default=0.3725, help="Å")
    parser.add_argument("--iterations", type=int, default=30, help="iterations of SIRT")
    arguments = parser.parse_args()

    config = ReconstructionConfig(solver="sirt", n_iterations=arguments.iterations)
    tilt_axis = find_tilt_axis(arguments.path, pixel_size_A=arguments.pixel_size_A)
    tomograms: dict[str, Tomogram] = {}
    traces: dict[str, Trace] = {}
    for name in SERIES:
        series = read(arguments.path, name, tilt_axis=tilt_axis, pixel_size_A=arguments.pixel_size_A)
        tomograms[name] = reconstruct(series, config=config)
        traces[name] = trace_tomogram(tomograms[name], elements=ELEMENTS, config=TracingConfig())
        describe(name, series, traces[name])
    compare(traces["full"], traces["wedge"], pixel_size_A=arguments.pixel_size_A)
    picture = arguments.out / "fept_wedge.png"
    draw(picture, tomograms, traces)
    print(f"picture: {picture}")


def read(path: Path, name: str, *, tilt_axis: str, pixel_size_A: float) -> TiltSeries:
    tilts = f"key:{SERIES[name]}"
    return import_series(path, key=name, tilts=tilts, tilt_axis=tilt_axis, pixel_size_A=pixel_size_A)


def find_tilt_axis(path: Path, *, pixel_size_A: float) -> str:
    """The image axis on which the projected images change least, with the evidence printed."""
    change = {}
    for tilt_axis in TILT_AXES:
        series = read(path, "full", tilt_axis=tilt_axis, pixel_size_A=pixel_size_A)
        change[tilt_axis] = profile_change(series.images, image_axis=1)
        print(f"tilt axis {tilt_axis}: images projected onto it change by {change[tilt_axis]:.1%}")
    return min(change, key=change.__getitem__)


def describe(name: str, series: TiltSeries, trace: Trace) -> None:
    neighbour_A = cKDTree(trace.positions_A).query(trace.positions_A, k=2)[0][:, 1]
    n_atoms, median_A = len(trace.positions_A), float(np.median(neighbour_A))
    tilts = f"{len(series.tilt_deg)} tilts {series.tilt_deg.min():g} to {series.tilt_deg.max():g}°"
    print(
        f"{name} ({tilts}): {n_atoms} atoms, nearest neighbours {median_A:.2f} Å "
        f"({median_A / series.pixel_size_A:.2f} pixels)"
    )


def compare(full: Trace, wedge: Trace, *, pixel_size_A: float) -> None:
    """Print the distance between the two traces, matched one to one with the common shift removed."""
    match = match_translated(full.positions_A, wedge.positions_A, radius_A=RADIUS_A)
    difference_A = wedge.positions_A[match.found] - full.positions_A[match.true] - match.translation_A
    distance_A = np.linalg.norm(difference_A, axis=1)
    rmsd_A, median_A = float(np.sqrt(np.mean(distance_A**2))), float(np.median(distance_A))
    axes_pm = np.sqrt(np.mean(difference_A**2, axis=0)) * PM_PER_A
    print(
        f"one to one within {RADIUS_A} Å: {len(distance_A)} atoms in both, "
        f"{len(full.positions_A) - len(distance_A)} only in full, "
        f"{len(wedge.positions_A) - len(distance_A)} only in wedge"
    )
    print(
        f"distance between the two: RMSD {rmsd_A * PM_PER_A:.1f} pm ({rmsd_A / pixel_size_A:.3f} pixels), "
        f"median {median_A * PM_PER_A:.1f} pm ({median_A / pixel_size_A:.3f} pixels); "
        f"along x / y (tilt axis) / z (beam) {axes_pm[0]:.1f} / {axes_pm[1]:.1f} / {axes_pm[2]:.1f} pm"
    )


def draw(path: Path, tomograms: dict[str, Tomogram], traces: dict[str, Trace]) -> None:
    """Slices through the atom nearest to the middle of the particle, with the atoms found near each slice."""
    positions_A = traces["full"].positions_A
    through_A = positions_A[np.argmin(np.linalg.norm(positions_A - positions_A.mean(axis=0), axis=1))]
    figure = Figure(figsize=(10.5, 7.2), layout="constrained")
    grid = figure.subplots(2, 3)
    for row, (name, tomogram) in enumerate(tomograms.items()):
        for column, (across, up, axis) in enumerate(((0, 1, 2), (0, 2, 1), (1, 2, 0))):
            axes = grid[row, column]
            draw_slice(axes, tomogram, through_A, across=across, up=up, axis=axis)
            atoms_A = traces[name].positions_A
            near_A = atoms_A[np.abs(atoms_A[:, axis] - through_A[axis]) < 0.6]
            axes.plot(near_A[:, across], near_A[:, up], "o", mfc="none", color="#56B4E9", markersize=9)
            axes.set_title(f"{name}: {'xyz'[across]}{'xyz'[up]} plane")
            axes.set(xlabel=f"{'xyz'[across]} (Å)", ylabel=f"{'xyz'[up]} (Å)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def draw_slice(
    axes: Axes, tomogram: Tomogram, through_A: np.ndarray, *, across: int, up: int, axis: int
) -> None:
    volume, voxel_A = tomogram.volume, tomogram.voxel_size_A
    index = int(np.round(A_to_index(through_A, volume.shape, voxel_A))[axis])
    left_A, right_A = (axis_A(volume.shape[across], voxel_A)[[0, -1]] + [-voxel_A / 2, voxel_A / 2]).tolist()
    low_A, high_A = (axis_A(volume.shape[up], voxel_A)[[0, -1]] + [-voxel_A / 2, voxel_A / 2]).tolist()
    axes.imshow(
        volume.take(index, axis=axis).T,
        origin="lower",
        cmap="gray",
        vmin=0.0,
        vmax=float(np.percentile(volume, 99.9)),
        extent=(left_A, right_A, low_A, high_A),
    )


if __name__ == "__main__":
    main()
