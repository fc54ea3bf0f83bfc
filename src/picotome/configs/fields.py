"""What all sections of a recipe share: frozen groups of knobs, ranges, chemical symbols."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)
from pydantic_core import CoreSchema, core_schema

Law = Literal["uniform", "log", "normal"]


class Spread(tuple[float, float]):
    """A range with a law of its own; `picotome.simgen.drawing` draws from it.

    *uniform* and *log* (uniform in the logarithm) fill [low, high]; *normal* has its mean in the middle, two
    standard deviations to each side, and is cut off there, so that low and high are limits of every law.
    """

    law: Law

    def __new__(cls, ends: tuple[float, float], law: Law) -> Spread:
        """Give both ends a law."""
        made = super().__new__(cls, ends)
        made.law = law
        return made

    def __getnewargs__(self) -> tuple[tuple[float, float], Law]:
        """Say how a copy in another process is made."""
        return (self[0], self[1]), self.law

    def __eq__(self, other: object) -> bool:
        """Tell laws apart."""
        return isinstance(other, Spread) and self.law == other.law and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash((tuple(self), self.law))


def _range(value: Any, handler: Callable[[Any], tuple[float, float]]) -> tuple[float, float]:
    """Read a number, [low, high] or {law: [low, high]}."""
    law: Law | None = None
    if isinstance(value, Spread):
        return value
    if isinstance(value, dict):
        if len(value) != 1 or next(iter(value)) not in get_args(Law):
            raise ValueError(
                f"a range is [low, high] or one of {', '.join(get_args(Law))} with it, such as "
                f"{{log: [1, 10]}}; found {value}"
            )
        key, value = next(iter(value.items()))
        law = cast(Law, key)
    if isinstance(value, str):
        # YAML 1.1 reads 1e4 as text, and everybody writes a dose so.
        with suppress(ValueError):
            value = float(value)
    ends = handler(
        (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    )
    if ends[0] > ends[1]:
        raise ValueError(f"a range is [low, high]; found {list(ends)}: swap the two")
    if law == "log" and ends[0] <= 0.0:
        raise ValueError(f"a log range starts above 0; found {list(ends)}")
    return ends if law is None else Spread(ends, law)


def _range_as_written(value: tuple[float, float], handler: SerializerFunctionWrapHandler) -> Any:
    return {value.law: handler(tuple(value))} if isinstance(value, Spread) else handler(value)


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


Range = Annotated[tuple[float, float], WrapValidator(_range), WrapSerializer(_range_as_written)]
Symbol = Annotated[str, AfterValidator(_known_symbol)]


class Section(BaseModel):
    """A frozen group of knobs that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
