"""From a tilt series to its atoms, stage by stage: as a tomogram shows them, a network, the images, both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import ReconstructionConfig, RefinementConfig, TracingConfig
from picotome.progress import Track, silent
from picotome.recon.solvers import reconstruct
from picotome.records import TiltSeries, Tomogram, Trace
from picotome.rng import stream
from picotome.trace.joint import Joint, Worth, join_positions
from picotome.trace.refinement.refine import Refined, refine_trace
from picotome.trace.refinement.union import unite
from picotome.trace.species import parse_elements
from picotome.trace.tracing import EMPTY_TRACE, trace_tomogram
from picotome.train.apply import repair

# Over the noise that the images have: small beside it, for what is sought are derivatives.
_ADDED_NOISE = 0.5


@dataclass(frozen=True)
class Search:
    """What is looked for in a tilt series, and by what means.

    Attributes
    ----------
    elements
        Chemical symbols that occur.
    refinement
        What is free.
    model
        Weights; None leaves the network out.
    tracing, reconstruction
        Of every tomogram.
    optics
        As in `refine_trace`.
    posed
        Whether the network is given the tomogram of the geometry that refining the raw trace finds, or the
        raw one: what it has learned on.
    """

    elements: Sequence[str]
    refinement: RefinementConfig
    model: Path | None = None
    tracing: TracingConfig = field(default_factory=TracingConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    optics: OpticsConfig | None = None
    posed: bool = True


@dataclass(frozen=True, eq=False)
class Stage:
    """What a stage made of the images.

    Attributes
    ----------
    trace
        Empty where the stage failed.
    note
        Why it failed, if it did.
    seconds
        That the stage itself took, without what it started from.
    tomogram
        That was traced.
    refined
        What a refinement found.
    worth
        Of the two estimates that were joined, for each element.
    """

    trace: Trace
    note: str = ""
    seconds: float = 0.0
    tomogram: Tomogram | None = None
    refined: Refined | None = None
    worth: Mapping[str, Worth] = field(default_factory=dict)


def find_stages(
    series: TiltSeries, search: Search, *, degraded: Tomogram | None = None, track: Track = silent
) -> dict[str, Stage]:
    """Find the atoms of a tilt series at every stage; one that fails has a note and no atoms.

    ``raw`` is the tomogram, traced; ``refined_raw`` these atoms, refined (`refine_trace`); ``unet`` the
    tomogram of the geometry that this has found, repaired and traced (`repair`); ``refined_unet`` the atoms
    of the network and what the raw tomogram shows besides (`unite`), refined. Where the search is not
    `posed`, ``refined_raw`` is no step on the way, and done only if ``refined_unet`` has failed.

    Parameters
    ----------
    degraded
        The tomogram of the series, where there is one already.
    track
        Told of each refinement.

    Raises
    ------
    ValueError
        If an element is unknown.
    """
    parse_elements(search.elements)

    def raw() -> Stage:
        return _traced(degraded or reconstruct(series, config=search.reconstruction), search)

    def refined_from(start: Trace, step: str) -> Stage:
        return _attempt(lambda: _refined(start, series, search, track=track, step=step))

    found = {"raw": _timed(raw)}
    if search.model is None or search.posed:
        found["refined_raw"] = refined_from(found["raw"].trace, "refine what the tomogram shows")
    if search.model is None:
        return found
    first, as_told = found.get("refined_raw"), found["raw"].tomogram
    found["unet"] = _attempt(
        lambda: _repaired(series, search, refined=first.refined if first else None, otherwise=as_told)
    )
    start = found["unet"].trace
    # A network that found nothing must not look like one that did.
    if len(start.positions_A):
        start = unite(start, found["raw"].trace, min_distance_A=search.tracing.min_distance_A)
    found["refined_unet"] = refined_from(start, "refine what the network shows")
    if "refined_raw" not in found and found["refined_unet"].note:
        found["refined_raw"] = refined_from(found["raw"].trace, "refine what the tomogram shows")
    return found


def join_stages(
    series: TiltSeries, search: Search, stages: Mapping[str, Stage], *, seed: int = 0, track: Track = silent
) -> Stage:
    """Place atoms by the network and by the images, each by what it is worth (`join_positions`).

    For that the refined atoms are refined once more in images with a little more noise, and the tomogram of
    these is repaired and traced. Where that fails, a note says so, and atoms stand where the images place
    them; without ``refined_unet`` there are none.

    Parameters
    ----------
    stages
        What `find_stages` has found in this series, by the same search.
    seed
        Of the noise that is added.
    track
        Told of the refinement.
    """
    network, placed = stages["unet"].trace, stages["refined_unet"]
    if placed.refined is None:
        return Stage(EMPTY_TRACE, note=f"nothing to join: {placed.note}")
    refined = placed.refined

    def joined() -> Stage:
        noise = stream(seed, 0, "noise that probes").standard_normal(series.images.shape) * refined.noise_rms
        noisier = replace(series, images=(series.images + _ADDED_NOISE * noise).astype(np.float32))
        # The same atoms: one that only the noise adds or takes tells nothing of the others.
        steady = replace(search, refinement=search.refinement.model_copy(update={"change_atoms": False}))
        again = _refined(
            refined.trace, noisier, steady, track=track, step="refine once more, with more noise"
        )
        repaired = _repaired(noisier, search, refined=again.refined if search.posed else None)
        joint = join_positions(
            refined.trace,
            network,
            disturbed=(again.trace, repaired.trace),
            added_noise=_ADDED_NOISE,
            min_distance_A=search.tracing.min_distance_A,
        )
        return Stage(joint.trace, note=repaired.note, worth=joint.worth)

    stage = _attempt(joined)
    return replace(stage, trace=refined.trace) if stage.note else stage


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


def locate_atoms(series: TiltSeries, search: Search, *, seed: int = 0, track: Track = silent) -> Located:
    """Find the atoms of a tilt series, and place them by the images and by the network.

    All stages of `find_stages` and `join_stages`.

    Parameters
    ----------
    search
        With a model.
    seed
        Of the noise that is added.
    track
        Told of each refinement.

    Raises
    ------
    ValueError
        If there is no model, an element is unknown, or there is nothing to refine.
    """
    _model_of(search)
    stages = find_stages(series, search, track=track)
    refined = stages["refined_unet"].refined
    if refined is None:
        # What failed first is why the rest did.
        raise ValueError(stages["unet"].note or stages["refined_unet"].note)
    joint = join_stages(series, search, stages, seed=seed, track=track)
    return Located(stages["unet"].trace, refined, Joint(joint.trace, joint.worth))


def _model_of(search: Search) -> Path:
    if search.model is None:
        raise ValueError("the search has no model; give the weights of a network")
    return search.model


def _traced(tomogram: Tomogram, search: Search) -> Stage:
    """Trace; a tomogram without atoms is still one that a network may repair, or somebody may look at."""
    stage = _attempt(lambda: Stage(trace_tomogram(tomogram, elements=search.elements, config=search.tracing)))
    return replace(stage, tomogram=tomogram)


def _refined(start: Trace, series: TiltSeries, search: Search, *, track: Track, step: str) -> Stage:
    refined = refine_trace(
        start,
        series,
        elements=search.elements,
        config=search.refinement,
        min_distance_A=search.tracing.min_distance_A,
        optics=search.optics,
        progress=lambda done, most: track(step, done, most),
    )
    return Stage(refined.trace, refined=refined)


def _repaired(
    series: TiltSeries, search: Search, *, refined: Refined | None, otherwise: Tomogram | None = None
) -> Stage:
    """Repair and trace the tomogram of the refined geometry; without that, the one at hand or a raw one."""
    model = _model_of(search)
    if refined is not None:
        tomogram = reconstruct(series, config=search.reconstruction, fit=refined.images)
    else:
        tomogram = otherwise or reconstruct(series, config=search.reconstruction)
    return _traced(repair(tomogram, model=model), search)


def _attempt(work: Callable[[], Stage]) -> Stage:
    """Time a stage; the one place where its failure is caught."""

    def caught() -> Stage:
        try:
            return work()
        except ValueError as error:
            return Stage(EMPTY_TRACE, note=str(error))

    return _timed(caught)


def _timed(work: Callable[[], Stage]) -> Stage:
    begun = time.monotonic()
    stage = work()
    return replace(stage, seconds=time.monotonic() - begun)
