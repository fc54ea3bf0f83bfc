"""Specimens that are no metal crystals: perovskites, layered crystals and glasses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from picotome.configs.fields import Range, Symbol, Within
from picotome.configs.specimen_parts import CrystalSection, SpecimenSection

_COMPOSITION_TOLERANCE = 1e-3


class PerovskiteSpecimen(CrystalSection):
    """A particle of a perovskite ABO3 whose B ions sit off the middle of their oxygen cages."""

    kind: Literal["perovskite"]
    a_site: Symbol = Field("Ba", description="element A, on the corners of the cubes")
    b_site: Symbol = Field("Ti", description="element B, in the middle of the oxygen octahedra")
    lattice_A: float = Field(4.006, gt=3, lt=6, description="lattice parameter of the cube, Å")
    c_over_a: float = Field(1.0, gt=0.8, lt=1.3, description="length of the cell along z, relative")
    diameter_A: Range = Field((24.0, 30.0), description="diameter of the sphere of equal volume, Å")
    shape: Literal["sphere", "cube"] = Field("sphere", description="outline; a cube has {100} faces")
    oxygen: bool = Field(True, description="false: leave the oxygen out, as the images nearly do")
    off_centre_pm: Annotated[Range, Within(0, 60)] = Field(
        (10.0, 15.0), description="distance of B from the middle of its six oxygens, pm (10 pm = 0.10 Å)"
    )
    field: Literal["uniform", "vortex", "vortices"] = Field(
        "uniform", description="directions of the off-centring: one, around one axis, around several"
    )
    n_vortices: int = Field(3, ge=2, le=20, description="axes of `vortices`, winding +1 and -1 in turn")
    vortex_core_A: float = Field(
        6.0, gt=0.5, le=50, description="distance from an axis over which the off-centring grows, Å"
    )
    born_charge_e: float = Field(
        7.16, gt=0, le=20, description="Born effective charge of B, elementary charges (BaTiO3: 7.16)"
    )


class AmorphousSpecimen(SpecimenSection):
    """A ball of atoms packed densely at random, without a lattice."""

    kind: Literal["amorphous"]
    composition: dict[Symbol, Annotated[float, Field(gt=0, le=1)]] = Field(
        {"Pt": 1.0}, min_length=1, description="fraction of the atoms by element; sum 1"
    )
    diameter_A: Range = Field((18.0, 22.0), description="diameter of the ball, Å")
    min_distance_A: float = Field(2.0, gt=0.5, lt=4, description="no two atoms are closer than this, Å")
    density: float = Field(
        0.99, gt=0.1, le=1.05, description="atoms per volume relative to the f.c.c. crystal"
    )
    lattice_A: float | None = Field(
        None, gt=2, lt=8, description="lattice parameter of that crystal, Å; default: Vegard's law with ASE's"
    )
    packing: float = Field(
        0.6,
        ge=0,
        le=0.62,
        description="atoms are pushed apart as spheres that fill this share of the ball; 0: not at all",
    )
    rotate: bool = Field(False, description="free random orientation; a glass has none")

    @model_validator(mode="after")
    def _adds_up(self) -> AmorphousSpecimen:
        total = sum(self.composition.values())
        if abs(total - 1.0) > _COMPOSITION_TOLERANCE:
            raise ValueError(
                f"composition adds up to {total:g}; allowed is 1: these are fractions of the atoms"
            )
        return self


class LayeredSpecimen(CrystalSection):
    """A flake of a layered crystal, or a piece of any crystal from a CIF."""

    kind: Literal["layered"]
    crystal: Literal["CrOCl", "CrOBr"] = Field("CrOCl", description="a crystal that picotome knows")
    cif: str | None = Field(None, description="path of a CIF to take the crystal from instead")
    n_layers: int = Field(3, ge=1, le=200, description="layers along c; cells where there are no gaps")
    width_A: Range = Field((24.0, 30.0), description="diameter of the disc, or edge of the square, Å")
    shape: Literal["disc", "square"] = Field("disc", description="outline in the plane of the layers")
