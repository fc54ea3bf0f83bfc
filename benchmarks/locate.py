"""What the network, the images and both together make of the benchmark's particles, beside the truth.

    python benchmarks/locate.py CACHE [PARTICLE]

CACHE is the folder of simulated series of `picotome benchmark` (its --cache, else the folder cache of its
--out); what is not there is simulated by PRISM first, which takes minutes. Each specimen is recorded anew at
1e3 and 1e4 e/Å² without imperfection and with the worst, and located (`picotome.train.locate`). PARTICLE, any
file that ASE reads, is imaged by the linear engine, without imperfection, at 1e4 and 1e5 e/Å².

Printed: recall / precision and RMSD in pm after the best rigid motion; of the places together also the error
that was expected; and what of each element's place was the network's word.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from picotome.benchmark.plan import SCORING, Scene, full_plan, with_particle
from picotome.datasets.pairs import elements_of
from picotome.datasets.series import read_series, series_path, write_series
from picotome.records import Specimen, Trace
from picotome.simgen.detection import add_counting_noise
from picotome.trace.scoring import score_trace
from picotome.train.locate import locate_atoms
from picotome.train.weights import find_weights

SEED = 100
ROW = "{:24} {:>6} {:>22} {:>22} {:>22} {:>9}  {}"


def main() -> None:
    cache = Path(sys.argv[1])
    scenes = [scene for scene in full_plan().scenes if scene.imperfection != "middle"]
    jobs = [(scene, dose) for scene in scenes for dose in (1e3, 1e4)]
    for particle in map(Path, sys.argv[2:3]):
        known = {scene.specimen for scene in scenes}
        added = with_particle(full_plan(), particle, engines=("linear",)).scenes
        jobs += [
            (scene, dose)
            for scene in added
            if scene.specimen not in known and scene.imperfection == "none"
            for dose in (1e4, 1e5)
        ]
    print(ROW.format("", "e/Å²", "network", "images", "together", "expected", "weight of the network"))
    for scene, dose in jobs:
        print(row_of(scene, dose, cache), flush=True)


def row_of(scene: Scene, dose_e_per_A2: float, cache: Path) -> str:
    if not series_path(scene.series, cache).is_file():
        write_series(scene.series, cache)
    specimen, clean = read_series(scene.series, cache)
    images = add_counting_noise(
        clean.images,
        dose_e_per_A2=dose_e_per_A2,
        pixel_size_A=clean.pixel_size_A,
        rng=np.random.default_rng(SEED),
    )
    located = locate_atoms(
        replace(clean, images=images, dose_e_per_A2=dose_e_per_A2),
        elements=elements_of(specimen),
        model=find_weights(None),
        refinement=scene.refinement,
        optics=scene.series.optics,
    )
    together = located.joint.trace
    stages = [figures(trace, specimen) for trace in (located.network, located.refined.trace, together)]
    expected = f"{np.sqrt(np.square(together.uncertainty_pm).sum(axis=1).mean()):.1f}"
    weights = ", ".join(f"{symbol} {w.network_weight:.2f}" for symbol, w in located.joint.worth.items())
    name = f"{scene.specimen}, {scene.imperfection}, {clean.engine}"
    return ROW.format(name, f"{dose_e_per_A2:g}", *stages, expected, weights)


def figures(trace: Trace, specimen: Specimen) -> str:
    score = score_trace(trace, specimen, config=SCORING)
    return f"{score.recall:.3f} / {score.precision:.3f}, {score.rigid_rmsd_pm:.1f}"


if __name__ == "__main__":
    main()
