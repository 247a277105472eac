"""FRVSR and TecoGAN: large clips of small ones, by squared error, and then against a critic that watches time.

paper: Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation (2020)
needs: one view, or samples as they are     modalities: clips
sizes: B clips of N frames, of 2N - 1 where they run forward and back; r the scale, 4
differences: flows tell where a pixel was in the frame before (u to the right, v down), in one convention throughout.
    Critic and generator learn in turns, and the generator meets the critic's new answer, where the official graph
    computes both from one pass. Without weights of VGG19 there is no perceptual term, as no package brings them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.outputs import Frames, Maker, Output
from withstand.core.roles import Method, Product, Source, Terms
from withstand.losses.restoration.adversarial import critic_loss, fooling_loss
from withstand.losses.restoration.clips import cosine_error, matching_loss, ping_pong, ping_pong_loss
from withstand.losses.restoration.content import feature_error
from withstand.methods.shared.game import Game, check_weights, held, over_processes
from withstand.methods.shared.wrappers.continued import take_over
from withstand.models.restoration.clip_critic import ClipCritic, Triplets
from withstand.models.restoration.frame_recurrent import (
    FLOW_SIDES,
    MARGIN,
    SCALE,
    ClipUpscaler,
    FrameRecurrent,
    blurred_clip,
    without_margin,
)
from withstand.models.restoration.layer_maps import LayerMaps
from withstand.models.restoration.warp import warp

LEAST = 3
"""Frames of a clip that is learnt from: the critic reads three."""
_LAYER_WEIGHT = 0.02
_LAYER_SIZES = (12.0, 14.0, 24.0, 100.0)
_FOLLOW = 0.99


@dataclass(frozen=True)
class Made:
    """Clips, and what is made of them when they are small.

    Attributes:
        low: small frames `(B, T, C, h, w)` in [0, 1].
        true: large frames `(B, T, C, rh, rw)` in [-1, 1].
        flows: from each small frame to the next, `(B, T - 1, 2, h, w)`.
        frames: what is made, as `true`.
    """

    low: Tensor
    true: Tensor
    flows: Tensor
    frames: Tensor

    def content(self) -> Tensor:
        """Return the squared error: summed over channels, mean over frames and pixels."""
        return feature_error(self.frames.flatten(0, 1), self.true.flatten(0, 1))

    def motion(self) -> Tensor:
        """Return how far small frames are from those before, moved along the flow; of flows alone."""
        now = self.low[:, 1:].flatten(0, 1)
        return feature_error(warp(self.low[:, :-1].flatten(0, 1), self.flows.flatten(0, 1)), now)


class FRVSR(Method):
    """The recurrent network that lowers the squared error of clips made large again, and of frames moved by its flow.

    Args:
        encoder: enlarges clips.
        flow_loss: what the error of moved frames weighs.

    Raises:
        ConfigError: a weight below 0.
    """

    encoder: FrameRecurrent
    fewest = 1
    stage = "FRVSR"
    """What clips made by this stage are called."""

    def __init__(self, encoder: FrameRecurrent, *, flow_loss: float = 1.0) -> None:
        super().__init__()
        check_weights({"flow_loss": flow_loss})
        self.encoder, self.flow_loss = encoder, flow_loss

    @classmethod
    def example(cls) -> Self:
        return cls(FrameRecurrent.example())

    def example_batch(self, rows: range = range(8)) -> Batch:
        generator = torch.Generator().manual_seed(0)
        side = SCALE * FLOW_SIDES + 2 * MARGIN
        x = torch.randint(0, 256, (8, LEAST, self.encoder.channels, side, side), dtype=torch.uint8, generator=generator)
        chosen = list(rows)
        return Batch(x[chosen], torch.arange(8)[chosen], views=(x[chosen],))

    @property
    def scale(self) -> int:
        """r."""
        return SCALE

    def products(self) -> dict[str, Product]:
        """Return the encoder, and what enlarges clips."""
        return {"encoder": self.encoder, "generator": ClipUpscaler(self.encoder)}

    def maker(self) -> Maker:
        return self.enlarged

    def enlarged(self, batch: Batch) -> dict[str, Output]:
        """Return clips four times as large, whose frames are made as they are asked for: clips may have any length."""
        upscaler = ClipUpscaler(self.encoder)

        def frames(clip: Tensor) -> Frames:
            return Frames(lambda: (made[0] for made in upscaler.frames(frame[None] for frame in clip)))

        return {"clips": Output([frames(clip) for clip in batch.x], "pictures")}

    def upscalers(self) -> Mapping[str, nn.Module]:
        """Return what enlarges clips, by what it is called: the last is what the run gives."""
        return {self.stage: ClipUpscaler(self.encoder)}

    def accept(self, source: Source, batch: int) -> None:
        if len(source.shape) != 4 or source.shape[1] != self.encoder.channels:
            raise DataError(
                f"this network enlarges clips (T, C, H, W) of {self.encoder.channels} channels, not samples of shape "
                f"{source.shape}"
            )
        least = SCALE * FLOW_SIDES + 2 * MARGIN
        if source.shape[0] < LEAST or min(source.shape[2:]) < least:
            raise DataError(
                f"clips need {LEAST} frames of {least} x {least} at least to be learnt from, not {source.shape[0]} of "
                f"{source.shape[2]} x {source.shape[3]}"
            )

    def step(self, batch: Batch) -> Terms:
        """Return the squared error for frames in [-1, 1], that of flows for frames in [0, 1], and the PSNR."""
        made = self.made(batch)
        content, motion = made.content(), made.motion()
        return {
            "content": content.detach(),
            "flow": motion.detach(),
            "psnr": _decibels(content, self.encoder.channels),
            "loss": content + self.flow_loss * motion,
        }

    def made(self, batch: Batch) -> Made:
        """Return clips, and what is made of them when they are small."""
        given = self.read(batch)
        low, true = blurred_clip(given), 2 * without_margin(given) - 1
        flows = self.encoder.flows(low)
        return Made(low, true, flows, self.encoder.enlarge(low, flows))

    def read(self, batch: Batch) -> Tensor:
        """Return the clips that are learnt from."""
        return self.encoder.cast(batch.views[0] if batch.views else batch.x)

    def inherit(self, earlier: Method) -> None:
        """Start from what an earlier stage learnt."""
        if not isinstance(earlier, FRVSR):
            raise ConfigError(
                f"{type(self).__name__} builds on a network that enlarges clips, not on {type(earlier).__name__}"
            )
        take_over(self.encoder, earlier.encoder)


class TecoGAN(Game[Made], FRVSR):
    """The recurrent network that also fools a critic of three frames, on clips that run forward and back.

    It starts from the stage that lowers the squared error: from new weights it is known to end in NaN. What that stage
    gave is kept, to be compared with. The critic learns only while its lead is small.

    Args:
        encoder: enlarges clips.
        critic: tells true triplets of frames from made ones.
        features: whose cosine is the perceptual loss, of VGG19 or of another network; None for none.
        ping_pong_weight: what the difference of the two passes weighs.
        forward_and_back: learn from clips that run forward and back; else forward alone, and nothing is weighed.
        adversarial: what fooling the critic weighs.
        matching: what the distance of the critic's features weighs.
        perceptual: what the features' cosine weighs.
        flow_loss: what the error of moved frames weighs.
        lead: the critic learns while the running mean of log D(true) - log D(made) is below.

    Attributes:
        start: what enlarged clips before the first step.
        leading: the running mean, `()`.

    Raises:
        ConfigError: a weight below 0.
    """

    critic: ClipCritic
    start: FrameRecurrent
    leading: Tensor
    stage = "TecoGAN"
    called = "clips"

    def __init__(
        self,
        encoder: FrameRecurrent,
        critic: ClipCritic,
        *,
        features: LayerMaps | None = None,
        ping_pong_weight: float = 0.5,
        forward_and_back: bool = True,
        adversarial: float = 0.01,
        matching: float = 1.0,
        perceptual: float = 0.2,
        flow_loss: float = 1.0,
        lead: float = 0.4,
    ) -> None:
        FRVSR.__init__(self, encoder, flow_loss=flow_loss)
        self.features, self.lead = features, lead
        self.weights = {
            "ping-pong": ping_pong_weight if forward_and_back else 0.0,
            "fooling": adversarial,
            "matching": matching,
            "perceptual": perceptual,
        }
        given = {"ping_pong_weight": ping_pong_weight, "adversarial": adversarial, "matching": matching}
        check_weights({**given, "perceptual": perceptual, "lead": lead})
        self.forward_and_back = forward_and_back
        self.register_buffer("leading", torch.zeros(()))
        self.begin(critic)

    @classmethod
    def example(cls) -> Self:
        return cls(FrameRecurrent.example(), ClipCritic.example())

    def generating(self) -> tuple[nn.Module, ...]:
        return (self.encoder,)

    def upscalers(self) -> Mapping[str, nn.Module]:
        """Return the earlier stage's and this one's."""
        return {FRVSR.stage: ClipUpscaler(self.start), **super().upscalers()}

    def read(self, batch: Batch) -> Tensor:
        clips = super().read(batch)
        return ping_pong(clips) if self.forward_and_back else clips

    def made(self, batch: Batch) -> Made:
        return FRVSR.made(self, batch)

    def triplets(self, made: Made) -> Triplets:
        """Return what the critic reads beside frames.

        In a clip that runs forward and back, the flow from a third frame to the second is that of the way back.
        """
        length = made.low.shape[1]
        seconds = torch.arange(1, length - 1, 3)
        if self.forward_and_back:
            back = made.flows[:, length - 2 - seconds]
        else:
            thirds, low = made.low[:, seconds + 1], made.low[:, seconds]
            flows: Tensor = self.encoder.flow(thirds.flatten(0, 1), low.flatten(0, 1))
            back = flows.view(*low.shape[:2], *flows.shape[1:])
        return Triplets.of(made.low, made.flows[:, seconds - 1], back)

    def judged(self, made: Made) -> Terms:
        """Return the critic's terms."""
        triplets = self.triplets(made)
        on_true, _ = self.critic(triplets.read(made.true))
        on_made, _ = self.critic(triplets.read(made.frames.detach()))
        loss = critic_loss(on_true, on_made)
        return {
            "critic": loss.detach(),
            "believed true": on_true.detach().float().sigmoid().mean(),
            "believed made": on_made.detach().float().sigmoid().mean(),
            "lead": (fooling_loss(on_made) - fooling_loss(on_true)).detach(),
            "loss": loss,
        }

    def plays(self, judged: Terms) -> bool:
        """Return whether the critic's lead is small; it counts from this step on."""
        plays = bool(self.leading < self.lead)
        self.leading.lerp_(over_processes(judged["lead"]).to(self.leading), 1 - _FOLLOW)
        return plays

    def fooled(self, made: Made) -> Terms:
        """Return the terms of generator and flow network."""
        content, motion = made.content(), made.motion()
        with held(self.critic):
            triplets = self.triplets(made)
            on_made, maps = self.critic(triplets.read(made.frames))
            with torch.no_grad():
                _, wanted = self.critic(triplets.read(made.true))
        terms: Terms = {"fooling": fooling_loss(on_made), "matching": _layers(maps, wanted)}
        if self.weights["ping-pong"]:
            terms["ping-pong"] = ping_pong_loss(made.frames)
        if self.features is not None:
            terms["perceptual"] = _perceptual(self.features, made)
        loss = content + self.flow_loss * motion
        for name, term in terms.items():
            loss = loss + self.weights[name] * term
        return {
            "content": content.detach(),
            "flow": motion.detach(),
            **{name: term.detach() for name, term in terms.items()},
            "psnr": _decibels(content, self.encoder.channels),
            "loss": loss,
        }


def _layers(made: list[Tensor], true: list[Tensor]) -> Tensor:
    """Return the distance of the critic's features, layers weighing about alike by the published sizes."""
    pairs = zip(made, true, _LAYER_SIZES, strict=True)
    return torch.stack([_LAYER_WEIGHT * matching_loss(one, other, size) for one, other, size in pairs]).sum()


def _perceptual(features: LayerMaps, made: Made) -> Tensor:
    with torch.no_grad():
        wanted = features.several((made.true.flatten(0, 1) + 1) / 2)
    found = features.several((made.frames.flatten(0, 1) + 1) / 2)
    return torch.stack([cosine_error(one, other) for one, other in zip(found, wanted, strict=True)]).sum()


def _decibels(content: Tensor, channels: int) -> Tensor:
    """Return the peak signal-to-noise ratio that a squared error of frames in [-1, 1] makes, over all channels."""
    return -10 * (content.detach() / (4 * channels)).clamp_min(1e-12).log10()
