"""Every knob of picotome with its unit, range and meaning.

A `Recipe` determines a whole run: the same recipe gives the same particles, images and tomograms bit for
bit. Sections are frozen and refuse unknown keys, so that ``dose: 100`` (a missing unit) is an error and not
a silent default. A *range* is ``[low, high]``; one number means that value exactly. The sections of
specimens and imaging are in modules of their own beside this one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from picotome.configs.fields import Range, Section, Symbol, Within
from picotome.configs.imaging import (
    AcquisitionConfig,
    EngineName,
    OpticsConfig,
    SimulationConfig,
    VolumeConfig,
    plan_tilts,
)
from picotome.configs.specimens import CoreShellSpecimen, SpecimenConfigs, WulffSpecimen
from picotome.configs.substrate import STEEPEST_DEG, SubstrateConfig

SolverName = Literal["sirt", "wbp"]
GeometryName = Literal["tilt", "turns", "shifts", "defocus"]

# Narrower peaks are not sampled well enough to place an atom to a picometre.
_SMALLEST_SIGMA_VOXELS = 0.7


class ReconstructionConfig(Section):
    """From tilt series to degraded tomogram."""

    solver: SolverName = Field("sirt", description="sirt (positive, each pixel by its noise) or wbp")
    n_iterations: int = Field(30, ge=1, le=1000, description="iterations of an iterative solver")
    align: bool = Field(False, description="first shift the images to a common centre of mass")
    subtract_background: bool | None = Field(
        None,
        description="first subtract from each image its mean outside of the particle; null: with a substrate",
    )


class IdealConfig(Section):
    """The tomogram that the network should make: one Gaussian for each atom."""

    peak_sigma_A: float = Field(0.45, gt=0.1, le=2, description="sigma of each peak, Å (0.45: B = 4 Å²)")


class StorageConfig(Section):
    """How the tomograms of a dataset are kept."""

    precision: Literal["float32", "float16"] = Field(
        "float32", description="of stored volumes; float16: half the size, voxels off by 0.05 % at most"
    )


class RefinedConfig(Section):
    """Tomograms made as `picotome reconstruct --refined` makes them: of a geometry that is nearly right.

    Pairs are not refined, which takes seconds each. They are reconstructed with the true geometry but for
    errors of the size that a refinement of the raw trace leaves, whose rms each particle draws.
    """

    share: float = Field(0.5, gt=0, le=1, description="of the pairs to learn from and to choose by")
    tilt_error_rms_deg: Annotated[Range, Within(0, 10)] = Field(
        (0.0, 0.4), description="left in each of the three angles of an image, rms, °"
    )
    shift_error_rms_A: Annotated[Range, Within(0, 5)] = Field(
        (0.0, 0.05), description="left in each shift, rms, Å"
    )
    defocus_error_rms_A: Annotated[Range, Within(0, 100)] = Field(
        (0.0, 6.0), description="left in the plane of focus, rms, Å"
    )
    gain_error_rms: Annotated[Range, Within(0, 0.5)] = Field(
        (0.0, 0.02), description="left in the relative brightness of an image, rms"
    )


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
    online: bool = Field(
        False,
        description="pairs to learn from are made while training, on its device, n_train new ones in every "
        "epoch, and never stored",
    )
    specimens: SpecimenConfigs = Field(
        (WulffSpecimen(kind="wulff"), CoreShellSpecimen(kind="core_shell")),
        min_length=1,
        description="kinds of specimen, taken in turn, or at random where their weights differ",
    )
    acquisition: AcquisitionConfig | None = Field(None, description="default: as for the held-out specimens")
    tilt_max_deg: Annotated[Range, Within(10, 90)] | None = Field(
        None, description="tilts of ± this, drawn per particle, at the acquisition's step; null: as there, °"
    )
    tilt_step_deg: Annotated[Range, Within(0.2, 60)] | None = Field(
        None, description="step between tilts, drawn per particle; null: as in the acquisition, °"
    )
    simulation: SimulationConfig | None = Field(
        None, description="many series from each particle that a wave engine images; null: one"
    )
    refined: RefinedConfig | None = Field(
        None, description="tomograms of a refined geometry among them; null: all as the images are told to be"
    )

    @model_validator(mode="after")
    def _enough_particles(self) -> TrainingSetConfig:
        if self.n_prism > self.n_train:
            raise ValueError(f"n_prism is {self.n_prism}, more than n_train {self.n_train}: lower it")
        return self

    @model_validator(mode="after")
    def _something_to_simulate(self) -> TrainingSetConfig:
        if self.simulation is not None and self.engine == "linear" and self.n_prism == 0:
            raise ValueError(
                "simulation saves the time of the wave engines, but engine is linear and n_prism 0: nothing "
                "would be shared; set n_prism or engine, or leave simulation out"
            )
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
    n_loader_workers: int | None = Field(
        None, ge=0, le=64, description="processes that read patches ahead; null: by device, length and cores"
    )
    peak_weight: float = Field(
        0.0,
        ge=0,
        description="extra weight of atoms, true or drawn, in the squared error: as if all were as bright",
    )


class TracingConfig(Section):
    """From tomogram to atoms."""

    min_distance_A: float = Field(1.8, gt=0.5, le=5, description="atoms are never closer than this, Å")
    elements: tuple[Symbol, ...] | None = Field(
        None,
        min_length=1,
        description="elements that can be told: those of them that a specimen has; default: all that it has",
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
    elements: tuple[Symbol, ...] | None = Field(
        None,
        min_length=1,
        description="true atoms that are scored, where others cannot be seen (O beside Ba); null: all",
    )


class Recipe(Section):
    """Everything that determines a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="name of the recipe, used in titles")
    seed: int = Field(0, ge=0, lt=2**63, description="one seed for everything that is drawn")
    volume: VolumeConfig = VolumeConfig()
    optics: OpticsConfig = OpticsConfig()
    acquisition: AcquisitionConfig = AcquisitionConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    ideal: IdealConfig = IdealConfig()
    storage: StorageConfig = StorageConfig()
    training_set: TrainingSetConfig = TrainingSetConfig()
    engine: EngineName = Field("prism", description="engine of the held-out specimens")
    specimens: SpecimenConfigs = Field(
        (WulffSpecimen(kind="wulff"), CoreShellSpecimen(kind="core_shell")),
        min_length=1,
        description="held-out specimens, never trained on",
    )
    n_held_out: int | None = Field(
        None, ge=1, le=100_000, description="held-out particles, kinds taken in turn; default: one of each"
    )
    substrate: SubstrateConfig | None = Field(None, description="what every particle lies on; null: vacuum")
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    tracing: TracingConfig = TracingConfig()
    refinement: RefinementConfig = RefinementConfig()
    scoring: ScoringConfig = ScoringConfig()

    @property
    def learned_acquisition(self) -> AcquisitionConfig:
        """Acquisition of the training set."""
        return self.training_set.acquisition or self.acquisition

    @property
    def learned_steps_deg(self) -> tuple[float, float]:
        """Smallest and largest mean step between the tilts of any particle of the training set."""
        step_deg = self.learned_acquisition.tilt_step_deg
        return self.training_set.tilt_step_deg or (step_deg, step_deg)

    @property
    def learned_tilts_deg(self) -> tuple[float, float]:
        """Smallest and largest tilt that any particle of the training set may be planned to have."""
        acquisition, drawn = self.learned_acquisition, self.training_set.tilt_max_deg
        if drawn is None:
            return acquisition.widest_tilts_deg
        return acquisition.tilt_offset_deg[0] - drawn[1], acquisition.tilt_offset_deg[1] + drawn[1]

    @model_validator(mode="after")
    def _refined_geometry_needs_sirt(self) -> Recipe:
        if self.training_set.refined is not None and self.reconstruction.solver != "sirt":
            raise ValueError(
                f"training_set.refined is set and reconstruction.solver is {self.reconstruction.solver!r}, "
                "which knows one tilt axis and no turns; allowed with it is sirt"
            )
        return self

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
        self._check_offset()
        steps, step_deg = self.training_set.tilt_step_deg, self.acquisition.tilt_step_deg
        if steps is not None and not steps[0] <= step_deg <= steps[1]:
            raise ValueError(
                f"acquisition has one image for every {step_deg:.3g}° ({self.acquisition.n_tilts} tilts from "
                f"{self.acquisition.tilt_min_deg:g} to {self.acquisition.tilt_max_deg:g}°), outside the "
                f"{steps[0]:g} to {steps[1]:g}° of training_set.tilt_step_deg: the network would be used on "
                "tomograms of more or fewer images than it has learned; widen the range"
            )
        learned = self.training_set.acquisition if drawn is None else None
        keys = ("tilt_min_deg", "tilt_max_deg", *(() if steps else ("n_tilts",)), "scheme")
        for key in keys if learned else ():
            found, wanted = getattr(learned, key), getattr(self.acquisition, key)
            if found != wanted:
                raise ValueError(
                    f"training_set.acquisition.{key} is {found}, acquisition.{key} {wanted}: the network "
                    "would learn another wedge than it is used on; set both alike"
                )
        return self

    def _check_offset(self) -> None:
        """Hold the direction of the wedge against what the network learns."""
        where = "acquisition" if self.training_set.acquisition is None else "training_set.acquisition"
        found, learned = self.acquisition.tilt_offset_deg, self.learned_acquisition.tilt_offset_deg
        if found[0] < learned[0] or found[1] > learned[1]:
            raise ValueError(
                f"acquisition.tilt_offset_deg is {list(found)}, outside the {list(learned)} of "
                f"{where}.tilt_offset_deg: the network would be used on a wedge that it has not learned; "
                "widen that range"
            )
        low, high = self.learned_tilts_deg
        if low < -90.0 or high > 90.0:
            raise ValueError(
                f"training_set.tilt_max_deg and {where}.tilt_offset_deg together reach from {low:g} to "
                f"{high:g}°; allowed is -90 to 90: narrow one of them"
            )

    @model_validator(mode="after")
    def _substrate_is_not_seen_edge_on(self) -> Recipe:
        series = {"acquisition": self.acquisition, "training_set.acquisition": self.training_set.acquisition}
        steepest = {
            f"{where}.{key}": abs(tilt_deg)
            for where, acquisition in series.items()
            if acquisition is not None
            for key, tilt_deg in zip(
                ("tilt_min_deg", "tilt_max_deg"), acquisition.widest_tilts_deg, strict=True
            )
        }
        if self.training_set.tilt_max_deg is not None:
            steepest["training_set.tilt_max_deg"] = max(map(abs, self.learned_tilts_deg))
        for key, tilt_deg in steepest.items() if self.substrate else ():
            if tilt_deg > STEEPEST_DEG:
                raise ValueError(
                    f"{key} reaches {tilt_deg:g}° with a substrate; allowed is {STEEPEST_DEG:g}°: tilt "
                    "less, or leave substrate out"
                )
        return self

    @model_validator(mode="after")
    def _simulation_covers_tilts(self) -> Recipe:
        chosen = self.training_set
        simulation, drawn = chosen.simulation, chosen.tilt_max_deg
        if simulation is None:
            return self
        if self.substrate is not None:
            raise ValueError(
                "training_set.simulation and substrate are both set; series are not yet drawn from "
                "simulations with a substrate: leave one of them out"
            )
        acquisition = self.learned_acquisition
        if acquisition.scheme != "single_axis":
            raise ValueError(
                f"training_set.simulation is set and the scheme is {acquisition.scheme}; allowed with it is "
                "single_axis: leave training_set.simulation out"
            )
        planned = plan_tilts(
            acquisition,
            tilt_max_deg=None if drawn is None else drawn[1],
            tilt_step_deg=self.learned_steps_deg[0],
        )
        low, high = self.learned_tilts_deg
        if low < simulation.tilt_min_deg or high > simulation.tilt_max_deg:
            raise ValueError(
                f"training_set.simulation covers {simulation.tilt_min_deg:g} to "
                f"{simulation.tilt_max_deg:g}°, but series reach from {low:g} to {high:g}°: widen its "
                "tilt_min_deg and tilt_max_deg"
            )
        if planned.n_tilts > simulation.n_tilts:
            raise ValueError(
                f"training_set.simulation has {simulation.n_tilts} tilts, fewer than the {planned.n_tilts} "
                "images of a series: lower training_set.simulation.tilt_step_deg"
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
