"""AnyAttack: a picture's embedding is decoded to a small change by which an encoder sees that picture in any other.

paper: AnyAttack: Towards Large-scale Self-supervised Adversarial Attacks on Vision-language Models (2025)
needs: one view             modalities: pictures
sizes: B pictures of a batch over all processes, D features, K carriers of each change
differences: each head of attention has two keys or more, where in the official code's last blocks heads have one, and
  read the same whatever they ask, or none at all. No picture carries a change towards itself. The temperature falls
  with the run's step, where the official code starts anew in each epoch. Inputs are normalised by the encoder itself.
  Auxiliary encoders are left out.
"""

from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.learnt.perturbations import Generated
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError, DataError, nearest, require_at_least
from withstand.core.random import Draws
from withstand.core.roles import Model, Product, Source, Terms
from withstand.core.threat import Ball, parse_eps
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.methods.shared.wrappers.frozen_encoder import OnFrozenEncoder, clean
from withstand.models.pictures.noise_decoder import NoiseDecoder
from withstand.models.pictures.normalized import Normalized

Wanted = Literal["one-way", "both-ways", "cosine"]
_HOT, _COLD = 1.0, 0.07


class AnyAttack(OnFrozenEncoder):
    """Learns changes within a radius that lead the encoder from any picture to another one, from pictures alone.

    Each picture of a batch is a target, and others of the batch carry the change that its embedding is decoded to.

    Args:
        encoder: the victim, frozen; it takes the weights of the run's earlier stage.
        shape: of one picture.
        eps: the change's radius, Linf.
        carriers: K, pictures that each change is tried on in a step; their features are averaged.
        wanted: a contrast of targets with attacked pictures, "one-way" as in the paper's pretraining; "both-ways" or
            plain "cosine" as in its fine-tuning.
        falling: steps in which the contrast's temperature falls from 1 to 0.07; half of the run if None.
        network: the decoder, in place of one for these features and this shape.
    """

    def __init__(
        self,
        encoder: Model,
        shape: tuple[int, ...],
        *,
        eps: str | float = "16/255",
        carriers: int = 5,
        wanted: Wanted = "one-way",
        falling: int | None = None,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__(encoder)
        if len(shape) != 3:
            raise ConfigError(f"AnyAttack learns on pictures (C, H, W), not on samples of shape {tuple(shape)}")
        if wanted not in get_args(Wanted):
            raise ConfigError(f"wanted {wanted!r} is unknown: {nearest(str(wanted), get_args(Wanted))}")
        require_at_least(1, carriers=carriers, falling=falling)
        self.shape, self.eps, self.carriers, self.wanted = tuple(shape), parse_eps(eps), carriers, wanted
        self.falling = falling
        self.half_of_run: int | None = None
        self.decoder = network or NoiseDecoder(encoder.width, self.shape)

    @classmethod
    def example(cls) -> Self:
        encoder = Normalized.example()
        return cls(encoder, (3, 8, 8), carriers=2, network=NoiseDecoder(encoder.width, (3, 8, 8), width=2))

    def products(self) -> dict[str, Product]:
        """Return the frozen encoder, and an attack whose `y` is the embedding that is wanted."""
        ball = Ball("linf", self.eps, targeted=True)
        attack = Generated(ball, EmbeddingDistance(), network=self.decoder, reads="targets")
        return {"encoder": self.encoder, "attack": attack}

    def accept(self, source: Source, batch: int) -> None:
        if source.shape != self.shape:
            raise DataError(f"this attack is learnt on pictures of shape {self.shape}, and these have {source.shape}")

    def before_run(self, steps: int) -> None:
        self.half_of_run = max(1, steps // 2)

    def temperature(self, step: int) -> float:
        """Return the contrast's temperature: it falls evenly in its logarithm, and stays."""
        falling = self.falling or self.half_of_run
        return _HOT * (_COLD / _HOT) ** min(1.0, step / falling) if falling else _COLD

    def noise(self, embedding: Tensor) -> Tensor:
        """Return the changes within eps that embeddings `(B, D)` are decoded to, `(B, C, H, W)`."""
        made: Tensor = self.decoder(embedding)
        return made.clamp(-self.eps, self.eps)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the `cosine` of attacked pictures to their targets, and the share of `saturated` pixels."""
        x, wanted = clean(self, batch)
        noise = self.noise(wanted)
        everyone = gather(x)
        row = first_row(len(x)) + torch.arange(len(x), device=x.device)
        others = [carried(row, len(everyone), batch.draws_for_all("carriers", k)) for k in range(self.carriers)]
        attacked = torch.cat([(everyone[other] + noise).clamp(0, 1) for other in others])
        moved = self.encoder(attacked).unflatten(0, (self.carriers, len(x))).mean(0)
        cosine = F.cosine_similarity(wanted.float(), moved.float(), dim=1).mean()
        temperature = self.temperature(batch.step)
        loss = -cosine
        if self.wanted != "cosine":
            loss = info_nce_across(wanted, moved, temperature)
        if self.wanted == "both-ways":
            loss = (loss + info_nce_across(moved, wanted, temperature)) / 2
        return {
            "loss": loss,
            "cosine": cosine.detach(),
            "saturated": (noise.detach().abs() >= self.eps).float().mean(),
            "embeddings": torch.stack([wanted, moved]).detach(),
        }


def carried(row: Tensor, count: int, draws: Draws) -> Tensor:
    """Return which of `count` pictures carries each row's change, int64 like `row`: another one than the row's own.

    All `count` pictures stand in a random circle, and each change goes to the next one, so that every picture carries
    one.
    """
    circle = draws.permutations(count)[0]
    place = circle.argsort()
    return circle[(place[row] + 1) % count]
