"""Lists of names in a list of entries: ``{kind: wulff, element: [Pt, Au]}`` is two entries."""

from __future__ import annotations

from itertools import product
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from picotome.configs.fields import Section


def each_choice(value: Any, *, kinds: tuple[type[Section], ...]) -> Any:
    """Write a list where one name is expected as one entry for each name, with an equal part of the weight.

    Several lists make all combinations. What is no list of mappings is left to the schema.

    Parameters
    ----------
    kinds
        Sections that an entry may be, told apart by their knob ``kind``.
    """
    if not isinstance(value, list | tuple):
        return value
    sections = {get_args(section.model_fields["kind"].annotation)[0]: section for section in kinds}
    entries: list[Any] = []
    for entry in value:
        section = sections.get(entry.get("kind")) if isinstance(entry, dict) else None
        entries.extend(_each_combination(entry, section) if section is not None else [entry])
    return entries


def _each_combination(entry: dict[str, Any], section: type[Section]) -> list[dict[str, Any]]:
    choices = {
        key: names
        for key, names in entry.items()
        if key in section.model_fields
        and isinstance(names, list)
        and names
        and all(isinstance(name, str) for name in names)
        and _takes_a_name(section.model_fields[key].annotation)
    }
    if not choices:
        return [entry]
    combinations = list(product(*choices.values()))
    weight = entry.get("weight", 1.0)
    if isinstance(weight, int | float):
        weight = weight / len(combinations)
    return [
        {**entry, **dict(zip(choices, combination, strict=True)), "weight": weight}
        for combination in combinations
    ]


def _takes_a_name(annotation: Any) -> bool:
    """Whether a knob is a name: a text, an element or one of several words; or nothing."""
    if annotation is str or annotation is type(None) or isinstance(annotation, str):
        return True
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _takes_a_name(parts[0])
    return get_origin(annotation) in (Literal, UnionType, Union) and all(map(_takes_a_name, parts))
