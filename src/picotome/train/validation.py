"""How good a network is at atoms, not only at voxels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from picotome.configs.schema import ScoringConfig, TracingConfig
from picotome.datasets.pairs import traced_elements
from picotome.datasets.store import read_pair
from picotome.recon.normalise import tomogram_scale
from picotome.records import Score
from picotome.trace.scoring import score_trace, scored_atoms
from picotome.trace.tracing import trace_or_nothing
from picotome.train.apply import repair_with
from picotome.train.unet import RepairNet
from picotome.units import PM_PER_A


def ospa_pm(score: Score) -> float:
    """One number for position errors, missed and false atoms together, in pm.

    Optimal subpattern assignment of order 2: matched atoms count their distance, every atom without a
    partner the matching radius (Schuhmacher, Vo & Vo, IEEE Trans. Signal Process. 56, 3447 (2008),
    doi:10.1109/TSP.2008.920469).
    """
    radius_pm = score.radius_A * PM_PER_A
    n_larger = max(score.n_true, score.n_found, 1)
    squares = float(np.sum(score.displacement_pm**2))
    return float(np.sqrt((squares + radius_pm**2 * (n_larger - len(score.displacement_pm))) / n_larger))


def validate(
    network: RepairNet, files: Sequence[Path], *, tracing: TracingConfig, scoring: ScoringConfig
) -> dict[str, float]:
    """Repair, trace and score every validation particle.

    Returns
    -------
    dict
        ``validation_loss`` (mean squared error of normalised volumes) and the means over the particles of
        ``rmsd_pm``, ``recall``, ``precision`` and ``ospa_pm`` (the number that chooses the best epoch).
    """
    losses: list[float] = []
    scores: list[Score] = []
    for file in files:
        pair = read_pair(file)
        repaired = repair_with(network, pair.degraded)
        scale = tomogram_scale(pair.degraded.volume)
        losses.append(float(np.mean(((repaired.volume - pair.ideal.volume) / scale) ** 2)))
        elements = traced_elements(pair.specimen, config=tracing)
        trace = trace_or_nothing(repaired, elements=elements, config=tracing)
        scores.append(score_trace(trace, scored_atoms(pair.specimen, config=scoring), config=scoring))
    return {"validation_loss": float(np.mean(losses)), **mean_scores(scores)}


def mean_scores(scores: Sequence[Score]) -> dict[str, float]:
    """Means over particles; an RMSD that does not exist (nothing matched) counts as the matching radius."""
    worst_pm = scores[0].radius_A * PM_PER_A
    rmsds = [score.rmsd_pm if np.isfinite(score.rmsd_pm) else worst_pm for score in scores]
    return {
        "rmsd_pm": float(np.mean(rmsds)),
        "recall": float(np.mean([score.recall for score in scores])),
        "precision": float(np.mean([score.precision if score.n_found else 0.0 for score in scores])),
        "ospa_pm": float(np.mean([ospa_pm(score) for score in scores])),
    }
