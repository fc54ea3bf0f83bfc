"""CPU time of building specimens of 2 nm, of every kind in turn, and of relaxing 3,000 atoms by EMT.

python benchmarks/specimens.py
"""

import time

from pydantic import TypeAdapter

from picotome.configs.imaging import VolumeConfig
from picotome.configs.specimens import SpecimenConfig
from picotome.rng import stream
from picotome.simgen.particles import build_specimen

N_SPECIMENS = 1000
KINDS = {
    "wulff": {"diameter_A": 20},
    "wulff (b.c.c.)": {"diameter_A": 20, "element": "Fe"},
    "wulff (n_atoms)": {"n_atoms": 276},
    "decahedron": {"diameter_A": 20},
    "icosahedron": {"diameter_A": 20},
    "blob": {"diameter_A": 20},
    "core_shell": {"diameter_A": 20, "relax": False, "imposed": "radial"},
    "alloy": {"diameter_A": 20, "short_range_order": -0.1},
    "alloy (pairs, sizes)": {
        "diameter_A": 20,
        "composition": {"Pt": 0.5, "Ni": 0.46, "Ga": 0.04},
        "pair_order": {"Pt-Ni": -0.1},
        "size_strain": True,
    },
    "dumbbell": {"diameter_A": 16},
    "perovskite": {"diameter_A": 20, "field": "vortices"},
    "amorphous": {"diameter_A": 20},
    "layered": {"width_A": 20},
}


def main() -> None:
    adapter = TypeAdapter(SpecimenConfig)
    volume = VolumeConfig(n_voxels=256)
    configs = {
        name: adapter.validate_python({"kind": name.split(" ")[0], **knobs}) for name, knobs in KINDS.items()
    }
    for config in configs.values():
        build_specimen(config, volume=volume, rng=stream(0, 0, "build"))
    total = 0.0
    n_each = N_SPECIMENS // len(configs) + 1
    for name, config in configs.items():
        start = time.process_time()
        n_atoms = [
            len(build_specimen(config, volume=volume, rng=stream(1, index, "build")).positions_A)
            for index in range(n_each)
        ]
        spent = time.process_time() - start
        total += spent
        print(f"{name:22s} {1e3 * spent / n_each:6.1f} ms, {sum(n_atoms) / n_each:5.0f} atoms")
    print(f"{n_each * len(configs)} specimens in {total:.1f} s of one core; the target is 60 s of two")
    large = {"kind": "core_shell", "diameter_A": 44, "shell_thickness_A": 5}
    start = time.process_time()
    specimen = build_specimen(adapter.validate_python(large), volume=volume, rng=stream(1, 0, "build"))
    print(
        f"{len(specimen.positions_A)} atoms relaxed by EMT in {time.process_time() - start:.1f} s of a core; "
        f"the target is 60 s of two"
    )


if __name__ == "__main__":
    main()
