"""The wave engines: abTEM's PRISM and plain multislice, with an annular detector.

Every image has its own periodic cell around the projected atoms, with `optics.abtem.vacuum_A` on each side,
and more where the probe is defocused. The probe is focused at the middle of the atoms along the beam, or
`defocus_A` beyond it. It is scanned over the whole cell, and the scan is blurred by the source and integrated
over the pixels in Fourier space, where a pixel can be centred anywhere: nothing is ever shifted by half a
step. Pixels outside the cell are zero.

With a substrate the cell covers the whole field of view, and slab fills all of it, the space for the vacuum
included: what is cut off at one side of the cell meets the cut of the other, outside of the field of view.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import OpticsConfig, VolumeConfig
from picotome.records import Specimen, Substrate
from picotome.simgen.aberrations import abtem_aberrations, focal_nodes
from picotome.simgen.cells import Cell, downsample_angle_mrad
from picotome.simgen.resampling import resample_scan
from picotome.simgen.wave_plan import plan_images

if TYPE_CHECKING:
    import abtem

    from picotome.simgen.transmission import SliceTransmission

# Edges of the squares of scan positions that are handled together: PRISM crops one window around them all,
# multislice propagates them all.
PRISM_TILE = 10
MULTISLICE_TILE = 4

# The number is the depth of the focal plane below the top of the cell, in Å.
Scan = Callable[[Cell, "SliceTransmission", OpticsConfig, float], NDArray[Any]]


def image_prism(
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    defocus_A: NDArray[Any],
    volume: VolumeConfig,
    optics: OpticsConfig,
    rng: np.random.Generator,
    substrate: Substrate | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Image a specimen with PRISM (Ophus 2017, doi:10.1186/s40679-017-0046-1).

    See `picotome.simgen.engines.ENGINES` for the signature. The interpolation is as strong as
    `optics.abtem.prism_window_A` allows.
    """
    return _image_series(
        _scan_prism,
        specimen,
        rotations=rotations,
        shifts_A=shifts_A,
        defocus_A=defocus_A,
        windowed=True,
        volume=volume,
        optics=optics,
        rng=rng,
        substrate=substrate,
        progress=progress,
    )


def image_multislice(
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    defocus_A: NDArray[Any],
    volume: VolumeConfig,
    optics: OpticsConfig,
    rng: np.random.Generator,
    substrate: Substrate | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Image a specimen with multislice, one probe position after the other: exact and slow.

    See `picotome.simgen.engines.ENGINES` for the signature.
    """
    return _image_series(
        _scan_multislice,
        specimen,
        rotations=rotations,
        shifts_A=shifts_A,
        defocus_A=defocus_A,
        windowed=False,
        volume=volume,
        optics=optics,
        rng=rng,
        substrate=substrate,
        progress=progress,
    )


def _image_series(
    scan: Scan,
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    defocus_A: NDArray[Any],
    windowed: bool,
    volume: VolumeConfig,
    optics: OpticsConfig,
    rng: np.random.Generator,
    substrate: Substrate | None,
    progress: Callable[[int, int], None] | None,
) -> NDArray[Any]:
    planned = plan_images(
        specimen,
        rotations=rotations,
        shifts_A=shifts_A,
        defocus_A=defocus_A,
        windowed=windowed,
        volume=volume,
        optics=optics,
        substrate=substrate,
    )
    images = np.zeros((len(rotations), volume.n_voxels, volume.n_voxels), dtype=np.float32)
    with quiet_abtem():
        for index, image in enumerate(planned):
            cell = image.cell
            focus_A = _depth_A(cell, image.middle_A) + float(defocus_A[index])
            scanned = _mean_over_phonons(
                scan, cell, image.atomic_numbers, image.atoms_A, focus_A=focus_A, optics=optics, rng=rng
            )
            images[index] = resample_scan(scanned, cell, volume=volume, source_size_A=optics.source_size_A)
            if progress is not None:
                progress(index + 1, len(images))
    return images


def _mean_over_phonons(
    scan: Scan,
    cell: Cell,
    atomic_numbers: NDArray[Any],
    atoms_A: NDArray[Any],
    *,
    focus_A: float,
    optics: OpticsConfig,
    rng: np.random.Generator,
) -> NDArray[Any]:
    n_configurations = optics.abtem.n_frozen_phonons
    if n_configurations == 0:
        return scan(cell, transmission_of(cell, atomic_numbers, atoms_A, optics), optics, focus_A)
    rms_A = _phonon_rms_A(atomic_numbers, optics)
    total = np.zeros((cell.x.n_scan, cell.y.n_scan))
    for _ in range(n_configurations):
        moved_A = atoms_A + rng.normal(scale=rms_A, size=atoms_A.shape)
        total += scan(cell, transmission_of(cell, atomic_numbers, moved_A, optics), optics, focus_A)
    mean: NDArray[Any] = total / n_configurations
    return mean


def _phonon_rms_A(atomic_numbers: NDArray[Any], optics: OpticsConfig) -> NDArray[Any]:
    """(n, 1) rms displacement of each atom per axis."""
    from ase.data import chemical_symbols

    settings = optics.abtem
    rms_A = [
        settings.element_phonon_rms_A.get(chemical_symbols[number], settings.phonon_rms_A)
        for number in atomic_numbers.tolist()
    ]
    return np.array(rms_A)[:, None]


def transmission_of(
    cell: Cell, atomic_numbers: NDArray[Any], atoms_A: NDArray[Any], optics: OpticsConfig
) -> SliceTransmission:
    """Compute what the slices of a cell do to the wave."""
    from ase.data import chemical_symbols

    from picotome.simgen.transmission import build_transmission

    return build_transmission(
        atoms_A - cell.centre_A + 0.5 * cell.size_A,
        symbols=np.asarray(chemical_symbols)[atomic_numbers],
        size_A=cell.size_A,
        gpts=(cell.x.gpts, cell.y.gpts),
        n_slices=cell.n_slices,
        beam_energy_eV=optics.beam_energy_eV,
    )


def _depth_A(cell: Cell, z_A: float) -> float:
    """Depth of a height in the image's frame below the top of the cell, Å.

    A slice acts on the wave where the wave enters the slice, so that atoms sit half a slice before their true
    place on average.
    """
    return z_A - float(cell.centre_A[2]) + 0.5 * (cell.depth_A - cell.depth_A / cell.n_slices)


def _scan_prism(
    cell: Cell, potential: SliceTransmission, optics: OpticsConfig, focus_A: float
) -> NDArray[Any]:
    matrix = scattering_matrix(cell, potential, optics)
    if cell.cut_depth_A is not None:
        _propagate_back(matrix, cell.depth_A - cell.cut_depth_A)
    scanned = np.zeros((cell.x.n_scan, cell.y.n_scan))
    for node_A, weight in zip(*focal_nodes(optics), strict=True):
        for rows, columns, grid in tiles(cell, PRISM_TILE):
            scanned[rows, columns] += weight * reduce_tile(matrix, grid, optics, focus_A + float(node_A))
    return scanned


def scattering_matrix(cell: Cell, potential: SliceTransmission, optics: OpticsConfig) -> abtem.SMatrixArray:
    """Propagate the plane waves of PRISM through a cell."""
    import abtem

    from picotome.simgen.plane_waves import propagate_plane_waves

    planned = abtem.SMatrix(
        semiangle_cutoff=optics.convergence_mrad,
        energy=optics.beam_energy_eV,
        potential=potential,
        interpolation=(cell.x.interpolation, cell.y.interpolation),
        # A number is allowed, though abTEM's annotation forgets it.
        downsample=downsample_angle_mrad(cell, optics),  # type: ignore[arg-type]
    )
    extent_A = (cell.x.length_A, cell.y.length_A)
    waves = propagate_plane_waves(
        planned.wave_vectors,
        np.asarray(potential.array),
        extent_A=extent_A,
        slice_thickness_A=cell.depth_A / cell.n_slices,
        beam_energy_eV=optics.beam_energy_eV,
        gpts=planned.downsampled_gpts,
    )
    # As abTEM has it: the probe at a place is the sum of its waves.
    waves *= np.float32(cell.x.interpolation * cell.y.interpolation / (cell.x.gpts * cell.y.gpts))
    return abtem.SMatrixArray(
        waves,
        wave_vectors=planned.wave_vectors,
        semiangle_cutoff=optics.convergence_mrad,
        energy=optics.beam_energy_eV,
        interpolation=planned.interpolation,
        extent=extent_A,
        window_gpts=planned.window_gpts,
        device="cpu",
        # How far the detector may reach in the waves that were made smaller.
        metadata=planned.build(lazy=True).metadata,
    )


def reduce_tile(
    matrix: abtem.SMatrixArray, grid: abtem.GridScan, optics: OpticsConfig, defocus_A: float
) -> NDArray[Any]:
    """Intensity on the detector for the probes of one tile, (n_x, n_y), from PRISM's plane waves."""
    import abtem

    ctf = abtem.CTF(
        semiangle_cutoff=optics.convergence_mrad,
        energy=optics.beam_energy_eV,
        defocus=defocus_A,
        **abtem_aberrations(optics),
    )
    measured = matrix.reduce(
        scan=grid, detectors=_detector(optics), ctf=ctf, max_batch_reduction=PRISM_TILE**2
    )
    return _image_of(measured)


def _propagate_back(matrix: abtem.SMatrixArray, distance_A: float) -> None:
    """Take the waves of a scattering matrix back through empty space, in place.

    The detector sees the same of them, and what is cut out of them stands where it was scattered.
    """
    from scipy.fft import fft2, ifft2

    waves = matrix.array
    size_A = np.asarray(matrix.extent, dtype=np.float64)
    kx, ky = (np.fft.fftfreq(n, d / n) for n, d in zip(waves.shape[-2:], size_A, strict=True))
    phase = np.pi * matrix.wavelength * distance_A * (kx[:, None] ** 2 + ky**2)
    propagator = np.exp(1j * phase).astype(np.complex64)
    for wave in range(len(waves)):
        waves[wave] = ifft2(fft2(waves[wave]) * propagator)


def tiles(cell: Cell, edge: int) -> Iterator[tuple[slice, slice, abtem.GridScan]]:
    """Cut the scan of a cell into squares of so many positions: rows, columns, and the scan itself."""
    import abtem

    step_x, step_y = cell.x.length_A / cell.x.n_scan, cell.y.length_A / cell.y.n_scan
    for i in range(0, cell.x.n_scan, edge):
        for j in range(0, cell.y.n_scan, edge):
            i_end, j_end = min(i + edge, cell.x.n_scan), min(j + edge, cell.y.n_scan)
            grid = abtem.GridScan(
                start=(i * step_x, j * step_y),
                end=(i_end * step_x, j_end * step_y),
                gpts=(i_end - i, j_end - j),
                endpoint=False,
            )
            yield slice(i, i_end), slice(j, j_end), grid


def _scan_multislice(
    cell: Cell, potential: SliceTransmission, optics: OpticsConfig, focus_A: float
) -> NDArray[Any]:
    scanned = np.zeros((cell.x.n_scan, cell.y.n_scan))
    for node_A, weight in zip(*focal_nodes(optics), strict=True):
        for rows, columns, grid in tiles(cell, MULTISLICE_TILE):
            scanned[rows, columns] += weight * scan_tile(potential, grid, optics, focus_A + float(node_A))
    return scanned


def scan_tile(
    potential: SliceTransmission, grid: abtem.GridScan, optics: OpticsConfig, defocus_A: float
) -> NDArray[Any]:
    """Intensity on the detector for the probes of one tile, (n_x, n_y), each propagated on its own."""
    import abtem

    probe = abtem.Probe(
        semiangle_cutoff=optics.convergence_mrad,
        energy=optics.beam_energy_eV,
        defocus=defocus_A,
        **abtem_aberrations(optics),
    )
    probe.grid.match(potential)
    return _image_of(probe.scan(potential, scan=grid, detectors=_detector(optics), lazy=False))


def _image_of(measured: Any) -> NDArray[Any]:
    """Intensities of a measurement with one detector, for which abTEM returns no list."""
    return np.asarray(measured.array)


def _detector(optics: OpticsConfig) -> abtem.AnnularDetector:
    import abtem

    return abtem.AnnularDetector(inner=optics.detector_inner_mrad, outer=optics.detector_outer_mrad)


@contextmanager
def quiet_abtem() -> Iterator[None]:
    """Run abTEM in this thread, without bars, and so that the same input gives the same bits."""
    import abtem
    import dask

    settings = {
        "device": "cpu",
        "precision": "float32",
        "fft": "fftw",
        "fftw.threads": int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0] or 1),
        # Plans that are measured depend on what else the machine was doing, and so do their roundings.
        "fftw.planning_effort": "FFTW_ESTIMATE",
        "diagnostics.progress_bar": False,
        "diagnostics.task_progress": False,
    }
    with abtem.config.set(settings), dask.config.set(scheduler="synchronous"):
        yield
