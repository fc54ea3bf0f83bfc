"""Atoms as shaded balls, drawn from the back to the front: what all figures of atoms share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from picotome.report.canvas import ELEMENT_COLOURS, GREY, blank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MARGIN_A = 2.5
BALL_A = 1.25
# Pale by distance reads well beside colours that mean an element, and would falsify those that mean a number.
FOG, FAINT_FOG = 0.45, 0.12
_MISSED = "#ff0000"


def oblique() -> Array:
    """(3, 3) right, up, towards the eye: a little from the side and from above, z up."""
    azimuth, elevation = np.deg2rad(-60.0), np.deg2rad(20.0)
    eye = np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.stack([right, np.cross(eye, right), eye])


def draw_balls(
    axes: Any, turned_A: Array, rgb: Array, *, fog: float = FOG, hollow: Array | None = None
) -> None:
    """Draw balls at (n, 3) right, up, towards the eye; far ones paler, near ones last."""
    from matplotlib.collections import EllipseCollection

    if not len(turned_A):
        return
    hollow = np.zeros(len(turned_A), dtype=bool) if hollow is None else hollow
    order = np.argsort(turned_A[:, 2])
    turned_A, rgb, hollow = turned_A[order], rgb[order], hollow[order]
    depth = turned_A[:, 2] - turned_A[:, 2].min()
    near = depth / max(float(depth.max()), 1e-9)
    white = (1.0 - near)[:, None] * fog
    base = rgb * (1.0 - white) + white
    # Each ball is a rim and ever smaller, brighter discs towards the light, above left.
    layers = [(1.0, 0.0, base * 0.45)]
    layers += [
        (size, lift, np.clip(base * dark + light, 0, 1))
        for size, lift, dark, light in (
            (0.90, 0.03, 0.88, 0.0), (0.74, 0.09, 0.96, 0.0), (0.54, 0.15, 1.0, 0.05),
            (0.34, 0.20, 0.94, 0.14), (0.16, 0.24, 0.70, 0.36),
        )
    ]  # fmt: skip
    n, m = len(turned_A), len(layers)
    diameter_A = np.repeat([[2 * BALL_A * size for size, _, _ in layers]], n, axis=0)
    shift_A = np.array([[-lift, lift] for _, lift, _ in layers]) * BALL_A
    offsets = turned_A[:, None, :2] + shift_A[None]
    faces = np.ones((n, m, 4))
    faces[..., :3] = np.stack([colour for _, _, colour in layers], axis=1)
    edges = np.zeros((n, m, 4))
    faces[hollow] = 0.0
    edges[hollow, 0] = (*rgb_of(_MISSED), 1.0)
    diameter_A, offsets = diameter_A.ravel(), offsets.reshape(n * m, 2)
    axes.add_collection(
        EllipseCollection(
            diameter_A,
            diameter_A,
            np.zeros(n * m),
            units="xy",
            offsets=offsets,
            offset_transform=axes.transData,
            facecolors=faces.reshape(n * m, 4),
            edgecolors=edges.reshape(n * m, 4),
            linewidths=1.6,
        )
    )


def rgb_of(colour: str) -> tuple[float, float, float]:
    """Red, green and blue of a named colour, 0 to 1."""
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def frame(axes: Any, reach_A: Array) -> None:
    """Show ± (right, up) reach, Å."""
    axes.set(xlim=(-reach_A[0], reach_A[0]), ylim=(-reach_A[1], reach_A[1]), aspect="equal")
    blank(axes)


def by_element(atomic_numbers: Array) -> list[tuple[str, str, Array]]:
    """Label, colour and members of each element; grey where it is not known."""
    from ase.data import chemical_symbols

    groups = []
    known = [int(z) for z in np.unique(atomic_numbers) if z > 0]
    for number, z in enumerate(known):
        members = atomic_numbers == z
        label = f"{chemical_symbols[z]} ({int(members.sum())})"
        groups.append((label, ELEMENT_COLOURS[number % len(ELEMENT_COLOURS)], members))
    unknown = atomic_numbers <= 0
    if unknown.any():
        groups.append((f"not known ({int(unknown.sum())})", GREY, unknown))
    return groups
