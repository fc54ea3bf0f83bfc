"""Every knob of picotome with its unit, range and meaning.

A `Recipe` determines a whole run: the same recipe gives the same particles, images and tomograms bit for
bit. Sections are frozen and refuse unknown keys, so that ``dose: 100`` (a missing unit) is an error and not
a silent default. A *range* is ``[low, high]``; one number means that value exactly.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from picotome.units import wavelength_A

SolverName = Literal["sirt", "wbp"]
EngineName = Literal["prism", "multislice", "linear"]
GeometryName = Literal["tilt", "turns", "shifts", "defocus"]


def _as_range(value: Any) -> Any:
    if isinstance(value, str):
        # YAML 1.1 reads 1e4 as text, and everybody writes a dose so.
        with suppress(ValueError):
            value = float(value)
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [low, high]; found {list(value)}: swap the two")
    return value


@dataclass(frozen=True)
class _Within:
    """Limits of both ends of a range; the reference reads them like those of a number."""

    ge: float
    le: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: tuple[float, float]) -> tuple[float, float]:
        for end in value:
            if not self.ge <= end <= self.le:
                raise ValueError(f"found {end:g}; allowed is {self.ge:g} to {self.le:g}")
        return value


def _known_symbol(value: str) -> str:
    from ase.data import atomic_numbers

    if value not in atomic_numbers or value == "X":
        raise ValueError(f"found {value!r}; allowed is a chemical symbol such as Pt")
    return value


Range = Annotated[tuple[float, float], BeforeValidator(_as_range), AfterValidator(_ordered)]
Symbol = Annotated[str, AfterValidator(_known_symbol)]


# Narrower peaks are not sampled well enough to place an atom to a picometre.
_SMALLEST_SIGMA_VOXELS = 0.7
_COMPOSITION_TOLERANCE = 1e-3


class Section(BaseModel):
    """A frozen group of knobs that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VolumeConfig(Section):
    """The box that everything is imaged and reconstructed in."""

    n_voxels: int = Field(64, ge=16, le=1024, description="voxels along each edge; images are n × n")
    voxel_size_A: float = Field(0.4, gt=0.05, le=2.0, description="edge of a voxel and of a pixel, Å")


class DisorderConfig(Section):
    """What moves atoms off their lattice sites, beyond relaxation."""

    strain_rms: float = Field(0.01, ge=0, le=0.2, description="rms of the smooth strain field's components")
    strain_length_A: float = Field(10.0, gt=1.0, description="correlation length of the strain field, Å")
    displacement_rms_A: float = Field(
        0.05, ge=0, le=0.5, description="static displacement of each atom, rms per axis, Å (normal)"
    )
    displacement_half_width_A: float = Field(
        0.0, ge=0, le=1.0, description="static displacement, uniform within ± this per axis, Å"
    )


class _Particle(Section):
    diameter_A: Range = Field((16.0, 20.0), description="diameter of the sphere of equal volume, Å")
    facet_jitter: float = Field(
        0.08, ge=0, le=0.5, description="relative rms change of each facet's distance from the centre"
    )
    disorder: DisorderConfig = DisorderConfig()
    rotate: bool = Field(True, description="free random orientation")


class WulffSpecimen(_Particle):
    """An f.c.c. particle of one element cut by a jittered Wulff construction."""

    kind: Literal["wulff"]
    element: Symbol = "Pt"
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: ASE's"
    )


class CoreShellSpecimen(_Particle):
    """A particle with a core of one f.c.c. element and a shell of another; misfit relaxed with EMT."""

    kind: Literal["core_shell"]
    core: Symbol = "Pd"
    shell: Symbol = "Pt"
    shell_thickness_A: Range = Field((2.5, 4.5), description="thickness of the shell, Å")
    relax: bool = Field(True, description="relax the misfit with ASE's EMT (Al, Cu, Ag, Au, Ni, Pd, Pt)")

    @model_validator(mode="after")
    def _shell_leaves_a_core(self) -> CoreShellSpecimen:
        if 2.0 * self.shell_thickness_A[1] >= self.diameter_A[0]:
            raise ValueError(
                f"shell_thickness_A reaches {self.shell_thickness_A[1]:g}, half of the smallest diameter_A "
                f"{self.diameter_A[0]:g} or more; leave room for a core"
            )
        return self


class BlobSpecimen(Section):
    """A random connected union of spheres cut from an f.c.c. lattice: the shape of the published recipe."""

    kind: Literal["blob"]
    element: Symbol = "Pt"
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: ASE's"
    )
    diameter_A: Range = Field((20.0, 40.0), description="diameter of the sphere of equal volume, Å")
    n_spheres: int = Field(5, ge=1, le=100, description="spheres in the union")
    disorder: DisorderConfig = DisorderConfig()
    rotate: bool = Field(True, description="free random orientation")


class AlloySpecimen(_Particle):
    """An f.c.c. particle of several elements: random, ordered, with a skin or with short-range order."""

    kind: Literal["alloy"]
    composition: dict[Symbol, Annotated[float, Field(gt=0, le=1)]] = Field(
        {"Pt": 0.5, "Ni": 0.5}, min_length=1, description="fraction of the atoms by element; sum 1"
    )
    order: Literal["random", "L1_0", "L1_2"] = Field(
        "random", description="L1_0: planes of the two main elements in turn; L1_2: the second on the corners"
    )
    surface: Symbol | None = Field(
        None, description="element of the outermost layer (a Pt skin); null: as the inside"
    )
    short_range_order: float | None = Field(
        None,
        ge=-0.3,
        le=0.7,
        description="Warren-Cowley α of nearest neighbours, two main elements (unlike: -); null: chance",
    )
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: Vegard's law with ASE's"
    )
    relax: bool = Field(False, description="relax with ASE's EMT (Al, Cu, Ag, Au, Ni, Pd, Pt)")

    @model_validator(mode="after")
    def _elements_fit(self) -> AlloySpecimen:
        total = sum(self.composition.values())
        if abs(total - 1.0) > _COMPOSITION_TOLERANCE:
            raise ValueError(
                f"composition adds up to {total:g}; allowed is 1: these are fractions of the atoms"
            )
        if self.surface is not None and self.surface not in self.composition:
            raise ValueError(
                f"surface is {self.surface}; allowed is an element of the composition: "
                f"{', '.join(self.composition)}"
            )
        wanted = [
            key
            for key, is_set in (
                ("order", self.order != "random"),
                ("short_range_order", self.short_range_order is not None),
            )
            if is_set
        ]
        if wanted and len(self.composition) == 1:
            raise ValueError(f"{wanted[0]} is set for one element; give composition two or more")
        if len(wanted) == 2:
            raise ValueError(f"short_range_order is set with order {self.order}; allowed is order random")
        return self


class FileSpecimen(Section):
    """Any structure that ASE reads; centred in the box."""

    kind: Literal["file"]
    path: str = Field(description="file that ASE reads (xyz, cif, POSCAR, …)")
    rotate: bool = Field(False, description="free random orientation")


SpecimenConfig = Annotated[
    WulffSpecimen | CoreShellSpecimen | BlobSpecimen | AlloySpecimen | FileSpecimen,
    Field(discriminator="kind"),
]


class LinearConfig(Section):
    """The fast engine: every atom adds one peak of known integral and shape."""

    brightness_A2: dict[Symbol, Annotated[float, Field(gt=0)]] = Field(
        {}, description="cross-section for scattering onto the detector by element, Å²; default: from f(k)"
    )
    debye_waller_A2: dict[Symbol, Annotated[float, Field(ge=0)]] = Field(
        {}, description="B factor by element, Å²; overrides the default below"
    )
    default_debye_waller_A2: Range = Field((0.35, 0.35), description="B of all other elements, Å²")
    extra_blur_A: Range = Field(
        (0.0, 0.0), description="further blur per particle (drift, lens errors), sigma, Å"
    )
    saturation: Range = Field(
        (0.0, 0.0), description="s in I -> I (1 - s I / max I): channelling loss of the thickest parts"
    )
    lens_A2: Annotated[Range, _Within(0, 0.2)] = Field(
        (0.0, 0.0),
        description="strength of each atom as a lens for those behind it, Å²; `picotome calibrate` fits it",
    )
    lens_width_A: float = Field(0.15, ge=0.05, le=1, description="width of that lens's focus, sigma, Å")


class AbtemConfig(Section):
    """The wave engines: abTEM's PRISM and plain multislice."""

    sampling_A: float = Field(0.068, gt=0.005, le=0.2, description="largest pixel of the wave function, Å")
    slice_thickness_A: float = Field(2.0, gt=0.1, le=10, description="thickness of a potential slice, Å")
    prism_window_A: float = Field(6.8, ge=4, description="smallest width of the interpolated PRISM probe, Å")
    scan_step_A: float = Field(0.28, gt=0.02, le=1, description="largest step of the probe before binning, Å")
    vacuum_A: float = Field(1.5, ge=1, description="empty space around the atoms in the periodic cell, Å")
    n_frozen_phonons: int = Field(0, ge=0, le=1000, description="configurations averaged; 0: atoms at rest")
    phonon_rms_A: float = Field(0.07, ge=0, le=0.5, description="thermal displacement, rms per axis, Å")


class OpticsConfig(Section):
    """The microscope. Which engine honours what is said in docs/stages.md."""

    beam_energy_eV: float = Field(300e3, ge=20e3, le=1.5e6, description="beam energy, eV")
    convergence_mrad: float = Field(30.0, gt=1, le=80, description="semi-angle of the probe, mrad")
    detector_inner_mrad: float = Field(40.0, gt=0, description="inner semi-angle of the annulus, mrad")
    detector_outer_mrad: float = Field(95.0, gt=0, description="outer semi-angle of the annulus, mrad")
    source_size_A: float = Field(0.35, ge=0, le=2, description="effective source size, sigma, Å")
    defocus_A: float = Field(
        0.0,
        ge=-200,
        le=200,
        description="how far beyond the middle of the specimen the probe is focused, Å (along the beam: +)",
    )
    linear: LinearConfig = LinearConfig()
    abtem: AbtemConfig = AbtemConfig()

    @model_validator(mode="after")
    def _angles_fit(self) -> OpticsConfig:
        if self.detector_outer_mrad <= self.detector_inner_mrad:
            raise ValueError(
                f"detector_outer_mrad is {self.detector_outer_mrad:g}, not above detector_inner_mrad "
                f"{self.detector_inner_mrad:g}"
            )
        # abTEM's anti-aliasing keeps two thirds of the Nyquist angle.
        largest = wavelength_A(self.beam_energy_eV) / (3.0 * self.abtem.sampling_A) * 1e3
        if self.detector_outer_mrad > largest:
            needed = wavelength_A(self.beam_energy_eV) / (3.0 * self.detector_outer_mrad * 1e-3)
            raise ValueError(
                f"detector_outer_mrad is {self.detector_outer_mrad:g}, beyond the {largest:.1f} mrad that "
                f"abtem.sampling_A = {self.abtem.sampling_A:g} allows; set abtem.sampling_A to "
                f"{math.floor(needed * 1e4) / 1e4:g} or less"
            )
        if self.convergence_mrad >= self.detector_inner_mrad:
            raise ValueError(
                f"convergence_mrad is {self.convergence_mrad:g}, not below detector_inner_mrad "
                f"{self.detector_inner_mrad:g}: the detector would see the direct beam"
            )
        return self


class AcquisitionConfig(Section):
    """How the series is recorded, and what goes wrong while it is; ranges are drawn once per particle."""

    tilt_min_deg: float = Field(-65.0, ge=-90, le=90, description="first tilt, degrees")
    tilt_max_deg: float = Field(65.0, ge=-90, le=90, description="last tilt, degrees")
    n_tilts: int = Field(21, ge=2, le=1000, description="images, equally spaced in angle")
    dose_e_per_A2: Range | None = Field(
        (1e4, 1e4), description="incident electrons per Å² and image (log-uniform); null: no noise"
    )
    tilt_error_rms_deg: Annotated[Range, _Within(0, 5)] = Field(
        (0.0, 0.0), description="unknown rotation about each axis, rms, °"
    )
    shift_error_rms_A: Annotated[Range, _Within(0, 5)] = Field(
        (0.0, 0.0), description="unknown shift along x and y, rms, Å"
    )
    defocus_rms_A: Annotated[Range, _Within(0, 50)] = Field(
        (0.0, 0.0), description="unknown change of the defocus from image to image, rms, Å (normal)"
    )
    gain_rms: Annotated[Range, _Within(0, 0.5)] = Field(
        (0.0, 0.0), description="relative change of brightness from image to image, rms"
    )
    background: Range = Field(
        (0.0, 0.0), description="uniform background as a fraction of the brightest pixel"
    )

    @model_validator(mode="after")
    def _tilts_ascend(self) -> AcquisitionConfig:
        if self.tilt_max_deg <= self.tilt_min_deg:
            raise ValueError(
                f"tilt_max_deg is {self.tilt_max_deg:g}, not above tilt_min_deg {self.tilt_min_deg:g}"
            )
        if self.dose_e_per_A2 is not None and self.dose_e_per_A2[0] <= 0:
            raise ValueError(
                f"dose_e_per_A2 starts at {self.dose_e_per_A2[0]:g}; "
                f"allowed is more than 0, or null (no noise)"
            )
        return self


class ReconstructionConfig(Section):
    """From tilt series to degraded tomogram."""

    solver: SolverName = Field("sirt", description="sirt (positive, with momentum) or wbp")
    n_iterations: int = Field(30, ge=1, le=1000, description="iterations of an iterative solver")
    align: bool = Field(False, description="first shift the images to a common centre of mass")


class IdealConfig(Section):
    """The tomogram that the network should make: one Gaussian for each atom."""

    peak_sigma_A: float = Field(0.45, gt=0.1, le=2, description="sigma of each peak, Å (0.45: B = 4 Å²)")


class TrainingSetConfig(Section):
    """The particles that the network learns from; split by particle, never by patch."""

    n_train: int = Field(100, ge=1, le=1_000_000, description="particles to learn from")
    n_validation: int = Field(10, ge=1, le=100_000, description="particles to choose the best epoch by")
    engine: EngineName = "linear"
    n_prism: int = Field(
        0,
        ge=0,
        description="this many of the particles to learn from, the first ones, are imaged by PRISM instead",
    )
    specimens: tuple[SpecimenConfig, ...] = Field(
        (WulffSpecimen(kind="wulff"), CoreShellSpecimen(kind="core_shell")),
        min_length=1,
        description="specimen kinds, taken in turn",
    )
    acquisition: AcquisitionConfig | None = Field(None, description="default: as for the held-out specimens")
    tilt_max_deg: Annotated[Range, _Within(10, 90)] | None = Field(
        None, description="tilts of ± this, drawn per particle, at the acquisition's step; null: as there, °"
    )

    @model_validator(mode="after")
    def _enough_particles(self) -> TrainingSetConfig:
        if self.n_prism > self.n_train:
            raise ValueError(f"n_prism is {self.n_prism}, more than n_train {self.n_train}: lower it")
        return self


class NetworkConfig(Section):
    """The 3D U-Net."""

    channels: tuple[int, int, int, int, int, int] = Field(
        (16, 16, 32, 64, 128, 16), description="channels of the five levels and of the last layer"
    )


class TrainingConfig(Section):
    """How the network is trained."""

    # Below 48 the deepest level is 2³ voxels, where torch's bf16 weight gradient on CPUs is garbage (2.13).
    patch_voxels: int = Field(48, ge=48, le=512, multiple_of=16, description="edge of a training patch")
    batch_size: int = Field(1, ge=1, le=1024, description="patches in a step")
    n_epochs: int = Field(10, ge=1, le=100_000, description="passes over the training particles")
    patches_per_particle: int = Field(1, ge=1, le=1000, description="patches per particle and epoch")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak learning rate of Adam")
    peak_weight: float = Field(
        0.0, ge=0, description="extra weight in the squared error of voxels at atoms, faint ones most"
    )


class TracingConfig(Section):
    """From tomogram to atoms."""

    min_distance_A: float = Field(1.8, gt=0.5, le=5, description="atoms are never closer than this, Å")
    elements: tuple[Symbol, ...] | None = Field(
        None, description="elements of the specimen; default: those that the specimen is made of"
    )


class RefinementConfig(Section):
    """From traced to refined atoms: a fit to all images at once."""

    geometry: tuple[GeometryName, ...] = Field(
        ("tilt", "turns", "shifts"),
        description="what may be wrong with each image: tilt (about y), turns (about x, z), shifts, defocus",
    )
    brightness: Literal["atom", "element"] = Field(
        "atom", description="one brightness for each atom, or one for all atoms of an element"
    )
    gain: bool = Field(True, description="fit a relative brightness of each image")
    background: bool = Field(True, description="fit a constant background of each image")
    change_atoms: bool = Field(
        True, description="add atoms that the images call for, remove unsupported ones"
    )
    n_steps: int = Field(30, ge=1, le=1000, description="most Gauss-Newton steps of the last fit")


class ScoringConfig(Section):
    """How a trace is held against the truth."""

    radius_A: float = Field(0.75, gt=0.1, le=2, description="largest distance of a one-to-one match, Å")


class Recipe(Section):
    """Everything that determines a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="name of the recipe, used in titles")
    seed: int = Field(0, ge=0, lt=2**63, description="one seed for everything that is drawn")
    volume: VolumeConfig = VolumeConfig()
    optics: OpticsConfig = OpticsConfig()
    acquisition: AcquisitionConfig = AcquisitionConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    ideal: IdealConfig = IdealConfig()
    training_set: TrainingSetConfig = TrainingSetConfig()
    engine: EngineName = Field("prism", description="engine of the held-out specimens")
    specimens: tuple[SpecimenConfig, ...] = Field(
        (WulffSpecimen(kind="wulff"), CoreShellSpecimen(kind="core_shell")),
        min_length=1,
        description="held-out specimens, never trained on",
    )
    n_held_out: int | None = Field(
        None, ge=1, le=100_000, description="held-out particles, kinds taken in turn; default: one of each"
    )
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    tracing: TracingConfig = TracingConfig()
    refinement: RefinementConfig = RefinementConfig()
    scoring: ScoringConfig = ScoringConfig()

    @model_validator(mode="after")
    def _one_wedge(self) -> Recipe:
        drawn = self.training_set.tilt_max_deg
        for key, found in (
            ("tilt_min_deg", -self.acquisition.tilt_min_deg),
            ("tilt_max_deg", self.acquisition.tilt_max_deg),
        ):
            if drawn is not None and not drawn[0] <= found <= drawn[1]:
                raise ValueError(
                    f"acquisition.{key} is {getattr(self.acquisition, key):g}, outside the ±{drawn[0]:g} to "
                    f"±{drawn[1]:g} of training_set.tilt_max_deg: the network would be used on a wedge that "
                    "it has not learned; widen the range"
                )
        learned = self.training_set.acquisition if drawn is None else None
        for key in ("tilt_min_deg", "tilt_max_deg", "n_tilts") if learned else ():
            found, wanted = getattr(learned, key), getattr(self.acquisition, key)
            if found != wanted:
                raise ValueError(
                    f"training_set.acquisition.{key} is {found:g}, acquisition.{key} {wanted:g}: the network "
                    "would learn another wedge than it is used on; set both alike"
                )
        return self

    @model_validator(mode="after")
    def _box_holds_particles(self) -> Recipe:
        box_A = self.volume.n_voxels * self.volume.voxel_size_A
        for where, specimens in (
            ("specimens", self.specimens),
            ("training_set.specimens", self.training_set.specimens),
        ):
            for i, specimen in enumerate(specimens):
                diameter = getattr(specimen, "diameter_A", None)
                if diameter is not None and diameter[1] + 2.0 > box_A:
                    raise ValueError(
                        f"{where}[{i}].diameter_A reaches {diameter[1]:g} Å, but the box is {box_A:g} Å "
                        f"(volume.n_voxels × volume.voxel_size_A); leave at least 2 Å"
                    )
        smallest_A = _SMALLEST_SIGMA_VOXELS * self.volume.voxel_size_A
        if self.ideal.peak_sigma_A < smallest_A:
            raise ValueError(
                f"ideal.peak_sigma_A is {self.ideal.peak_sigma_A:g}, too narrow for volume.voxel_size_A "
                f"{self.volume.voxel_size_A:g}; allowed is {smallest_A:g} or more"
            )
        if self.training.patch_voxels > self.volume.n_voxels:
            raise ValueError(
                f"training.patch_voxels is {self.training.patch_voxels}, more than volume.n_voxels "
                f"{self.volume.n_voxels}"
            )
        return self
