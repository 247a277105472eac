"""SRResNet and SRGAN: large pictures of small ones, by squared error, and then by features against a critic.

paper: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network (2017)
needs: one view, or samples as they are     modalities: pictures
sizes: B pictures of a batch, r the scale
differences: there is no official code. The small picture is made by the antialiased bicubic kernel without a Gaussian
    before it, in 8 bits, as those that the network meets later. A picture's adversarial terms are averaged over the
    batch, where the paper sums. The generator's last layer has no tanh, as in the paper and unlike some ports.
"""

from collections.abc import Mapping
from typing import Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Product, Source, Terms
from withstand.losses.restoration.adversarial import critic_loss, fooling_loss
from withstand.losses.restoration.content import feature_error, total_variation
from withstand.methods.shared.game import Game, check_weights, held
from withstand.methods.shared.wrappers.continued import take_over
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.restoration.critic import Critic
from withstand.models.restoration.layer_maps import LayerMaps
from withstand.models.restoration.resampling import reduced
from withstand.models.restoration.srresnet import SRResNet, Upscaler

Pair: TypeAlias = tuple[Tensor, Tensor]
"""True pictures in [-1, 1], and those that are made."""


class SuperResolution(Method):
    """SRResNet: the network that lowers the squared error of pictures made large again.

    Args:
        encoder: enlarges pictures; its features are the means of its maps.
        average: m of an exponential moving average of the weights, which is then the generator that a run gives; 0
            keeps none.

    Raises:
        ConfigError: an average outside [0, 1).
    """

    encoder: SRResNet
    stage = "MSE"
    """What pictures made by this stage are called."""

    def __init__(self, encoder: SRResNet, *, average: float = 0.0) -> None:
        super().__init__()
        if not 0 <= average < 1:
            raise ConfigError(f"average must be at least 0 and below 1, not {average!r}")
        self.encoder, self.average = encoder, average
        self.averaged = Teacher(encoder, Momentum(average, None)) if average else None

    @classmethod
    def example(cls) -> Self:
        return cls(SRResNet.example(), average=0.5)

    @property
    def scale(self) -> int:
        """r."""
        return self.encoder.scale

    def generator(self) -> SRResNet:
        """Return the network that a run gives: the average where one is kept."""
        return self.encoder if self.averaged is None else self.averaged.network

    def products(self) -> dict[str, Product]:
        """Return the encoder, and what enlarges pictures."""
        return {"encoder": self.generator(), "generator": Upscaler(self.generator())}

    def embed(self, x: Tensor) -> Tensor:
        found: Tensor = self.generator()(x)
        return found

    def upscalers(self) -> Mapping[str, nn.Module]:
        """Return what enlarges pictures, by what it is called: the last is what the run gives."""
        return {self.stage: Upscaler(self.generator())}

    def accept(self, source: Source, batch: int) -> None:
        if len(source.shape) != 3 or source.shape[0] != self.encoder.channels:
            raise DataError(
                f"this network enlarges pictures of {self.encoder.channels} channels, not samples of shape "
                f"{source.shape}"
            )
        if source.shape[1] % self.scale or source.shape[2] % self.scale:
            raise DataError(f"scale {self.scale} does not divide pictures of {source.shape[1]} x {source.shape[2]}")

    def step(self, batch: Batch) -> Terms:
        """Return the mean squared error for pictures in [-1, 1], and the PSNR in decibels over all channels."""
        true, made = self.made(batch)
        error = _squared_error(made, true)
        return {"loss": error, "psnr": _decibels(error)}

    def made(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the true pictures in [-1, 1], and what is made of them when they are small."""
        dtype = self.encoder.last.weight.dtype
        given = batch.views[0] if batch.views else batch.x
        x = unit_range(given, dtype).to(dtype)
        return 2 * x - 1, self.encoder.enlarge(reduced(x, self.scale))

    def inherit(self, earlier: Method) -> None:
        """Start from what an earlier stage of super-resolution learnt."""
        if not isinstance(earlier, SuperResolution):
            raise ConfigError(
                f"{type(self).__name__} builds on a network that enlarges, not on {type(earlier).__name__}"
            )
        take_over(self.encoder, earlier.generator())
        if self.averaged is not None:
            take_over(self.averaged.network, self.encoder)

    def after_step(self, step: int) -> None:
        if self.averaged is not None:
            self.averaged.follow(self.encoder, step, share_buffers=True)


class SRGAN(Game[Pair], SuperResolution):
    """The network that lowers a content loss and fools a critic, which learns in turns with it.

    It starts from the stage that lowers the squared error: from new weights the game collapses. What that stage gave is
    kept, to be compared with.

    Args:
        encoder: enlarges pictures.
        critic: tells true pictures from made ones.
        features: whose error is the content loss, of VGG19 or of another network; None for the squared error of
            pixels.
        adversarial: what fooling the critic weighs.
        variation: what the total variation of made pictures weighs; the paper takes 2e-8 with VGG19's early layer.
        average: as for `SuperResolution`.

    Attributes:
        start: what enlarged pictures before the first step.

    Raises:
        ConfigError: a weight below 0.
    """

    critic: Critic
    start: SRResNet
    stage = "GAN"

    def __init__(
        self,
        encoder: SRResNet,
        critic: Critic,
        *,
        features: LayerMaps | None = None,
        adversarial: float = 1e-3,
        variation: float = 0.0,
        average: float = 0.0,
    ) -> None:
        SuperResolution.__init__(self, encoder, average=average)
        check_weights({"adversarial": adversarial, "variation": variation})
        self.features = features
        self.adversarial, self.variation = adversarial, variation
        self.begin(critic)

    @classmethod
    def example(cls) -> Self:
        return cls(SRResNet.example(), Critic.example(), variation=1e-3)

    def generating(self) -> tuple[nn.Module, ...]:
        return (self.encoder,)

    def made(self, batch: Batch) -> Pair:
        return SuperResolution.made(self, batch)

    def upscalers(self) -> Mapping[str, nn.Module]:
        """Return the earlier stage's and this one's."""
        return {SuperResolution.stage: Upscaler(self.start), **super().upscalers()}

    def judged(self, made: Pair) -> Terms:
        """Return the critic's terms."""
        true, own = made
        on_true, on_made = self.critic(true), self.critic(own.detach())
        loss = critic_loss(on_true, on_made)
        return {
            "critic": loss.detach(),
            "believed true": on_true.detach().float().sigmoid().mean(),
            "believed made": on_made.detach().float().sigmoid().mean(),
            "loss": loss,
        }

    def fooled(self, made: Pair) -> Terms:
        """Return the generator's terms: its content loss, and what it pays for being found out."""
        true, own = made
        error = _squared_error(own, true)
        content = error
        if self.features is not None:
            with torch.no_grad():
                wanted = self.features((true + 1) / 2)
            content = feature_error(self.features((own + 1) / 2), wanted, self.features.factor)
        with held(self.critic):
            fooling = fooling_loss(self.critic(own))
        loss = content + self.adversarial * fooling
        if self.variation:
            loss = loss + self.variation * total_variation(own)
        return {"content": content.detach(), "fooling": fooling.detach(), "psnr": _decibels(error), "loss": loss}


def _squared_error(made: Tensor, true: Tensor) -> Tensor:
    """Return the mean squared error, in the true pictures' precision."""
    return mse_loss(made.to(true.dtype), true)


def _decibels(error: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio that a squared error in [-1, 1] makes."""
    return -10 * (error.detach() / 4).clamp_min(1e-12).log10()
