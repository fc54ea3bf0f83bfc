"""The dict below is the architecture diagram: what each room may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import picotome

SOURCE = Path(picotome.__file__).parent
FOUNDATION = {"records", "geometry", "units", "rng", "configs", "progress", "compiled", "threads"}
SIBLINGS = {"simgen", "recon", "trace"}
DATASETS = FOUNDATION | SIBLINGS | {"datasets"}

MAY_IMPORT = {
    "records": set(),
    "geometry": set(),
    "units": set(),
    "rng": set(),
    "progress": set(),
    "compiled": set(),
    "threads": set(),
    "configs": {"configs", "units"},
    "simgen": FOUNDATION | {"simgen"},
    "recon": FOUNDATION | {"recon"},
    "trace": FOUNDATION | {"trace"},
    "datasets": DATASETS,
    "train": DATASETS | {"train"},
    "report": DATASETS | {"train", "report"},
    "pipeline": DATASETS | {"train", "report"},
    "benchmark": DATASETS | {"train", "report", "benchmark"},
    "commands": DATASETS | {"train", "report", "pipeline", "benchmark", "commands"},
    "cli": {"commands"},
    "__init__": {"records"},
    "__main__": {"cli"},
}

# Each heavy dependency has one owner. Two for torch: the network, and the refinement, which computes on a GPU
# where there is one.
OWNERS = {
    "abtem": {"simgen"},
    "distributed": {"datasets"},
    "dask_jobqueue": {"datasets"},
    "h5py": {"datasets"},
    "mrcfile": {"datasets"},
    "tifffile": {"datasets"},
    "torch": {"train", "trace"},
    "numba": {"compiled"},
    "monai": {"train"},
    "lightning_fabric": {"train"},
    "safetensors": {"train"},
    "matplotlib": {"report"},
    "typer": {"cli", "commands"},
}


def imports_of(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
            if node.module == "picotome":
                modules |= {f"picotome.{alias.name}" for alias in node.names}
    return modules


def modules() -> list[tuple[str, Path]]:
    return [(path.relative_to(SOURCE).parts[0].removesuffix(".py"), path) for path in SOURCE.rglob("*.py")]


def test_every_room_is_in_the_diagram():
    assert {room for room, _ in modules()} == set(MAY_IMPORT)


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_imports_point_down(room, path):
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "picotome" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in MAY_IMPORT[room], f"{path} imports {module}"
        if parts[0] in OWNERS:
            assert room in OWNERS[parts[0]], f"{path} imports {module}, which {OWNERS[parts[0]]} owns"


@pytest.mark.parametrize("module", ["picotome", "picotome.cli", "picotome.records"])
def test_the_front_door_loads_nothing_heavy(module):
    heavy = sorted([*OWNERS, "numpy", "scipy", "ase"])
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() in ("[]", "['typer']")
