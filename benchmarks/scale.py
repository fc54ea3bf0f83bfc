"""How many pairs are made in an hour, by what: a cost model is fitted, drawn, and taken to 10,000 pairs.

    pip install astra-toolbox
    python benchmarks/scale.py [--out FOLDER]

Pairs of the `paper` recipe (144³ voxels of 0.357 Å, 21 tilts, linear engine, 100 iterations, blobs of 20 to
40 Å), end to end: specimen, images, tomogram, ideal tomogram, and the file. Seconds are those of a processor
unless said otherwise.

1. One thing at a time is changed (diameter, tilts, iterations, voxels), and the unit costs of `--dry-run`'s
   model are fitted to all pairs at once. The sweep is run twice, and the faster time of each pair counts: a
   machine with other work is slow now and then.
2. One and two workers make the same pairs. Beside them stand one and two processes that make pairs and
   know nothing of each other: what the machine itself loses with two.
3. The reconstruction is replaced by ASTRA's CPU SIRT, on the same images (its seconds for a few central
   slices, scaled to all, and to those that show anything).
4. The table for 10,000 pairs on more cores than there are here is arithmetic, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from picotome.datasets.factory.executors import WORKER_ENVIRONMENT

N_EACH, N_SHARED, N_ROUNDS, N_TABLE = 3, 16, 2, 10_000
BASE_A, BASE_VOXELS = 30.0, 144


def blobs_of(diameter_A):
    """Settings of particles that are all so large."""
    size = f"[{diameter_A:.2f},{diameter_A:.2f}]"
    return f"training_set.specimens.0.diameter_A={size}", f"specimens.0.diameter_A={size}"


# What is changed, and the settings that do it; all else is the recipe's, with particles of 30 Å.
SWEEPS = {
    "diameter (Å)": {value: blobs_of(value) for value in (15, 20, 25, 30, 35, 40)},
    "tilts": {value: (f"acquisition.n_tilts={value}",) for value in (11, 21, 41, 61)},
    "iterations": {value: (f"reconstruction.n_iterations={value}",) for value in (25, 50, 100, 200)},
    "voxels along an edge": {
        # As fine as ever: particles grow with their box.
        value: (f"volume.n_voxels={value}", *blobs_of(BASE_A * value / BASE_VOXELS))
        for value in (72, 96, 144, 192)
    },
}
UNITS = {
    "n_peaks": "atom · image · pixel, of the linear engine",
    "n_pixels": "image · pixel, recorded",
    "n_updates": "voxel · image · iteration",
    "n_voxels": "voxel: ideal tomogram and file",
}


def recipe_of(settings, *, n_pairs=N_EACH):
    from picotome.configs import load_recipe

    # Patches must fit into the smallest box; nothing is trained here.
    fixed = (f"training_set.n_train={n_pairs}", "training.patch_voxels=48")
    return load_recipe("paper", [*fixed, *settings])


def measured_pairs(settings):
    """Counted work and measured seconds of a few pairs, each in turn."""
    from picotome.datasets.forecast.particles import build_particles
    from picotome.datasets.forecast.work import group_tasks
    from picotome.datasets.forecast.yardstick import count_work, measure_pair
    from picotome.datasets.pairs import write_particle

    recipe = recipe_of(settings)
    tasks = [("train", index) for index in range(N_EACH)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (group,) = group_tasks(recipe, tasks, folder=folder)
        built = {each.task: each for each in build_particles(recipe, group)}
        tail_A = measure_pair(recipe, built[tasks[0]], engine="linear", folder=folder).tail_A
        rows = []
        for task in tasks:
            begun = time.process_time()
            write_particle(recipe, folder, *task)
            seconds = time.process_time() - begun
            n_images = recipe.acquisition.n_tilts
            work = count_work(recipe, built[task], engine="linear", n_images=n_images, tail_A=tail_A)
            counts = [getattr(work, name) for name in UNITS]
            rows.append({"seconds": seconds, "counts": counts, "build_s": built[task].seconds})
        file_bytes = sum(path.stat().st_size for path in folder.rglob("*.h5")) / N_EACH
        for row in rows:
            row["file_bytes"] = file_bytes
    return rows


def fit(rows):
    """Unit costs by least squares of relative errors, none below zero; and each pair's seconds by them."""
    from scipy.optimize import nnls

    counts = np.array([row["counts"] for row in rows])
    build = np.array([row["build_s"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    costs, _ = nnls(counts / seconds[:, None], 1.0 - build / seconds)
    return costs, counts @ costs + build


def sweep():
    """Every pair of every sweep."""
    cases = [(name, value, settings) for name, values in SWEEPS.items() for value, settings in values.items()]
    rows = []
    for number in range(N_ROUNDS):
        again = []
        for name, value, settings in cases:
            pairs = measured_pairs((*blobs_of(BASE_A), *settings))
            again += [{"sweep": name, "value": value, **pair} for pair in pairs]
            mean = statistics.mean(pair["seconds"] for pair in pairs)
            size = pairs[0]["file_bytes"] / 1e6
            print(f"{number + 1}: {name} = {value}: {mean:.2f} s and {size:.1f} MB a pair", flush=True)
        rows = [min(pair, key=lambda row: row["seconds"]) for pair in zip(rows or again, again, strict=True)]
    return rows


def make_alone(folder, first, n):
    """What one bare process does: pairs in turn; prints its seconds on the clock, and of a processor."""
    from picotome.datasets.pairs import write_particle

    recipe = recipe_of((), n_pairs=first + n + 1)
    write_particle(recipe, Path(folder), "train", first + n)
    print("ready", flush=True)
    sys.stdin.readline()
    clock, cpu = time.perf_counter(), time.process_time()
    for index in range(first, first + n):
        write_particle(recipe, Path(folder), "train", index)
    print(json.dumps([time.perf_counter() - clock, time.process_time() - cpu]), flush=True)


def bare_rate(n_processes):
    """Pairs per second of processes that know nothing of each other; and seconds of a processor per pair."""
    n = N_SHARED // n_processes
    with TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--make", folder, str(number * n), str(n)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(n_processes)
        ]
        for process in processes:
            process.stdout.readline()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        times = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    return n_processes * n / max(clock for clock, _ in times), sum(cpu for _, cpu in times) / (
        n_processes * n
    )


def worker_rates():
    """Mean pairs per second of one and two workers, and of bare processes; and processor seconds of these."""
    from distributed import LocalCluster

    from picotome.datasets.generate import generate

    rates = {("workers", 1): [], ("workers", 2): [], ("processes", 1): [], ("processes", 2): []}
    bare_cpu = []
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with TemporaryDirectory() as name:
        for n_workers in (1, 2):
            with LocalCluster(n_workers=n_workers, **options) as cluster:
                for number in range(N_ROUNDS + 1):
                    # The first makes workers warm.
                    recipe = recipe_of((), n_pairs=N_SHARED if number else 2 * n_workers)
                    begun = time.perf_counter()
                    entries = generate(
                        recipe,
                        Path(name) / f"{n_workers}_{number}",
                        splits=("train",),
                        scheduler_address=cluster.scheduler_address,
                    )
                    if any(entry.status != "done" for entry in entries):
                        raise SystemExit("a pair failed")
                    if number:
                        rates["workers", n_workers].append(N_SHARED / (time.perf_counter() - begun))
    for _ in range(N_ROUNDS):
        for n_processes in (1, 2):
            rate, cpu = bare_rate(n_processes)
            rates["processes", n_processes].append(rate)
            bare_cpu.append(cpu)
    return {key: statistics.mean(values) for key, values in rates.items()}, statistics.mean(bare_cpu)


def against_astra():
    """Seconds of picotome's pair and of its reconstruction, of ASTRA's, and lit slices, for one pair."""
    import reconstruction as yardstick

    from picotome.datasets.pairs import make_pair, reconstruction_of, write_particle
    from picotome.recon.solvers import reconstruct

    recipe = recipe_of(blobs_of(BASE_A))
    pair = make_pair(recipe, "train", 0)
    pair_s, ours_s, astra_s = [], [], []
    for _ in range(N_ROUNDS):
        with TemporaryDirectory() as folder:
            begun = time.process_time()
            write_particle(recipe, Path(folder), "train", 0)
            pair_s.append(time.process_time() - begun)
        begun = time.process_time()
        reconstruct(pair.series, config=reconstruction_of(recipe))
        ours_s.append(time.process_time() - begun)
        middle = np.ascontiguousarray(pair.series.images[:, :, yardstick.central()])
        _, seconds = yardstick.astra_sirt(middle, "linear", recipe.reconstruction.n_iterations)
        astra_s.append(seconds[1] / yardstick.N_SLICES)
    n_lit = int((pair.series.images > 0).any(axis=(0, 1)).sum())
    return min(pair_s), min(ours_s), min(astra_s), n_lit


def table(pair_s, efficiency):
    """The time of 10,000 pairs, as lines."""
    from picotome.datasets.forecast.forecast import RUN_S

    for n_cores in (2, 64, 1024):
        work_s = N_TABLE * pair_s / n_cores / efficiency
        dask_s = max(work_s, N_TABLE * RUN_S)
        yield n_cores, dask_s, work_s


def draw(path, rows, costs, rates):
    from picotome.datasets.forecast.forecast import RUN_S
    from picotome.report.canvas import BLUE, GREY, ORANGE, png

    with png(path, width_in=10.0, height_in=5.6) as figure:
        panels = figure.subplots(2, 3)
        for axes, name in zip(panels.flat, SWEEPS, strict=False):
            shown = [row for row in rows if row["sweep"] == name]
            values = [row["value"] for row in shown]
            axes.plot(
                values, [row["seconds"] for row in shown], "o", color=BLUE, label="measured", markersize=4
            )
            model = {}
            for row in shown:
                model.setdefault(row["value"], []).append(np.dot(row["counts"], costs) + row["build_s"])
            axes.plot(
                list(model), [statistics.mean(each) for each in model.values()], color=GREY, label="model"
            )
            axes.set_xlabel(name)
            axes.set_ylabel("s of a core for each pair")
            axes.set_ylim(bottom=0.0)
            axes.grid(True)
        panels[0, 0].legend()
        axes = panels[1, 1]
        for kind, colour, marker in (("processes", GREY, "s"), ("workers", BLUE, "o")):
            hourly = [3600.0 * rates[kind, n] for n in (1, 2)]
            axes.plot((1, 2), hourly, marker + "-", color=colour, label=kind)
        axes.set_xticks((1, 2))
        axes.set_xlim(0.7, 2.3)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("workers, or bare processes")
        axes.set_ylabel("pairs per hour")
        axes.grid(True)
        axes.legend(loc="upper left")
        axes = panels[1, 2]
        mean_s = 1.0 / rates["workers", 1]
        efficiency = rates["workers", 2] / rates["workers", 1] / 2.0
        cores = np.geomspace(2, 4096, 200)
        alone = cores * efficiency * 3600.0 / mean_s
        axes.plot(cores, alone, color=ORANGE, label="array script")
        axes.plot(cores, np.minimum(alone, 3600.0 / RUN_S), color=BLUE, label="dask")
        axes.plot((1, 2), [3600.0 * rates["workers", n] for n in (1, 2)], "o", color=BLUE, label="measured")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("cores (a line: arithmetic)")
        axes.set_ylabel("pairs per hour")
        axes.grid(True)
        axes.legend()


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    rows = sweep()
    costs, model = fit(rows)
    errors = model / np.array([row["seconds"] for row in rows]) - 1.0
    print(f"\nmodel over {len(rows)} pairs: {errors.min():+.0%} to {errors.max():+.0%}")
    for (_, unit), cost in zip(UNITS.items(), costs, strict=True):
        print(f"  {1e9 * cost:.3g} ns for each {unit}")

    rates, cpu_s = worker_rates()
    efficiency = {kind: rates[kind, 2] / rates[kind, 1] / 2.0 for kind in ("workers", "processes")}
    for (kind, n), rate in rates.items():
        print(f"{n} {kind}: {3600.0 * rate:,.0f} pairs per hour")
    print(f"parallel efficiency: {efficiency['workers']:.2f} (bare processes: {efficiency['processes']:.2f})")
    print(f"{cpu_s:.2f} s of a core for each pair: {N_TABLE * cpu_s / 3600.0:.1f} core-hours for {N_TABLE:,}")

    if find_spec("astra"):
        pair_s, ours_s, slice_s, n_lit = against_astra()
        rest_s, n = pair_s - ours_s, recipe_of(()).volume.n_voxels
        print(
            f"reconstruction of {pair_s:.2f} s: {ours_s:.2f} s; ASTRA's: {n * slice_s:.1f} s for {n} slices"
        )
        for what, n_slices in (("all", n), (f"the {n_lit} lit", n_lit)):
            ratio = (rest_s + n_slices * slice_s) / pair_s
            print(f"  with ASTRA ({what} slices) a pair takes {ratio:.1f} times as long")
    else:
        print("ASTRA is not installed (pip install astra-toolbox)")

    print(f"\n| cores | {N_TABLE:,} pairs, dask | array script |\n|---|---|---|")
    for n_cores, dask_s, work_s in table(1.0 / rates["workers", 1], min(efficiency["workers"], 1.0)):
        print(f"| {n_cores:,} | {dask_s / 60.0:.1f} min | {work_s / 60.0:.1f} min |")
    draw(out / "scale.png", rows, costs, rates)


if __name__ == "__main__":
    # One thread, and memory that is kept: as workers have it. It must be there before anything is loaded.
    if any(os.environ.get(name) != value for name, value in WORKER_ENVIRONMENT.items()):
        os.environ.update(WORKER_ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    if sys.argv[1:2] == ["--make"]:
        make_alone(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(
            description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--out", type=Path, default=Path("scale"))
        main(parser.parse_args().out)
