"""Memory of a worker over 500 particles, beside its forecast.

    python benchmarks/memory.py

One worker makes 500 linear pairs of the preset `quickstart`, and another 500 tiny ones by PRISM (preset
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

N_PARTICLES = 500
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
    ends = range(0, N_PARTICLES + 1, N_PARTICLES // 5)
    print("Most memory of the worker, MiB, over particles")
    print("| engine | " + " | ".join(f"{a + 1} to {b}" for a, b in pairwise(ends)) + " | forecast |")
    print("|---" * (len(ends) + 1) + "|")
    for engine, (preset, settings) in CASES.items():
        recipe = load_recipe(preset, [f"training_set.n_train={N_PARTICLES}", *settings])
        with TemporaryDirectory() as name:
            said = forecast(recipe, Path(name), splits=("train",), n_workers=1).worker_bytes
            found = sampled(recipe, Path(name))
        most = " | ".join(f"{max(found[a:b]) / MIB:.1f}" for a, b in pairwise(ends))
        print(f"| {engine} | {most} | {said / MIB:.0f} |", flush=True)


if __name__ == "__main__":
    main()
