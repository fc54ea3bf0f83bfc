"""Time of the linear engine: 21 images of 144² pixels, 1,500 atoms of Pt. Target: 0.15 s on two cores.

python benchmarks/linear_engine.py; OMP_NUM_THREADS=1 for one core. On a machine with other work read the
CPU time: the wall time on n free cores is about 1/n of it.
"""

import time

import numpy as np

from picotome.configs.imaging import OpticsConfig, VolumeConfig
from picotome.geometry import tilt_rotations
from picotome.records import Specimen
from picotome.simgen.linear import image_linear
from picotome.threads import usable_threads

N_ATOMS, N_TILTS, N_VOXELS, RADIUS_A = 1500, 21, 144, 18.0


def main() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (6000, 3))
    positions_A = RADIUS_A * points[np.linalg.norm(points, axis=1) < 1][:N_ATOMS]
    specimen = Specimen(positions_A=positions_A, atomic_numbers=np.full(N_ATOMS, 78))
    wall_s, cpu_s = [], []
    # The first round computes the image of a free atom, which later particles share.
    for _ in range(8):
        wall, cpu = time.perf_counter(), time.process_time()
        image_linear(
            specimen,
            rotations=tilt_rotations(np.linspace(-65, 65, N_TILTS)),
            shifts_A=np.zeros((N_TILTS, 2)),
            defocus_A=np.zeros(N_TILTS),
            volume=VolumeConfig(n_voxels=N_VOXELS, voxel_size_A=0.357),
            optics=OpticsConfig(),
            rng=rng,
        )
        wall_s.append(time.perf_counter() - wall)
        cpu_s.append(time.process_time() - cpu)
    print(
        f"{usable_threads()} threads, best of 7: {min(wall_s[1:]):.3f} s, CPU time {min(cpu_s[1:]):.3f} s; "
        f"first {wall_s[0]:.2f} s"
    )


if __name__ == "__main__":
    main()
