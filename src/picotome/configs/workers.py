"""Where workers come from: the file of ``--cluster``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from picotome.configs.fields import Section

_MEMORY = re.compile(r"^\d+(\.\d+)? ?[kMGT]i?B$")
_WALLTIME = re.compile(r"^(\d+-)?\d{1,3}:\d{2}:\d{2}$")


def _memory(value: Any) -> Any:
    if not isinstance(value, str) or not _MEMORY.match(value):
        raise ValueError(f"found {value!r}; memory is a number with a unit, such as 4GB")
    return value


def _walltime(value: Any) -> Any:
    # YAML reads 12:00:00 without quotes as a number.
    if not isinstance(value, str) or not _WALLTIME.match(value):
        raise ValueError(f"found {value!r}; walltime is hours:minutes:seconds in quotes, such as '12:00:00'")
    return value


Memory = Annotated[str, BeforeValidator(_memory)]
Walltime = Annotated[str, BeforeValidator(_walltime)]


class LocalWorkers(Section):
    """Processes on this machine."""

    kind: Literal["local"]
    workers: int | None = Field(None, ge=1, le=10_000, description="processes; default: one per core")
    memory: Memory | None = Field(
        None, description="limit of one worker; default: an equal share of the machine's memory"
    )


class QueueWorkers(Section):
    """Jobs of a batch system, which dask-jobqueue submits."""

    kind: Literal["slurm", "pbs", "sge"]
    workers: int = Field(ge=1, le=100_000, description="worker processes in all, one thread each")
    memory: Memory = Field(description="limit of one worker")
    cores: int = Field(1, ge=1, le=1024, description="workers in one job, on one node")
    walltime: Walltime = Field("01:00:00", description="of a job; one that ends is replaced")
    queue: str | None = Field(None, description="queue or partition")
    account: str | None = Field(None, description="account or project that pays")
    directives: tuple[str, ...] = Field(
        (), description="more lines of the job's head, without #SBATCH, #PBS or #$, such as --constraint=x"
    )
    prologue: tuple[str, ...] = Field(
        (), description="shell lines before a worker starts, such as module load python"
    )
    python: str | None = Field(None, description="Python on the nodes; default: this one, at the same path")
    interface: str | None = Field(None, description="network that workers use, such as ib0")
    local_directory: str = Field("/tmp", description="scratch folder on a node")
    log_directory: str | None = Field(None, description="folder of the jobs' output; default: here")


_KINDS: dict[str, type[LocalWorkers] | type[QueueWorkers]] = {
    "local": LocalWorkers,
    **dict.fromkeys(("slurm", "pbs", "sge"), QueueWorkers),
}


def load_cluster(path: Path) -> LocalWorkers | QueueWorkers:
    """Load and check a cluster file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not YAML, or a key or value is not allowed; the message names each, and what is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no cluster file {path}; docs/clusters.md shows one for each batch system")
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not plain YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds {type(data).__name__}; a cluster file is a mapping of keys to values")
    kind = data.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"{path}: kind is {kind!r}; allowed is one of {', '.join(_KINDS)}")
    section = _KINDS[kind]
    try:
        return section.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                lines.append(f"  {key}: unknown key")
            elif item["type"] == "missing":
                lines.append(f"  {key}: missing; {section.model_fields[key].description}")
            else:
                lines.append(f"  {key}: found {item['input']!r}; {item['msg'].removeprefix('Value error, ')}")
        raise ValueError(
            f"{path} is not a valid cluster file:\n"
            + "\n".join(lines)
            + f"\nkeys of kind {kind} are {', '.join(section.model_fields)}"
        ) from error
