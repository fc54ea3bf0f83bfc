"""One run at a time on a folder: a lock file that says whose it is, and beats while its owner lives.

Nothing here compares clocks. On one machine the owner's process is looked up; on another, the count
in the file must still rise.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

LOCK_PATTERN = "run*.lock"
BEAT_S = 2.0
# An owner on another machine is taken for dead when so many beats did not come.
_MISSED_BEATS = 10
# Written in place, and always of this size: a beat needs no space on a disk that is full.
_BYTES = 1024


class LockLostError(ValueError):
    """The folder was taken over by another run while this one slept."""


@dataclass(frozen=True)
class Owner:
    """What a lock file says.

    Attributes
    ----------
    token
        Of this one run.
    machine, pid, born
        Process that holds the lock: born is its start in ticks of its machine, so that another process which
        got the same number is not mistaken for it.
    host, started
        For people.
    beat
        Rises while the owner lives.
    progress
        Counts that the run last gave: total, done, failed, running, workers.
    """

    token: str
    machine: str
    pid: int
    born: int
    host: str
    started: str
    beat: int
    progress: Mapping[str, int]

    def __str__(self) -> str:
        """Name the run for a message."""
        return f"process {self.pid} on {self.host}, started {self.started}"


class Lock:
    """A lock that this process holds."""

    def __init__(self, path: Path, file: Any, owner: Owner) -> None:
        self.path = path
        self._file = file
        self._owner = owner
        self._progress: dict[str, int] = {}
        self._ended = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name="picotome-lock", daemon=True)
        self._thread.start()

    def tell(self, **progress: int) -> None:
        """Say how far the run is; readers see it with the next beat.

        Raises
        ------
        LockLostError
            If another run has taken the folder over.
        """
        self._progress = progress
        if self._lost:
            raise LockLostError(
                f"{self.path} is no longer ours: this run stood still and another took over; run again to see"
            )

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_S):
            beat += 1
            now = read_lock(self.path)
            if now is not None and now.token != self._owner.token:
                self._lost = True
                return
            # A file system that is full or away for a while must not end the run.
            with suppress(OSError):
                _write(self._file, {**self._owner.__dict__, "beat": beat, "progress": self._progress})

    def release(self) -> None:
        """Give the folder free."""
        self._ended.set()
        self._thread.join()
        self._file.close()
        now = read_lock(self.path)
        if now is None or now.token == self._owner.token:
            self.path.unlink(missing_ok=True)


@contextmanager
def hold_folder(folder: Path, *, name: str = "") -> Iterator[Lock]:
    """Hold a folder for one run, or one part of a run that shares it.

    Parameters
    ----------
    name
        Of the part; runs with different names do not exclude one another here, see `live_locks`.

    Raises
    ------
    ValueError
        If a living run holds it.
    OSError
        If the folder cannot be written in.
    """
    path = folder / (f"run-{name}.lock" if name else "run.lock")
    lock = _acquire(path)
    try:
        yield lock
    finally:
        lock.release()


def live_locks(folder: Path, *, wait: bool = True) -> dict[Path, Owner]:
    """Return the locks of a folder whose owner lives.

    Parameters
    ----------
    wait
        Whether to watch locks of other machines until it is certain (20 s at most); else two beats must do.
    """
    found = {path: owner for path in sorted(folder.glob(LOCK_PATTERN)) if (owner := read_lock(path))}
    n_beats = _MISSED_BEATS if wait else 2
    return {path: owner for path, owner in found.items() if _lives(path, owner, n_beats=n_beats)}


def read_lock(path: Path) -> Owner | None:
    """Read a lock file; None if there is none or it is being written."""
    for _ in range(3):
        try:
            return Owner(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            time.sleep(0.05)
    return None


def _acquire(path: Path) -> Lock:
    owner = Owner(
        token=uuid4().hex,
        machine=_machine(),
        pid=os.getpid(),
        born=_born(os.getpid()) or 0,
        host=socket.gethostname(),
        started=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        beat=0,
        progress={},
    )
    while True:
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), "rb+", buffering=0)
        except FileExistsError:
            _refuse_or_clear(path)
            continue
        except OSError as error:
            raise OSError(
                error.errno, f"cannot write in {path.parent} ({error.strerror}); choose another --out"
            ) from error
        try:
            _write(file, owner.__dict__)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OSError(
                error.errno, f"cannot write in {path.parent} ({error.strerror}); make space and run again"
            ) from error
        return Lock(path, file, owner)


def _refuse_or_clear(path: Path) -> None:
    """Stop for an owner that lives; set a dead one's lock aside."""
    owner = read_lock(path)
    if owner is not None and _lives(path, owner, n_beats=_MISSED_BEATS):
        raise ValueError(
            f"{path.parent} is being made by another run ({owner}); wait for it, watch it with "
            f"`picotome status {path.parent}`, or stop it and run again"
        )
    if owner is None and path.is_file():
        # Made and not yet written: a run that starts at this moment, or one that was killed in it.
        time.sleep(2.0 * BEAT_S)
        if read_lock(path) is not None:
            return
    aside = path.with_name(f".{path.name}.{uuid4().hex}.stale")
    with suppress(FileNotFoundError):
        path.rename(aside)
        taken = read_lock(aside)
        if taken is not None and owner is not None and taken.token != owner.token:
            # A third run was quicker: the lock is its own, and goes back.
            aside.rename(path)
        aside.unlink(missing_ok=True)


def _lives(path: Path, owner: Owner, *, n_beats: int) -> bool:
    if owner.machine == _machine():
        return _born(owner.pid) == owner.born
    for _ in range(2 * n_beats):
        time.sleep(BEAT_S / 2.0)
        now = read_lock(path)
        if now is None or now.token != owner.token:
            return now is not None
        if now.beat != owner.beat:
            return True
    return False


def _machine() -> str:
    """Name the machine as long as it is up, and the part of it whose process numbers we share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    identity = boot.read_text("ascii").strip() if boot.is_file() else ""
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {identity} {namespace}"


def _born(pid: int) -> int | None:
    """When a process started, in ticks since its machine did; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return _born_without_proc(pid)
    # The name stands in parentheses and may hold spaces; the state is the 3rd field, the start the 22nd.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _born_without_proc(pid: int) -> int | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0
    return 0


def _write(file: Any, values: Mapping[str, Any]) -> None:
    os.pwrite(file.fileno(), json.dumps(dict(values)).ljust(_BYTES).encode(), 0)
