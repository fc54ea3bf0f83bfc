"""The periodic cells of the wave engines: how large, on which grids, and where in the image.

PRISM costs time in proportion to the area of the cell and to that of its interpolated window; grids are
chosen to transform fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import OpticsConfig
from picotome.simgen.aberrations import probe_reach_A
from picotome.units import wavelength_A

# Above and below the atoms.
_MARGIN_Z_A = 1.0


@dataclass(frozen=True)
class Axis:
    """One side of the periodic cell: `interpolation` windows, each of `n_window` fine grid points."""

    window_A: float
    n_window: int
    interpolation: int
    n_scan: int

    @property
    def length_A(self) -> float:
        """Length of the side."""
        return self.window_A * self.interpolation

    @property
    def gpts(self) -> int:
        """Grid points of the wave along the side."""
        return self.n_window * self.interpolation


@dataclass(frozen=True)
class Cell:
    """The periodic cell of one image.

    Attributes
    ----------
    centre_A
        (3,) position of its middle in the image's frame.
    cut_depth_A
        Below the top: where PRISM cuts its windows out of the waves; None: where they leave the cell.
    """

    x: Axis
    y: Axis
    depth_A: float
    n_slices: int
    centre_A: NDArray[Any]
    cut_depth_A: float | None = None

    @property
    def size_A(self) -> NDArray[Any]:
        """(3,) edges of the cell."""
        return np.array([self.x.length_A, self.y.length_A, self.depth_A])

    @property
    def window_A(self) -> NDArray[Any]:
        """(2, 2) lowest and highest x, then y, in the image's frame."""
        half_A = 0.5 * self.size_A[:2]
        return np.stack([self.centre_A[:2] - half_A, self.centre_A[:2] + half_A], axis=1)


def plan_cells(
    posed_A: NDArray[Any], *, defocus_A: NDArray[Any], optics: OpticsConfig, windowed: bool
) -> list[Cell]:
    """Choose a cell for each image of a series.

    The vacuum on each side of the atoms is `optics.abtem.vacuum_A` and the radius of the disc that a
    defocused or aberrated probe spreads over. The PRISM window, too, holds the disc of the aberrations.

    The PRISM window, and with it the angular grid of the detector, is square and the same in all images:
    otherwise the brightness would jump from image to image. The number of windows follows the projected
    extent. Without windows every image has the cell of the widest one, for the same reason.
    """
    settings = optics.abtem
    extents_A = np.ptp(posed_A, axis=1)
    centres_A = 0.5 * (posed_A.max(axis=1) + posed_A.min(axis=1))
    disc_A = np.array([probe_reach_A(optics, float(each)) for each in defocus_A])
    smallest_A = settings.prism_window_A + 2.0 * probe_reach_A(optics, 0.0)
    lengths_A = extents_A[:, :2] + 2.0 * (settings.vacuum_A + disc_A)[:, None]
    windows_A = [float(length_A) for length_A in lengths_A.max(axis=0)]
    if windowed:
        windows_A = 2 * [_choose_window_A(windows_A, smallest_A)]
    cells = []
    for extent_A, length_A, centre_A in zip(extents_A, lengths_A, centres_A, strict=True):
        x, y = (_plan_axis(float(length_A[axis]), windows_A[axis], optics) for axis in (0, 1))
        depth_A, n_slices = _slices(float(extent_A[2]), optics)
        cells.append(Cell(x=x, y=y, depth_A=depth_A, n_slices=n_slices, centre_A=centre_A))
    return cells


def with_depth(cell: Cell, z_A: NDArray[Any], *, cut_z_A: float, optics: OpticsConfig) -> Cell:
    """Return the cell as deep as atoms at these heights need, its windows cut at another height.

    What is scattered to the detector leaves a window of 7 Å within 40 Å of depth. Cut at the height of the
    atoms that matter most, the windows hold at least what these scattered.
    """
    depth_A, n_slices = _slices(float(np.ptp(z_A)), optics)
    middle_A = 0.5 * float(z_A.min() + z_A.max())
    return replace(
        cell,
        depth_A=depth_A,
        n_slices=n_slices,
        centre_A=np.array([*cell.centre_A[:2], middle_A]),
        cut_depth_A=cut_z_A - middle_A + 0.5 * depth_A,
    )


def _slices(extent_A: float, optics: OpticsConfig) -> tuple[float, int]:
    depth_A = extent_A + 2.0 * _MARGIN_Z_A
    return depth_A, math.ceil(depth_A / optics.abtem.slice_thickness_A)


def _choose_window_A(lengths_A: list[float], smallest_A: float) -> float:
    """Return the square window that makes the widest image cheapest: time ~ cell area × window area."""
    candidates_A = [smallest_A]
    for length_A in lengths_A:
        candidates_A += [length_A / n for n in range(1, int(length_A / smallest_A) + 1)]

    def cost(window_A: float) -> float:
        return window_A**4 * math.prod(_n_windows(length_A, window_A) for length_A in lengths_A)

    return min(candidates_A, key=cost)


def _n_windows(length_A: float, window_A: float) -> int:
    return max(1, math.ceil(length_A / window_A - 1e-6))


def _plan_axis(length_A: float, window_A: float, optics: OpticsConfig) -> Axis:
    n_windows = _n_windows(length_A, window_A)
    return Axis(
        window_A=window_A,
        n_window=fast_size(math.ceil(window_A / optics.abtem.sampling_A - 1e-6)),
        interpolation=n_windows,
        n_scan=math.ceil(n_windows * window_A / optics.abtem.scan_step_A),
    )


def fast_size(n: int) -> int:
    """Smallest even number from n up that FFTW transforms fast: 2^a 3^b 5^c 7^d, times 1, 11 or 13."""
    n += n % 2
    while True:
        rest = n
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest in (1, 11, 13):
            return n
        n += 2


def downsample_angle_mrad(cell: Cell, optics: OpticsConfig) -> float:
    """Return an angle that abTEM rounds to a grid whose windows hold the detector and transform fast.

    abTEM takes 2 ceil(angle / step) + 1 points, makes the number even, and rounds it up to whole windows.
    """
    step_mrad = wavelength_A(optics.beam_energy_eV) / cell.x.window_A * 1e3
    n_window = fast_size(math.floor(2.0 * optics.detector_outer_mrad / step_mrad) + 2)
    interpolated = max(cell.x.interpolation, cell.y.interpolation) > 1
    # A hundredth of a step less, so that rounding errors do not reach the next integer.
    return (0.5 * n_window - (0.51 if interpolated else 1.01)) * step_mrad
