"""The loops that take the time on a processor, compiled: spots onto an image, and an image onto spots.

All functions work on one image, so that images are work for threads, and on the factors of
`picotome.trace.refinement.model.Spots`: `corner` (n,), `x` and `y` (n, 2, 3, edge). `width` is that of the
padded image, which is flat. Indices are not checked: they must come from `make_spots`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from picotome.compiled import compiled

Array = NDArray[Any]


@compiled
def add_spots(corner: Array, x: Array, y: Array, weights: Array, width: int, image: Array) -> None:
    """Add spots of (n, 2, 4) weights, as in `draw_spots`, to an image."""
    edge = x.shape[3]
    core, core_slope = np.empty(edge, np.float32), np.empty(edge, np.float32)
    tail, tail_slope = np.empty(edge, np.float32), np.empty(edge, np.float32)
    for i in range(len(corner)):
        light, u, v, wider = weights[i, 0, 0], weights[i, 0, 1], weights[i, 0, 2], weights[i, 0, 3]
        light_2, u_2, v_2, wider_2 = weights[i, 1, 0], weights[i, 1, 1], weights[i, 1, 2], weights[i, 1, 3]
        for c in range(edge):
            core[c], core_slope[c] = y[i, 0, 0, c], v * y[i, 0, 1, c] + wider * y[i, 0, 2, c]
            tail[c], tail_slope[c] = y[i, 1, 0, c], v_2 * y[i, 1, 1, c] + wider_2 * y[i, 1, 2, c]
        for r in range(edge):
            a = light * x[i, 0, 0, r] + u * x[i, 0, 1, r] + wider * x[i, 0, 2, r]
            b = x[i, 0, 0, r]
            a_2 = light_2 * x[i, 1, 0, r] + u_2 * x[i, 1, 1, r] + wider_2 * x[i, 1, 2, r]
            b_2 = x[i, 1, 0, r]
            start = np.uintp(corner[i] + r * width)
            for c in range(np.uintp(edge)):
                image[start + c] += a * core[c] + b * core_slope[c] + a_2 * tail[c] + b_2 * tail_slope[c]


@compiled
def weigh_spots(corner: Array, x: Array, y: Array, image: Array, width: int, sums: Array) -> None:
    """Overwrite (n, 2, 4) sums with what the adjoint of `add_spots` makes of an image."""
    edge = x.shape[3]
    # Whole rows are added up first: the compiler must not reorder a sum, but may do 8 of them at once.
    rows = np.empty((6, edge), np.float32)
    for i in range(len(corner)):
        rows[:] = np.float32(0.0)
        for r in range(edge):
            start = np.uintp(corner[i] + r * width)
            a, b, d = x[i, 0, 0, r], x[i, 0, 1, r], x[i, 0, 2, r]
            a_2, b_2, d_2 = x[i, 1, 0, r], x[i, 1, 1, r], x[i, 1, 2, r]
            for c in range(np.uintp(edge)):
                value = image[start + c]
                rows[0, c] += a * value
                rows[1, c] += b * value
                rows[2, c] += d * value
                rows[3, c] += a_2 * value
                rows[4, c] += b_2 * value
                rows[5, c] += d_2 * value
        for k in range(2):
            light, u, v, wider = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for c in range(edge):
                plain, slope, growth = y[i, k, 0, c], y[i, k, 1, c], y[i, k, 2, c]
                light += plain * rows[3 * k, c]
                u += plain * rows[3 * k + 1, c]
                v += slope * rows[3 * k, c]
                wider += plain * rows[3 * k + 2, c] + growth * rows[3 * k, c]
            sums[i, k, 0], sums[i, k, 1], sums[i, k, 2], sums[i, k, 3] = light, u, v, wider


@compiled
def fill_windows(i: int, x: Array, y: Array, shares: Array, windows: Array) -> None:
    """Overwrite (4, edge, edge) with one atom's spot and its derivatives, as in `plain_windows`."""
    edge = x.shape[3]
    for r in range(edge):
        a, b, d = shares[0] * x[i, 0, 0, r], shares[0] * x[i, 0, 1, r], shares[0] * x[i, 0, 2, r]
        a_2, b_2, d_2 = shares[1] * x[i, 1, 0, r], shares[1] * x[i, 1, 1, r], shares[1] * x[i, 1, 2, r]
        for c in range(edge):
            windows[0, r, c] = a * y[i, 0, 0, c] + a_2 * y[i, 1, 0, c]
            windows[1, r, c] = b * y[i, 0, 0, c] + b_2 * y[i, 1, 0, c]
            windows[2, r, c] = a * y[i, 0, 1, c] + a_2 * y[i, 1, 1, c]
            windows[3, r, c] = (
                d * y[i, 0, 0, c] + a * y[i, 0, 2, c] + d_2 * y[i, 1, 0, c] + a_2 * y[i, 1, 2, c]
            )


@compiled
def fill_grams(
    corner: Array, x: Array, y: Array, shares: Array, weights: Array, width: int, grams: Array
) -> None:
    """Overwrite (n, 4, 4) with the weighted products of each atom's windows, summed over their pixels."""
    edge = x.shape[3]
    windows = np.empty((4, edge, edge), np.float32)
    weighted = np.empty((4, edge), np.float32)
    sums = np.empty((4, 4, edge), np.float32)
    for i in range(len(corner)):
        fill_windows(i, x, y, shares, windows)
        sums[:] = np.float32(0.0)
        for r in range(edge):
            start = np.uintp(corner[i] + r * width)
            for a in range(4):
                for c in range(np.uintp(edge)):
                    weighted[a, c] = windows[a, r, c] * weights[start + c]
            for a in range(4):
                for b in range(a, 4):
                    for c in range(np.uintp(edge)):
                        sums[a, b, c] += weighted[a, c] * windows[b, r, c]
        for a in range(4):
            for b in range(a, 4):
                total = np.float32(0.0)
                for c in range(edge):
                    total += sums[a, b, c]
                grams[i, a, b] = total
                grams[i, b, a] = total


@compiled
def add_pairs(
    first: Array, second: Array, strength: Array, place: Array, waves: Array, scale: float, image: Array
) -> None:
    """Add the products of the waves of pairs of atoms to an image: Re[strength ψ_first ψ_second*].

    Parameters
    ----------
    first, second
        (n_pairs,) indices of atoms.
    strength
        (n_pairs,) complex64.
    place
        (n, 2) atoms, in pixels of the image.
    waves
        (n, n_radii) complex64 wave of each atom over the distance from it; beyond, it is nothing.
    scale
        Radii per pixel.
    image
        (nx, ny) float32, added to.
    """
    n_x, n_y = image.shape
    last = waves.shape[1] - 1
    reach = last / scale
    for p in range(len(first)):
        i, j = first[p], second[p]
        x_i, y_i, x_j, y_j = place[i, 0], place[i, 1], place[j, 0], place[j, 1]
        a = strength[p]
        for r in range(max(0, int(max(x_i, x_j) - reach) + 1), min(n_x, int(min(x_i, x_j) + reach) + 1)):
            for c in range(max(0, int(max(y_i, y_j) - reach) + 1), min(n_y, int(min(y_i, y_j) + reach) + 1)):
                at_i = scale * np.sqrt((r - x_i) ** 2 + (c - y_i) ** 2)
                at_j = scale * np.sqrt((r - x_j) ** 2 + (c - y_j) ** 2)
                k_i, k_j = int(at_i), int(at_j)
                if k_i >= last or k_j >= last:
                    continue
                f_i, f_j = np.float32(at_i - k_i), np.float32(at_j - k_j)
                u = waves[i, k_i] + f_i * (waves[i, k_i + 1] - waves[i, k_i])
                v = waves[j, k_j] + f_j * (waves[j, k_j + 1] - waves[j, k_j])
                re = u.real * v.real + u.imag * v.imag
                im = u.imag * v.real - u.real * v.imag
                image[r, c] += a.real * re - a.imag * im
