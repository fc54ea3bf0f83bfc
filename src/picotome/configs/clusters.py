"""Particles of several grains: twinned clusters and joined particles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from picotome.configs.fields import Range, Symbol, Within
from picotome.configs.specimen_parts import CrystalSection, ParticleSection


class DumbbellSpecimen(ParticleSection):
    """Two f.c.c. particles joined over a neck, of one crystal or twinned at the neck."""

    kind: Literal["dumbbell"]
    element: Symbol = "Pt"
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: ASE's"
    )
    diameter_A: Range = Field((14.0, 18.0), description="diameter of each particle, drawn for each, Å")
    neck: Annotated[Range, Within(0.1, 0.95)] = Field(
        (0.5, 0.8), description="diameter of the neck relative to that of the smaller particle"
    )
    twin: Literal["none", "single", "double"] = Field(
        "single", description="{111} twin planes at the neck; double: a lamella between two"
    )
    lamella_layers: int = Field(3, ge=1, le=50, description="{111} layers between two twin planes")
    attachment_deg: Annotated[Range, Within(0, 90)] = Field(
        (0.0, 55.0), description="angle from a ⟨111⟩ (the twin's normal) to the line of the centres, °"
    )
    neck_disorder_A: float = Field(
        0.1, ge=0, le=0.5, description="extra static displacement at the neck, rms per axis, Å"
    )
    neck_length_A: float = Field(4.0, gt=0, le=50, description="distance over which it falls to 1/e, Å")


class _MultiplyTwinned(CrystalSection):
    element: Symbol = "Au"
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="cubic lattice parameter, Å; default: ASE's"
    )
    diameter_A: Range = Field((16.0, 20.0), description="diameter of the sphere of equal volume, Å")
    facet_jitter: float = Field(
        0.03, ge=0, le=0.5, description="relative rms change of each facet's distance from the centre"
    )


class DecahedronSpecimen(_MultiplyTwinned):
    """Five f.c.c. grains around an axis, with {111} caps, {100} sides and re-entrant edges (Marks)."""

    kind: Literal["decahedron"]
    side: Annotated[Range, Within(0.3, 2.0)] = Field(
        (0.7, 1.0), description="distance of the {100} sides relative to that of the {111} caps"
    )
    notch: Annotated[Range, Within(0, 0.5)] = Field(
        (0.0, 0.15), description="depth of the re-entrant edges relative to the radius; 0: none"
    )


class IcosahedronSpecimen(_MultiplyTwinned):
    """Twenty f.c.c. grains with {111} faces all around."""

    kind: Literal["icosahedron"]
