"""Spots onto images, images onto spots: compiled loops on a processor, batches of windows elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from picotome.threads import map_in_threads
from picotome.trace.refinement.kernels import add_spots, fill_grams, weigh_spots
from picotome.trace.refinement.model import (
    Spots,
    add_up,
    draw_spots,
    pick,
    plain_windows,
    some_spots,
    weigh_windows,
)

# Windows of this many floats are worked on together: on a processor what its cache holds, elsewhere so many
# that starting the work takes no time beside it, in about 1 GB.
_CHUNK, _CHUNK_ELSEWHERE = 600_000, 30_000_000


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread; images are shared among threads of our own.

    Its operations on small arrays gain little from more, and OpenMP's threads spin while they wait for one
    another: beside other programs on the same processors, that costs ten times the work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def draw(spots: Spots, weights: Tensor) -> Tensor:
    """(n_tilts, n_pixels) float32 padded images of spots.

    Parameters
    ----------
    weights
        (n_tilts, n, 2, 4); see `picotome.trace.refinement.model.draw_spots`.
    """
    weights = weights.float().contiguous()
    if not _is_compiled(spots):
        parts = [add_up(some, draw_spots(some, weights[tilts])) for tilts, some in each_chunk(spots)]
        return torch.cat(parts)
    height, width = spots.frame.padded
    images = torch.zeros(len(weights), height * width)
    _each_image(
        lambda t, corner, x, y: add_spots(corner, x, y, weights[t].numpy(), width, images[t].numpy()), spots
    )
    return images


def weigh(spots: Spots, images: Tensor) -> Tensor:
    """Apply the adjoint of `draw`: (n_tilts, n, 2, 4) float32 sums over (n_tilts, n_pixels) images."""
    images = images.float().contiguous()
    if not _is_compiled(spots):
        return torch.cat(
            [weigh_windows(some, pick(images[tilts], some)) for tilts, some in each_chunk(spots)]
        )
    width = spots.frame.padded[1]
    sums = torch.empty(*spots.corner.shape, 2, 4)
    _each_image(
        lambda t, corner, x, y: weigh_spots(corner, x, y, images[t].numpy(), width, sums[t].numpy()), spots
    )
    return sums


def grams(spots: Spots, shares: Tensor, weights: Tensor) -> Tensor:
    """(n_tilts, n, 4, 4) float32 products of each atom's windows, summed with the weights of their pixels.

    Parameters
    ----------
    shares
        (2,) of core and tail.
    weights
        (n_tilts, n_pixels).
    """
    weights = weights.float().contiguous()
    if not _is_compiled(spots):
        parts = []
        for tilts, some in each_chunk(spots, times=4):
            basis = plain_windows(some, shares)
            picked = pick(weights[tilts], some)[..., None, :]
            parts.append(torch.matmul(basis * picked, basis.transpose(-1, -2)))
        return torch.cat(parts)
    width, of_parts = spots.frame.padded[1], shares.numpy()
    found = torch.empty(*spots.corner.shape, 4, 4)
    _each_image(
        lambda t, corner, x, y: fill_grams(
            corner, x, y, of_parts, weights[t].numpy(), width, found[t].numpy()
        ),
        spots,
    )
    return found


def chunks(n_tilts: int, n: int, edge: int, *, device: torch.device, times: int = 1) -> list[slice]:
    """Cut images into parts whose windows fit into a limited memory."""
    chunk = _CHUNK if device.type == "cpu" else _CHUNK_ELSEWHERE
    step = max(1, chunk // max(1, n * edge**2 * times))
    return [slice(start, start + step) for start in range(0, n_tilts, step)]


def each_chunk(spots: Spots, *, times: int = 1) -> Iterator[tuple[slice, Spots]]:
    """Give the spots in some images at a time."""
    n_tilts, n = spots.corner.shape
    for tilts in chunks(n_tilts, n, spots.x.shape[-1], device=spots.corner.device, times=times):
        yield tilts, some_spots(spots, tilts)


def _is_compiled(spots: Spots) -> bool:
    return spots.corner.device.type == "cpu"


def _each_image(work: Callable[[int, Any, Any, Any], None], spots: Spots) -> None:
    """Work on every image, in threads: images share nothing."""
    corner, x, y = spots.corner.numpy(), spots.x.numpy(), spots.y.numpy()
    map_in_threads(lambda t: work(t, corner[t], x[t], y[t]), range(len(corner)))
