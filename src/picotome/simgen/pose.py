"""Where the atoms are in each image: the specimen turned, shifted and held against the field of view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import VolumeConfig
from picotome.geometry import half_extent_A
from picotome.records import Specimen


def pose_atoms(
    specimen: Specimen, *, rotations: NDArray[Any], shifts_A: NDArray[Any], volume: VolumeConfig
) -> NDArray[Any]:
    """Positions of all atoms in every image of a series.

    Parameters
    ----------
    rotations
        (n, 3, 3) rotations of the specimen: ``rotated = positions @ R.T``.
    shifts_A
        (n, 2) shifts along x and y after the rotation, Å.

    Returns
    -------
    posed_A
        (n, n_atoms, 3) positions in Å in the frame of the images.

    Raises
    ------
    ValueError
        If the specimen is empty, rotations and shifts disagree, or an atom leaves the field of view.
    """
    rotations = np.asarray(rotations, dtype=np.float64)
    shifts_A = np.asarray(shifts_A, dtype=np.float64)
    n_images = len(rotations)
    if rotations.shape != (n_images, 3, 3) or shifts_A.shape != (n_images, 2):
        raise ValueError(
            f"rotations have shape {rotations.shape} and shifts_A {shifts_A.shape}; "
            f"allowed are (n, 3, 3) and (n, 2)"
        )
    if len(specimen.positions_A) == 0:
        raise ValueError("specimen has 0 atoms; allowed is 1 or more")
    posed: NDArray[Any] = np.einsum("aj,nij->nai", specimen.positions_A, rotations)
    posed[:, :, :2] += shifts_A[:, None, :]
    _check_field_of_view(posed, volume)
    return posed


def distance_to_focus_A(posed_A: NDArray[Any], *, defocus_A: NDArray[Any]) -> NDArray[Any]:
    """How far beyond each atom, along the beam, the probe is focused.

    Parameters
    ----------
    posed_A
        (n, n_atoms, 3) positions in every image; the beam runs towards larger z.
    defocus_A
        (n,) distance from the middle of the atoms along z to the focal plane, Å; positive: beyond.

    Returns
    -------
    beyond_A
        (n, n_atoms) in Å; negative where the focal plane lies before the atom.

    Raises
    ------
    ValueError
        If there is not one finite defocus for each image.
    """
    defocus_A = check_defocus(defocus_A, n_images=len(posed_A))
    z = posed_A[:, :, 2]
    middle = 0.5 * (z.max(axis=1) + z.min(axis=1))
    beyond: NDArray[Any] = (middle + defocus_A)[:, None] - z
    return beyond


def check_defocus(defocus_A: NDArray[Any], *, n_images: int) -> NDArray[Any]:
    """(n,) float64 defocus in Å; ValueError where there is not one finite number for each image."""
    defocus_A = np.asarray(defocus_A, dtype=np.float64)
    if defocus_A.shape != (n_images,) or not np.isfinite(defocus_A).all():
        raise ValueError(
            f"defocus_A has shape {defocus_A.shape} for {n_images} images; "
            f"allowed is one finite number for each image"
        )
    return defocus_A


def _check_field_of_view(posed_A: NDArray[Any], volume: VolumeConfig) -> None:
    allowed_A = half_extent_A(volume.n_voxels, volume.voxel_size_A)
    reach_A = np.abs(posed_A[:, :, :2]).max(axis=(1, 2))
    worst = int(reach_A.argmax())
    if not reach_A[worst] <= allowed_A:
        raise ValueError(
            f"image {worst} has an atom {reach_A[worst]:.2f} Å from the centre, outside the field of view; "
            f"allowed is {allowed_A:.2f} Å: increase volume.n_voxels or volume.voxel_size_A, "
            f"or centre the specimen"
        )
