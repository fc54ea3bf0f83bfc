"""How a specimen is imaged: box, engines, optics, acquisition."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from picotome.configs.fields import Range, Section, Symbol, Within
from picotome.units import wavelength_A

EngineName = Literal["prism", "multislice", "linear"]
SchemeName = Literal["single_axis", "dual_axis"]


class VolumeConfig(Section):
    """The box that everything is imaged and reconstructed in."""

    n_voxels: int = Field(64, ge=16, le=1024, description="voxels along each edge; images are n × n")
    voxel_size_A: float = Field(0.4, gt=0.05, le=2.0, description="edge of a voxel and of a pixel, Å")


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
    lens_strength_A2: Annotated[Range, Within(0, 0.2)] = Field(
        (0.0, 0.0),
        description="strength of each atom as a lens for those behind it, Å² (Ni, Pd and Pt: 0.036); "
        "`picotome calibrate` fits it",
    )
    lens_width_A: float = Field(0.11, ge=0.05, le=1, description="width of that lens's focus, sigma, Å")


class AbtemConfig(Section):
    """The wave engines: abTEM's PRISM and plain multislice."""

    sampling_A: float = Field(0.068, gt=0.005, le=0.2, description="largest pixel of the wave function, Å")
    slice_thickness_A: float = Field(2.0, gt=0.1, le=10, description="thickness of a potential slice, Å")
    prism_window_A: float = Field(6.8, ge=4, description="smallest width of the interpolated PRISM probe, Å")
    scan_step_A: float = Field(0.28, gt=0.02, le=1, description="largest step of the probe before binning, Å")
    vacuum_A: float = Field(1.5, ge=1, description="empty space around the atoms in the periodic cell, Å")
    n_frozen_phonons: int = Field(0, ge=0, le=1000, description="configurations averaged; 0: atoms at rest")
    phonon_rms_A: float = Field(0.07, ge=0, le=0.5, description="thermal displacement, rms per axis, Å")
    element_phonon_rms_A: dict[Symbol, Annotated[float, Field(ge=0, le=0.5)]] = Field(
        {}, description="the same by element, Å; overrides the number above"
    )


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
    c30_um: float = Field(0.0, ge=-5e3, le=5e3, description="spherical aberration C30 (Cs), µm")
    c50_mm: float = Field(0.0, ge=-1e3, le=1e3, description="spherical aberration of fifth order C50, mm")
    focal_spread_A: float = Field(
        0.0, ge=0, le=200, description="spread of the focus by energy and lens current, standard deviation, Å"
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
    n_tilts: int = Field(21, ge=2, le=1000, description="images about one axis, equally spaced in angle")
    scheme: SchemeName = Field(
        "single_axis", description="dual_axis: all tilts again, the specimen turned by 90° about the beam"
    )
    tilts_deg: tuple[Annotated[float, Field(ge=-90, le=90)], ...] | None = Field(
        None,
        min_length=2,
        max_length=1000,
        description="any list of tilts, degrees; it sets the three knobs above; null: equal steps",
    )
    tilt_offset_deg: Annotated[Range, Within(-60, 60)] = Field(
        (0.0, 0.0), description="added to all tilts, which the user knows: where the missing wedge points, °"
    )
    tilt_jitter_rms_deg: Annotated[Range, Within(0, 5)] = Field(
        (0.0, 0.0), description="departure of the tilts from their plan, which the user knows, rms, °"
    )
    missing_fraction: Annotated[Range, Within(0, 0.9)] = Field(
        (0.0, 0.0), description="part of the images that is lost, at random; two are always kept"
    )
    dose_e_per_A2: Range | None = Field(
        (1e4, 1e4), description="incident electrons per Å² and image (log-uniform); null: no noise"
    )
    tilt_error_rms_deg: Annotated[Range, Within(0, 5)] = Field(
        (0.0, 0.0), description="unknown rotation about each axis, rms, °"
    )
    shift_error_rms_A: Annotated[Range, Within(0, 5)] = Field(
        (0.0, 0.0), description="unknown shift along x and y, rms, Å"
    )
    defocus_rms_A: Annotated[Range, Within(0, 50)] = Field(
        (0.0, 0.0), description="unknown change of the defocus from image to image, rms, Å (normal)"
    )
    gain_rms: Annotated[Range, Within(0, 0.5)] = Field(
        (0.0, 0.0), description="relative change of brightness from image to image, rms"
    )
    background: Range = Field(
        (0.0, 0.0), description="uniform background as a fraction of the brightest pixel"
    )
    background_rms: Annotated[Range, Within(0, 1)] = Field(
        (0.0, 0.0), description="relative change of the background from image to image, rms"
    )
    background_slope_rms: Annotated[Range, Within(0, 1)] = Field(
        (0.0, 0.0), description="change of the background across the frame, over its mean, rms along x and y"
    )
    scan_drift_rms_A: Annotated[Range, Within(0, 10)] = Field(
        (0.0, 0.0), description="drift of the specimen while a frame is scanned, rms along x and y, Å"
    )
    line_jitter_rms_A: Annotated[Range, Within(0, 2)] = Field(
        (0.0, 0.0), description="displacement of each scan line (fast axis: x), rms along x and y, Å"
    )
    readout_noise_e: Annotated[Range, Within(0, 1e4)] = Field(
        (0.0, 0.0), description="noise of the detector beside counting, rms, electrons per pixel"
    )

    @property
    def widest_tilts_deg(self) -> tuple[float, float]:
        """Smallest and largest tilt that any particle may be planned to have."""
        return self.tilt_min_deg + self.tilt_offset_deg[0], self.tilt_max_deg + self.tilt_offset_deg[1]

    @property
    def tilt_step_deg(self) -> float:
        """Mean step between the planned tilts about one axis."""
        return (self.tilt_max_deg - self.tilt_min_deg) / (self.n_tilts - 1)

    @model_validator(mode="before")
    @classmethod
    def _listed_tilts(cls, data: Any) -> Any:
        """Let a list of tilts set the ends and the number, for all who ask for them."""
        listed = data.get("tilts_deg") if isinstance(data, dict) else None
        try:
            tilts = [float(tilt) for tilt in listed or ()]
        except (TypeError, ValueError):
            # The field itself says what is wrong.
            return data
        if len(tilts) < 2:
            return data
        return {**data, "tilt_min_deg": min(tilts), "tilt_max_deg": max(tilts), "n_tilts": len(tilts)}

    @model_validator(mode="after")
    def _tilts_ascend(self) -> AcquisitionConfig:
        if self.tilt_max_deg <= self.tilt_min_deg:
            raise ValueError(
                f"tilt_max_deg is {self.tilt_max_deg:g}, not above tilt_min_deg {self.tilt_min_deg:g}"
            )
        low, high = self.widest_tilts_deg
        if low < -90.0 or high > 90.0:
            raise ValueError(
                f"with tilt_offset_deg {list(self.tilt_offset_deg)} tilts reach from {low:g} to {high:g}°; "
                "allowed is -90 to 90: narrow tilt_offset_deg, or the tilts"
            )
        if self.dose_e_per_A2 is None and self.readout_noise_e[1] > 0.0:
            raise ValueError(
                f"readout_noise_e reaches {self.readout_noise_e[1]:g} but dose_e_per_A2 is null (no noise): "
                "electrons per pixel need a dose; state one, or set readout_noise_e to 0"
            )
        if self.dose_e_per_A2 is not None and self.dose_e_per_A2[0] <= 0:
            raise ValueError(
                f"dose_e_per_A2 starts at {self.dose_e_per_A2[0]:g}; "
                f"allowed is more than 0, or null (no noise)"
            )
        return self


def plan_tilts(
    acquisition: AcquisitionConfig, *, tilt_max_deg: float | None = None, tilt_step_deg: float | None = None
) -> AcquisitionConfig:
    """Tilt to ± another maximum, or in other equal steps, or both.

    The number of images is the one whose step comes nearest to the wanted one; None keeps the acquisition's.
    """
    if tilt_max_deg is None and tilt_step_deg is None:
        return acquisition
    ends = {"tilt_min_deg": acquisition.tilt_min_deg, "tilt_max_deg": acquisition.tilt_max_deg}
    if tilt_max_deg is not None:
        ends = {"tilt_min_deg": -tilt_max_deg, "tilt_max_deg": tilt_max_deg}
    span_deg = ends["tilt_max_deg"] - ends["tilt_min_deg"]
    n_steps = round(span_deg / (tilt_step_deg or acquisition.tilt_step_deg))
    return acquisition.model_copy(update={"tilts_deg": None, **ends, "n_tilts": max(n_steps, 1) + 1})


class SimulationConfig(Section):
    """One simulation for many series: a particle is imaged noise-free at a wide, fine list of tilts."""

    n_series: int = Field(
        10, ge=2, le=1000, description="pairs drawn from each simulated particle; one after the other"
    )
    tilt_min_deg: float = Field(-75.0, ge=-90, le=90, description="first simulated tilt, degrees")
    tilt_max_deg: float = Field(75.0, ge=-90, le=90, description="last simulated tilt, degrees")
    tilt_step_deg: float = Field(
        2.0, gt=0, le=30, description="largest step between simulated tilts, degrees"
    )

    @property
    def n_tilts(self) -> int:
        """Simulated images."""
        return math.ceil((self.tilt_max_deg - self.tilt_min_deg) / self.tilt_step_deg - 1e-9) + 1

    @model_validator(mode="after")
    def _tilts_ascend(self) -> SimulationConfig:
        if self.tilt_max_deg <= self.tilt_min_deg:
            raise ValueError(
                f"tilt_max_deg is {self.tilt_max_deg:g}, not above tilt_min_deg {self.tilt_min_deg:g}"
            )
        return self
