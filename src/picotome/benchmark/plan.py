"""What the benchmark consists of, as data: specimens, imperfections, doses and seed.

Change nothing here without a new name for what comes out: the table is compared over versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from picotome.configs.imaging import AbtemConfig, AcquisitionConfig, EngineName, OpticsConfig, VolumeConfig
from picotome.configs.schema import (
    GeometryName,
    ReconstructionConfig,
    RefinementConfig,
    ScoringConfig,
    TracingConfig,
)
from picotome.configs.specimens import (
    AlloySpecimen,
    CoreShellSpecimen,
    FileSpecimen,
    SpecimenConfig,
    WulffSpecimen,
)
from picotome.datasets.series import SeriesRecipe

SEED = 11
OPTICS = OpticsConfig(source_size_A=0.3)
# Coarser slices and scan: images differ by 2 %, and cost half.
QUICK_OPTICS = OpticsConfig(source_size_A=0.3, abtem=AbtemConfig(slice_thickness_A=3.0, scan_step_A=0.35))
RECONSTRUCTION = ReconstructionConfig()
TRACING = TracingConfig()
SCORING = ScoringConfig()
_BOX = VolumeConfig(n_voxels=72, voxel_size_A=0.4)
_SMALL_BOX = VolumeConfig(n_voxels=64, voxel_size_A=0.4)
_LARGE_BOX = VolumeConfig(n_voxels=128, voxel_size_A=0.4)
DOSES_E_PER_A2 = (1e3, 1e4, 1e5)
QUICK_DOSES_E_PER_A2 = (1e4,)


@dataclass(frozen=True)
class Level:
    """How imperfect the images are, and what the refinement is told that may be wrong with them."""

    acquisition: AcquisitionConfig
    geometry: tuple[GeometryName, ...]


# Noise is added to the stored images afterwards, so that they are simulated once for all doses.
LEVELS: Mapping[str, Level] = {
    "none": Level(AcquisitionConfig(dose_e_per_A2=None), geometry=()),
    "middle": Level(
        AcquisitionConfig(dose_e_per_A2=None, tilt_error_rms_deg=0.3, shift_error_rms_A=0.2),
        geometry=("tilt", "turns", "shifts"),
    ),
    "worst": Level(
        AcquisitionConfig(
            dose_e_per_A2=None,
            tilt_error_rms_deg=0.6,
            shift_error_rms_A=0.4,
            defocus_rms_A=15.0,
            background=(0.02, 0.02),
            gain_rms=0.05,
        ),
        geometry=("tilt", "turns", "shifts", "defocus"),
    ),
}

SPECIMENS: Mapping[str, SpecimenConfig] = {
    "Pt": WulffSpecimen(kind="wulff", element="Pt", diameter_A=(22.6, 22.6)),
    "Pd@Pt": CoreShellSpecimen(
        kind="core_shell", core="Pd", shell="Pt", diameter_A=(22.6, 22.6), shell_thickness_A=(3.5, 3.5)
    ),
    "PtNi": AlloySpecimen(kind="alloy", composition={"Pt": 0.5, "Ni": 0.5}, diameter_A=(21.4, 21.4)),
}
QUICK_SPECIMENS: Mapping[str, SpecimenConfig] = {
    "Pt": WulffSpecimen(kind="wulff", element="Pt", diameter_A=(17.0, 17.0)),
    "Pd@Pt": CoreShellSpecimen(
        kind="core_shell", core="Pd", shell="Pt", diameter_A=(17.0, 17.0), shell_thickness_A=(3.0, 3.0)
    ),
}


@dataclass(frozen=True)
class Scene:
    """One specimen imaged at one level of imperfection.

    Attributes
    ----------
    specimen, imperfection
        Their names.
    series
        What is simulated.
    refinement
        What the refinement sets free.
    """

    specimen: str
    imperfection: str
    series: SeriesRecipe
    refinement: RefinementConfig


@dataclass(frozen=True)
class Plan:
    """The table: every scene at every dose."""

    scenes: tuple[Scene, ...]
    doses_e_per_A2: tuple[float, ...]

    @property
    def groups(self) -> tuple[tuple[Scene, float], ...]:
        """Scenes and doses; each gives one row for each stage."""
        return tuple((scene, dose) for scene in self.scenes for dose in self.doses_e_per_A2)


def full_plan() -> Plan:
    """Three specimens of about 400 atoms, three imperfections, three doses; abTEM's PRISM."""
    scenes = [
        _scene(name, level, engine="prism", specimen=config, volume=_BOX, index=index)
        for index, (name, config) in enumerate(SPECIMENS.items())
        for level in LEVELS
    ]
    return Plan(tuple(scenes), DOSES_E_PER_A2)


def quick_plan() -> Plan:
    """Two specimens of about 180 atoms, two imperfections, one dose; PRISM with coarser slices and scan."""
    scenes = [
        _scene(
            name,
            level,
            engine="prism",
            specimen=config,
            volume=_SMALL_BOX,
            index=index,
            optics=QUICK_OPTICS,
        )
        for index, (name, config) in enumerate(QUICK_SPECIMENS.items())
        for level in ("none", "middle")
    ]
    return Plan(tuple(scenes), QUICK_DOSES_E_PER_A2)


def particle_engines(names: Sequence[str]) -> tuple[EngineName, ...]:
    """Check the names of the engines that a particle may be imaged with, each once."""
    allowed: tuple[EngineName, ...] = ("linear", "prism")
    for name in names:
        if name not in allowed:
            raise ValueError(f"--particle-engine is {name!r}; allowed is {' or '.join(allowed)}")
    return tuple(engine for engine in allowed if engine in names)


def with_particle(plan: Plan, path: Path, *, engines: Sequence[EngineName]) -> Plan:
    """Add the structure of a file at every level and dose of a plan, in a box of 51 Å.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--particle {path}: no such file; give one that ASE reads (xyz, cif, …)")
    levels = dict.fromkeys(scene.imperfection for scene in plan.scenes)
    config = FileSpecimen(kind="file", path=str(path))
    added = [
        _scene(path.stem, level, engine=engine, specimen=config, volume=_LARGE_BOX, index=len(SPECIMENS))
        for engine in engines
        for level in levels
    ]
    return Plan((*plan.scenes, *added), plan.doses_e_per_A2)


def command_of(plan: Plan) -> str:
    """Write the command that fills a plan: with ``--quick``, and the file that was added to it."""
    words = ["picotome benchmark --out benchmark"]
    if plan.doses_e_per_A2 == QUICK_DOSES_E_PER_A2:
        words.append("--quick")
    files = {
        (config.path, scene.series.engine): None
        for scene in plan.scenes
        if isinstance(config := scene.series.specimen, FileSpecimen)
    }
    words += dict.fromkeys(f"--particle {Path(path).name}" for path, _ in files)
    words += (f"--particle-engine {engine}" for _, engine in files)
    return " ".join(words)


def _scene(
    name: str,
    level: str,
    *,
    engine: EngineName,
    specimen: SpecimenConfig,
    volume: VolumeConfig,
    index: int,
    optics: OpticsConfig = OPTICS,
) -> Scene:
    series = SeriesRecipe(
        name=f"{name}_{level}_{engine}",
        specimen=specimen,
        engine=engine,
        volume=volume,
        optics=optics,
        acquisition=LEVELS[level].acquisition,
        seed=SEED,
        index=index,
    )
    return Scene(name, level, series, RefinementConfig(geometry=LEVELS[level].geometry))
