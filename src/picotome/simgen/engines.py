"""The HAADF engines, behind one signature.

``engine(specimen, *, rotations, shifts_A, defocus_A, volume, optics, rng, substrate, progress)`` returns
noise-free images, (n, n_voxels, n_voxels) float32, as the fraction of the incident electrons that reaches the
annulus, averaged over each pixel, source size included. `rotations` is (n, 3, 3) with
``rotated = positions @ R.T``; `shifts_A` (n, 2) is added to x and y afterwards; `defocus_A` (n,) is how far
beyond the middle of the atoms the probe is focused, along the beam, which runs towards larger z: the middle
of the bounding box in each image, and abTEM's sign. `substrate` is a slab that the specimen lies on, turned
and shifted with it; the focus stays with the specimen's atoms, and only these must lie in the field of view.
`progress` is called with (images done, images to do). All raise ValueError where the specimen is empty or
leaves the field of view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import EngineName, OpticsConfig, VolumeConfig
from picotome.records import Specimen, Substrate
from picotome.simgen.abtem_engines import image_multislice, image_prism
from picotome.simgen.linear import image_linear


class Engine(Protocol):
    """From posed atoms to noise-free images."""

    def __call__(
        self,
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
        """Image a specimen."""


ENGINES: Mapping[EngineName, Engine] = {
    "prism": image_prism,
    "multislice": image_multislice,
    "linear": image_linear,
}
