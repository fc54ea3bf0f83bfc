"""The projector of `picotome.recon.projector` as a sparse matrix of torch, and SIRT with it on any device.

The matrix has the very weights of the compiled one, and the adjoint is its transpose. Columns are slices: of
one particle or of many that were seen at the same tilts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from picotome.recon.projector import NEXT_TO_NOTHING, make_projector
from picotome.recon.sirt import inertias


@dataclass(frozen=True, eq=False)
class SparseProjector:
    """A and its transpose.

    Attributes
    ----------
    forward
        (n_tilts · (n + 2), n²) sparse: pixels, with the margin of one on both sides, from voxels; Å.
    adjoint
        Its transpose.
    pixel_scale
        Inverse sums of the rows, (…, 1); zero where next to nothing is summed, so that a ray without voxels
        never divides.
    column_sums
        (n², 1) sums of the columns.
    n_tilts, n
        Images, and pixels across the tilt axis.
    """

    forward: Tensor
    adjoint: Tensor
    pixel_scale: Tensor
    column_sums: Tensor
    n_tilts: int
    n: int


# Most recipes see every particle at the same tilts.
@lru_cache(maxsize=8)
def sparse_projector(
    tilt_deg: tuple[float, ...], *, n: int, voxel_size_A: float, device: torch.device
) -> SparseProjector:
    """Make the projector of (n_tilts, n, n_y) images and (n, n_y, n) volumes."""
    compiled = make_projector(tilt_deg, n_x=n, n_z=n, voxel_size_A=voxel_size_A)
    n_voxels, n_tilts = compiled.first_row.shape
    n_pixels = n_tilts * (n + 2)
    entries = 3 * n_tilts
    pixel = torch.from_numpy((compiled.first_row.astype(np.int64)[:, :, None] + np.arange(3)).reshape(-1))
    weight = torch.from_numpy(compiled.weights.reshape(-1))
    pixel, weight = pixel.to(device), weight.to(device)
    # By voxel as they are, and by pixel after a sort that keeps the voxels in order.
    by_voxel = torch.arange(n_voxels + 1, device=device) * entries
    order = torch.argsort(pixel, stable=True)
    by_pixel = torch.zeros(n_pixels + 1, dtype=torch.int64, device=device)
    by_pixel[1:] = torch.bincount(pixel, minlength=n_pixels).cumsum(0)
    with warnings.catch_warnings():
        # torch calls its CSR matrices a beta; what is used of them here is tested against compiled loops.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        adjoint = torch.sparse_csr_tensor(
            by_voxel, pixel, weight, (n_voxels, n_pixels), check_invariants=False
        )
        forward = torch.sparse_csr_tensor(
            by_pixel, order // entries, weight[order], (n_pixels, n_voxels), check_invariants=False
        )
    return SparseProjector(
        forward=forward,
        adjoint=adjoint,
        pixel_scale=_inverse(forward @ torch.ones(n_voxels, 1, device=device)),
        column_sums=adjoint @ torch.ones(n_pixels, 1, device=device),
        n_tilts=n_tilts,
        n=n,
    )


def _inverse(sums: Tensor, *, unweighted: Tensor | None = None) -> Tensor:
    """`picotome.recon.projector.inverse_sums` on any device."""
    plain = sums if unweighted is None else unweighted
    touched = (plain > NEXT_TO_NOTHING * plain.max()) & (sums > 0)
    return torch.where(touched, 1.0 / torch.where(touched, sums, 1.0), 0.0)


def project(volume: Tensor, projector: SparseProjector) -> Tensor:
    """Project a (n, n_y, n) volume to (n_tilts, n, n_y) images."""
    planes = volume.transpose(1, 2).reshape(projector.n**2, -1)
    return (projector.forward @ planes).reshape(projector.n_tilts, projector.n + 2, -1)[:, 1:-1]


def backproject(images: Tensor, projector: SparseProjector) -> Tensor:
    """Apply the adjoint to (n_tilts, n, n_y) images."""
    planes = projector.adjoint @ _rows(images)
    return planes.reshape(projector.n, projector.n, -1).transpose(1, 2)


def solve_sirt(
    series: Sequence[Tensor], *, weights: Sequence[Tensor], projector: SparseProjector, n_iterations: int
) -> list[Tensor]:
    """Reconstruct several series of the same tilts at once; see `picotome.recon.solvers.solve_sirt`.

    Takes (n_tilts, n, n_y) images each, and how much each pixel counts, and gives (n, n_y, n) volumes.
    """
    images = torch.cat(list(series), dim=2)
    # Slices are solved apart, and one without a single positive pixel stays zero.
    lit = (images > 0).any(dim=1).any(dim=0)
    measured = _rows(images[:, :, lit])
    weight = _rows(torch.cat(list(weights), dim=2)[:, :, lit])
    row_scale = weight * projector.pixel_scale
    voxel_scale = _inverse(projector.adjoint @ weight, unweighted=projector.column_sums)
    current = torch.zeros(projector.n**2, measured.shape[1], device=images.device)
    extrapolated = current
    for inertia in inertias(n_iterations):
        residual = (measured - projector.forward @ extrapolated) * row_scale
        improved = (extrapolated + voxel_scale * (projector.adjoint @ residual)).clamp_(min=0.0)
        extrapolated = torch.lerp(current, improved, 1.0 + inertia)
        current = improved
    planes = torch.zeros(projector.n**2, images.shape[2], device=images.device)
    planes[:, lit] = current
    volume = planes.reshape(projector.n, projector.n, images.shape[2]).transpose(1, 2)
    return list(torch.split(volume, [part.shape[2] for part in series], dim=1))


def _rows(images: Tensor) -> Tensor:
    """(n_tilts · (n + 2), n_y) with the margin of zeros that the matrix expects."""
    n_rows = images.shape[0] * (images.shape[1] + 2)
    return torch.nn.functional.pad(images, (0, 0, 1, 1)).reshape(n_rows, images.shape[2])
