"""How near the forecast of `picotome generate --dry-run` comes to the run, for every preset.

    python benchmarks/forecast.py [PRESET ...]

Each preset's training set is forecast and made, by one worker, once with the linear engine (40 pairs of all
tilts) and once with PRISM (two particles of three tilts). Seconds are those of a processor, of the run and
its worker together; memory is the most that one of them held at any time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from picotome.configs import load_recipe
from picotome.datasets.forecast.forecast import RUN_S
from picotome.datasets.forecast.forecast import forecast as forecast_of
from picotome.datasets.generate import generate

PRESETS = ("pt", "pdpt_core_shell", "pt_dumbbell", "ptni", "ptni_ga", "batio3", "amorphous", "crox")
CASES = {
    "linear": ("training_set.engine=linear", "training_set.n_train=40"),
    "prism": (
        "training_set.engine=prism",
        "training_set.n_train=2",
        "acquisition.n_tilts=3",
        "training_set.acquisition.n_tilts=3",
    ),
}
MIB = 2.0**20


@dataclass(frozen=True)
class Used:
    """Seconds of a processor, and bytes of memory and disk."""

    cpu_s: float
    memory_bytes: int
    disk_bytes: int


def forecast(preset, settings, folder):
    """What the forecast says of a training set made by one worker."""
    said = forecast_of(load_recipe(preset, list(settings)), folder, splits=("train",), n_workers=1)
    n_pairs = sum(len(group.tasks) for group in said.groups)
    # The run itself starts as its worker does, and hands out the work.
    cpu_s = said.cpu_s + said.start.seconds + n_pairs * RUN_S
    return Used(cpu_s, said.worker_bytes, said.disk_bytes)


def run(preset, settings, folder):
    """Make the training set in a process of its own; what that and its worker used."""
    process = subprocess.Popen([sys.executable, __file__, "--make", str(folder), preset, *settings])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{preset} could not be made")
    disk_bytes = sum(path.stat().st_size for path in folder.rglob("*.h5"))
    return Used(used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss, disk_bytes)


def make(folder, preset, *settings):
    """What the process of `run` does."""
    entries = generate(load_recipe(preset, list(settings)), Path(folder), splits=("train",), n_workers=1)
    errors = [entry.error for entry in entries if entry.error]
    if errors:
        raise SystemExit("\n".join(errors))


def main():
    print("| preset | engine | s of a processor | forecast / run | MiB of memory | forecast / run ", end="")
    print("| MiB of disk | forecast / run |\n|---|---|---|---|---|---|---|---|")
    for preset in sys.argv[1:] or PRESETS:
        for engine, settings in CASES.items():
            with TemporaryDirectory() as folder:
                said = forecast(preset, settings, Path(folder))
                used = run(preset, settings, Path(folder))
            columns = (
                f"{used.cpu_s:.1f} | {said.cpu_s / used.cpu_s:.2f}",
                f"{used.memory_bytes / MIB:.0f} | {said.memory_bytes / used.memory_bytes:.2f}",
                f"{used.disk_bytes / MIB:.0f} | {said.disk_bytes / used.disk_bytes:.2f}",
            )
            print(f"| {preset} | {engine} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    make(*sys.argv[2:]) if sys.argv[1:2] == ["--make"] else main()
