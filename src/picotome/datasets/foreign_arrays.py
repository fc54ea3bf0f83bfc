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
def _open_mrc(path: Path) -> Iterator[ForeignFile]:
    import mrcfile

    # Permissive, because many programs write headers that are slightly wrong; what matters is checked below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with mrcfile.open(path, permissive=True) as mrc:
                array = None if mrc.data is None else np.array(mrc.data)
                pixel = (float(mrc.voxel_size.x), float(mrc.voxel_size.y))
        except (ValueError, OSError, EOFError, TypeError) as error:
            raise ValueError(f"{path} is not a readable MRC file: {error}") from error
    if array is None or array.size == 0:
        raise ValueError(f"{path} is truncated, or no MRC file: its header announces more than it holds")
    yield _single(path, array, header_pixel_A=pixel)


@contextmanager
def _open_tiff(path: Path) -> Iterator[ForeignFile]:
    import struct
    import zlib

    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series
            if len({(s.shape, s.dtype) for s in series}) == 1 and len(series) > 1:
                array = np.stack([s.asarray() for s in series])
            elif len(series) == 1:
                array = series[0].asarray()
            else:
                shapes = ", ".join(str(s.shape) for s in series)
                raise ValueError(f"it holds images of different shapes: {shapes or 'none'}")
    # tifffile decodes late: a broken page shows as whatever its decoder meets first.
    except (
        tifffile.TiffFileError,
        ValueError,
        OSError,
        IndexError,
        KeyError,
        struct.error,
        zlib.error,
    ) as error:
        raise ValueError(f"{path} is not a readable TIFF stack: {error}") from error
    yield _single(path, array)


@contextmanager
def _open_numpy(path: Path) -> Iterator[ForeignFile]:
    import zipfile
    import zlib

    # Opened here, because np.load leaves open what it cannot read.
    with path.open("rb") as handle:
        try:
            loaded = np.load(handle, allow_pickle=False)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is truncated, no NumPy file, or holds pickled objects (never loaded): {error}"
            ) from error
        if isinstance(loaded, np.ndarray):
            yield _single(path, loaded, counts_images=None)
            return

        def load(name: str) -> Array:
            try:
                array: Array = loaded[name]
            except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{name} in {path} is damaged: {error}") from error
            return array

        with loaded:
            yield ForeignFile(path=path, shapes=_npz_shapes(path), load=load)


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes from the headers alone; arrays of objects are left out, because they would need pickle."""
    import zipfile

    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                try:
                    version = np.lib.format.read_magic(stream)
                    read_header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read_header(stream)
                except ValueError:
                    continue
            if dtype.kind in "iufbc":
                shapes[member.removesuffix(".npy")] = shape
    return shapes


@contextmanager
def _open_mat(path: Path) -> Iterator[ForeignFile]:
    import zlib

    import h5py
    from scipy.io import loadmat, matlab, whosmat

    if h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            yield file
        return
    try:
        shapes = {name: shape for name, shape, kind in whosmat(path) if kind in _MAT_NUMERIC}
    except (ValueError, OSError, TypeError, NotImplementedError, matlab.MatReadError, zlib.error) as error:
        raise ValueError(f"{path} is not a readable MATLAB file: {error}") from error

    def load(name: str) -> Array:
        try:
            array: Array = np.asarray(loadmat(path, variable_names=[name])[name])
        except (ValueError, OSError, TypeError, KeyError, matlab.MatReadError, zlib.error) as error:
            raise ValueError(f"{name} in {path} is damaged: {error}") from error
        return array

    yield ForeignFile(path=path, shapes=shapes, load=load)


_MAT_NUMERIC = {
    "double", "single", "logical", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip


@contextmanager
def _open_hdf5(path: Path) -> Iterator[ForeignFile]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path} is not a readable HDF5 file (truncated, or another format): {error}"
        ) from error
    with file:
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, node: Any) -> None:
            # Links to other files are not followed: visititems never comes through them.
            if isinstance(node, h5py.Dataset) and node.dtype.kind in "iufbc" and node.shape is not None:
                shapes[name] = node.shape[::-1] if _is_matlab(node) else node.shape

        def load(name: str) -> Array:
            try:
                array: Array = file[name][()]
            except (OSError, RuntimeError, KeyError, ValueError) as error:
                raise ValueError(f"{name} in {path} is damaged: {error}") from error
            # MATLAB 7.3 writes its column-major arrays with the axes reversed.
            return array.T if _is_matlab(file[name]) else array

        try:
            file.visititems(note)
        except (OSError, RuntimeError, KeyError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
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
