"""The mean of the weights that a training passes through: it errs less than any one of them."""

from __future__ import annotations

from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from picotome.train.unet import RepairNet

# The mean age of what is averaged is a fifth of the training so far.
_POWER = 3.0


class MeanNet(AveragedModel):
    """Polynomial-decay average of a network's weights over its steps.

    Step t of T counts with about (t / T)³, so that the average forgets the beginning by itself, however long
    the training is (Shamir & Zhang, ICML 2013, arXiv:1212.1824, with η = 3). The number of steps is part of
    its state.
    """

    module: RepairNet

    def __init__(self, network: RepairNet) -> None:
        super().__init__(network, avg_fn=_towards)


def _towards(mean: Tensor, weights: Tensor, n_averaged: Tensor | int) -> Tensor:
    """Take the mean a step towards new weights; `n_averaged` counts the steps in it."""
    return mean + (weights - mean) * (_POWER + 1.0) / (n_averaged + 1.0 + _POWER)
