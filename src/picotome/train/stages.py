"""Apply a network to a tomogram in a file: what the command apply does."""

from __future__ import annotations

from pathlib import Path

from picotome.datasets.identity import versions
from picotome.datasets.stages import check_out, write_stage
from picotome.datasets.store import pick, read_records, specimen_of
from picotome.records import Tomogram
from picotome.train.apply import repair


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
