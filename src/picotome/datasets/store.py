"""HDF5 files of records: written whole or not at all, checked when read.

A file of picotome holds any of the records in named groups (``specimen``, ``series``, ``degraded``, …),
each with the attribute ``record`` that names its class, and the provenance in root attributes. NeXus classes,
axes and units are added by `picotome.datasets.nexus`. The layout is documented in docs/file-format.md;
``h5py`` alone reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from picotome.datasets.nexus import ENTRY, describe
from picotome.datasets.precision import FACTOR, Precision, in_float32, rounded
from picotome.datasets.safe_write import write_bytes
from picotome.recon.normalise import tomogram_scale
from picotome.records import ImageFit, Pair, Specimen, Substrate, TiltSeries, Tomogram, Trace

FORMAT = "picotome"
# 2 added NeXus attributes, axis arrays and volumes of float16; files of version 1 read as ever.
FORMAT_VERSION = 2
IDENTITY_FORMAT = 1
"""Oldest version whose files hold the same numbers: a finished file of it is not made anew."""

Record = Specimen | Substrate | TiltSeries | Tomogram | Trace | ImageFit
_CLASSES: dict[str, type[Record]] = {
    c.__name__: c for c in (Specimen, Substrate, TiltSeries, Tomogram, Trace, ImageFit)
}
_CHUNK_VOXELS = 32


def write_records(
    path: Path,
    records: Mapping[str, Record],
    *,
    provenance: Mapping[str, Any],
    precision: Precision = "float32",
) -> str:
    """Write records to one HDF5 file under a temporary name, then rename it into place.

    Parameters
    ----------
    path
        Where the file will be; an existing file is replaced as a whole.
    records
        Group name to record.
    provenance
        JSON-able mapping, stored as root attributes (nested values as JSON text).
    precision
        Of the volumes. ``float16`` halves the file and rounds each voxel to 11 bits: by at most 1 / 2048 of
        its value, or 2e-12 of the brightest voxel where that is more.

    Returns
    -------
    str
        SHA-256 of the contents, also stored in the file.
    """
    # Made in memory: where a disk is full, HDF5 cannot close its file any more.
    with h5py.File(path.name, "w", driver="core", backing_store=False, track_order=False) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        for key, value in sorted(provenance.items()):
            plain = isinstance(value, str | int | float)
            file.attrs[key] = value if plain else json.dumps(value, sort_keys=True)
        for name, record in records.items():
            _write_record(file.create_group(name), record, precision)
        describe(file, records)
        checksum = _checksum(file)
        file.attrs["sha256"] = checksum
        file.flush()
        content = file.id.get_file_image()
    write_bytes(path, content)
    return checksum


def write_pair(
    path: Path, pair: Pair, *, provenance: Mapping[str, Any], precision: Precision = "float32"
) -> str:
    """Write one particle of a dataset; see `write_records`."""
    parts: dict[str, Record | None] = {f.name: getattr(pair, f.name) for f in fields(pair)}
    records = {name: part for name, part in parts.items() if part is not None}
    return write_records(path, records, provenance=provenance, precision=precision)


def read_records(path: Path) -> dict[str, Record]:
    """Read every record of a file, by group name, after checking the file's checksum.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not HDF5, not picotome's, from a newer format, truncated or altered.
    """
    with open_checked(path) as file:
        _verify_checksum(file, path)
        return {name: read_group(group) for name, group in file.items() if name != ENTRY}


def pick(records: dict[str, Record], kind: type[Any], file: Path, names: Sequence[str] = ()) -> Any:
    """Return the record of a kind, by the first of `names` that is there."""
    matching = {name: record for name, record in records.items() if isinstance(record, kind)}
    for name in names or tuple(matching):
        if name in matching:
            return matching[name]
    found = ", ".join(f"{name} ({type(record).__name__})" for name, record in records.items()) or "nothing"
    wanted = f"{kind.__name__} named {' or '.join(names)}" if names else kind.__name__
    raise ValueError(f"{file} holds no {wanted}; found {found}")


def specimen_of(records: dict[str, Record]) -> dict[str, Record]:
    """Return the true atoms of a file, if it has them, and what they lie on."""
    return {name: record for name, record in records.items() if isinstance(record, Specimen | Substrate)}


def read_pair(path: Path) -> Pair:
    """Read one particle of a dataset.

    Raises
    ------
    ValueError
        If a part of the pair is missing.
    """
    records = read_records(path)
    missing = [f.name for f in fields(Pair) if f.name not in records and f.default is MISSING]
    if missing:
        raise ValueError(f"{path} is not a pair: it lacks {', '.join(missing)}; has {', '.join(records)}")
    return Pair(**{f.name: records[f.name] for f in fields(Pair) if f.name in records})  # type: ignore[arg-type]


def read_provenance(path: Path) -> dict[str, Any]:
    """Root attributes of a file; JSON text is decoded."""
    with open_checked(path) as file:
        return {key: _decode(value) for key, value in file.attrs.items()}


def is_intact(path: Path, *, identity: str) -> bool:
    """Whether a finished, unaltered file made from exactly this identity is in place."""
    try:
        with open_checked(path) as file:
            _verify_checksum(file, path)
            return bool(file.attrs.get("identity") == identity)
    except (ValueError, OSError):
        return False


@contextmanager
def open_checked(path: Path) -> Iterator[Any]:
    """Open one of picotome's files for reading, or say what is wrong with it."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path} is not a readable HDF5 file (truncated, or another format): {error}"
        ) from error
    with file:
        try:
            _check_format(file, path)
            yield file
        except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            # What libhdf5 and numpy raise when bytes were altered.
            raise ValueError(f"{path} is damaged: {error}") from error


def _check_format(file: Any, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise ValueError(
            f"{path} is HDF5, but not a file of picotome; "
            "read other people's tilt series with `picotome import`"
        )
    version = int(file.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}; this picotome reads up to "
            f"{FORMAT_VERSION}: upgrade picotome"
        )


def _write_record(group: Any, record: Record, precision: Precision) -> None:
    group.attrs["record"] = type(record).__name__
    if isinstance(record, Tomogram) and precision == "float16":
        stored, factor = rounded(record.volume)
        group.create_dataset(FACTOR, data=np.float32(factor), track_times=False)
        _write_fields(group, replace(record, volume=stored))
        record = replace(record, volume=in_float32(stored, group))
    else:
        _write_fields(group, record)
    if isinstance(record, Tomogram) and record.kind == "degraded":
        group.attrs["scale"] = tomogram_scale(record.volume)


def _write_fields(group: Any, record: Record) -> None:
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, np.ndarray):
            _write_array(group, item.name, value)
        elif isinstance(value, Mapping):
            branch = group.create_group(item.name)
            for key, array in sorted(value.items()):
                _write_array(branch, key, np.asarray(array))
        elif value is not None:
            group.attrs[item.name] = value


def _write_array(group: Any, name: str, array: np.ndarray[Any, Any]) -> None:
    if array.ndim < 3 or array.size == 0:
        group.create_dataset(name, data=array, track_times=False)
        return
    chunks = tuple(min(n, _CHUNK_VOXELS) for n in array.shape)
    # Light compression: noise does not compress, the ideal volume shrinks tenfold.
    group.create_dataset(
        name,
        data=array,
        chunks=chunks,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
        track_times=False,
    )


def read_group(group: Any) -> Record:
    """Read the record in an open group; ValueError where it is none, or not whole."""
    name = group.attrs.get("record")
    if name not in _CLASSES:
        raise ValueError(
            f"group {group.name} holds an unknown record {name!r}; known are {', '.join(_CLASSES)}"
        )
    cls = _CLASSES[name]
    values: dict[str, Any] = {}
    for item in fields(cls):
        if item.name in group:
            node = group[item.name]
            is_array = isinstance(node, h5py.Dataset)
            values[item.name] = node[()] if is_array else {key: node[key][()] for key in node}
            if item.name == "volume":
                values[item.name] = in_float32(values[item.name], group)
        elif item.name in group.attrs:
            value = group.attrs[item.name]
            values[item.name] = value.item() if isinstance(value, np.generic) else value
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"group {group.name} is not a whole {name}: {error}") from error


def _checksum(file: Any) -> str:
    digest = hashlib.sha256()

    def add(name: str, node: Any) -> None:
        for key, value in sorted(node.attrs.items()):
            digest.update(f"{name}@{key}={_plain(value)!r};".encode())
        if isinstance(node, h5py.Dataset):
            array = np.ascontiguousarray(node[()])
            digest.update(f"{name}:{array.dtype.str}{array.shape};".encode())
            digest.update(array.data if array.size else b"")

    digest.update(
        "".join(f"{k}={_plain(v)!r};" for k, v in sorted(file.attrs.items()) if k != "sha256").encode()
    )
    file.visititems(add)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _verify_checksum(file: Any, path: Path) -> None:
    if file.attrs.get("sha256") != _checksum(file):
        raise ValueError(
            f"{path} was altered or damaged after it was written: its checksum does not match; make it anew"
        )


def _decode(value: Any) -> Any:
    value = _plain(value)
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value
