"""From a tilt series to its atoms, by network and images together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import ReconstructionConfig, RefinementConfig, TracingConfig
from picotome.progress import Track, silent
from picotome.recon.solvers import reconstruct
from picotome.records import TiltSeries, Trace
from picotome.rng import stream
from picotome.trace.joint import Joint, join_positions
from picotome.trace.refinement.refine import Refined, refine_trace
from picotome.trace.refinement.union import unite
from picotome.trace.tracing import trace_tomogram
from picotome.train.apply import repair

# Over the noise that the images have: small beside it, for what is sought are derivatives.
_ADDED_NOISE = 0.5


@dataclass(frozen=True, eq=False)
class Located:
    """Atoms of a tilt series.

    Attributes
    ----------
    network
        As the network draws them, in the tomogram of the refined geometry.
    refined
        As the images place them, starting from there, with what was learned of the images.
    joint
        Where both together do.
    """

    network: Trace
    refined: Refined
    joint: Joint


def locate_atoms(
    series: TiltSeries,
    *,
    elements: Sequence[str],
    model: Path,
    refinement: RefinementConfig,
    tracing: TracingConfig | None = None,
    optics: OpticsConfig | None = None,
    seed: int = 0,
    track: Track = silent,
) -> Located:
    """Find the atoms of a tilt series, and place them by the images and by the network.

    The raw tomogram is traced and refined, the tomogram of the geometry that this finds is repaired and
    traced, and these atoms are refined (`refine_trace`, `repair`). All of this is done once more with a
    little more noise in the images, which tells what either is worth (`join_positions`).

    Parameters
    ----------
    elements
        Chemical symbols that occur.
    model
        Weights.
    refinement
        What is free.
    optics
        As in `refine_trace`.
    seed
        Of the noise that is added.
    track
        Told of both passes.

    Raises
    ------
    ValueError
        As `refine_trace`, which may find nothing to refine.
    """
    config = tracing or TracingConfig()

    def once(images: TiltSeries, step: str) -> tuple[Trace, Refined]:
        return _network_and_refined(
            images,
            elements=elements,
            model=model,
            refinement=refinement,
            tracing=config,
            optics=optics,
            progress=lambda done, most: track(step, done, most),
        )

    network, refined = once(series, "find atoms")
    noise = stream(seed, 0, "noise that probes").standard_normal(series.images.shape) * refined.noise_rms
    noisier = replace(series, images=(series.images + _ADDED_NOISE * noise).astype(np.float32))
    more_network, more_refined = once(noisier, "again, with more noise")
    joint = join_positions(
        refined.trace,
        network,
        disturbed=(more_refined.trace, more_network),
        added_noise=_ADDED_NOISE,
        min_distance_A=config.min_distance_A,
    )
    return Located(network, refined, joint)


def _network_and_refined(
    series: TiltSeries,
    *,
    elements: Sequence[str],
    model: Path,
    refinement: RefinementConfig,
    tracing: TracingConfig,
    optics: OpticsConfig | None,
    progress: Callable[[int, int], None],
) -> tuple[Trace, Refined]:
    """Atoms of the repaired tomogram, and those that refining them leaves."""

    def refined_from(start: Trace, part: int) -> Refined:
        return refine_trace(
            start,
            series,
            elements=elements,
            config=refinement,
            min_distance_A=tracing.min_distance_A,
            optics=optics,
            progress=lambda done, most: progress(part * most + done, 2 * most),
        )

    # Where shifts may be wrong, the images are aligned first.
    as_told = reconstruct(series, config=ReconstructionConfig(align="shifts" in refinement.geometry))
    raw = trace_tomogram(as_told, elements=elements, config=tracing)
    posed = reconstruct(series, config=ReconstructionConfig(), fit=refined_from(raw, 0).images)
    network = trace_tomogram(repair(posed, model=model), elements=elements, config=tracing)
    return network, refined_from(unite(network, raw, min_distance_A=tracing.min_distance_A), 1)
