"""What a dataset holds and what failed: ``manifest.json``, and the journals of runs that go on.

A run appends one line to its journal for each particle, whatever their number, and replaces the manifest
at its end. Who reads the list reads both, at any time and without asking the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from picotome.datasets.plan import SPLITS, Split
from picotome.datasets.safe_write import safe_write

MANIFEST_NAME = "manifest.json"
JOURNAL_PATTERN = "journal*.jsonl"
# 2 added identity, size, mtime_ns and the journals.
MANIFEST_VERSION = 2

Task = tuple[Split, int]


@dataclass(frozen=True)
class Entry:
    """One particle of a dataset.

    Attributes
    ----------
    status
        ``done`` or ``failed``.
    n_atoms
        Atoms of the particle.
    error
        What went wrong, for a failed particle.
    seconds
        Time that its worker needed; 0 for one that was found finished.
    identity
        Hash of what determines the particle; see `picotome.datasets.naming.pair_identity`.
    size, mtime_ns
        Bytes of the file, and its time of change (ns, by the clock of the file system): while both are as
        listed, the file need not be opened to know that it is the same.
    at_s
        Seconds from the start of its run to its end, by a clock that never jumps; 0 for one found finished.
    """

    split: Split
    index: int
    file: str
    status: Literal["done", "failed"]
    sha256: str = ""
    n_atoms: int = 0
    error: str = ""
    seconds: float = 0.0
    identity: str = ""
    size: int = 0
    mtime_ns: int = 0
    at_s: float = 0.0

    @property
    def task(self) -> Task:
        """Which particle this is."""
        return self.split, self.index


_KEYS = tuple(field.name for field in fields(Entry))
_ORDER = {split: number for number, split in enumerate(sorted(SPLITS))}


def write_manifest(folder: Path, entries: Iterable[Entry]) -> None:
    """Replace the manifest of a dataset as a whole, sorted; its journals are then spent."""
    journals = list(folder.glob(JOURNAL_PATTERN))
    rows = sorted(entries, key=_place)
    with safe_write(folder / MANIFEST_NAME) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"format_version": {MANIFEST_VERSION}, "particles": [')
        file.writelines(f"{',' if n else ''}\n{_line(row)}" for n, row in enumerate(rows))
        file.write("\n]}\n")
    for journal in journals:
        journal.unlink(missing_ok=True)


def read_manifest(folder: Path) -> list[Entry]:
    """Read what a dataset holds: its manifest, and over it the journals of runs that have not ended.

    Raises
    ------
    FileNotFoundError
        If the folder holds no dataset.
    ValueError
        If the manifest is damaged, or was written by a newer picotome.
    """
    return read_lists(folder)[0]


def read_lists(folder: Path) -> tuple[list[Entry], dict[str, list[Entry]]]:
    """Read what a dataset holds, as `read_manifest`, and the journals by themselves."""
    path = folder / MANIFEST_NAME
    # Journals first: a run that ends meanwhile moves lines from them to the manifest, never back.
    journals = read_journals(folder)
    if not path.is_file() and not journals:
        raise FileNotFoundError(
            f"{folder} holds no dataset (no {MANIFEST_NAME}); make one with `picotome generate`"
        )
    known = {entry.task: entry for entry in _listed(path)} if path.is_file() else {}
    for entries in journals.values():
        merge(known, entries)
    return sorted(known.values(), key=_place), journals


def _place(entry: Entry) -> tuple[int, int]:
    return _ORDER[entry.split], entry.index


def _listed(path: Path) -> list[Entry]:
    try:
        data = json.loads(path.read_text("utf-8"))
        version = int(data["format_version"]) if "format_version" in data else 1
        if version <= MANIFEST_VERSION:
            return [Entry(**row) for row in data["particles"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); run `picotome generate` again to rebuild it"
        ) from error
    raise NewerDatasetError(
        f"{path} has format version {version}, written by a newer picotome; this one reads up to "
        f"{MANIFEST_VERSION}: upgrade picotome, or use another folder"
    )


class NewerDatasetError(ValueError):
    """A dataset that only a newer picotome can read: it must not be rebuilt by this one."""


def merge(known: dict[Task, Entry], journal: Iterable[Entry]) -> None:
    """Put the lines of one journal over what is known; a later line of the same particle holds."""
    mine = {entry.task: entry for entry in journal}
    for task, entry in mine.items():
        # Two journals may tell of one particle; that another run failed to make it does not undo it.
        if entry.status == "done" or task not in known or known[task].status == "failed":
            known[task] = entry


class Journal:
    """Lines appended by the one process that owns the journal."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def add(self, entry: Entry) -> None:
        """Append one particle; whoever reads the file from now on sees it."""
        self._file.write(_line(entry) + "\n")
        self._file.flush()


@contextmanager
def open_journal(folder: Path, *, name: str = "") -> Iterator[Journal]:
    """Open a run's own journal to append to it; `name` tells runs apart that share a folder."""
    with journal_path(folder, name=name).open("a", encoding="utf-8") as file:
        # The line that a killed run was writing ends here, and is nobody's.
        if file.tell():
            file.write("\n")
        yield Journal(file)


def journal_path(folder: Path, *, name: str = "") -> Path:
    """Where a run's journal is."""
    return folder / (f"journal-{name}.jsonl" if name else "journal.jsonl")


def read_journals(folder: Path) -> dict[str, list[Entry]]:
    """Read every journal of a folder, by file name; the line that is being written is left out."""
    found = {}
    for path in sorted(folder.glob(JOURNAL_PATTERN)):
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            continue
        try:
            # All at once, which is three times as fast.
            rows = json.loads(b"[" + b",".join(filter(None, lines)) + b"]")
            found[path.name] = [Entry(**row) for row in rows]
        except (ValueError, TypeError):
            found[path.name] = [entry for entry in map(_parsed, lines) if entry is not None]
    return found


def _parsed(line: bytes) -> Entry | None:
    try:
        return Entry(**json.loads(line)) if line else None
    except (ValueError, TypeError):
        # Half a line of a killed run: its particle is found in its file, or made anew.
        return None


def _line(entry: Entry) -> str:
    # What says nothing is left out: 100,000 rows are read in a moment.
    row = {key: getattr(entry, key) for key in _KEYS}
    return json.dumps({key: value for key, value in row.items() if value not in ("", 0) or key == "index"})
