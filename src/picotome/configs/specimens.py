"""The specimens that a recipe may ask for, one section for each kind."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from picotome.configs.choices import each_choice
from picotome.configs.clusters import DecahedronSpecimen, DumbbellSpecimen, IcosahedronSpecimen
from picotome.configs.compounds import AmorphousSpecimen, LayeredSpecimen, PerovskiteSpecimen
from picotome.configs.fields import Range, Symbol, Within
from picotome.configs.specimen_parts import DisorderConfig as DisorderConfig
from picotome.configs.specimen_parts import ParticleSection, SpecimenSection

_COMPOSITION_TOLERANCE = 1e-3
_MIN_ATOMS = 13


class WulffSpecimen(ParticleSection):
    """A particle of one element cut by a jittered Wulff construction."""

    kind: Literal["wulff"]
    element: Symbol = "Pt"
    structure: Literal["fcc", "bcc", "hcp"] | None = Field(
        None, description="default: the element's own by ASE's table; fcc where lattice_A is given"
    )
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="lattice parameter a, Å; default: the element's by ASE's table"
    )
    lattice_c_A: float | None = Field(
        None, gt=2, lt=12, description="lattice parameter c of hcp, Å; default: ASE's, or 1.633 a"
    )
    n_atoms: Range | None = Field(None, description="number of atoms, instead of diameter_A")
    shape: Literal["truncated_octahedron", "cuboctahedron", "octahedron", "cube"] | None = Field(
        None, description="a named shape instead of facets"
    )
    facets: dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        min_length=1,
        description='surface energies, or distances from the centre, relative: {"111": 1, "100": 1.15}',
    )
    centred: bool = Field(False, description="an atom exactly in the middle of the facets; else anywhere")

    @model_validator(mode="after")
    def _shape_is_clear(self) -> WulffSpecimen:
        if self.shape is not None and self.facets is not None:
            raise ValueError(f"shape is {self.shape} and facets are given, too; allowed is one of them")
        for key in self.facets or {}:
            parse_miller(key)
        if self.n_atoms is not None and self.n_atoms[0] < _MIN_ATOMS:
            raise ValueError(f"n_atoms is {self.n_atoms[0]:g}; allowed is at least {_MIN_ATOMS}")
        return self


def parse_miller(text: str) -> tuple[int, int, int]:
    """Read the Miller indices of a facet: ``111``, ``-110``, ``1 0 12``; four of them are h k i l.

    Raises
    ------
    ValueError
        They are not three or four whole numbers, all are 0, or h + k + i is not 0.
    """
    separated = "," in text or " " in text.strip()
    parts = re.split(r"[\s,]+", text.strip()) if separated else re.findall(r"-?\d", text)
    numbers = [int(part) for part in parts if re.fullmatch(r"-?\d+", part)]
    is_text_read = "".join(map(str, numbers)) == re.sub(r"[\s,]+", "", text)
    if not is_text_read or len(numbers) not in (3, 4) or not any(numbers):
        raise ValueError(f"facets: {text!r} is no facet; allowed are Miller indices such as 111 or 1 -1 0")
    if len(numbers) == 4 and sum(numbers[:3]) != 0:
        raise ValueError(f"facets: {text!r} has h + k + i = {sum(numbers[:3])}; allowed is 0")
    return numbers[0], numbers[1], numbers[-1]


class CoreShellSpecimen(ParticleSection):
    """A particle with a core of one f.c.c. element and a shell of another, and the misfit between them."""

    kind: Literal["core_shell"]
    core: Symbol = "Pd"
    shell: Symbol = "Pt"
    core_lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter of the core's element, Å; default: ASE's"
    )
    shell_lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter of the shell's element, Å; default: ASE's"
    )
    shell_thickness_A: Range = Field((2.5, 4.5), description="thickness of the shell, Å")
    shell_monolayers: Range | None = Field(
        None, description="thickness in whole layers of {111}, instead of shell_thickness_A"
    )
    interface_width_A: Annotated[Range, Within(0, 20)] = Field(
        (0.0, 0.0), description="depth over which the core's share grows from 10 to 90 %, Å; 0: sharp"
    )
    off_centre_A: Annotated[Range, Within(0, 50)] = Field(
        (0.0, 0.0), description="distance of the core's centre from the particle's, any direction, Å"
    )
    relax: bool = Field(True, description="relax the misfit with ASE's EMT (Al, Cu, Ag, Au, Ni, Pd, Pt)")
    imposed: Literal["none", "radial"] = Field(
        "none", description="without relax: impose the misfit as the elastic field of a sphere in a sphere"
    )
    poisson_ratio: float = Field(0.38, ge=0, lt=0.5, description="Poisson's ratio of that field")

    @model_validator(mode="after")
    def _shell_leaves_a_core(self) -> CoreShellSpecimen:
        if self.relax and self.imposed != "none":
            raise ValueError(f"imposed is {self.imposed} with relax: true; set one of them: relax: false")
        if self.shell_monolayers is not None:
            if self.shell_monolayers[0] < 1.0:
                raise ValueError(f"shell_monolayers is {self.shell_monolayers[0]:g}; allowed is 1 or more")
        elif 2.0 * self.shell_thickness_A[1] >= self.diameter_A[0]:
            raise ValueError(
                f"shell_thickness_A reaches {self.shell_thickness_A[1]:g}, half of the smallest diameter_A "
                f"{self.diameter_A[0]:g} or more; leave room for a core"
            )
        return self


class BlobSpecimen(SpecimenSection):
    """A random connected union of spheres cut from an f.c.c. lattice: the shape of the published recipe."""

    kind: Literal["blob"]
    element: Symbol = "Pt"
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: ASE's"
    )
    diameter_A: Range = Field((20.0, 40.0), description="diameter of the sphere of equal volume, Å")
    n_spheres: int = Field(5, ge=1, le=100, description="spheres in the union")
    disorder: DisorderConfig = DisorderConfig()
    rotate: bool = Field(True, description="free random orientation")


class AlloySpecimen(ParticleSection):
    """An f.c.c. particle of several elements: random, ordered, with a skin or with short-range order."""

    kind: Literal["alloy"]
    composition: dict[Symbol, Annotated[float, Field(gt=0, le=1)]] = Field(
        {"Pt": 0.5, "Ni": 0.5}, min_length=1, description="fraction of the atoms by element; sum 1"
    )
    order: Literal["random", "L1_0", "L1_2"] = Field(
        "random", description="L1_0: planes of the two main elements in turn; L1_2: the second on the corners"
    )
    surface: Symbol | None = Field(
        None, description="element of the outermost layer (a Pt skin); null: as the inside"
    )
    short_range_order: float | None = Field(
        None,
        ge=-0.3,
        le=0.7,
        description="Warren-Cowley α of nearest neighbours, two main elements (unlike: -); null: chance",
    )
    pair_order: dict[str, Annotated[float, Field(ge=-2, le=1)]] | None = Field(
        None,
        min_length=1,
        description='Warren-Cowley α of any pairs of elements instead: {"Pt-Ni": -0.1, "Pt-Ga": -0.2}',
    )
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: Vegard's law with ASE's"
    )
    relax: bool = Field(False, description="relax with ASE's EMT (Al, Cu, Ag, Au, Ni, Pd, Pt)")
    size_strain: bool = Field(
        False, description="without relax: every atom pushes the others by its size, as an elastic point"
    )
    poisson_ratio: float = Field(0.38, ge=0, lt=0.5, description="Poisson's ratio of size_strain")

    @model_validator(mode="after")
    def _elements_fit(self) -> AlloySpecimen:
        total = sum(self.composition.values())
        if abs(total - 1.0) > _COMPOSITION_TOLERANCE:
            raise ValueError(
                f"composition adds up to {total:g}; allowed is 1: these are fractions of the atoms"
            )
        if self.surface is not None and self.surface not in self.composition:
            raise ValueError(
                f"surface is {self.surface}; allowed is an element of the composition: "
                f"{', '.join(self.composition)}"
            )
        wanted = [
            key
            for key, is_set in (
                ("order", self.order != "random"),
                ("short_range_order", self.short_range_order is not None),
                ("pair_order", self.pair_order is not None),
            )
            if is_set
        ]
        if wanted and len(self.composition) == 1:
            raise ValueError(f"{wanted[0]} is set for one element; give composition two or more")
        if len(wanted) > 1:
            found = f"order {self.order}" if wanted[0] == "order" else wanted[0]
            raise ValueError(f"{wanted[1]} is set with {found}; allowed is one of them, or order random")
        if self.relax and self.size_strain:
            raise ValueError("size_strain is set with relax: true, which knows sizes itself; set one of them")
        for pair in self.pair_order or {}:
            parts = pair.split("-")
            if len(set(parts)) != 2 or not set(parts) <= set(self.composition):
                raise ValueError(
                    f"pair_order: {pair!r} is no pair of the composition; allowed are two of "
                    f"{', '.join(self.composition)}, such as Pt-Ni"
                )
        return self


class FileSpecimen(SpecimenSection):
    """Any structure that ASE reads; centred in the box."""

    kind: Literal["file"]
    path: str = Field(description="file that ASE reads (xyz, cif, POSCAR, …)")
    species: dict[Symbol, Symbol] = Field({}, description="elements to take for others: {Ir: Pt}")
    crop_diameter_A: float | None = Field(
        None, gt=0, description="keep a ball of this diameter in the middle, Å; null: everything"
    )
    crop_box_A: tuple[float, float, float] | None = Field(
        None, description="keep a box of these edges x, y, z in the middle, Å; null: everything"
    )
    rotate: bool = Field(False, description="free random orientation")

    @model_validator(mode="after")
    def _crop_is_clear(self) -> FileSpecimen:
        if self.crop_diameter_A is not None and self.crop_box_A is not None:
            raise ValueError("crop_box_A is set with crop_diameter_A; allowed is one of them")
        if self.crop_box_A is not None and min(self.crop_box_A) <= 0:
            raise ValueError(f"crop_box_A is {list(self.crop_box_A)}; allowed are edges above 0")
        return self


SpecimenConfig = Annotated[
    WulffSpecimen
    | DecahedronSpecimen
    | IcosahedronSpecimen
    | BlobSpecimen
    | CoreShellSpecimen
    | AlloySpecimen
    | DumbbellSpecimen
    | PerovskiteSpecimen
    | AmorphousSpecimen
    | LayeredSpecimen
    | FileSpecimen,
    Field(discriminator="kind"),
]


def source_file(config: SpecimenConfig) -> Path | None:
    """Return the file that a specimen is read from; None where it is made from its knobs alone."""
    name = config.path if config.kind == "file" else config.cif if config.kind == "layered" else None
    return None if name is None else Path(name).expanduser()


# A list of entries, where a list of names stands for one entry each.
SpecimenConfigs = Annotated[
    tuple[SpecimenConfig, ...],
    BeforeValidator(partial(each_choice, kinds=get_args(get_args(SpecimenConfig)[0]))),
]
