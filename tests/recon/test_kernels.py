import os
import re
import subprocess
import sys
from pathlib import Path

from picotome.recon import kernels

USE = """
import numpy as np, sys
sys.path.insert(0, {folder!r})
import kernels
planes = np.ones((1, kernels.N_SLICES), dtype=np.float32)
images = np.zeros((1, 3, kernels.N_SLICES), dtype=np.float32)
weights = np.array([[[1, 2, 3]]], dtype=np.float32)
for _ in range(2):
    kernels.add_projection(np.zeros((1, 1), dtype=np.uint32), weights, planes, images)
print(images[0, :, 0].tolist(), sum(kernels.add_projection.stats.cache_hits.values()))
"""


def use_copy_of_kernels(folder, *, more="", **environment):
    """Project one voxel twice with a copy of the module, in a process of its own."""
    command = [sys.executable, "-c", USE.format(folder=str(folder)) + more]
    settings = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    return done.stdout.strip()


def copy_kernels(folder):
    folder.mkdir()
    (folder / "kernels.py").write_text(Path(kernels.__file__).read_text("utf-8"), "utf-8")
    return folder


def test_the_second_process_finds_the_kernels_compiled(tmp_path):
    folder = copy_kernels(tmp_path / "copy")
    assert use_copy_of_kernels(folder) == "[2.0, 4.0, 6.0] 0"
    assert use_copy_of_kernels(folder) == "[2.0, 4.0, 6.0] 1"


def test_kernels_run_where_nothing_can_be_kept(tmp_path):
    # Files in the place of folders: what cannot be written even by an administrator.
    folder = copy_kernels(tmp_path / "copy")
    (folder / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    home = str(tmp_path / "home")
    assert use_copy_of_kernels(folder, HOME=home, XDG_CACHE_HOME=home) == "[2.0, 4.0, 6.0] 0"


def test_the_innermost_loops_are_vectorised(tmp_path):
    # Without this, only the benchmark would notice a fall back to one slice at a time: four times slower.
    folder = copy_kernels(tmp_path / "copy")
    show = "\nfor text in kernels.add_projection.inspect_llvm().values(): print(text)"
    assert re.search(r"fmul contract <\d+ x float>", use_copy_of_kernels(folder, more=show))
