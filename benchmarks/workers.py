"""How much faster two workers make pairs than one.

    python benchmarks/workers.py [PAIRS]

Pairs of the quickstart recipe's training set (linear engine, 64³). Both clusters stand ready and are warm
(imports and caches done); the runs alternate, one worker, two workers, one, two, …, so that a busy machine
disturbs both alike. The ratio of the medians is printed. Start-up of the workers, a few seconds once for each
run, is not counted.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from distributed import LocalCluster

from picotome.configs import load_recipe
from picotome.datasets.factory.executors import WORKER_ENVIRONMENT
from picotome.datasets.generate import generate

N_ROUNDS = 3


def seconds(recipe, address, folder):
    begun = time.perf_counter()
    entries = generate(recipe, folder, splits=("train",), scheduler_address=address)
    if any(entry.status != "done" for entry in entries):
        raise SystemExit(f"failed: {[entry.error for entry in entries if entry.error]}")
    return time.perf_counter() - begun


def main():
    n_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    os.environ.update(WORKER_ENVIRONMENT)
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    times = {1: [], 2: []}
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(n_workers=1, **options) as one,
        LocalCluster(n_workers=2, **options) as two,
    ):
        clusters = {1: one.scheduler_address, 2: two.scheduler_address}
        for n_workers, address in clusters.items():
            warm = load_recipe("quickstart", ["training_set.n_train=6"])
            seconds(warm, address, Path(scratch) / f"warm{n_workers}")
        for number in range(N_ROUNDS):
            recipe = load_recipe("quickstart", [f"training_set.n_train={n_pairs}", f"seed={number}"])
            for n_workers, address in clusters.items():
                times[n_workers].append(seconds(recipe, address, Path(scratch) / f"{n_workers}_{number}"))
    medians = {n_workers: statistics.median(values) for n_workers, values in times.items()}
    for n_workers, median in medians.items():
        print(f"{n_workers} worker(s): {n_pairs / median:.2f} pairs/s (median of {N_ROUNDS})")
    print(f"two workers are {medians[1] / medians[2]:.2f} times as fast as one (target 1.7)")


if __name__ == "__main__":
    main()
