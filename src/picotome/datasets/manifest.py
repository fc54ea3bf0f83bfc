"""The list of what a dataset holds and what failed: ``manifest.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from picotome.datasets.pairs import Split
from picotome.datasets.safe_write import write_text

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """One particle of a dataset.

    Attributes
    ----------
    status
        ``done`` or ``failed``.
    error
        What went wrong, for a failed particle.
    seconds
        Time that its worker needed; 0 for one that was found finished.
    """

    split: Split
    index: int
    file: str
    status: Literal["done", "failed"]
    sha256: str = ""
    n_atoms: int = 0
    error: str = ""
    seconds: float = 0.0


def write_manifest(folder: Path, entries: Iterable[Entry]) -> None:
    """Replace the manifest of a dataset as a whole, sorted by split and index."""
    rows = sorted((asdict(e) for e in entries), key=lambda row: (row["split"], row["index"]))
    write_text(folder / MANIFEST_NAME, json.dumps({"format_version": 1, "particles": rows}, indent=1))


def read_manifest(folder: Path) -> list[Entry]:
    """Read the manifest of a dataset.

    Raises
    ------
    FileNotFoundError
        If the folder holds no dataset.
    ValueError
        If the manifest is damaged.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no dataset (no {MANIFEST_NAME}); make one with `picotome generate`"
        )
    try:
        return [Entry(**row) for row in json.loads(path.read_text("utf-8"))["particles"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); run `picotome generate` again to rebuild it"
        ) from error
