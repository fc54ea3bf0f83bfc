"""The mean of the weights, held against its closed form."""

from math import comb

import numpy as np
import torch

from picotome.configs.schema import NetworkConfig
from picotome.train.averaging import MeanNet
from picotome.train.unet import build_network

SMALL = NetworkConfig(channels=(4, 4, 8, 8, 8, 4))


def test_the_mean_of_the_weights_forgets_the_beginning():
    network = build_network(SMALL)
    mean = MeanNet(network)
    n_steps = 40
    for step in range(1, n_steps + 1):
        with torch.no_grad():
            for weights in network.parameters():
                weights.fill_(float(step))
        mean.update_parameters(network)
    # Shamir & Zhang's weights in closed form: step t counts as (t + 2 over 3).
    counts = np.array([comb(step + 2, 3) for step in range(1, n_steps + 1)])
    expected = float(counts @ np.arange(1, n_steps + 1) / counts.sum())
    for weights in mean.module.parameters():
        torch.testing.assert_close(weights, torch.full_like(weights, expected))
