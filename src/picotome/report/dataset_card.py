"""The card of a dataset: what it holds, where it comes from, how it is loaded, and how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from picotome import __version__
from picotome.configs.schema import Recipe
from picotome.datasets.card_numbers import DatasetNumbers, dataset_numbers
from picotome.datasets.manifest import read_manifest
from picotome.datasets.plan import SPLITS
from picotome.datasets.safe_write import write_text
from picotome.datasets.store import read_pair
from picotome.report.canvas import BLUE, ORANGE, png
from picotome.report.volumes import draw_pair

CARD_NAME = "card.md"
PAIR_NAME = "card_pair.png"
SIZES_NAME = "card_sizes.png"
_N_BINS = 20
_MB, _GB = 1e6, 1e9

_LOADING = """\
```python
import h5py

with h5py.File("{file}") as file:
    degraded = file["degraded/volume"][:]  # (x, y, z), image unit per Å
    ideal = file["ideal/volume"][:]
    atoms = file["specimen/positions_A"][:]  # (n, 3), Å, origin at voxel n // 2
```

`picotome train .` trains on it, `picotome show {file}` draws a particle, and `picotome export {file}
--format mrc --out volume.mrc` writes it for other programs."""


def write_dataset_card(folder: Path, *, recipe: Recipe) -> bool:
    """Write ``card.md`` and its two pictures into a dataset; says False where no particle is finished."""
    numbers = dataset_numbers(folder, recipe=recipe)
    if numbers is None:
        return False
    done = [entry for entry in read_manifest(folder) if entry.status == "done"]
    # The first of the splits in their order: a particle to learn from, where there is one.
    shown = min(done, key=lambda entry: (SPLITS.index(entry.split), entry.index))
    pair = read_pair(folder / shown.file)
    draw_pair(
        folder / PAIR_NAME,
        degraded=pair.degraded,
        ideal=pair.ideal,
        title=f"{shown.file}: {len(pair.specimen.positions_A)} atoms",
    )
    _draw_sizes(folder / SIZES_NAME, numbers)
    write_text(folder / CARD_NAME, _card(recipe, numbers, shown.file))
    return True


def _card(recipe: Recipe, numbers: DatasetNumbers, shown: str) -> str:
    n_done = sum(split.n_done for split in numbers.splits.values())
    size = sum(split.size_bytes for split in numbers.splits.values())
    first, last = (time.strftime("%Y-%m-%d %H:%M UTC") for time in numbers.made)
    box = recipe.volume
    rows = [
        "| split | particles | kinds (engine) | atoms: least, median, most | on disk |",
        "|---|---|---|---|---|",
    ]
    for name, split in numbers.splits.items():
        failed = f" ({split.n_failed} failed)" if split.n_failed else ""
        kinds = ", ".join(f"{count} × {kind}" for kind, count in split.kinds.items())
        size_text = _size(split.size_bytes)
        rows.append(f"| {name} | {split.n_done}{failed} | {kinds} | {_spread(split.n_atoms)} | {size_text} |")
    facts = {
        "composition of all atoms": ", ".join(f"{s} {share:.1%}" for s, share in numbers.elements.items()),
        "dose per image": _dose(numbers.dose_e_per_A2),
        "tilts": f"{_range(numbers.n_tilts)} images to ±{_range(numbers.tilt_max_deg)}° at most",
        "volumes": f"{box.n_voxels}³ voxels of {box.voxel_size_A:g} Å, {recipe.storage.precision}",
        "reconstruction": f"{recipe.reconstruction.solver}, {recipe.reconstruction.n_iterations} iterations",
        "peaks of the ideal volume": f"sigma {recipe.ideal.peak_sigma_A:g} Å",
    }
    origin = {
        "recipe": f"{recipe.name}, seed {recipe.seed} (`recipe.yaml`: every knob)",
        "made": first if first == last else f"{first} to {last}",
        "made with": ", ".join(f"{package} {version}" for package, version in numbers.versions.items()),
        "card written by": f"picotome {__version__}",
    }
    return "\n".join(
        [
            f"# Dataset {recipe.name}",
            "",
            f"{n_done} simulated pairs of tomograms (degraded by the missing wedge, and ideal) with their "
            f"atoms and tilt series; {_size(size)}.",
            "",
            *rows,
            "",
            f"Composition, dose and tilts are those of {numbers.n_read} of the {n_done} particles.",
            "",
            *_table(facts),
            "",
            f"![slices of a pair]({PAIR_NAME})",
            "",
            f"![numbers of atoms and doses]({SIZES_NAME})",
            "",
            "## Where it comes from",
            "",
            *_table(origin),
            "",
            "The same recipe and versions make the same files again, bit for bit. `manifest.json` lists the "
            "checksum of each.",
            "",
            "## How to load it",
            "",
            _LOADING.format(file=shown),
            "",
        ]
    )


def _table(facts: dict[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _GB:.2f} GB" if n_bytes >= _GB else f"{n_bytes / _MB:.1f} MB"


def _spread(values: Sequence[int]) -> str:
    return f"{min(values)}, {np.median(values):g}, {max(values)}" if values else "none"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _dose(doses: Sequence[float]) -> str:
    known = [dose for dose in doses if np.isfinite(dose)]
    if not known:
        return "no noise"
    text = f"{_range([float(f'{dose:.3g}') for dose in known])} e/Å²"
    return text if len(known) == len(doses) else f"{text}; {len(doses) - len(known)} without noise"


def _draw_sizes(path: Path, numbers: DatasetNumbers) -> None:
    """Draw how many atoms the particles have, and, where it varies, at which dose they were imaged."""
    n_atoms = np.concatenate([split.n_atoms for split in numbers.splits.values()])
    doses = np.array([dose for dose in numbers.dose_e_per_A2 if np.isfinite(dose)])
    varied = len(doses) > 0 and doses.min() < doses.max()
    with png(path, width_in=7.0 if varied else 3.8, height_in=2.8) as figure:
        panels: Any = figure.subplots(1, 2 if varied else 1, squeeze=False)[0]
        panels[0].hist(n_atoms, bins=min(_N_BINS, len(n_atoms)), color=BLUE)
        panels[0].set(xlabel="atoms of a particle", ylabel="particles")
        if varied:
            panels[1].hist(doses, bins=np.geomspace(doses.min(), doses.max(), _N_BINS + 1), color=ORANGE)
            panels[1].set(xlabel="dose of an image (e/Å²)", ylabel="particles", xscale="log")
