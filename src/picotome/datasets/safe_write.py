"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def safe_write(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; sync and rename what was written there once it is complete.

    If writing fails, an older file at `path` stays as it was and nothing half-written remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with safe_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of bytes, whole or not at all."""
    with safe_write(path) as temporary:
        temporary.write_bytes(content)


def partial_files(folder: Path) -> list[Path]:
    """What killed writers left below a folder, where nobody is writing now."""
    return sorted(folder.rglob(".*.partial"))


def remove_partial(folder: Path) -> None:
    """Remove what killed writers left below a folder, where nobody is writing now."""
    for path in partial_files(folder):
        path.unlink(missing_ok=True)
