"""Other people's tilt series, turned into ours.

What cannot be read from the file is asked for: a guessed tilt axis or pixel size gives a tomogram that looks
like a specimen and is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.datasets.foreign_arrays import ForeignFile, open_foreign
from picotome.datasets.foreign_tilts import read_tilts
from picotome.records import TiltSeries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TILT_AXES = ("rows", "columns")
_MOST_LISTED = 8


def import_series(
    path: Path,
    *,
    tilts: str | None,
    pixel_size_A: float | None,
    tilt_axis: str | None,
    key: str | None = None,
    stack_axis: int | None = None,
    flip_tilt: bool = False,
) -> TiltSeries:
    """Read a tilt series that another program wrote.

    The images are only reordered, to [tilt, x, y] with the tilt axis along y, and cast to float32: no
    scaling, cropping, centring or alignment. The origin becomes pixel ``n // 2``, as everywhere. A series
    about one axis does not know its handedness: another sign of the tilts, or a swap of the image axes, gives
    the mirror image of the specimen.

    Parameters
    ----------
    path
        MRC (.mrc, .mrcs, .map, .ali, .st, .rec), TIFF (.tif, .tiff), NumPy (.npy, .npz), MATLAB (.mat, any
        version) or HDF5 (.h5, .hdf5, .hdf, .emd, .nxs).
    tilts
        Where the tilts in degrees are: a text or NPY file (see
        `picotome.datasets.foreign_tilts.read_tilts`), or ``key:NAME`` for an array of the same file.
    pixel_size_A
        Edge of a square pixel, Å; None takes what an MRC header says.
    tilt_axis
        Image axis that is the tilt axis, as stored: ``rows`` (image axis 0, the one that counts rows;
        vertical on screen) or ``columns`` (image axis 1, the one that counts columns; horizontal on screen).
    key
        Name of the array, or path of the data set, inside a file that can hold several.
    stack_axis
        Array axis that counts the images; None takes the only axis as long as there are tilts.
    flip_tilt
        Reverse the sign of the tilts.

    Raises
    ------
    FileNotFoundError
        If `path` or the file of tilts does not exist.
    ValueError
        If the file cannot be read as what its name says, holds no such array, holds pickled objects, or
        holds values that are not finite; if tilts, pixel size or tilt axis are missing, not allowed or do not
        fit the images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if tilt_axis is not None and tilt_axis not in TILT_AXES:
        raise ValueError(f"tilt_axis is {tilt_axis!r}; allowed is {_AXIS_MEANING}")
    with open_foreign(path) as file:
        tilt_deg = read_tilts(tilts, file=file)
        stack = file.read(key or _only_stack(file))
        pixel_A = _pixel_size_A(pixel_size_A, file)
        counts_images = file.counts_images
    images = _images_first(
        stack, n_tilts=len(tilt_deg), stack_axis=stack_axis, preferred=counts_images, path=path
    )
    _check_finite(images, path)
    if tilt_axis is None:
        raise ValueError(f"tilt_axis is not stated; allowed is {_AXIS_MEANING}. {_advise_axis(images)}")
    if tilt_axis == "rows":
        images = images.transpose(0, 2, 1)
    return TiltSeries(
        images=np.ascontiguousarray(images, dtype=np.float32),
        tilt_deg=-tilt_deg if flip_tilt else tilt_deg,
        pixel_size_A=pixel_A,
        engine="import",
    )


_AXIS_MEANING = (
    "'rows' (the tilt axis is image axis 0 as stored: vertical on screen) or "
    "'columns' (it is image axis 1: horizontal on screen)"
)


def profile_change(images: Array, *, image_axis: int) -> float:
    """How much the image, projected onto one of its axes, changes over the series.

    Projected onto the tilt axis, every image of one specimen is the same (a tilt moves nothing along its
    axis), so the tilt axis is the one with the smaller number. Amplitude spectra are compared, so that shifts
    between the images do not matter, each divided by its sum, so that their brightness does not.

    Parameters
    ----------
    images
        (n_tilts, n0, n1) images.
    image_axis
        0 or 1, the axis to project onto.

    Returns
    -------
    change
        RMS deviation of the spectra from their mean over the rms of their mean; 0 for equal profiles.
    """
    profiles = images.sum(axis=2 - image_axis, dtype=np.float64)
    spectra = np.abs(np.fft.rfft(profiles, axis=1))
    spectra = spectra[:, 1:] / np.maximum(spectra[:, :1], np.finfo(np.float64).tiny)
    mean = spectra.mean(axis=0)
    size = float(np.sqrt(np.mean(mean**2)))
    return float(np.sqrt(np.mean((spectra - mean) ** 2))) / size if size > 0 else 0.0


def _advise_axis(images: Array) -> str:
    change = [profile_change(images, image_axis=axis) for axis in (0, 1)]
    likely = TILT_AXES[int(np.argmin(change))]
    return (
        "Projected onto the tilt axis all images are alike: here the projection changes by "
        f"{change[0]:.1%} on image axis 0 (rows) and by {change[1]:.1%} on image axis 1 (columns), "
        f"which speaks for {likely}; check it with the microscope's log, then give --tilt-axis"
    )


def _only_stack(file: ForeignFile) -> str:
    if len(file.shapes) == 1:
        return next(iter(file.shapes))
    stacks = [name for name, shape in file.shapes.items() if len(shape) == 3]
    if len(stacks) == 1:
        return stacks[0]
    found = "no three-dimensional array" if not stacks else f"{len(stacks)} three-dimensional arrays"
    raise ValueError(f"{file.path} holds {found}; name one with --key. It holds {file.listing()}")


def _pixel_size_A(stated_A: float | None, file: ForeignFile) -> float:
    if stated_A is not None:
        if not (np.isfinite(stated_A) and stated_A > 0):
            raise ValueError(f"pixel_size_A is {stated_A:g}; allowed is a positive number, Å")
        return float(stated_A)
    in_header = file.header_pixel_A
    if in_header is None:
        raise ValueError(f"{file.path} does not say its pixel size; state it in Å with --pixel-size-A")
    if not (np.isfinite(in_header).all() and min(in_header) > 0):
        raise ValueError(
            f"the header of {file.path} says a pixel of {in_header} Å; state it with --pixel-size-A"
        )
    if abs(in_header[0] - in_header[1]) > 1e-3 * max(in_header):
        raise ValueError(
            f"the header of {file.path} says pixels of {in_header[0]:g} × {in_header[1]:g} Å; allowed are "
            "square pixels: resample the images, or state the size with --pixel-size-A if the header is wrong"
        )
    return float(in_header[0])


def _images_first(
    stack: Array, *, n_tilts: int, stack_axis: int | None, preferred: int | None, path: Path
) -> Array:
    if stack.ndim != 3:
        raise ValueError(
            f"the array of {path} has shape {stack.shape}; allowed is a stack of images with 3 axes"
        )
    if stack.dtype.kind not in "iufb":
        raise ValueError(f"the array of {path} is of type {stack.dtype}; allowed are real numbers")
    if stack_axis is None:
        fitting = [axis for axis, length in enumerate(stack.shape) if length == n_tilts]
        if len(fitting) > 1 and preferred not in fitting:
            raise ValueError(
                f"axes {fitting} of the array {stack.shape} are all as long as there are tilts ({n_tilts}); "
                "say which one counts the images with --stack-axis"
            )
        stack_axis = preferred if preferred in fitting else fitting[0] if fitting else -1
    elif stack_axis not in (0, 1, 2):
        raise ValueError(f"stack_axis is {stack_axis}; allowed is 0, 1 or 2")
    if stack_axis < 0 or stack.shape[stack_axis] != n_tilts:
        where = "no axis" if stack_axis < 0 else f"not axis {stack_axis}"
        raise ValueError(
            f"there are {n_tilts} tilts, but {where} of the array {stack.shape} of {path} is that long; "
            "give one tilt for each image"
        )
    if min(stack.shape) < 2:
        raise ValueError(
            f"the array of {path} has shape {stack.shape}; allowed are two images or more of 2 × 2 pixels"
        )
    return np.moveaxis(stack, stack_axis, 0)


def _check_finite(images: Array, path: Path) -> None:
    # Cast first: what overflows float32 is not finite in the series either.
    with np.errstate(over="ignore"):
        bad = (~np.isfinite(images.astype(np.float32, copy=False))).sum(axis=(1, 2))
    if not bad.any():
        return
    worst = np.flatnonzero(bad)
    listed = ", ".join(f"image {i}: {bad[i]}" for i in worst[:_MOST_LISTED])
    more = f" and {len(worst) - _MOST_LISTED} more images" if len(worst) > _MOST_LISTED else ""
    raise ValueError(
        f"{path} holds {int(bad.sum())} pixels that are not finite (NaN or infinite): {listed}{more}; mend "
        "them or leave these images out"
    )
