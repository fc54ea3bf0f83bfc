"""Draw each kind of specimen once, as in docs/specimens.md.

python examples/draw_kinds.py docs/images
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.cluster import Octahedron
from ase.io import write
from PIL import Image
from pydantic import TypeAdapter
from scipy.spatial import cKDTree

from picotome.configs.imaging import VolumeConfig
from picotome.configs.specimens import SpecimenConfig
from picotome.records import Specimen
from picotome.report.atoms import draw_kind
from picotome.rng import stream
from picotome.simgen.particles import build_specimen

PICTURES = {
    "wulff": {"diameter_A": 32, "facet_jitter": 0.04},
    "decahedron": {"diameter_A": 30, "notch": 0.12, "facet_jitter": 0.0, "side": 0.85},
    "icosahedron": {"diameter_A": 27.5, "facet_jitter": 0.0},
    "blob": {"diameter_A": 28},
    "core_shell": {"diameter_A": 30, "core": "Pd", "shell": "Au", "shell_thickness_A": 5.0},
    "alloy": {"diameter_A": 28, "composition": {"Pt": 0.5, "Ni": 0.46, "Ga": 0.04}, "surface": "Pt"},
    "dumbbell": {"diameter_A": [20, 24], "twin": "double"},
    "perovskite": {"diameter_A": 34, "field": "vortex", "rotate": False},
    "amorphous": {"diameter_A": 26, "composition": {"Zr": 0.5, "Cu": 0.5}, "lattice_A": 4.1},
    "layered": {"width_A": 30, "n_layers": 3},
    "file": {"crop_diameter_A": 26.0},
}
CALM = {"strain_rms": 0.0, "displacement_rms_A": 0.03}
TURN = np.array([[0.93, 0.30, 0.21], [-0.36, 0.87, 0.33], [-0.08, -0.38, 0.92]])


def field(kind: str, specimen: Specimen) -> dict[str, object]:
    """What of the truth is drawn."""
    truth = specimen.truth
    if kind == "wulff":
        family = np.sort(np.abs(truth["facet"]), axis=1)[:, ::-1]
        names = np.array(["inside" if not f.any() else "{" + "".join(map(str, f)) + "}" for f in family])
        return {"values": names, "label": "truth: facet"}
    if kind in ("decahedron", "icosahedron"):
        return {"values": truth["twin_plane_distance_A"], "label": "truth: twin_plane_distance_A"}
    if kind == "core_shell":
        percent = 100 * np.trace(truth["misfit_strain"], axis1=1, axis2=2) / 3
        return {"values": percent, "label": "truth: mean misfit_strain (%)", "cut": True}
    if kind == "dumbbell":
        return {"values": np.char.add("grain ", truth["grain"].astype(str)), "label": "truth: grain"}
    if kind == "perovskite":
        return {"arrows": truth["off_centre_A"], "label": "truth: off_centre_A", "values": np.zeros(1)}
    if kind == "layered":
        return {"values": np.char.add("layer ", truth["layer"].astype(str)), "label": "truth: layer"}
    if kind == "amorphous":
        near = cKDTree(specimen.positions_A).query_ball_point(specimen.positions_A, 3.7, return_length=True)
        return {"values": near - 1.0, "label": "neighbours within 3.7 Å", "cut": True}
    return {}


def main(folder: Path) -> None:
    adapter = TypeAdapter(SpecimenConfig)
    with tempfile.TemporaryDirectory() as scratch:
        cube = Path(scratch) / "octahedron.xyz"
        write(cube, Octahedron("Au", 9, cutoff=3))
        for kind, knobs in PICTURES.items():
            made = {"path": str(cube)} if kind == "file" else {"disorder": CALM}
            rest = {} if kind == "amorphous" else made
            config = adapter.validate_python({"kind": kind, "rotate": False, **rest, **knobs})
            specimen = build_specimen(config, volume=VolumeConfig(n_voxels=256), rng=stream(3, 0, "build"))
            turned = Specimen(
                specimen.positions_A @ TURN.T, specimen.atomic_numbers, specimen.description, specimen.truth
            )
            drawn = field(kind, specimen)
            if "arrows" in drawn:
                drawn["arrows"] = drawn["arrows"] @ TURN.T
            path = folder / f"kind_{kind}.png"
            draw_kind(path, specimen=turned, **drawn)
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize((720, 456), Image.Resampling.LANCZOS)
            small.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {specimen.description}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
