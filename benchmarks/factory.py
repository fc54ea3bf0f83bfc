"""What the factory itself costs (scheduling, hashing, lists): at 1 s a particle, and for 100,000 of them.

    python benchmarks/factory.py

Particles are made by workers that sleep instead of simulating, so that a busy machine disturbs little; all
else is what `picotome generate` does. Times by the clock are from the first particle to the last, so that
the start of the workers (stated apart) is not in them. CPU is that of the run's own process, with the dask
scheduler in it, where everything is kept that could grow with the number of particles.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import LocalCluster

from picotome.configs import load_recipe
from picotome.datasets import generate as generate_module
from picotome.datasets.factory.status import read_status
from picotome.datasets.generate import generate
from picotome.datasets.manifest import Entry, write_manifest
from picotome.datasets.naming import identities_of, pair_path

SETTINGS = ["engine=linear", "optics.abtem={}", "training_set.n_validation=1"]
PARTICLE_S = 1.0
N_PARTICLES = 40
# Of the first quick particles, the very first are not counted.
QUICK = (20, 120)


def sleeping(seconds):
    """Work that sleeps and leaves an empty file."""

    def work(recipe, folder, orders):
        from picotome.datasets.factory import making

        def write_particle(recipe, folder, split, index, *, progress=None):
            time.sleep(seconds)
            identity = making.pair_identity(recipe, split, index)
            path = making.pair_path(folder, split, index, identity=identity)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            return "0" * 64, 100

        making.write_particle = write_particle
        return making.make_batch(recipe, folder, orders)

    return work


def recipe_of(n_train):
    return load_recipe("smoke", [*SETTINGS, f"training_set.n_train={n_train}"])


def at_one_second(n_workers):
    """Overhead by the clock, CPU of the run for each particle (s), and its start and end (s)."""
    generate_module.make_batch = sleeping(PARTICLE_S)
    clock = []

    def track(task, done, total):
        if task == "particles":
            clock.append(time.process_time())

    with TemporaryDirectory() as folder:
        begun = time.monotonic()
        entries = generate(
            recipe_of(N_PARTICLES), Path(folder), splits=("train",), n_workers=n_workers, track=track
        )
        wall = time.monotonic() - begun
    ends = sorted(entry.at_s for entry in entries)
    # The first ones of all workers end together.
    span = ends[-1] - ends[n_workers - 1]
    ideal = PARTICLE_S * (N_PARTICLES - n_workers) / n_workers
    return span / ideal - 1.0, (clock[-1] - clock[0]) / (N_PARTICLES - 1), wall - span - PARTICLE_S


class EnoughError(Exception):
    """So many particles are made."""


def of_many(n, address):
    """CPU per completed particle and per listed one, and the time of a status, in a dataset of n."""
    generate_module.make_batch = sleeping(0.0)
    recipe = recipe_of(n)
    clock = {}

    def track(task, done, total):
        if task == "particles" and done in QUICK:
            clock[done] = time.process_time()
            if done == QUICK[1]:
                raise EnoughError

    # A worker may still be at its last particles when the folder goes.
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with suppress(EnoughError):
            generate(recipe, folder, splits=("train",), scheduler_address=address, track=track)
        made = (clock[QUICK[1]] - clock[QUICK[0]]) / (QUICK[1] - QUICK[0])
    with TemporaryDirectory() as name:
        folder, identity_of = Path(name), identities_of(recipe)
        (folder / "train").mkdir()
        rows = []
        for index in range(n):
            identity = identity_of("train", index)
            path = pair_path(folder, "train", index, identity=identity)
            path.touch()
            rows.append(
                Entry(
                    split="train",
                    index=index,
                    file=str(path.relative_to(folder)),
                    status="done",
                    sha256="0" * 64,
                    identity=identity,
                    mtime_ns=path.stat().st_mtime_ns,
                )
            )
        write_manifest(folder, rows)
        (folder / "recipe.yaml").write_text(generate_module.recipe_to_yaml(recipe))
        begun = time.process_time()
        if generate(recipe, folder, splits=("train",), scheduler_address=address) != rows:
            raise SystemExit("particles that are finished were not found")
        listed = (time.process_time() - begun) / n
        begun, cpu = time.monotonic(), time.process_time()
        read_status(folder)
        return made, listed, time.monotonic() - begun, time.process_time() - cpu


def main():
    print(
        f"| workers | overhead at {PARTICLE_S:g} s a particle | CPU of the run, ms each | start and end, s |"
    )
    print("|---|---|---|---|")
    for n_workers in (1, 2):
        overhead, cpu, start = at_one_second(n_workers)
        print(f"| {n_workers} | {overhead:.1%} | {1e3 * cpu:.1f} | {start:.1f} |", flush=True)
    print()
    print("| particles | CPU each made, ms | CPU each found finished, ms | status, s | status, s of CPU |")
    print("|---|---|---|---|---|")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        for n in (500, 10_000, 100_000):
            made, listed, status, cpu = of_many(n, cluster.scheduler_address)
            print(f"| {n} | {1e3 * made:.2f} | {1e3 * listed:.3f} | {status:.2f} | {cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
