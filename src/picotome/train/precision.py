"""Choose the arithmetic that the machine at hand does fast, by measuring it."""

from __future__ import annotations

import platform
import time

import torch

from picotome.configs.schema import NetworkConfig
from picotome.train.unet import build_network

FULL = "32-true"
MIXED = "bf16-mixed"
# bf16 keeps eight bits of mantissa: it must earn its place.
_WORTHWHILE = 1.3
_TRIAL_VOXELS = 64
_REPEATS = 3
# Without wider registers torch has no bf16 convolutions but a reference that is twenty times slower (2.13):
# a trial would take minutes to find that out.
_NO_BF16 = ("DEFAULT", "AVX2")
_X86 = ("x86_64", "AMD64")


def choose_precision(config: NetworkConfig, patch_voxels: int) -> str:
    """Return Lightning's name of the faster of fp32 and bf16 mixed precision on this machine.

    Some CPUs compute bf16 convolutions several times faster than fp32, others much slower; the flag that
    says so is not reliable across vendors, a trial step is.

    Parameters
    ----------
    config
        The network to be trained.
    patch_voxels
        Edge of its patches; the trial uses at most 64.
    """
    if torch.cuda.is_available():
        return MIXED if torch.cuda.is_bf16_supported() else FULL
    if platform.machine() in _X86 and torch.backends.cpu.get_cpu_capability() in _NO_BF16:
        return FULL
    edge = min(patch_voxels, _TRIAL_VOXELS)
    trials = [_seconds_per_step(config, edge, bf16) for bf16 in (False, True, False, True)]
    # The better of two, taken in turn: a neighbour on the machine must not decide.
    full, mixed = min(trials[0::2]), min(trials[1::2])
    return MIXED if full > _WORTHWHILE * mixed else FULL


def _seconds_per_step(config: NetworkConfig, edge: int, bf16: bool) -> float:
    network = build_network(config)
    volume = torch.zeros(1, 1, edge, edge, edge)
    seconds = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = network(volume).square().mean()
        loss.backward()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
