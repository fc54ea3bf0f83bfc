"""Where the atoms are in each image: the specimen turned, shifted and held against the field of view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import VolumeConfig
from picotome.geometry import half_extent_A
from picotome.records import Specimen, Substrate

# Of 85°: a flatter slab is without end.
_FLATTEST_COS = 0.087


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


def pose_substrate(
    substrate: Substrate, *, rotation: NDArray[Any], shift_A: NDArray[Any], window_A: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Atoms of a substrate, repeated as often as needed, that one image sees within a window.

    Parameters
    ----------
    rotation, shift_A
        (3, 3) and (2,) of the specimen in this image.
    window_A
        (2, 2) lowest and highest x, then y, in the frame of the image.

    Returns
    -------
    posed_A
        (k, 3) positions in the frame of the image.
    index
        (k,) which atom of the substrate each one is.

    Raises
    ------
    ValueError
        If the slab is seen at more than 85° from its normal.
    """
    if abs(rotation[2, 2]) < _FLATTEST_COS:
        raise ValueError(
            f"the substrate is tilted by {np.rad2deg(np.arccos(abs(rotation[2, 2]))):.1f}°; allowed is 85°"
        )
    corners = np.stack(np.meshgrid(window_A[0], window_A[1], indexing="ij"), axis=-1).reshape(-1, 2) - shift_A
    depths_A = [float(substrate.positions_A[:, 2].min()), float(substrate.positions_A[:, 2].max())]
    # Where the rays through the corners of the window enter and leave the slab.
    seen_A = np.concatenate(
        [np.linalg.solve(rotation[:2, :2], (corners - rotation[:2, 2] * depth_A).T).T for depth_A in depths_A]
    )
    low, high = seen_A.min(axis=0), seen_A.max(axis=0)
    base_A = substrate.positions_A[:, :2].min(axis=0)
    first = np.floor((low - base_A) / substrate.period_A).astype(int)
    last = np.floor((high - base_A) / substrate.period_A).astype(int)
    found, indices = [], []
    for repeat in np.stack(np.meshgrid(*map(np.arange, first, last + 1), indexing="ij"), axis=-1).reshape(
        -1, 2
    ):
        moved_A = substrate.positions_A + np.array([*(repeat * substrate.period_A), 0.0])
        posed_A = moved_A @ rotation.T
        posed_A[:, :2] += shift_A
        inside = ((posed_A[:, :2] >= window_A[:, 0]) & (posed_A[:, :2] < window_A[:, 1])).all(axis=1)
        found.append(posed_A[inside])
        indices.append(np.flatnonzero(inside))
    return np.concatenate(found), np.concatenate(indices)


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
