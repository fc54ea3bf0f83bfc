"""What all sections of a recipe share: frozen groups of knobs, ranges, chemical symbols."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


def _as_range(value: Any) -> Any:
    if isinstance(value, str):
        # YAML 1.1 reads 1e4 as text, and everybody writes a dose so.
        with suppress(ValueError):
            value = float(value)
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [low, high]; found {list(value)}: swap the two")
    return value


@dataclass(frozen=True)
class Within:
    """Limits of both ends of a range; the reference reads them like those of a number."""

    ge: float
    le: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: tuple[float, float]) -> tuple[float, float]:
        for end in value:
            if not self.ge <= end <= self.le:
                raise ValueError(f"found {end:g}; allowed is {self.ge:g} to {self.le:g}")
        return value


def _known_symbol(value: str) -> str:
    from ase.data import atomic_numbers

    if value not in atomic_numbers or value == "X":
        raise ValueError(f"found {value!r}; allowed is a chemical symbol such as Pt")
    return value


Range = Annotated[tuple[float, float], BeforeValidator(_as_range), AfterValidator(_ordered)]
Symbol = Annotated[str, AfterValidator(_known_symbol)]


class Section(BaseModel):
    """A frozen group of knobs that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
