"""LQ-VAE: an autoencoder whose code is signs, so that small changes of a picture flip few of them or none.

paper: Variational Inference with Latent Space Quantization for Adversarial Resilience (2019)
needs: one view             modalities: pictures
sizes: B pictures, K latent numbers
differences: as in the official code the penalty is on the slope of the latent means' sum, which bounds no single one.
  Encoder and decoders learn from one drawing of the latent numbers, where the official code draws anew for each of
  them. The filter decodes the signs of the means, where the official one draws. Adam takes the place of RMSProp, and
  the networks are half as wide. They start as the official ones do (Glorot): from torch's own start all codes may
  become one, and every picture the same.
"""

from typing import Self

from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Product, Source, Terms
from withstand.losses.restoration.reconstruction import squared_error
from withstand.losses.restoration.variational import kl_to_standard, slope_penalty
from withstand.models.restoration.latent_code import (
    LatentDecoder,
    LatentEncoder,
    LatentFilter,
    hard_code,
    inside,
    soft_code,
)


class LQVAE(Method):
    """Learns from clean pictures alone: no classifier, no attack.

    Args:
        encoder: of pictures; its means are the features.
        threshold: t: a latent number within (-t, t) counts as 1, any other as -1.
        sharpness: of the soft code, by which the encoder learns.
        slope: length that slopes of the means' sum are asked to have, for pictures in [-1, 1].
        penalty: what that weighs; 0 leaves it out.
        restoration: what the squared error weighs, for pictures in [-1, 1].
        divergence: what the divergence from the standard normal law weighs.
        quantised: the filter decodes signs; else one decoder learns from the latent numbers themselves: a plain
            variational autoencoder, to compare with.
        width: of the decoders' maps.
        hidden: of their dense layers.
    """

    def __init__(
        self,
        encoder: LatentEncoder,
        *,
        threshold: float = 0.1,
        sharpness: float = 500.0,
        slope: float = 0.1,
        penalty: float = 10.0,
        restoration: float = 10.0,
        divergence: float = 1.0,
        quantised: bool = True,
        width: int = 32,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        for name, value in {"threshold": threshold, "sharpness": sharpness, "restoration": restoration}.items():
            if not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value!r}")
        for name, value in {"slope": slope, "penalty": penalty, "divergence": divergence}.items():
            if not value >= 0:
                raise ConfigError(f"{name} must be at least 0, not {value!r}")
        self.encoder: LatentEncoder = encoder
        self.threshold, self.sharpness, self.slope = threshold, sharpness, slope
        self.penalty, self.restoration, self.divergence, self.quantised = penalty, restoration, divergence, quantised

        def decoder() -> LatentDecoder:
            return LatentDecoder(encoder.shape, latent=encoder.width, width=width, hidden=hidden)

        self.decoder = decoder()
        self.soft_decoder = decoder() if quantised else None

    @classmethod
    def example(cls) -> Self:
        return cls(LatentEncoder.example(), width=2, hidden=6)

    def products(self) -> dict[str, Product]:
        """Return the encoder, and the filter of encoder and decoder."""
        purifier = LatentFilter(self.encoder, self.decoder, self.threshold, self.sharpness, self.quantised)
        return {"encoder": self.encoder, "purifier": purifier}

    def accept(self, source: Source, batch: int) -> None:
        if source.shape != self.encoder.shape:
            raise DataError(f"this autoencoder is of pictures of shape {self.encoder.shape}, not {source.shape}")

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its terms, and the share of latent bits that are not the same for the whole batch."""
        dtype = self.encoder.both.weight.dtype
        x = unit_range(batch.x, dtype).to(dtype)
        if self.penalty:
            x = x.detach().requires_grad_()
        mean, log_variance = self.encoder.latent(x)
        noise = batch.draws("latent").normal(mean.shape[1]).to(mean)
        scale = 0.5 * self.threshold if self.quantised else 1.0
        z = mean + scale * (log_variance / 2).exp() * noise
        clean = x.detach()
        if self.soft_decoder is None:
            restored = self._error(self.decoder(z), clean)
            loss = self.restoration * restored
        else:
            restored = self._error(self.decoder(hard_code(z, self.threshold)), clean)
            soft = self._error(self.soft_decoder(soft_code(z, self.threshold, self.sharpness)), clean)
            loss = self.restoration * (restored + soft)
        divergence = kl_to_standard(mean, log_variance)
        loss = loss + self.divergence * divergence
        terms = {"restored": restored.detach(), "divergence": divergence.detach()}
        if self.penalty:
            # Pictures in [-1, 1] are twice as far apart, and slopes half as steep.
            steep = slope_penalty(x, mean / 2, self.slope)
            loss = loss + self.penalty * steep
            terms["slope"] = steep.detach()
        bits = inside(mean.detach(), self.threshold) > 0
        terms["active"] = (bits.any(0) & ~bits.all(0)).float().mean()
        return {"loss": loss, **terms, "embeddings": mean.detach()[None]}

    def _error(self, told: Tensor, x: Tensor) -> Tensor:
        """Return the mean squared error of pictures in [-1, 1], which is four times that in [0, 1]."""
        return 4 * squared_error(told.flatten(1), x.flatten(1)).mean()
