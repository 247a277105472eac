"""Denoising autoencoder: give back a picture from a spoilt copy of it.

paper: Extracting and Composing Robust Features with Denoising Autoencoders (2008); the network is G-SimCLR's (2020)
needs: one view, the spoilt sample      modalities: pictures
sizes: B samples
"""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import DataError
from withstand.core.roles import Method, Terms
from withstand.models.pictures.convnets.autoencoder import ConvCode, ConvDecoder


class DenoisingAutoencoder(Method):
    """Mean squared error, in [0, 1], between pictures and what a small code of their first view gives back.

    Args:
        channels: of the pictures.
        width: channels of the first level.
        levels: how often the side is halved, and the width doubled.
    """

    def __init__(self, *, channels: int = 3, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        self.encoder: ConvCode = ConvCode(channels, width, levels)
        self.decoder = ConvDecoder(self.encoder)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the share of the batch's variance that is not given back, `unexplained`."""
        if not batch.views:
            raise DataError("this method learns from a spoilt view of each sample: use one with noise")
        dtype = self.encoder.dtype
        wanted = unit_range(batch.x, dtype).to(dtype)
        loss = mse_loss(self.rebuilt(batch.views[0]), wanted)
        with torch.no_grad():
            spread = (wanted - wanted.mean(0)).square().mean()
        return {"loss": loss, "unexplained": loss.detach() / spread}

    def rebuilt(self, x: Tensor) -> Tensor:
        """Return pictures `(B, C, H, W)` in (0, 1), given back from `x`."""
        pictures: Tensor = self.decoder(self.encoder.code(x), (x.shape[2], x.shape[3]))
        return pictures
