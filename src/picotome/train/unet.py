"""The 3D U-Net that repairs the missing wedge.

MONAI's BasicUNet (Falk et al., Nat. Methods 16, 67 (2019), doi:10.1038/s41592-018-0261-2) with two changes.
Batch, instance and group normalisation take statistics over a whole tile, so a tiled volume would not equal
the whole one, and an atom's brightness would depend on how much vacuum is beside it; here each voxel is
normalised over its own channels. And up-sampling is interpolation followed by convolution: transposed
convolutions leave checkerboards of the size of an atom. The input is normalised once, as a whole, by
`picotome.recon.normalise`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from picotome.configs.schema import NetworkConfig

N_VOXELS_MULTIPLE = 16
"""The U-Net halves its input four times."""

# Features are of order one at atoms; what is far below stays dark instead of being amplified.
_DARK = 1e-2


class VoxelNorm(nn.Module):
    """Layer normalisation of each voxel over its own channels (Ba et al., arXiv:1607.06450).

    Shapes: (batch, channels, nx, ny, nz) to the same.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features."""
        # In the features' own type: a float32 product would double the memory traffic of mixed precision.
        weight, bias = self.weight.to(features.dtype), self.bias.to(features.dtype)
        channels_last = features.permute(0, 2, 3, 4, 1)
        normalised = nn.functional.layer_norm(channels_last, weight.shape, weight, bias, eps=_DARK)
        return normalised.permute(0, 4, 1, 2, 3)


class RepairNet(nn.Module):
    """A U-Net that predicts what to add to its input.

    Shapes: (batch, 1, nx, ny, nz) to the same; each edge a multiple of `N_VOXELS_MULTIPLE`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        from monai.networks.nets.basic_unet import BasicUNet

        self.unet = BasicUNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            features=config.channels,
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm=("instance", {"affine": True}),
            upsample="nontrainable",
        )
        _normalise_by_voxel(self.unet)
        _interpolate_in_place(self.unet)
        # Start as the identity: the first step already sees a tomogram, not noise.
        last = self.unet.final_conv
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, degraded: Tensor) -> Tensor:
        """Repair normalised tomograms."""
        repaired: Tensor = degraded + self.unet(degraded)
        return repaired


def build_network(config: NetworkConfig) -> RepairNet:
    """Make an untrained network in the memory layout that 3D convolutions are fastest in."""
    return RepairNet(config).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def _normalise_by_voxel(network: nn.Module) -> None:
    """Put a `VoxelNorm` in the place of each normalisation layer that MONAI made."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                setattr(parent, name, VoxelNorm(child.num_features))


def _interpolate_in_place(network: nn.Module) -> None:
    """Up-sample each voxel where it is.

    MONAI aligns the corners, which stretches features by an amount that depends on the size of the tile:
    atoms would be moved, and tiles would not agree with the whole.
    """
    for module in network.modules():
        if isinstance(module, nn.Upsample):
            module.align_corners = False
