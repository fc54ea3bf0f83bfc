"""Records in other programs' formats: MRC, EMD, TIFF, XYZ and NPZ.

Axes are turned into what each format expects, and its origin is set where it has one, so that a volume and
the atoms beside it lie on each other; the table is in docs/file-format.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome import __version__
from picotome.datasets.nexus import IMAGE_AXES, VOLUME_AXES
from picotome.datasets.safe_write import safe_write, write_text
from picotome.datasets.store import Record, read_provenance, read_records
from picotome.geometry import axis_A
from picotome.records import Specimen, TiltSeries, Tomogram, Trace

_A_PER_NM = 10.0
# Å as ImageJ itself writes it: its header is ASCII, and it reads escapes as Java does.
_IMAGEJ_ANGSTROM = "\\u00C5"
_MRC_LABEL_CHARACTERS = 80

_ARRAYS_FIRST = ("repaired", "degraded", "ideal", "series")
_ATOMS_FIRST = ("trace", "trace_refined", "trace_unet", "trace_raw", "specimen")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    suffixes
        What its names end in.
    kinds
        Record classes that it can hold, one of them to a file; empty: all records of a file at once.
    names
        Which record is taken first where a file holds several.
    write
        Writes a record (where `kinds` is empty: all records and the provenance) to a path.
    """

    suffixes: tuple[str, ...]
    kinds: tuple[type[Any], ...]
    names: tuple[str, ...]
    write: Callable[[Path, Any], None]


@dataclass(frozen=True)
class Exported:
    """What was written: the name of the record, or None for all of them, and the files."""

    name: str | None
    record: Record | None
    files: tuple[Path, ...]


def export_file(
    file: Path, *, out: Path, format_name: str | None = None, name: str | None = None
) -> Exported:
    """Write a record of one of picotome's files in another program's format.

    Tilts of a series, which neither MRC nor TIFF holds, are written beside it (``.rawtlt``, one in a line).

    Parameters
    ----------
    file
        Any HDF5 file of picotome.
    out
        File to write.
    format_name
        Key of `FORMATS`; default: what `out` ends in.
    name
        Group of the record; default: the most finished one that the format can hold.

    Raises
    ------
    ValueError
        If the format is unknown or does not fit `out`, or the file has no record that it can hold.
    """
    target = FORMATS[_format_name(out, format_name)]
    records = read_records(file)
    if not target.kinds:
        if name is not None:
            raise ValueError(f"--name is {name!r}; {out.suffix} takes all records of a file: leave it out")
        with safe_write(out) as temporary:
            target.write(temporary, (records, read_provenance(file)))
        return Exported(name=None, record=None, files=(out,))
    chosen = _choose(records, target, file=file, name=name)
    record = records[chosen]
    with safe_write(out) as temporary:
        target.write(temporary, record)
    files = [out]
    if isinstance(record, TiltSeries) and out.suffix not in FORMATS["emd"].suffixes:
        tilts = out.with_suffix(".rawtlt")
        write_text(tilts, "".join(f"{tilt:.4f}\n" for tilt in record.tilt_deg))
        files.append(tilts)
    return Exported(name=chosen, record=record, files=tuple(files))


def _format_name(out: Path, format_name: str | None) -> str:
    if format_name is None:
        for key, known in FORMATS.items():
            if out.suffix.lower() in known.suffixes:
                return key
        endings = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)
        raise ValueError(f"--out is {str(out)!r}; allowed is a name that ends in {endings}, or give --format")
    if format_name not in FORMATS:
        raise ValueError(f"--format is {format_name!r}; allowed is one of {', '.join(FORMATS)}")
    suffixes = FORMATS[format_name].suffixes
    if out.suffix.lower() not in suffixes:
        raise ValueError(
            f"--out is {str(out)!r}, but --format {format_name}: give a name that ends in "
            f"{' or '.join(suffixes)}"
        )
    return format_name


def _choose(records: Mapping[str, Record], target: Format, *, file: Path, name: str | None) -> str:
    fitting = [key for key, record in records.items() if isinstance(record, target.kinds)]
    found = ", ".join(f"{key} ({type(record).__name__})" for key, record in records.items()) or "nothing"
    wanted = " or ".join(kind.__name__ for kind in target.kinds)
    if name is not None and name not in records:
        raise ValueError(f"--name is {name!r}, but {file} holds {found}")
    if name is not None and name not in fitting:
        raise ValueError(
            f"--name is {name!r}, a {type(records[name]).__name__}; {target.suffixes[0]} holds a {wanted}: "
            f"{_other_formats(records[name])}"
        )
    if not fitting:
        raise ValueError(f"{file} holds no {wanted}, which {target.suffixes[0]} needs; found {found}")
    if name is not None:
        return name
    first = [key for key in target.names if key in fitting]
    return (first or fitting)[0]


def _other_formats(record: Record) -> str:
    able = [key for key, known in FORMATS.items() if not known.kinds or isinstance(record, known.kinds)]
    return f"choose --format {' or '.join(able)}"


def write_mrc(path: Path, record: Tomogram | TiltSeries) -> None:
    """Write MRC2014: sections of rows along x, voxel size and origin in Å.

    ``data[z, y, x]`` is ``volume[x, y, z]``, and ``data[tilt, y, x]`` is ``images[tilt, x, y]``: the tilt
    axis is vertical, as IMOD wants it. The header's origin is where voxel 0 lies, so that programs which
    honour it show atoms in our coordinates.
    """
    import mrcfile

    data, step_A = _sections(record)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = step_A
        if isinstance(record, Tomogram):
            mrc.set_volume()
            mrc.header.origin = tuple(axis_A(n, step_A)[0] for n in record.volume.shape)
        else:
            mrc.set_image_stack()
        mrc.header.nlabl = 0
        mrc.add_label(_ascii(_title(record))[:_MRC_LABEL_CHARACTERS])


def write_tiff(path: Path, record: Tomogram | TiltSeries) -> None:
    """Write a TIFF that ImageJ opens as a calibrated stack: pages of z or tilt, rows of y, columns of x."""
    import tifffile

    data, step_A = _sections(record)
    metadata: dict[str, Any] = {"axes": "ZYX", "unit": _IMAGEJ_ANGSTROM, "Info": _ascii(_title(record))}
    if isinstance(record, Tomogram):
        metadata["spacing"] = step_A
    else:
        metadata["Labels"] = [f"{tilt:.4f} deg" for tilt in record.tilt_deg]
    # Pixels for each unit, as TIFF wants it.
    tifffile.imwrite(
        path, data, imagej=True, resolution=(1.0 / step_A, 1.0 / step_A), metadata=metadata, photometric=1
    )


def write_emd(path: Path, record: Tomogram | TiltSeries) -> None:
    """Write Berkeley EMD 0.2 as tomviz does: ``/data/tomography/data`` with dim1, dim2 and dim3.

    The array is [x, y, z], or [tilt, x, y], as in our files, and axes are in nm around the origin. HyperSpy
    turns the array round to [z, y, x], with each axis under its name; tomviz takes a first axis in degrees
    for a tilt series whose tilt axis is the last one.
    """
    import h5py

    if isinstance(record, Tomogram):
        array, names = record.volume, VOLUME_AXES
        axes = [axis_A(n, record.voxel_size_A) / _A_PER_NM for n in array.shape]
    else:
        array, names = record.images, IMAGE_AXES
        axes = [record.tilt_deg]
        axes += [axis_A(n, record.pixel_size_A) / _A_PER_NM for n in array.shape[1:]]
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = np.uint32(0), np.uint32(2)
        group = file.create_group("data/tomography")
        group.attrs["emd_group_type"] = np.uint32(1)
        data = group.create_dataset("data", data=np.asarray(array, dtype=np.float32), track_times=False)
        data.attrs["name"] = np.bytes_(_ascii(_title(record)))
        for number, (name, axis) in enumerate(zip(names, axes, strict=True), start=1):
            quantity, _, unit = name.rpartition("_")
            dim = group.create_dataset(f"dim{number}", data=axis.astype(np.float32), track_times=False)
            dim.attrs["name"] = np.bytes_("angles" if unit == "deg" else quantity)
            dim.attrs["units"] = np.bytes_("[deg]" if unit == "deg" else "[n_m]")
        comments = file.create_group("comments")
        comments.attrs["program"] = np.bytes_(f"picotome {__version__}")


def write_xyz(path: Path, record: Specimen | Trace) -> None:
    """Write extended XYZ: species, positions in Å, and one column or three for each field of the atoms.

    Atoms whose species is not known are written as X.
    """
    from ase import Atoms
    from ase.io import write

    atoms = Atoms(numbers=record.atomic_numbers, positions=record.positions_A)
    if isinstance(record, Specimen):
        for key, values in record.truth.items():
            # A tensor of an atom becomes its components, row by row.
            atoms.set_array(key, values if values.ndim == 1 else values.reshape(len(atoms), -1))
        if record.description:
            atoms.info["description"] = record.description
    else:
        atoms.set_array("intensity", record.intensities)
        atoms.set_array("sigma_A", record.sigma_A)
        for key in ("uncertainty_pm", "support", "chance", "network_weight"):
            if getattr(record, key) is not None:
                atoms.set_array(key, getattr(record, key))
    write(path, atoms, format="extxyz")


def write_npz(path: Path, contents: tuple[Mapping[str, Record], Mapping[str, Any]]) -> None:
    """Write every field of every record under ``group/field``, in our own axes; nothing is pickled.

    ``provenance`` is the JSON text of what the file says of its origin.
    """
    records, provenance = contents
    arrays: dict[str, NDArray[Any]] = {"provenance": np.array(json.dumps(provenance, sort_keys=True))}
    for name, record in records.items():
        for item in fields(record):
            value = getattr(record, item.name)
            if isinstance(value, Mapping):
                arrays |= {f"{name}/{item.name}/{key}": np.asarray(array) for key, array in value.items()}
            elif value is not None:
                arrays[f"{name}/{item.name}"] = np.asarray(value)
    with path.open("wb") as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]


def _sections(record: Tomogram | TiltSeries) -> tuple[NDArray[Any], float]:
    """(z or tilt, y, x) float32 and the edge of a pixel in Å."""
    if isinstance(record, Tomogram):
        return np.ascontiguousarray(record.volume.transpose(2, 1, 0), dtype=np.float32), record.voxel_size_A
    return np.ascontiguousarray(record.images.transpose(0, 2, 1), dtype=np.float32), record.pixel_size_A


def _title(record: Tomogram | TiltSeries) -> str:
    what = f"{record.kind} tomogram" if isinstance(record, Tomogram) else f"tilt series ({record.engine})"
    return f"picotome {__version__}: {what}"


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


FORMATS: Mapping[str, Format] = {
    "mrc": Format((".mrc", ".rec", ".st"), (Tomogram, TiltSeries), _ARRAYS_FIRST, write_mrc),
    "emd": Format((".emd",), (Tomogram, TiltSeries), _ARRAYS_FIRST, write_emd),
    "tiff": Format((".tif", ".tiff"), (Tomogram, TiltSeries), _ARRAYS_FIRST, write_tiff),
    "xyz": Format((".xyz", ".extxyz"), (Trace, Specimen), _ATOMS_FIRST, write_xyz),
    "npz": Format((".npz",), (), (), write_npz),
}
