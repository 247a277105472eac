"""AdvEncoder: one perturbation, or one patch, that leads a frozen encoder astray on every picture, without labels.

paper: Downstream-agnostic Adversarial Examples (2023)
needs: one view             modalities: pictures; by `generator=False` whatever has inputs in [0, 1]
sizes: B samples, D features, C channels, H x W pixels
differences: attacked pictures are clipped to [0, 1] unless `clip=False`; the official code does not, and then measures
  what no picture can hold. A patch has the range of pictures, where the official code gives it that of normalised
  ones, and lies at an even share of the side. The generator makes pictures of any size, from fewer and narrower
  candidates than the official 256 of up to 1024 channels, and is a part that can be exchanged. The high-pass radius
  goes with the side: 8 pixels of 64.
"""

import math
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.learnt.perturbations import Patch, Perturbation, Sticker, Universal
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Model, Product, Source, Terms
from withstand.core.threat import Ball, parse_eps
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.losses.temperature import checked_temperature
from withstand.methods.shared.wrappers.frozen_encoder import OnFrozenEncoder, clean
from withstand.models.pictures.noise_generator import NoiseGenerator
from withstand.models.pictures.normalized import Normalized
from withstand.views.frequencies import high_pass

Kind = Literal["perturbation", "patch"]
_PATCH_SHARE, _PATCH_MARGIN, _RADIUS = 0.03, 14 / 64, 1 / 8
"""A patch's share of the picture's area and its distance from the lower right corner, and the high-pass radius, as
shares of the side: 11 and 14 of 64 pixels, and 8."""


class AdvEncoder(OnFrozenEncoder):
    """Learns what, added to any picture, moves its features away from those of the clean one, in a contrast of a batch.

    Args:
        encoder: the victim, frozen; it takes the weights of the run's earlier stage.
        shape: of one picture.
        kind: a "perturbation" within eps, or a "patch" that takes some pixels' place.
        eps: the perturbation's radius, Linf.
        generator: a small network makes it from fixed noise, as in the paper; else its pixels are learnt directly.
        network: that generator, in place of a small one for this shape.
        adversarial: alpha, what the contrast weighs.
        closeness: what the mean squared change of pictures weighs.
        high_frequency: what the mean square of the change's high frequencies weighs, which is raised.
        radius: frequencies of a smaller radius are low; an eighth of the side if None.
        temperature: tau of the contrast.
        clip: keep attacked pictures in [0, 1].
    """

    def __init__(
        self,
        encoder: Model,
        shape: tuple[int, ...],
        *,
        kind: Kind = "perturbation",
        eps: str | float = "10/255",
        generator: bool = True,
        network: nn.Module | None = None,
        adversarial: float = 5.0,
        closeness: float = 1.0,
        high_frequency: float = 1.0,
        radius: float | None = None,
        temperature: float = 0.1,
        clip: bool = True,
    ) -> None:
        super().__init__(encoder)
        if kind not in get_args(Kind):
            raise ConfigError(f"kind {kind!r} is unknown: {nearest(str(kind), get_args(Kind))}")
        for name, weight in {
            "adversarial": adversarial,
            "closeness": closeness,
            "high_frequency": high_frequency,
        }.items():
            if not 0 <= weight < math.inf:
                raise ConfigError(f"{name} must be at least 0 and finite, not {weight!r}")
        if len(shape) != 3:
            raise ConfigError(f"AdvEncoder learns on pictures (C, H, W), not on samples of shape {tuple(shape)}")
        self.shape, self.kind, self.eps = tuple(shape), kind, parse_eps(eps)
        self.adversarial, self.closeness, self.high_frequency = adversarial, closeness, high_frequency
        self.temperature, self.clip = float(checked_temperature(temperature)), clip
        self.radius = _RADIUS * min(shape[1:]) if radius is None else radius
        self.learnt: Perturbation | Sticker = Perturbation(self.shape) if kind == "perturbation" else _sticker(shape)
        made = (network or NoiseGenerator(self.shape)) if generator else None
        self.generator = made
        if made is not None:
            self.learnt.values.requires_grad_(False)
        elif kind == "perturbation":  # at 0 the contrast has no slope
            nn.init.uniform_(self.learnt.values, -self.eps / 10, self.eps / 10)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), (3, 8, 8), network=NoiseGenerator((3, 8, 8), candidates=2, latent=3, width=2))

    def products(self) -> dict[str, Product]:
        """Return the frozen encoder, and the attack as it was after the last step."""
        attack = (
            Universal(Ball("linf", self.eps), perturbation=self.learnt)
            if isinstance(self.learnt, Perturbation)
            else Patch(Ball("linf", 1.0), sticker=self.learnt)
        )
        return {"encoder": self.encoder, "attack": attack}

    def accept(self, source: Source, batch: int) -> None:
        if source.shape != self.shape:
            raise DataError(f"this attack is learnt on pictures of shape {self.shape}, and these have {source.shape}")

    def values(self) -> Tensor:
        """Return the perturbation within eps, or the patch's pixels in [0, 1], `(C, H, W)`."""
        made = self.learnt.values if self.generator is None else self.generator()
        if self.kind == "perturbation":
            found: Tensor = made.clamp(-self.eps, self.eps)
            return found
        # The generator gives numbers round 0, a patch is round a half.
        return (made if self.generator is None else made + 0.5).clamp(0, 1)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its terms `contrast`, `change`, `high_frequencies`, and the `cosine` to clean features."""
        x, wanted = clean(self, batch)
        values = self.values()
        attacked = x + values if isinstance(self.learnt, Perturbation) else torch.where(self.learnt.mask, values, x)
        if self.clip:
            attacked = attacked.clamp(0, 1)
        moved = self.encoder(attacked)
        contrast = info_nce_across(wanted, moved, self.temperature)
        change = (attacked - x).float()
        close = change.square().mean()
        high = high_pass(change, self.radius).square().mean()
        loss = -self.adversarial * contrast + self.closeness * close - self.high_frequency * high
        return {
            "loss": loss,
            "contrast": contrast.detach(),
            "change": close.detach(),
            "high_frequencies": high.detach(),
            "cosine": F.cosine_similarity(wanted.float(), moved.detach().float(), dim=1).mean(),
            "embeddings": torch.stack([wanted, moved]).detach(),
        }

    def after_step(self, step: int) -> None:
        """Keep what the generator makes by now, and pixels where they may be."""
        with torch.no_grad():
            self.learnt.values.copy_(self.values())


def _sticker(shape: tuple[int, ...]) -> Sticker:
    height, width = shape[1:]
    side = max(1, int(math.sqrt(_PATCH_SHARE * height * width)))
    corner = tuple(max(0, each - round(_PATCH_MARGIN * each) - side) for each in (height, width))
    return Sticker(shape, corner, side)
