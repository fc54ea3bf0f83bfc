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
from distributed import LocalCluster

from picotome.configs import load_recipe
from picotome.datasets.factory.executors import WORKER_ENVIRONMENT, with_environment
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
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with with_environment(WORKER_ENVIRONMENT), LocalCluster(n_workers=1, **options) as cluster:
        (nanny,) = cluster.workers.values()
        worker = psutil.Process(nanny.pid)
        found = []

        def track(task, done, total):
            if task == "particles":
                found.append(worker.memory_info().rss)

        address = cluster.scheduler_address
        entries = generate(recipe, folder, splits=("train",), scheduler_address=address, track=track)
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
