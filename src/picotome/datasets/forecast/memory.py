"""What a worker holds at once, counted in arrays, without making any."""

from __future__ import annotations

from picotome.configs.schema import Recipe

_FLOAT, _WEIGHTS = 4, 16
# Images at once while one series is recorded: the ideal and the recorded ones in float32, expectation and
# counts of all electrons in 8 bytes.
_IMAGE_COPIES = 6
# For each atom and image: positions, distance from the focus, six Gaussians, twice each.
_ATOM_IMAGE_BYTES = 160
# Projectors that are kept.
_PROJECTORS = 4


def pair_memory_bytes(
    recipe: Recipe, *, n_images: int, n_atoms: int, has_own_tilts: bool, file_bytes: int
) -> int:
    """Count what a worker holds of one pair at most, beside the program and a wave engine's arrays.

    Parameters
    ----------
    n_images
        Of the series, or of the simulation that it is drawn from.
    n_atoms
        That are imaged.
    has_own_tilts
        Whether pairs have projectors of their own, several of which are kept.
    file_bytes
        Size of the pair's file.
    """
    n = recipe.volume.n_voxels
    volume, images = _FLOAT * n**3, _FLOAT * n_images * n**2
    projectors = (_PROJECTORS if has_own_tilts else 1) * _WEIGHTS * n_images * n**2
    imaging = _IMAGE_COPIES * images + n_atoms * (n_images * _ATOM_IMAGE_BYTES + 3 * _FLOAT * n)
    # While the file is summed up: both tomograms, a copy of one, and the file twice.
    writing = 3 * volume + 2 * file_bytes + images
    return projectors + max(imaging, writing)
