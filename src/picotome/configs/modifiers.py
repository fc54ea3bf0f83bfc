"""What may be done to a specimen after it is built: modifiers, in the order of a list."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from picotome.configs.fields import Range, Section, Symbol, Within

Strain = Annotated[Range, Within(-0.2, 0.2)]
Fraction = Annotated[Range, Within(0, 1)]
Axis = Literal["x", "y", "z"]


class StrainModifier(Section):
    """A uniform strain tensor in the particle's own axes."""

    kind: Literal["strain"]
    xx: Strain = Field((0.0, 0.0), description="normal strain along x")
    yy: Strain = Field((0.0, 0.0), description="normal strain along y")
    zz: Strain = Field((0.0, 0.0), description="normal strain along z")
    yz: Strain = Field((0.0, 0.0), description="shear strain, tensor component (half of the angle)")
    xz: Strain = Field((0.0, 0.0), description="shear strain, tensor component")
    xy: Strain = Field((0.0, 0.0), description="shear strain, tensor component")


class GradientModifier(Section):
    """A normal strain that grows linearly through the particle; across its own direction this is bending."""

    kind: Literal["strain_gradient"]
    along: Axis = Field("x", description="direction that is stretched")
    across: Axis = Field("z", description="direction in which the strain grows")
    gradient_per_A: Annotated[Range, Within(-0.02, 0.02)] = Field(
        (5e-4, 1.5e-3), description="change of the strain, 1/Å; 0 in the middle of the particle"
    )


class RadialModifier(Section):
    """A strain that changes with the square of the distance from the centre, as misfit in a core-shell."""

    kind: Literal["radial_strain"]
    centre: Strain = Field((0.0, 0.0), description="strain at the centre, the same in all directions")
    surface: Strain = Field((-0.02, -0.01), description="strain along the surface at the outermost atom")


class SurfaceModifier(Section):
    """The outermost layer moves outwards or inwards, differently on {111} and {100}; f.c.c. only."""

    kind: Literal["surface_relaxation"]
    on_111: Annotated[Range, Within(-0.2, 0.2)] = Field(
        (0.0, 0.02), description="change of the outermost layer's distance on {111}, relative (out: +)"
    )
    on_100: Annotated[Range, Within(-0.2, 0.2)] = Field(
        (-0.05, -0.02), description="change of the outermost layer's distance on {100}, relative (out: +)"
    )


class SupportModifier(Section):
    """In-plane strain at the side that faces the support, fading away from it; in the box's axes."""

    kind: Literal["support_strain"]
    at_contact: Strain = Field((-0.03, -0.01), description="strain along x and y at the contact (pressed: -)")
    decay_length_A: Annotated[Range, Within(1, 1000)] = Field(
        (5.0, 10.0), description="height over which the strain falls to 1/e, Å"
    )


class VacanciesModifier(Section):
    """Atoms that are missing."""

    kind: Literal["vacancies"]
    fraction: Annotated[Range, Within(0, 0.5)] = Field((0.005, 0.02), description="of the atoms concerned")
    element: Symbol | None = Field(None, description="only atoms of this element; null: of all")
    where: Literal["anywhere", "surface", "inside"] = Field(
        "anywhere", description="which sites may be empty"
    )


class AdatomsModifier(Section):
    """Single atoms on hollow sites of the surface."""

    kind: Literal["adatoms"]
    fraction: Annotated[Range, Within(0, 0.5)] = Field((0.01, 0.05), description="of the particle's atoms")
    element: Symbol | None = Field(None, description="element; null: that of the atom below")


class StepModifier(Section):
    """A facet whose outermost layer covers only a part: its edge is a step."""

    kind: Literal["step"]
    facet: Literal["111", "100"] = Field("111", description="family of the facet; which of it is drawn")
    coverage: Fraction = Field((0.3, 0.7), description="part of the outermost layer that stays")


class StackingFaultModifier(Section):
    """An f.c.c. particle cut along a {111} plane, one half shifted by a/6 <112>."""

    kind: Literal["stacking_fault"]
    place: Annotated[Range, Within(-0.9, 0.9)] = Field(
        (-0.4, 0.4), description="where the plane lies between the middle (0) and the ends (±1)"
    )


class StaticDisorderModifier(Section):
    """Static displacements, by element."""

    kind: Literal["static_disorder"]
    rms_A: dict[Symbol, Annotated[float, Field(ge=0, le=0.5)]] = Field(
        {}, description="by element, rms per axis, Å (normal)"
    )
    default_rms_A: Annotated[Range, Within(0, 0.5)] = Field(
        (0.0, 0.0), description="all other elements, rms per axis, Å"
    )

    @model_validator(mode="after")
    def _moves_something(self) -> StaticDisorderModifier:
        if not self.rms_A and self.default_rms_A[1] == 0.0:
            raise ValueError("static_disorder states neither rms_A nor default_rms_A; set one")
        return self


ModifierConfig = Annotated[
    StrainModifier
    | GradientModifier
    | RadialModifier
    | SurfaceModifier
    | SupportModifier
    | VacanciesModifier
    | AdatomsModifier
    | StepModifier
    | StackingFaultModifier
    | StaticDisorderModifier,
    Field(discriminator="kind"),
]
