"""Memory of a worker over hundreds of particles, beside its forecast.

    python benchmarks/memory.py

One worker makes 500 linear pairs of the preset `quickstart`, and another 200 tiny ones by PRISM (preset
`smoke`, three tilts). Its memory is read whenever a pair is finished.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from picotome.configs import load_recipe
from picotome.datasets.forecast.forecast import forecast
from picotome.datasets.generate import generate

N_PARTICLES = {"linear": 500, "prism": 200}
N_COLUMNS = 5
MIB = 2.0**20
CASES = {
    "linear": ("quickstart", ()),
    "prism": (
        "smoke",
        ("training_set.engine=prism", "acquisition.n_tilts=3"),
    ),
}


def sampled(recipe, folder):
    """Memory of the worker (bytes) after every particle."""
    found = []

    def track(task, done, total):
        if task == "particles":
            # Beside the worker there are its nanny, which is this process, and small helpers of Python's.
            found.append(max(child.memory_info().rss for child in psutil.Process().children()))

    entries = generate(recipe, folder, splits=("train",), n_workers=1, track=track)
    if any(entry.status != "done" for entry in entries):
        raise SystemExit("a particle failed")
    return found


def main():
    print("Most memory of the worker, MiB, in each fifth of the particles")
    print(
        "| engine | particles | 1st | 2nd | 3rd | 4th | 5th | forecast |\n|---|---|---|---|---|---|---|---|"
    )
    for engine, (preset, settings) in CASES.items():
        n = N_PARTICLES[engine]
        recipe = load_recipe(preset, [f"training_set.n_train={n}", *settings])
        with TemporaryDirectory() as name:
            said = forecast(recipe, Path(name), splits=("train",), n_workers=1).worker_bytes
            found = sampled(recipe, Path(name))
        fifths = pairwise(range(0, n + 1, n // N_COLUMNS))
        most = " | ".join(f"{max(found[a:b]) / MIB:.0f}" for a, b in fifths)
        print(f"| {engine} | {n} | {most} | {said / MIB:.0f} |", flush=True)


if __name__ == "__main__":
    main()
