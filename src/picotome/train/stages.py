"""A network on files: what the commands apply and locate do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from picotome.configs.imaging import OpticsConfig
from picotome.configs.schema import ReconstructionConfig, RefinementConfig, TracingConfig
from picotome.datasets.identity import versions
from picotome.datasets.stages import check_out, simulated_optics, write_stage
from picotome.datasets.store import pick, read_records, specimen_of
from picotome.progress import Track
from picotome.records import TiltSeries, Tomogram
from picotome.train.apply import repair
from picotome.train.locate import Located, Search, locate_atoms


def apply_file(file: Path, *, weights: Path, out: Path) -> Tomogram:
    """Repair the degraded tomogram of a file; the specimen, where known, travels along."""
    check_out(out)
    records = read_records(file)
    repaired = repair(pick(records, Tomogram, file, ("degraded",)), model=weights)
    write_stage(
        out,
        {**specimen_of(records), "repaired": repaired},
        provenance={"source": file.name, "model": weights.name, "network": versions(("torch", "monai"))},
    )
    return repaired


def locate_file(
    series_path: Path,
    *,
    out: Path,
    elements: Sequence[str],
    weights: Path,
    refinement: RefinementConfig,
    min_distance_A: float,
    optics: OpticsConfig | None = None,
    track: Track,
) -> Located:
    """Find the atoms of a file's series, and write what the network, the images and both say of them.

    Where `optics` is None, those of the recipe that the series was simulated with are used, if it was.
    """
    check_out(out)
    records = read_records(series_path)
    search = Search(
        elements=elements,
        refinement=refinement,
        model=weights,
        tracing=TracingConfig(min_distance_A=min_distance_A),
        # Where shifts may be wrong, the images are aligned first.
        reconstruction=ReconstructionConfig(align="shifts" in refinement.geometry),
        optics=optics if optics is not None else simulated_optics(series_path),
    )
    located = locate_atoms(pick(records, TiltSeries, series_path), search, track=track)
    stored = {
        **specimen_of(records),
        "trace": located.joint.trace,
        "trace_unet": located.network,
        "trace_refined": located.refined.trace,
        "images": located.refined.images,
    }
    provenance = {
        "source": series_path.name,
        "model": weights.name,
        "elements": list(elements),
        "network": versions(("torch", "monai")),
    }
    write_stage(out, stored, provenance=provenance)
    return located
