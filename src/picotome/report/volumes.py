"""Figures of arrays: slices of tomograms, their Fourier slice, and the images of a series."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.geometry import axis_A
from picotome.recon.fourier import fourier_power_slice
from picotome.report.canvas import FAINT, SKY, add_scale_bar, blank, png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from picotome.records import TiltSeries, Tomogram

    Array = NDArray[Any]

_PLANES = (("xy", 2), ("xz", 1), ("yz", 0))
_AXES = "xyz"
_WHITE_PERCENTILE = 99.9
_MARGIN_A = 3.0
_LARGEST_K_PER_A = 1.0
_DECADES = 6.0
_MOST_IMAGES = 40


def draw_slices(path: Path, *, degraded: Tomogram, repaired: Tomogram, ideal: Tomogram, title: str) -> None:
    """Draw three orthogonal slices through the raw, the repaired and the ideal tomogram.

    The planes are the same in all columns: those that hold most of the ideal tomogram's squared intensity
    near the middle of the particle. In each column black is zero and white the 99.9th percentile of the
    particle's box.

    Parameters
    ----------
    path
        PNG to write.
    degraded, repaired, ideal
        Tomograms on one grid.
    title
        Above the figure; taken as plain text.

    Raises
    ------
    ValueError
        If the tomograms are of different shapes.
    """
    _draw_columns(path, {"raw": degraded, "repaired": repaired, "ideal": ideal}, title)


def draw_pair(path: Path, *, degraded: Tomogram, ideal: Tomogram, title: str) -> None:
    """Draw three orthogonal slices through both tomograms of a pair; see `draw_slices`."""
    _draw_columns(path, {"degraded": degraded, "ideal": ideal}, title)


def _draw_columns(path: Path, columns: dict[str, Tomogram], title: str) -> None:
    """Draw the same slices through tomograms of one grid, the ideal one among them, side by side."""
    ideal = columns["ideal"]
    shapes = {name: tomogram.volume.shape for name, tomogram in columns.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"tomograms have shapes {shapes}; allowed is one shape")
    box = _particle_box(ideal)
    planes = _dense_planes(ideal.volume, box)
    voxel_A = ideal.voxel_size_A
    heights = [_height(box, axis) for _, axis in _PLANES]
    narrowest_A = _narrowest_A(box, voxel_A)
    n_columns = len(columns)
    with png(path, width_in=0.4 + 2.4 * n_columns, height_in=0.9 + 2.4 * sum(heights)) as figure:
        grid = figure.subplots(3, n_columns, gridspec_kw={"height_ratios": heights})
        figure.suptitle(title, fontsize=11, parse_math=False)
        for column, (name, tomogram) in enumerate(columns.items()):
            white = _white(tomogram.volume[box])
            for row, (plane, axis) in enumerate(_PLANES):
                axes = grid[row, column]
                _show_slice(axes, tomogram.volume, axis, planes[axis], box, voxel_A, white)
                if row == 0:
                    axes.set_title(name)
                if column == 0:
                    axes.set_ylabel(f"{plane} plane\n{_AXES[_vertical(axis)]} →")
                    axes.set_xlabel(f"{_AXES[_horizontal(axis)]} →")
                    add_scale_bar(axes, extent_A=narrowest_A)
                if axis == 1 and column == 0:
                    _mark_beam(axes)
        figure.supxlabel(
            "black: 0; white: 99.9th percentile of each tomogram;"
            + (" " if n_columns > 2 else "\n")
            + "the wedge smears along the beam (z)",
            fontsize=8,
            color=FAINT,
        )


def draw_tomogram(path: Path, *, tomogram: Tomogram) -> None:
    """Draw the three orthogonal slices of one tomogram that hold most of it."""
    everything = tuple(slice(0, n) for n in tomogram.volume.shape)
    planes = _dense_planes(tomogram.volume, everything)
    white = _white(tomogram.volume)
    widths = [tomogram.volume.shape[_horizontal(axis)] for _, axis in _PLANES]
    with png(path, width_in=9.0, height_in=3.9) as figure:
        row = figure.subplots(1, 3, gridspec_kw={"width_ratios": widths})
        for axes, (plane, axis) in zip(row, _PLANES, strict=True):
            _show_slice(axes, tomogram.volume, axis, planes[axis], everything, tomogram.voxel_size_A, white)
            at_A = axis_A(tomogram.volume.shape[axis], tomogram.voxel_size_A)[planes[axis]]
            axes.set_title(f"{plane} at {_AXES[axis]} = {at_A:.1f} Å".replace("-", "−"))
            axes.set_xlabel(f"{_AXES[_horizontal(axis)]} →")
            axes.set_ylabel(f"{_AXES[_vertical(axis)]} →")
            add_scale_bar(axes, extent_A=_narrowest_A(everything, tomogram.voxel_size_A))
        shape = " × ".join(str(n) for n in tomogram.volume.shape)
        figure.suptitle(
            f"{tomogram.kind} tomogram, {shape} voxels of {tomogram.voxel_size_A:g} Å", fontsize=11
        )


def draw_fourier(
    path: Path, *, degraded: Tomogram, repaired: Tomogram, ideal: Tomogram, tilt_deg: Array
) -> None:
    """Draw the power of each tomogram in the plane k_y = 0 with the edges of the missing wedge.

    Logarithmic, relative to the power at the origin: amplitudes of the columns can be compared.

    Parameters
    ----------
    path
        PNG to write.
    degraded, repaired, ideal
        Tomograms.
    tilt_deg
        Tilts of the series, degrees; the wedge lies beyond the first and the last.
    """
    columns = {"raw": degraded, "repaired": repaired, "ideal": ideal}
    with png(path, width_in=9.6, height_in=3.4) as figure:
        row = figure.subplots(1, 3, sharey=True)
        for axes, (name, tomogram) in zip(row, columns.items(), strict=True):
            power, k_x, k_z = fourier_power_slice(tomogram.volume, voxel_size_A=tomogram.voxel_size_A)
            relative = power / max(float(power.max()), np.finfo(np.float64).tiny)
            shown = axes.pcolormesh(
                k_x,
                k_z,
                np.log10(np.maximum(relative, 10.0**-_DECADES)).T,
                cmap="magma",
                vmin=-_DECADES,
                vmax=0.0,
                shading="nearest",
                rasterized=True,
            )
            reach = min(_LARGEST_K_PER_A, float(k_x.max()), float(k_z.max()))
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=name)
            axes.set(xticks=_half_steps(reach), yticks=_half_steps(reach))
            axes.set_xlabel("$k_x$ (1/Å)")
            _draw_wedge(axes, np.asarray(tilt_deg), reach)
        row[0].set_ylabel("$k_z$ (1/Å), along the beam")
        figure.colorbar(shown, ax=list(row), label="log₁₀ power, relative to the origin", shrink=0.85)


def draw_series(path: Path, *, series: TiltSeries) -> None:
    """Draw the images of a series, with their tilts, on one grey scale; evenly chosen from many."""
    n_images = len(series.images)
    n_shown = min(n_images, _MOST_IMAGES)
    chosen = np.unique(np.round(np.linspace(0, n_images - 1, n_shown)).astype(int))
    n_columns = math.ceil(math.sqrt(1.4 * len(chosen)))
    n_rows = math.ceil(len(chosen) / n_columns)
    n_x, n_y = series.images.shape[1:]
    white = _white(series.images)
    black = min(0.0, float(np.percentile(series.images, 0.1)))
    cell = 8.6 / n_columns
    with png(path, width_in=9.0, height_in=0.7 + n_rows * (cell * n_y / n_x + 0.22)) as figure:
        figure.suptitle(_series_title(series, len(chosen)), fontsize=11)
        for position, index in enumerate(chosen):
            axes = figure.add_subplot(n_rows, n_columns, position + 1)
            axes.imshow(series.images[index].T, origin="lower", cmap="gray", vmin=black, vmax=white)
            axes.set_title(f"{series.tilt_deg[index]:+.1f}°".replace("-", "−"), fontsize=8.5, pad=2)
            blank(axes)
            if position == 0:
                add_scale_bar(axes, extent_A=n_x * series.pixel_size_A, A_per_unit=series.pixel_size_A)
        figure.supxlabel("x → and y ↑ (the tilt axis); all images on one grey scale", fontsize=8, color=FAINT)


def _series_title(series: TiltSeries, n_shown: int) -> str:
    dose = "" if series.dose_e_per_A2 is None else f", {series.dose_e_per_A2:,.0f} e/Å² per image"
    count = f"{len(series.images)} images" + (f" ({n_shown} shown)" if n_shown < len(series.images) else "")
    shape = " × ".join(str(n) for n in series.images.shape[1:])
    return f"{count} of {shape} pixels of {series.pixel_size_A:g} Å, {series.engine}{dose}"


def _horizontal(axis: int) -> int:
    return 1 if axis == 0 else 0


def _vertical(axis: int) -> int:
    return 1 if axis == 2 else 2


def _narrowest_A(box: tuple[slice, ...], voxel_A: float) -> float:
    """Width of the narrowest plane, by which the scale bars of a figure are of one length."""
    size = [part.stop - part.start for part in box]
    return float(voxel_A * min(size[_horizontal(axis)] for _, axis in _PLANES))


def _height(box: tuple[slice, ...], axis: int) -> float:
    size = [part.stop - part.start for part in box]
    return float(size[_vertical(axis)] / size[_horizontal(axis)])


def _show_slice(
    axes: Any, volume: Array, axis: int, index: int, box: tuple[slice, ...], voxel_A: float, white: float
) -> None:
    plane = volume.take(index, axis=axis)
    across, up = box[_horizontal(axis)], box[_vertical(axis)]
    edges = [edge * voxel_A for edge in (across.start, across.stop, up.start, up.stop)]
    axes.imshow(plane[across, up].T, origin="lower", cmap="gray", vmin=0.0, vmax=white, extent=edges)
    blank(axes)


def _mark_beam(axes: Any) -> None:
    axes.annotate(
        "", xy=(0.93, 0.95), xytext=(0.93, 0.62), xycoords="axes fraction",
        arrowprops={"arrowstyle": "<->", "color": SKY, "linewidth": 1.6},
    )  # fmt: skip
    axes.text(
        0.90, 0.785, "missing wedge", color=SKY, rotation=90, ha="right", va="center",
        fontsize=7.5, transform=axes.transAxes,
    )  # fmt: skip


def wedge_edges(tilt_deg: Array) -> list[tuple[float, float]]:
    """Directions (k_x, k_z) of the first and the last image, between which the wedge lies; none if full.

    An image at tilt θ measures the direction (cos θ, sin θ). A gap no wider than the steps is no wedge but
    the seam of a full series.
    """
    tilts = np.sort(np.deg2rad(np.asarray(tilt_deg, dtype=np.float64)))
    step = float(np.diff(tilts).max(initial=0.0))
    if np.pi - (tilts[-1] - tilts[0]) <= 1.5 * step:
        return []
    return [(float(np.cos(tilt)), float(np.sin(tilt))) for tilt in (tilts[0], tilts[-1])]


def _draw_wedge(axes: Any, tilt_deg: Array, reach: float) -> None:
    edges = wedge_edges(tilt_deg)
    if not edges:
        return
    for k_x, k_z in edges:
        axes.plot([-2 * k_x, 2 * k_x], [-2 * k_z, 2 * k_z], color=SKY, linewidth=1.0, linestyle=(0, (5, 3)))
    middle = np.deg2rad((np.min(tilt_deg) + np.max(tilt_deg)) / 2 + 90.0)
    at = np.array([np.cos(middle), np.sin(middle)])
    at *= 0.93 * reach / np.abs(at).max()
    axes.text(at[0], at[1], "wedge", color=SKY, ha="center", va="center", fontsize=8.5)


def _half_steps(reach: float) -> Array:
    ticks: Array = np.arange(-2, 3) * 0.5
    return ticks[np.abs(ticks) <= reach]


def _white(array: Array) -> float:
    positive = float(np.percentile(array, _WHITE_PERCENTILE))
    return positive if positive > 0 else max(float(array.max()), 1e-30)


def _particle_box(tomogram: Tomogram) -> tuple[slice, ...]:
    """Part of the volume that holds what is brighter than a tenth of white, with a margin."""
    bright = tomogram.volume > 0.1 * _white(tomogram.volume)
    margin = math.ceil(_MARGIN_A / tomogram.voxel_size_A)
    box = []
    for axis, n in enumerate(tomogram.volume.shape):
        found = np.flatnonzero(bright.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (int(found[0]), int(found[-1])) if found.size else (0, n - 1)
        box.append(slice(max(0, first - margin), min(n, last + margin + 1)))
    return tuple(box)


def _dense_planes(volume: Array, box: tuple[slice, ...]) -> tuple[int, int, int]:
    """For each axis the plane with the largest sum of squares in the middle half of the box."""
    squares = volume.astype(np.float64) ** 2
    x, y, z = (_dense_plane(squares, box, axis) for axis in range(3))
    return x, y, z


def _dense_plane(squares: Array, box: tuple[slice, ...], axis: int) -> int:
    start, stop = int(box[axis].start), int(box[axis].stop)
    quarter = (stop - start) // 4
    first, last = start + quarter, stop - quarter
    profile = squares.sum(axis=tuple(other for other in range(3) if other != axis))
    return first + int(np.argmax(profile[first:last]))
