"""How fast pairs are made online, and how long a training waits for stored patches.

    python benchmarks/online.py [--device cpu|cuda] [--voxels 64] [--batch 4] [--pairs 20]
    python benchmarks/online.py --stored DATASET

The first prints seconds of a core to draw a pair (reading processes do that ahead), seconds to make it on the
device, and pairs per second: with one process that draws and makes in turn, and by the device alone, which
is the rate where enough processes draw. Seconds of a core count all threads, so that they hold on a machine
which does other work, too. The second trains two epochs on a dataset in a temporary folder and prints the
fraction of the time that the steps waited for patches (warm: of the second epoch).
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from picotome.configs import load_recipe
from picotome.train.loop import train
from picotome.train.online.pairs import make_pairs
from picotome.train.online.plans import plan_pair


def finish(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work, device):
    wall, core = time.perf_counter(), time.process_time()
    result = work()
    finish(device)
    return result, time.perf_counter() - wall, time.process_time() - core


def rate(arguments):
    device = torch.device(arguments.device)
    settings = [f"volume.n_voxels={arguments.voxels}", "acquisition.n_tilts=21", "training_set.online=true"]
    recipe = load_recipe("quickstart", [*settings, *arguments.set])
    # The first pair makes the projector and loads what is needed.
    make_pairs([plan_pair(recipe, 0)], recipe=recipe, device=device)
    finish(device)
    numbers = range(1, 1 + arguments.pairs)
    plans, plan_s, plan_core_s = timed(lambda: [plan_pair(recipe, n) for n in numbers], device)

    def make():
        for start in range(0, len(plans), arguments.batch):
            make_pairs(plans[start : start + arguments.batch], recipe=recipe, device=device)

    _, make_s, make_core_s = timed(make, device)
    n = arguments.pairs
    atoms = sum(plan.peaks.positions_A.shape[1] for plan in plans) / n
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(
        f"{device} ({name}), {arguments.voxels}³ voxels, 21 tilts, "
        f"{recipe.reconstruction.n_iterations} iterations, {atoms:.0f} atoms, batches of {arguments.batch}"
    )
    print(f"draw: {plan_core_s / n:.3f} s of a core for each pair ({plan_s / n:.3f} s by the clock)")
    print(
        f"make: {make_s / n:.3f} s by the clock"
        + (f", {make_core_s / n:.3f} s of a core" if device.type == "cpu" else "")
    )
    print(f"pairs per second: {n / (plan_s + make_s):.2f} in turn, {n / make_s:.2f} by the device alone")
    if device.type == "cpu":
        print(f"on two free cores: {2 * n / (plan_core_s + make_core_s):.2f}")


def stored(arguments):
    recipe = load_recipe(str(arguments.stored / "recipe.yaml"), ["training.n_epochs=2", *arguments.set])
    with tempfile.TemporaryDirectory() as folder:
        history = train(arguments.stored, recipe=recipe, out=Path(folder)).history
    for row in history:
        print(f"epoch {row['epoch']:.0f}: {row['seconds']:.1f} s, waited {row['wait_fraction']:.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--voxels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--stored", type=Path)
    parser.add_argument("--set", action="append", default=[])
    chosen = parser.parse_args()
    stored(chosen) if chosen.stored else rate(chosen)
