"""How far a dataset is: read from its list and its locks, by whoever sees the folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from picotome.configs.loading import load_recipe
from picotome.datasets.factory.lock import Owner, live_locks
from picotome.datasets.manifest import Entry, read_lists
from picotome.datasets.plan import SPLITS, Split, n_particles

# Particles that a run finished last, which its rate is taken from.
_LATEST = 200


@dataclass(frozen=True)
class Status:
    """How far a dataset is.

    Attributes
    ----------
    wanted, done, failed
        Particles of each split.
    running
        Particles at work now.
    workers
        Processes that make them.
    owners
        Runs that live.
    per_hour
        Particles that the living runs finish in an hour; None before they finished two.
    left_s
        Seconds until all are made at that rate; None where it is not known.
    errors
        Failed particles.
    """

    wanted: dict[Split, int]
    done: dict[Split, int]
    failed: dict[Split, int]
    running: int
    workers: int
    owners: tuple[Owner, ...]
    per_hour: float | None
    left_s: float | None
    errors: tuple[Entry, ...]


def read_status(folder: Path) -> Status:
    """Read how far a dataset is; never waits for a run, nor disturbs it.

    Raises
    ------
    FileNotFoundError
        If the folder holds no dataset.
    """
    if not (folder / "recipe.yaml").is_file():
        raise FileNotFoundError(
            f"{folder} holds no dataset (no recipe.yaml); make one with `picotome generate`"
        )
    recipe = load_recipe(str(folder / "recipe.yaml"))
    owners = live_locks(folder, wait=False)
    try:
        entries, journals = read_lists(folder)
    except FileNotFoundError:
        entries, journals = [], {}
    counts = Counter((entry.split, entry.status) for entry in entries)
    wanted = {split: n_particles(recipe, split) for split in SPLITS}
    done = {split: counts[split, "done"] for split in SPLITS}
    living = {f"journal{path.stem.removeprefix('run')}.jsonl" for path in owners}
    rates = [_rate(lines) for name, lines in journals.items() if name in living]
    rate = sum(r for r in rates if r is not None)
    missing = sum(max(wanted[split] - done[split], 0) for split in SPLITS)
    return Status(
        wanted=wanted,
        done=done,
        failed={split: counts[split, "failed"] for split in SPLITS},
        running=sum(owner.progress.get("running", 0) for owner in owners.values()),
        workers=sum(owner.progress.get("workers", 0) for owner in owners.values()),
        owners=tuple(owners.values()),
        per_hour=3600.0 * rate if rate else None,
        left_s=missing / rate if rate else None,
        errors=tuple(entry for entry in entries if entry.status == "failed"),
    )


def status_text(folder: Path, status: Status, *, n_errors: int = 5) -> str:
    """Say it in lines."""
    lines = [f"{folder}: {sum(status.done.values())} of {sum(status.wanted.values())} particles are done"]
    for split, wanted in status.wanted.items():
        failed = f", {status.failed[split]} failed" if status.failed[split] else ""
        lines.append(f"  {split}: {status.done[split]} of {wanted}{failed}")
    lines.extend(f"  failed: {e.split} {e.index}: {e.error}" for e in status.errors[:n_errors])
    if len(status.errors) > n_errors:
        lines.append(f"  … and {len(status.errors) - n_errors} more that failed")
    if not status.owners:
        lines.append(
            "no run is at work on it; `picotome generate` with the same recipe makes what is missing"
        )
        return "\n".join(lines)
    lines.extend(f"at work: {owner}" for owner in status.owners[:n_errors])
    idle = "; it waits for workers" if status.workers == 0 else ""
    lines.append(f"running: {status.running} on {status.workers} workers{idle}")
    if status.per_hour is not None and status.left_s is not None:
        lines.append(f"rate: {status.per_hour:.4g} particles an hour, about {_duration(status.left_s)} left")
    return "\n".join(lines)


def _rate(lines: list[Entry]) -> float | None:
    """Particles per second that a run finished lately, by its own clock, which never jumps."""
    # A journal may begin with what an earlier run wrote, whose clock began anew.
    begun = max((n for n in range(1, len(lines)) if lines[n].at_s < lines[n - 1].at_s), default=0)
    latest = [entry.at_s for entry in lines[begun:] if entry.at_s > 0.0][-_LATEST:]
    if len(latest) < 2 or latest[-1] <= latest[0]:
        return None
    return (len(latest) - 1) / (latest[-1] - latest[0])


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60.0)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n) if days or hours else f"{minutes} min"
