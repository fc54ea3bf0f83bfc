"""Draw what each modifier does to the same Pt particle, as in docs/specimens.md.

python examples/draw_modifiers.py docs/images
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image
from pydantic import TypeAdapter
from scipy.spatial import cKDTree

from picotome.configs.imaging import VolumeConfig
from picotome.configs.specimens import SpecimenConfig
from picotome.report.balls import FAINT_FOG, draw_balls, frame, oblique, rgb_of
from picotome.report.canvas import ERROR_MAP, png
from picotome.rng import stream
from picotome.simgen.particles import build_specimen

MODIFIERS = {
    "strain": {"xx": 0.03, "yy": -0.01, "zz": -0.01},
    "strain_gradient": {"gradient_per_A": 1.5e-3},
    "radial_strain": {"surface": -0.02},
    "surface_relaxation": {"on_111": 0.02, "on_100": -0.05},
    "support_strain": {"at_contact": -0.03, "decay_length_A": 6},
    "static_disorder": {"default_rms_A": 0.08},
    "stacking_fault": {"place": 0.0},
    "vacancies": {"fraction": 0.06, "where": "surface"},
    "adatoms": {"fraction": 0.03},
    "step": {"coverage": 0.5},
}
CALM = {"strain_rms": 0.0, "displacement_rms_A": 0.0}
LARGEST_PM = 30.0
CAME, STAYED = rgb_of("#009e73"), rgb_of("#c8ccd0")


def particle(**modifier):
    """Build a 20 Å Pt particle, modified."""
    config = TypeAdapter(SpecimenConfig).validate_python(
        {
            "kind": "wulff",
            "diameter_A": 20,
            "facet_jitter": 0.0,
            "rotate": False,
            "disorder": CALM,
            "modifiers": [modifier] if modifier else [],
        }
    )
    return build_specimen(config, volume=VolumeConfig(n_voxels=128), rng=stream(5, 0, "build"))


def pictured(kind, knobs):
    """Positions, colours, which are hollow, and what to say."""
    plain, changed = particle(), particle(kind=kind, **knobs)
    if kind == "adatoms":
        came = changed.truth["is_adatom"] == 1
        colours = np.where(came[:, None], CAME, STAYED)
        return changed.positions_A, colours, None, f"{came.sum()} atoms more"
    if kind in ("vacancies", "step"):
        gone = cKDTree(changed.positions_A).query(plain.positions_A)[0] > 0.5
        colours = np.tile(STAYED, (len(gone), 1))
        return plain.positions_A, colours, gone, f"{gone.sum()} atoms fewer"
    moved_pm = 100.0 * np.linalg.norm(changed.truth["displacement_A"], axis=1)
    colours = colormaps[ERROR_MAP](Normalize(0.0, LARGEST_PM)(moved_pm))[:, :3]
    return changed.positions_A, colours, None, f"up to {moved_pm.max():.0f} pm"


def main(folder):
    path = folder / "modifiers.png"
    with png(path, width_in=10.0, height_in=4.6) as figure:
        grid = figure.subplots(2, 5)
        for axes, (kind, knobs) in zip(grid.flat, MODIFIERS.items(), strict=True):
            positions_A, colours, hollow, says = pictured(kind, knobs)
            turned_A = positions_A @ oblique().T
            draw_balls(axes, turned_A, colours, fog=FAINT_FOG, hollow=hollow)
            frame(axes, np.full(2, 14.0))
            axes.set_title(f"{kind}\n{says}", fontsize=8)
        figure.colorbar(
            ScalarMappable(Normalize(0.0, LARGEST_PM), ERROR_MAP),
            ax=grid,
            shrink=0.6,
            label="displacement from the lattice (pm)",
            extend="max",
        )
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
