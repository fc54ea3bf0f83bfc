"""Draw a Pd@Pt particle on both substrates, from the side, and images of it, as in docs/specimens.md.

python examples/draw_substrates.py docs/images
"""

import sys
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from pydantic import TypeAdapter

from picotome.configs.imaging import AcquisitionConfig, OpticsConfig, VolumeConfig
from picotome.configs.specimens import SpecimenConfig
from picotome.configs.substrate import SubstrateConfig
from picotome.report.balls import draw_balls, frame, rgb_of
from picotome.report.canvas import add_scale_bar, blank, png
from picotome.rng import stream
from picotome.simgen.acquisition import simulate_series
from picotome.simgen.particles import build_specimen
from picotome.simgen.substrate import build_substrate

VOLUME = VolumeConfig(n_voxels=96, voxel_size_A=0.4)
PARTICLE = {"kind": "core_shell", "core": "Pd", "shell": "Pt", "diameter_A": 20, "shell_thickness_A": 3.5}
COLOURS = {"Pd": "#0072b2", "Pt": "#e69f00", "C": "#8a8f98", "Si": "#009e73", "N": "#cc79a7"}
TILTS_DEG = (0.0, 60.0)
REACH_A = 20.0


def seen_from_the_side(axes, specimen, substrate):
    """Particle and the part of the slab behind it, the beam from above."""
    slab_A = substrate.positions_A.copy()
    # The period around the particle; the near half is taken away.
    slab_A[:, :2] = (slab_A[:, :2] + substrate.period_A / 2) % substrate.period_A - substrate.period_A / 2
    near = (np.abs(slab_A[:, 0]) < REACH_A - 2) & (np.abs(slab_A[:, 1] - 8.0) < 8.0)
    atoms_A = np.concatenate([specimen.positions_A, slab_A[near]])
    numbers = np.concatenate([specimen.atomic_numbers, substrate.atomic_numbers[near]])
    # Right is x, up is against the beam, towards the eye is -y.
    turned_A = atoms_A[:, [0, 2, 1]] * [1.0, -1.0, -1.0] + [0.0, 8.0, 0.0]
    draw_balls(axes, turned_A, np.array([rgb_of(COLOURS[chemical_symbols[z]]) for z in numbers]))
    frame(axes, np.full(2, REACH_A))
    for z in np.unique(numbers):
        axes.plot([], [], "o", color=COLOURS[chemical_symbols[z]], label=chemical_symbols[z])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, columnspacing=0.8)


def main(folder):
    specimen = build_specimen(
        TypeAdapter(SpecimenConfig).validate_python(PARTICLE), volume=VOLUME, rng=stream(4, 0, "build")
    )
    with png(folder / "substrates.png", width_in=9.6, height_in=3.1) as figure:
        for column, material in enumerate(("carbon", "silicon_nitride")):
            substrate = build_substrate(
                SubstrateConfig(material=material, thickness_A=(15.0, 15.0)),
                specimen=specimen,
                volume=VOLUME,
                largest_tilt_deg=max(TILTS_DEG),
                rng=stream(4, 0, "substrate"),
            )
            axes = figure.add_subplot(1, 4, 1 + column)
            seen_from_the_side(axes, specimen, substrate)
            axes.set_title(f"on 15 Å of {material.replace('_', ' ')}")
        series = simulate_series(
            specimen,
            engine="linear",
            volume=VOLUME,
            optics=OpticsConfig(source_size_A=0.3),
            acquisition=AcquisitionConfig(tilts_deg=TILTS_DEG, dose_e_per_A2=1e4),
            seed=4,
            index=0,
            substrate=substrate,
        )
        for number, tilt_deg in enumerate(TILTS_DEG):
            axes = figure.add_subplot(1, 4, 3 + number)
            axes.imshow(series.images[number].T, origin="lower", cmap="gray")
            blank(axes)
            axes.set_title(f"silicon nitride, {tilt_deg:g}°")
        add_scale_bar(axes, extent_A=VOLUME.n_voxels * VOLUME.voxel_size_A, colour="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
