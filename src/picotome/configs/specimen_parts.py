"""What the kinds of specimens share."""

from __future__ import annotations

from pydantic import Field

from picotome.configs.fields import Range, Section
from picotome.configs.modifiers import ModifierConfig


class DisorderConfig(Section):
    """What moves atoms off their lattice sites, beyond relaxation."""

    strain_rms: float = Field(0.01, ge=0, le=0.2, description="rms of the smooth strain field's components")
    strain_length_A: float = Field(10.0, gt=1.0, description="correlation length of the strain field, Å")
    displacement_rms_A: float = Field(
        0.05, ge=0, le=0.5, description="static displacement of each atom, rms per axis, Å (normal)"
    )
    displacement_half_width_A: float = Field(
        0.0, ge=0, le=1.0, description="static displacement, uniform within ± this per axis, Å"
    )


class SpecimenSection(Section):
    """What every kind of specimen has."""

    weight: float = Field(
        1.0, gt=0, description="share of the particles that are of this entry; all alike: taken in turn"
    )
    modifiers: tuple[ModifierConfig, ...] = Field((), description="what is done to it, in this order")


class CrystalSection(SpecimenSection):
    """What every crystal that is made has."""

    disorder: DisorderConfig = DisorderConfig()
    rotate: bool = Field(True, description="free random orientation")


class ParticleSection(SpecimenSection):
    """What every faceted particle has."""

    diameter_A: Range = Field((16.0, 20.0), description="diameter of the sphere of equal volume, Å")
    facet_jitter: float = Field(
        0.08, ge=0, le=0.5, description="relative rms change of each facet's distance from the centre"
    )
    disorder: DisorderConfig = DisorderConfig()
    rotate: bool = Field(True, description="free random orientation")
