"""What the particle lies on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from picotome.configs.fields import Range, Section, Within

STEEPEST_DEG = 80.0
"""Largest tilt of a specimen on a substrate: beyond it, the slab is seen nearly edge-on."""


class SubstrateConfig(Section):
    """An amorphous slab of atoms under every particle; its normal is z at zero tilt, and it tilts along."""

    material: Literal["carbon", "silicon_nitride"] = "carbon"
    thickness_A: Annotated[Range, Within(5, 200)] = Field(
        (30.0, 30.0), description="thickness of the slab, Å"
    )
    density_g_per_cm3: float | None = Field(
        None, ge=0.5, le=3.5, description="mass density; default: carbon 2.0, silicon nitride 3.0, g/cm³"
    )
    contact_A: float = Field(
        2.2,
        ge=1.5,
        le=20,
        description="smallest distance between an atom of the particle and one of the slab, Å",
    )
    side: Literal["exit", "entrance"] = Field(
        "exit", description="where the slab lies at zero tilt: exit, the beam meets the particle first"
    )
