"""What the wave engines image, before any wave: the atoms of every image in its periodic cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import OpticsConfig, VolumeConfig
from picotome.geometry import axis_A
from picotome.records import Specimen, Substrate
from picotome.simgen.cells import Cell, plan_cells, with_depth
from picotome.simgen.pose import check_defocus, pose_atoms, pose_substrate


@dataclass(frozen=True, eq=False)
class WaveImage:
    """One image of a series.

    Attributes
    ----------
    atoms_A
        (n, 3) positions in the image's frame, those of a substrate included.
    atomic_numbers
        (n,).
    middle_A
        Height of the middle of the specimen, without the substrate, which the focus is counted from.
    """

    cell: Cell
    atoms_A: NDArray[Any]
    atomic_numbers: NDArray[Any]
    middle_A: float


def plan_images(
    specimen: Specimen,
    *,
    rotations: NDArray[Any],
    shifts_A: NDArray[Any],
    defocus_A: NDArray[Any],
    windowed: bool,
    volume: VolumeConfig,
    optics: OpticsConfig,
    substrate: Substrate | None,
) -> Iterator[WaveImage]:
    """Give the images of a series one by one: a slab's atoms are posed only when its turn comes.

    Parameters
    ----------
    windowed
        Whether PRISM's windows are to fit into the cells; see `picotome.simgen.cells.plan_cells`. The rest is
        that of the engines.

    Raises
    ------
    ValueError
        If the specimen is empty or leaves the field of view.
    """
    posed_A = pose_atoms(specimen, rotations=rotations, shifts_A=shifts_A, volume=volume)
    defocus_A = check_defocus(defocus_A, n_images=len(posed_A))
    reach_A = posed_A if substrate is None else _field_of_view_A(len(posed_A), volume)
    cells = plan_cells(reach_A, defocus_A=defocus_A, optics=optics, windowed=windowed)
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
        yield WaveImage(cell=cell, atoms_A=atoms_A, atomic_numbers=numbers, middle_A=middle_A)


def _field_of_view_A(n_images: int, volume: VolumeConfig) -> NDArray[Any]:
    """(n, 2, 3) corners of what the images show; a slab fills it, and the vacuum around it, too."""
    axis = axis_A(volume.n_voxels, volume.voxel_size_A)
    half_A = 0.5 * volume.voxel_size_A
    corners = np.array(
        [[axis[0] - half_A, axis[0] - half_A, 0.0], [axis[-1] + half_A, axis[-1] + half_A, 0.0]]
    )
    return np.broadcast_to(corners, (n_images, 2, 3))
