"""What a scan does to an image: the specimen drifts while it lasts, and its lines do not start together.

The beam scans along x, line after line along y. A line takes so little of a frame's time that the specimen
stands still for as long; from line to line it moves, and every line is displaced on its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import AcquisitionConfig
from picotome.geometry import A_to_index, axis_A
from picotome.rng import stream
from picotome.simgen.drawing import draw_from

# Order of the spline that images are read with between their pixels: it keeps 99.9 % of a peak's height.
_SPLINE_ORDER = 5


def draw_drift(
    acquisition: AcquisitionConfig, n_images: int, rng: np.random.Generator
) -> NDArray[Any] | None:
    """Draw how far the specimen moves along x and y while each frame is scanned, (n, 2) in Å; None: not."""
    rms_A = draw_from(acquisition.scan_drift_rms_A, rng=rng)
    drift_A: NDArray[Any] = rng.normal(size=(n_images, 2)) * rms_A
    return drift_A if rms_A > 0.0 else None


def draw_line_jitter(
    acquisition: AcquisitionConfig, n_images: int, n_lines: int, rng: np.random.Generator
) -> NDArray[Any] | None:
    """Draw the displacement of every line along x and y, (n, n_lines, 2) in Å; None: there is none."""
    rms_A = draw_from(acquisition.line_jitter_rms_A, rng=rng)
    jitter_A: NDArray[Any] = rng.normal(size=(n_images, n_lines, 2)) * rms_A
    return jitter_A if rms_A > 0.0 else None


def drift_matrices(drift_A: NDArray[Any], *, frame_A: float) -> NDArray[Any]:
    """(n, 2, 2) affine maps that a drift makes: what is at (x, y) in mid-frame appears at matrix @ (x, y).

    Half of the drift lies before the line at the origin, half after it, so that the origin stays. With d the
    drift over a frame of height L, the line at s sees the specimen moved by d s / L: y appears at
    y / (1 − d_y / L), a stretch, and x moves by d_x s / L, a shear.

    Raises
    ------
    ValueError
        If the specimen outruns the scan.
    """
    ahead = 1.0 - drift_A[:, 1] / frame_A
    if not (ahead > 0.0).all():
        raise ValueError(
            f"a drift of {drift_A[:, 1].max():.2f} Å outruns a frame of {frame_A:.2f} Å; "
            "lower acquisition.scan_drift_rms_A"
        )
    matrices: NDArray[Any] = np.zeros((len(drift_A), 2, 2))
    matrices[:, 0, 0] = 1.0
    matrices[:, 0, 1] = drift_A[:, 0] / frame_A / ahead
    matrices[:, 1, 1] = 1.0 / ahead
    return matrices


def scan_images(
    images: NDArray[Any],
    *,
    drift_A: NDArray[Any] | None,
    line_jitter_A: NDArray[Any] | None,
    pixel_size_A: float,
) -> NDArray[Any]:
    """Read images where the beam really was.

    Parameters
    ----------
    images
        (n, n_x, n_y), as a specimen at rest and an exact scan would give them.
    drift_A
        (n, 2) drift of the specimen over the frame.
    line_jitter_A
        (n, n_y, 2) displacement of what each line shows.

    Returns
    -------
    scanned
        float32, same shape, 0 or more; beyond the edge the outermost pixels go on.
    """
    if drift_A is None and line_jitter_A is None:
        return images
    from scipy.ndimage import map_coordinates

    n_images, n_x, n_y = images.shape
    x_A, y_A = axis_A(n_x, pixel_size_A), axis_A(n_y, pixel_size_A)
    moved_A = np.zeros((n_images, n_y, 2))
    if drift_A is not None:
        moved_A += drift_A[:, None, :] * (y_A / (n_y * pixel_size_A))[None, :, None]
    if line_jitter_A is not None:
        moved_A += line_jitter_A
    scanned = np.empty_like(images, dtype=np.float32)
    for image, line_A, out in zip(images, moved_A, scanned, strict=True):
        seen_A = np.stack(np.broadcast_arrays(x_A[:, None] - line_A[:, 0], y_A - line_A[:, 1]), axis=-1)
        at = np.moveaxis(A_to_index(seen_A, (n_x, n_y), pixel_size_A), -1, 0)
        out[:] = map_coordinates(np.float64(image), at, order=_SPLINE_ORDER, mode="nearest")
    return np.maximum(scanned, np.float32(0.0))


def distort(
    images: NDArray[Any], *, acquisition: AcquisitionConfig, pixel_size_A: float, seed: int, index: int
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Scan the images of one particle; drift and jitter draw from streams of their own.

    Returns
    -------
    tuple
        The images, and what is true of them: ``scan_drift_A`` (n, 2) with ``scan_matrix`` (n, 2, 2), and
        ``line_jitter_A`` (n, n_y, 2), each only where it is on.
    """
    n_images, _, n_y = images.shape
    drift_A = draw_drift(acquisition, n_images, stream(seed, index, "scan drift"))
    jitter_A = draw_line_jitter(acquisition, n_images, n_y, stream(seed, index, "line jitter"))
    truth = {}
    if drift_A is not None:
        truth["scan_drift_A"] = drift_A
        truth["scan_matrix"] = drift_matrices(drift_A, frame_A=n_y * pixel_size_A)
    if jitter_A is not None:
        truth["line_jitter_A"] = jitter_A
    scanned = scan_images(images, drift_A=drift_A, line_jitter_A=jitter_A, pixel_size_A=pixel_size_A)
    return scanned, truth
