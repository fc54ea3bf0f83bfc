"""What a refinement would know of the images of a pair, without refining: the truth, a little wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import RefinedConfig
from picotome.records import ImageFit, TiltSeries
from picotome.simgen.drawing import draw_from
from picotome.trace.refinement.first_probe import CORE_SIGMA_A, TAIL_FRACTION, TAIL_SIGMA_A

_MRAD = 1e-3


def guess_fit(
    series: TiltSeries, *, config: RefinedConfig, optics: OpticsConfig, rng: np.random.Generator
) -> ImageFit:
    """Draw what a refinement would find of the images of a simulated series.

    Parameters
    ----------
    series
        With its truth.
    config
        How large the errors are that a refinement leaves, each uniform in its range and then the same for
        all images.
    optics
        Its convergence angle says how the probe widens out of focus.

    Returns
    -------
    ImageFit
        The gain has the geometric mean 1, as after a refinement.
    """
    n = len(series.images)
    tilt_deg, shift_A, defocus_A, gain = (
        draw_from(span, rng=rng)
        for span in (
            config.tilt_error_rms_deg,
            config.shift_error_rms_A,
            config.defocus_error_rms_A,
            config.gain_error_rms,
        )
    )
    truth = series.truth
    found_gain = truth["gain"] * np.exp(gain * rng.normal(size=n))
    return ImageFit(
        tilt_error_deg=truth["tilt_error_deg"] + tilt_deg * rng.normal(size=(n, 3)),
        shift_error_A=truth["shift_error_A"] + shift_A * rng.normal(size=(n, 2)),
        defocus_A=truth["defocus_A"] + defocus_A * rng.normal(size=n),
        gain=found_gain / _geometric_mean(found_gain),
        background=truth["background"],
        # It tells how much images out of focus count.
        core_sigma_A=CORE_SIGMA_A,
        tail_sigma_A=TAIL_SIGMA_A,
        tail_fraction=TAIL_FRACTION,
        spread=(_MRAD * optics.convergence_mrad) ** 2 / 4.0,
        misfit=0.0,
        chi2=1.0,
        n_added=0,
        n_removed=0,
        n_steps=0,
    )


def _geometric_mean(values: NDArray[Any]) -> float:
    return float(np.exp(np.log(values).mean()))
