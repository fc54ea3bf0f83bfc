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
from picotome.geometry import axis_A
from picotome.records import Specimen, Substrate
from picotome.simgen.aberrations import abtem_aberrations, focal_nodes
from picotome.simgen.cells import Axis, Cell, downsample_angle_mrad, plan_cells, with_depth
from picotome.simgen.pose import check_defocus, pose_atoms, pose_substrate

if TYPE_CHECKING:
    import abtem

    from picotome.simgen.transmission import SliceTransmission

# Plane waves propagated together: few enough to stay in the processor's cache.
_WAVES_PER_BATCH = 16
# Edges of the squares of scan positions that are handled together: PRISM crops one window around them all,
# multislice propagates them all.
_PRISM_TILE = 10
_MULTISLICE_TILE = 4

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
    posed_A = pose_atoms(specimen, rotations=rotations, shifts_A=shifts_A, volume=volume)
    defocus_A = check_defocus(defocus_A, n_images=len(posed_A))
    reach_A = posed_A if substrate is None else _field_of_view_A(len(posed_A), volume)
    cells = plan_cells(reach_A, defocus_A=defocus_A, optics=optics, windowed=windowed)
    images = np.zeros((len(posed_A), volume.n_voxels, volume.n_voxels), dtype=np.float32)
    with _quiet_abtem():
        for index, (cell, atoms_A) in enumerate(zip(cells, posed_A, strict=True)):
            numbers = specimen.atomic_numbers
            middle_A = 0.5 * float(atoms_A[:, 2].min() + atoms_A[:, 2].max())
            if substrate is not None:
                slab_A, of_slab = pose_substrate(
                    substrate, rotation=rotations[index], shift_A=shifts_A[index], window_A=cell.window_A
                )
                atoms_A = np.concatenate([atoms_A, slab_A])
                numbers = np.concatenate([numbers, substrate.atomic_numbers[of_slab]])
                cell = with_depth(cell, atoms_A[:, 2], cut_z_A=middle_A, optics=optics)
            focus_A = _depth_A(cell, middle_A) + float(defocus_A[index])
            scanned = _mean_over_phonons(
                scan, cell, numbers, atoms_A, focus_A=focus_A, optics=optics, rng=rng
            )
            images[index] = resample_scan(scanned, cell, volume=volume, source_size_A=optics.source_size_A)
            if progress is not None:
                progress(index + 1, len(posed_A))
    return images


def _field_of_view_A(n_images: int, volume: VolumeConfig) -> NDArray[Any]:
    """(n, 2, 3) corners of what the images show; a slab fills it, and the vacuum around it, too."""
    axis = axis_A(volume.n_voxels, volume.voxel_size_A)
    half_A = 0.5 * volume.voxel_size_A
    corners = np.array(
        [[axis[0] - half_A, axis[0] - half_A, 0.0], [axis[-1] + half_A, axis[-1] + half_A, 0.0]]
    )
    return np.broadcast_to(corners, (n_images, 2, 3))


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
        return scan(cell, _transmission(cell, atomic_numbers, atoms_A, optics), optics, focus_A)
    rms_A = _phonon_rms_A(atomic_numbers, optics)
    total = np.zeros((cell.x.n_scan, cell.y.n_scan))
    for _ in range(n_configurations):
        moved_A = atoms_A + rng.normal(scale=rms_A, size=atoms_A.shape)
        total += scan(cell, _transmission(cell, atomic_numbers, moved_A, optics), optics, focus_A)
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


def _transmission(
    cell: Cell, atomic_numbers: NDArray[Any], atoms_A: NDArray[Any], optics: OpticsConfig
) -> SliceTransmission:
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
    import abtem

    matrix = abtem.SMatrix(
        semiangle_cutoff=optics.convergence_mrad,
        energy=optics.beam_energy_eV,
        potential=potential,
        interpolation=(cell.x.interpolation, cell.y.interpolation),
        # A number is allowed, though abTEM's annotation forgets it.
        downsample=downsample_angle_mrad(cell, optics),  # type: ignore[arg-type]
    ).build(lazy=False, max_batch=_WAVES_PER_BATCH)
    if cell.cut_depth_A is not None:
        _propagate_back(matrix, cell.depth_A - cell.cut_depth_A)
    detector = _detector(optics)
    scanned = np.zeros((cell.x.n_scan, cell.y.n_scan))
    for node_A, weight in zip(*focal_nodes(optics), strict=True):
        ctf = abtem.CTF(
            semiangle_cutoff=optics.convergence_mrad,
            energy=optics.beam_energy_eV,
            defocus=focus_A + float(node_A),
            **abtem_aberrations(optics),
        )
        for rows, columns, grid in _tiles(cell, _PRISM_TILE):
            measured = matrix.reduce(
                scan=grid, detectors=detector, ctf=ctf, max_batch_reduction=_PRISM_TILE**2
            )
            scanned[rows, columns] += weight * _image_of(measured)
    return scanned


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


def _tiles(cell: Cell, edge: int) -> Iterator[tuple[slice, slice, abtem.GridScan]]:
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
    import abtem

    detector = _detector(optics)
    scanned = np.zeros((cell.x.n_scan, cell.y.n_scan))
    for node_A, weight in zip(*focal_nodes(optics), strict=True):
        probe = abtem.Probe(
            semiangle_cutoff=optics.convergence_mrad,
            energy=optics.beam_energy_eV,
            defocus=focus_A + float(node_A),
            **abtem_aberrations(optics),
        )
        probe.grid.match(potential)
        for rows, columns, grid in _tiles(cell, _MULTISLICE_TILE):
            measured = probe.scan(potential, scan=grid, detectors=detector, lazy=False)
            scanned[rows, columns] += weight * _image_of(measured)
    return scanned


def _image_of(measured: Any) -> NDArray[Any]:
    """Intensities of a measurement with one detector, for which abTEM returns no list."""
    return np.asarray(measured.array)


def _detector(optics: OpticsConfig) -> abtem.AnnularDetector:
    import abtem

    return abtem.AnnularDetector(inner=optics.detector_inner_mrad, outer=optics.detector_outer_mrad)


def resample_scan(
    scanned: NDArray[Any], cell: Cell, *, volume: VolumeConfig, source_size_A: float
) -> NDArray[Any]:
    """Blur a periodic scan by the source, integrate it over pixels and read it at the pixels' centres.

    Parameters
    ----------
    scanned
        (n_scan_x, n_scan_y) intensity at the positions of the probe; sample (0, 0) is a corner of the cell.

    Returns
    -------
    image
        (n_voxels, n_voxels) float32, mean intensity over each pixel; zero outside the cell.
    """
    x = _resampling_matrix(cell.x, float(cell.centre_A[0]), volume=volume, source_size_A=source_size_A)
    y = _resampling_matrix(cell.y, float(cell.centre_A[1]), volume=volume, source_size_A=source_size_A)
    image: NDArray[Any] = np.clip(x @ scanned @ y.T, 0.0, None).astype(np.float32)
    return image


def _resampling_matrix(
    axis: Axis, centre_A: float, *, volume: VolumeConfig, source_size_A: float
) -> NDArray[Any]:
    """(n_voxels, n_scan) real matrix from the samples along one side of the cell to the pixels."""
    pixels_A = axis_A(volume.n_voxels, volume.voxel_size_A)
    from_corner_A = pixels_A - centre_A + 0.5 * axis.length_A
    frequency = np.fft.fftfreq(axis.n_scan, axis.length_A / axis.n_scan)
    pixel = np.sinc(frequency * volume.voxel_size_A)
    transfer = np.exp(-2.0 * (np.pi * source_size_A * frequency) ** 2) * pixel
    samples_A = np.arange(axis.n_scan) * axis.length_A / axis.n_scan
    phase = 2.0 * np.pi * frequency * (from_corner_A[:, None, None] - samples_A[None, :, None])
    matrix: NDArray[Any] = (transfer * np.cos(phase)).sum(axis=-1) / axis.n_scan
    matrix[(from_corner_A < 0.0) | (from_corner_A > axis.length_A)] = 0.0
    return matrix


@contextmanager
def _quiet_abtem() -> Iterator[None]:
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
