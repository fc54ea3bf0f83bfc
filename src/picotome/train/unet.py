"""The 3D U-Net that repairs the missing wedge.

MONAI's BasicUNet (Falk et al., Nat. Methods 16, 67 (2019), doi:10.1038/s41592-018-0261-2) without any
normalisation layer: instance, group and batch statistics depend on what else is in the tile, so a tiled
volume would not equal the whole one, and they erase the intensity that tells species apart. The input is
normalised once, as a whole, by `picotome.recon.normalise`. Up-sampling is interpolation followed by
convolution: transposed convolutions leave checkerboards of the size of an atom.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from picotome.configs.schema import NetworkConfig

N_VOXELS_MULTIPLE = 16
"""The U-Net halves its input four times."""

_SLOPE = 0.1


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
            act=("LeakyReLU", {"negative_slope": _SLOPE, "inplace": True}),
            norm=None,  # type: ignore[arg-type]
            upsample="nontrainable",
        )
        _initialise(self.unet)

    def forward(self, degraded: Tensor) -> Tensor:
        """Repair normalised tomograms."""
        repaired: Tensor = degraded + self.unet(degraded)
        return repaired


def _initialise(unet: nn.Module) -> None:
    """Keep the variance from layer to layer, which no normalisation does here, and start as the identity.

    He et al., ICCV 2015, doi:10.1109/ICCV.2015.123.
    """
    for module in unet.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    last = unet.final_conv
    nn.init.zeros_(last.weight)  # type: ignore[arg-type,union-attr]


def build_network(config: NetworkConfig) -> RepairNet:
    """Make an untrained network in the memory layout that 3D convolutions are fastest in."""
    return RepairNet(config).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]
