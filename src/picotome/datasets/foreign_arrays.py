"""Arrays in other people's files, by name, read without running anything that is in them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MOST_LISTED = 20
_NUMERIC = "iufbc"
_MATLAB_NUMERIC = {
    "double", "single", "logical", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip


@dataclass(frozen=True)
class ForeignFile:
    """An open file with arrays.

    Attributes
    ----------
    path
        The file.
    shapes
        Shape of every numeric array, by name.
    load
        Reads one of them.
    header_pixel_A
        Edges of a pixel that the header states, along the last and the last but one axis, Å.
    counts_images
        Array axis that counts images in this format, where the format says so.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[str], Array]
    header_pixel_A: tuple[float, float] | None = None
    counts_images: int | None = None

    def read(self, name: str) -> Array:
        """Return the array of that name, or say which there are.

        Raises
        ------
        ValueError
            If there is no such array.
        """
        if name not in self.shapes:
            raise ValueError(f"{self.path} holds no numeric array {name!r}; it holds {self.listing()}")
        return self.load(name)

    def listing(self) -> str:
        """Names and shapes, for messages."""
        items = [f"{name} {shape}" for name, shape in self.shapes.items()]
        more = f" and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else ""
        return (", ".join(items[:_MOST_LISTED]) + more) or "no numeric array"


@contextmanager
def open_foreign(path: Path) -> Iterator[ForeignFile]:
    """Open a file by what its name ends in.

    Raises
    ------
    ValueError
        If the suffix is unknown, or the file is not what its suffix says or is truncated.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise ValueError(f"{path} ends in {path.suffix!r}; allowed is {', '.join(_OPENERS)}")
    with opener(path) as file:
        yield file


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a broken file into one kind of error.

    Everything is caught, because damaged bytes take decoders to places that nobody has listed: besides their
    own errors they raise ZeroDivisionError, AssertionError, tokenize.TokenError and more.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{what}: {reason}") from error


@contextmanager
def _open_mrc(path: Path) -> Iterator[ForeignFile]:
    import mrcfile

    # Permissive, because many programs write headers that are slightly wrong; what matters is checked below.
    with _decoding(f"{path} is truncated, or no MRC file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as mrc:
            if mrc.data is None or mrc.data.size == 0:
                raise ValueError("its header announces more than it holds")
            array = np.array(mrc.data)
            pixel_A = (float(mrc.voxel_size.x), float(mrc.voxel_size.y))
    yield _single(path, array, header_pixel_A=pixel_A)


@contextmanager
def _open_tiff(path: Path) -> Iterator[ForeignFile]:
    import tifffile

    with _decoding(f"{path} is not a readable TIFF stack"), tifffile.TiffFile(path) as tiff:
        shapes = [(series.shape, str(series.dtype)) for series in tiff.series]
        if len(set(shapes)) != 1:
            raise ValueError(f"it holds images of different shapes: {shapes or 'none'}")
        arrays = [series.asarray() for series in tiff.series]
    yield _single(path, np.stack(arrays) if len(arrays) > 1 else arrays[0])


@contextmanager
def _open_numpy(path: Path) -> Iterator[ForeignFile]:
    # Opened here, because np.load leaves open what it cannot read.
    with path.open("rb") as handle:
        with _decoding(f"{path} is truncated, no NumPy file, or holds pickled objects (never loaded)"):
            loaded = np.load(handle, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            yield _single(path, loaded, counts_images=None)
            return

        def load(name: str) -> Array:
            with _decoding(f"{name} in {path} is damaged"):
                array: Array = loaded[name]
            return array

        with loaded:
            with _decoding(f"{path} is damaged"):
                shapes = _npz_shapes(path)
            yield ForeignFile(path=path, shapes=shapes, load=load)


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes from the headers alone; arrays of objects are left out, because they would need pickle."""
    import zipfile

    formats = np.lib.format
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if not member.endswith(".npy"):
                continue
            with archive.open(member) as stream:
                old = formats.read_magic(stream) == (1, 0)
                read_header = formats.read_array_header_1_0 if old else formats.read_array_header_2_0
                shape, _, dtype = read_header(stream)
            if dtype.kind in _NUMERIC:
                shapes[member.removesuffix(".npy")] = shape
    return shapes


@contextmanager
def _open_mat(path: Path) -> Iterator[ForeignFile]:
    import h5py
    from scipy.io import loadmat, whosmat

    if h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            yield file
        return
    with _decoding(f"{path} is not a readable MATLAB file"):
        shapes = {name: shape for name, shape, kind in whosmat(path) if kind in _MATLAB_NUMERIC}

    def load(name: str) -> Array:
        with _decoding(f"{name} in {path} is damaged"):
            array: Array = np.asarray(loadmat(path, variable_names=[name])[name])
        return array

    yield ForeignFile(path=path, shapes=shapes, load=load)


@contextmanager
def _open_hdf5(path: Path) -> Iterator[ForeignFile]:
    import h5py

    with _decoding(f"{path} is not a readable HDF5 file (truncated, or another format)"):
        file = h5py.File(path, "r")
    with file:
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str | bytes, node: Any) -> None:
            # Links to other files are not followed: visititems never comes through them. A name that is no
            # text (bytes) cannot be asked for.
            if not isinstance(name, str):
                return
            if isinstance(node, h5py.Dataset) and node.dtype.kind in _NUMERIC and node.shape is not None:
                shapes[name] = node.shape[::-1] if _is_matlab(node) else node.shape

        def load(name: str) -> Array:
            with _decoding(f"{name} in {path} is damaged"):
                array: Array = file[name][()]
                # MATLAB 7.3 writes its column-major arrays with the axes reversed.
                return array.T if _is_matlab(file[name]) else array

        with _decoding(f"{path} is damaged"):
            file.visititems(note)
        yield _WithoutSlash(path=path, shapes=shapes, load=load)


class _WithoutSlash(ForeignFile):
    """Names of HDF5 data sets may be written with a leading slash."""

    def read(self, name: str) -> Array:
        return super().read(name.strip("/"))


def _is_matlab(node: Any) -> bool:
    return "MATLAB_class" in node.attrs


def _single(
    path: Path,
    array: Array,
    *,
    header_pixel_A: tuple[float, float] | None = None,
    counts_images: int | None = 0,
) -> ForeignFile:
    def load(name: str) -> Array:
        return array

    return ForeignFile(
        path=path,
        shapes={"data": array.shape},
        load=load,
        header_pixel_A=header_pixel_A,
        counts_images=counts_images,
    )


_OPENERS = {
    **dict.fromkeys((".mrc", ".mrcs", ".map", ".ali", ".st", ".rec"), _open_mrc),
    **dict.fromkeys((".tif", ".tiff"), _open_tiff),
    **dict.fromkeys((".npy", ".npz"), _open_numpy),
    ".mat": _open_mat,
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".emd", ".nxs"), _open_hdf5),
}
