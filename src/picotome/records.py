"""The nouns of the house: frozen records without verbs. Read this first.

Everything is in the frame of `picotome.geometry`: arrays are indexed ``[x, y, z]``, images
``[tilt, x, y]``, the beam runs along z, the tilt axis is y, the origin is voxel ``n // 2``.
Positions are in ångström relative to that origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TomogramKind = Literal["degraded", "repaired", "ideal"]


@dataclass(frozen=True, eq=False)
class Specimen:
    """True atoms.

    Attributes
    ----------
    positions_A
        (n, 3) float64, columns x, y, z, relative to the origin.
    atomic_numbers
        (n,) int64.
    description
        One line for people: what was built, with its drawn numbers.
    truth
        Per-atom fields that the builder imposed, each (n, ...): for example ``displacement_A`` (n, 3),
        the vector from the perfect lattice site to the atom.
    """

    positions_A: Array
    atomic_numbers: Array
    description: str = ""
    truth: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Substrate:
    """The slab that a specimen lies on, in the specimen's frame: never scored, never in an ideal tomogram.

    Attributes
    ----------
    positions_A
        (n, 3) float64 atoms of one period, relative to the origin.
    atomic_numbers
        (n,) int64.
    period_A
        (2,) the slab repeats by these along x and y, without end.
    thickness_A
        Along z.
    description
        One line for people.
    """

    positions_A: Array
    atomic_numbers: Array
    period_A: Array
    thickness_A: float
    description: str = ""


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """Images and what the user believes of their geometry.

    Attributes
    ----------
    images
        (n_tilts, nx, ny) float32. Simulated: detected electrons per incident electron (a fraction).
        Imported: whatever unit the detector had.
    tilt_deg
        (n_tilts,) nominal tilt about y.
    pixel_size_A
        Edge of a square pixel.
    dose_e_per_A2
        Incident electrons per Å² and image; None where unknown (imported) or noise-free.
    engine
        What made the images: ``prism``, ``multislice``, ``linear`` or ``import``.
    azimuth_deg
        (n_tilts,) how far the specimen was turned about the beam before it was tilted; None: not at all. A
        dual-axis series has images at 0 and at 90.
    truth
        What the user does not know: ``tilt_error_deg`` (n_tilts, 3) small rotations about x, y, z,
        ``shift_error_A`` (n_tilts, 2), ``defocus_A`` (n_tilts,) how far beyond the middle of the specimen,
        along the beam, the probe was focused, ``gain`` (n_tilts,) relative brightness, and ``background``
        (n_tilts,) the fraction of the incident electrons added to every pixel, gain included: an image is
        gain × atoms + background. Only where they are on: ``background_slope_per_A`` (n_tilts, 2) what is
        added to that for each Å along x and y; ``scan_drift_A`` (n_tilts, 2) how far the specimen moved
        while a frame was scanned, with the ``scan_matrix`` (n_tilts, 2, 2) that takes a place to where it
        appears; ``line_jitter_A`` (n_tilts, ny, 2) displacement of what each scan line shows; and
        ``readout_noise_e`` (n_tilts,) rms, electrons per pixel. Empty for imported series.
    """

    images: Array
    tilt_deg: Array
    pixel_size_A: float
    dose_e_per_A2: float | None = None
    engine: str = "import"
    azimuth_deg: Array | None = None
    truth: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Tomogram:
    """A volume.

    Attributes
    ----------
    volume
        (nx, ny, nz) float32; its sum over z times `voxel_size_A` is an image at zero tilt.
    voxel_size_A
        Edge of a cubic voxel.
    kind
        ``degraded`` (reconstructed through the missing wedge), ``repaired`` (by the network) or
        ``ideal`` (made from the true atoms).
    """

    volume: Array
    voxel_size_A: float
    kind: TomogramKind


@dataclass(frozen=True, eq=False)
class Pair:
    """One particle of a dataset: the truth, what the microscope saw and both tomograms.

    `substrate` is None for a particle in vacuum.
    """

    specimen: Specimen
    series: TiltSeries
    degraded: Tomogram
    ideal: Tomogram
    substrate: Substrate | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """Found atoms.

    Attributes
    ----------
    positions_A
        (n, 3) float64, relative to the origin.
    intensities
        (n,) integral of the fitted peak over the volume (tomogram unit × Å³).
    atomic_numbers
        (n,) int64; 0 where the species is not known.
    sigma_A
        (n,) standard deviation of the fitted peak.
    uncertainty_pm
        (n, 3) standard error of each coordinate, as the fit sees it; None where it was not estimated.
    support
        (n,) how much χ² would rise without the atom; None where it was not estimated.
    chance
        (n,) how likely a network holds it for an atom, NaN where none has said so; None where no network had
        a part in the trace.
    network_weight
        (n,) part of the way from where the images place the atom to where a network does, 0 to 1; None where
        no network had a part in the positions.
    """

    positions_A: Array
    intensities: Array
    atomic_numbers: Array
    sigma_A: Array
    uncertainty_pm: Array | None = None
    support: Array | None = None
    chance: Array | None = None
    network_weight: Array | None = None


@dataclass(frozen=True, eq=False)
class ImageFit:
    """What a refinement learned of the images besides the atoms.

    Attributes
    ----------
    tilt_error_deg
        (n_tilts, 3) rotations about the microscope's x, y and z axes, applied after the nominal tilt.
    shift_error_A
        (n_tilts, 2) added to x and y afterwards.
    defocus_A
        (n_tilts,) plane of focus along the beam, relative to the origin.
    gain, background
        (n_tilts,) relative brightness (geometric mean 1), and constant in image units.
    core_sigma_A, tail_sigma_A, tail_fraction, spread
        The probe that all atoms share; see `picotome.trace.refinement.model`.
    misfit
        Part of the signal that the model leaves unexplained beyond counting noise (rms over the images,
        relative).
    chi2
        Mean squared residual over its variance by counting alone, where there is signal; 1 is perfect.
    n_added, n_removed
        Atoms that the images called for, and did not support.
    n_steps
        Gauss-Newton steps taken.
    misfit_image
        (n_tilts,) the same part of each image: large near zone axes. None in files of older versions.
    coherence
        Share of the interference of neighbouring atoms' waves that the images show: 1 for a still lattice in
        a perfect lens; None where the optics were not known.
    n_vouched
        Atoms among those left that the images alone would not have kept: a network vouches for them.
    """

    tilt_error_deg: Array
    shift_error_A: Array
    defocus_A: Array
    gain: Array
    background: Array
    core_sigma_A: float
    tail_sigma_A: float
    tail_fraction: float
    spread: float
    misfit: float
    chi2: float
    n_added: int
    n_removed: int
    n_steps: int
    misfit_image: Array | None = None
    coherence: float | None = None
    n_vouched: int = 0


@dataclass(frozen=True, eq=False)
class Score:
    """A trace held against the true atoms, matched one to one within `radius_A`.

    RMSDs are over matched atoms after the mean translation is removed (the field's number); the rigid
    and affine variants after a best rigid / affine fit. Numbers that do not exist (no match, no surface
    atoms) are NaN.

    Attributes
    ----------
    rmsd_axis_pm
        (3,) along x, y, z.
    rmsd_species_pm
        RMSD for each true element, by symbol.
    species_accuracy
        Fraction of matched atoms with the right element; NaN where the trace knows no species.
    chance_recall
        Recall that a randomly rotated copy of the truth reaches by accident.
    matched_true, matched_found
        (m,) indices into the specimen and the trace.
    displacement_pm
        (m, 3) found minus true, translation removed.
    translation_pm
        (3,) the mean translation that was removed.
    """

    n_true: int
    n_found: int
    recall: float
    precision: float
    radius_A: float
    rmsd_pm: float
    median_pm: float
    rmsd_axis_pm: tuple[float, float, float]
    surface_rmsd_pm: float
    core_rmsd_pm: float
    rigid_rmsd_pm: float
    affine_rmsd_pm: float
    rmsd_species_pm: Mapping[str, float]
    species_accuracy: float
    chance_recall: float
    translation_pm: tuple[float, float, float]
    matched_true: Array
    matched_found: Array
    displacement_pm: Array
