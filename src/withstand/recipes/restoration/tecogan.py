"""TecoGAN: enlarge clips with natural texture that does not flicker, against a critic that watches time.

paper: Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation (Chu et al., SIGGRAPH 2020)
claims: a critic of three frames and a loss on clips that run forward and back give detail that holds still over time
learns from: clips, videos or folders of frames, at full resolution, without labels; small ones are made of them
use it when: enlarged videos shall look natural and not flicker; the texture is invented, not recovered
not for: measuring, evidence or diagnosis: what it adds was never seen; single pictures, for which there is srgan
differences: squares and stretches lie on a grid of half their side and length in place of random places, and a still
  frame that is panned goes on mirrored at its edges. Without a file of VGG19's weights there is no perceptual term;
  --perceptual vgg19 is the paper's own. The paper takes 5e5 steps and more in either stage. A run starts from a stage
  by squared error that is trained first, or from --start RUN
time: 81 s of a processor a seed for the claim
reached: the claim, for a still clip: its frames' steadiness is 137 ± 5.5 dB with the loss of both passes and 104 ± 12.2
  without, effect 33.4 [9.8, 57.0], 4 seeds, both near what single precision holds. On one seed it drifts by 5e-8 a
  frame and by 1.7e-6 without; 0.39 and 0.52 dB over bicubic
command: withstand train tecogan --data clips --test calendar
"""

from dataclasses import replace
from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.restoration.clips import ClipsRestored
from withstand.methods.restoration.tecogan import FRVSR, TecoGAN
from withstand.models.restoration.clip_critic import ClipCritic
from withstand.models.restoration.frame_recurrent import FrameRecurrent
from withstand.models.restoration.layer_maps import ExportedMaps, LayerMaps, VGGMaps
from withstand.recipes.setups.vision.clips import ClipSetup, clip_parts
from withstand.views.clips import ClipView

Perceptual = Literal["none", "vgg19", "features"]

SETUP = ClipSetup()


def experiment(
    setup: ClipSetup = SETUP,
    *,
    first_epochs: int = 20,
    first_rate: float = 5e-5,
    start: str | None = None,
    ping_pong: float = 0.5,
    adversarial: float = 0.01,
    matching: float = 1.0,
    perceptual: Perceptual = "none",
    weights: str | None = None,
    layer: str | None = None,
    perceptual_weight: float = 0.2,
    lead: float = 0.4,
    critic_rate: float = 5e-5,
    critic_width: int = 64,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        epochs: passes over the data against the critic.
        learning_rate: of the generator's Adam.
        first_epochs: passes by squared error before.
        first_rate: learning rate of these.
        start: folder of a run of the same network to start from, in place of a first stage.
        ping_pong: what the difference of the passes forward and back weighs.
        adversarial: what fooling the critic weighs.
        matching: what the distance of the critic's features weighs.
        perceptual: whose features are compared besides: none, vgg19 as in the paper, or features of an encoder that
            withstand export wrote.
        weights: file of VGG19's weights, torchvision's state dict; or FILE.safetensors of the encoder.
        layer: of the encoder, where perceptual is features; its last stage if not said.
        perceptual_weight: what the features' cosine weighs.
        lead: the critic learns only while the running mean of log D(true) - log D(made) is below.
        critic_rate: learning rate of the critic's Adam.
        critic_width: channels of the critic's first maps.

    Raises:
        ConfigError: a crop that 32 does not divide, or features without their file.
        DataError: no clips that are as long and large as a stretch.
    """
    source, held = clip_parts(setup)
    network = FrameRecurrent(
        channels=source.shape[1], width=setup.width, blocks=setup.blocks, flow_width=setup.flow_width
    )
    plan = Plan(
        epochs=first_epochs,
        batch=setup.batch,
        optimizer=Adam(first_rate),
        schedule=Constant(),
        seed=setup.seed,
        processes=setup.processes,
    )
    judges = (ClipsRestored(),)
    first = Experiment("frvsr", source, ClipView(), FRVSR(network), plan, held, judges=judges)
    method = TecoGAN(
        FrameRecurrent(**network._init_args),
        ClipCritic(source.shape[1], width=critic_width),
        features=_features(perceptual, weights, layer),
        perceptual=perceptual_weight,
        ping_pong_weight=ping_pong,
        adversarial=adversarial,
        matching=matching,
        lead=lead,
    )
    two = {"generator": Adam(setup.learning_rate), "critic": Adam(critic_rate)}
    return replace(
        first,
        name="tecogan",
        method=method,
        plan=replace(plan, epochs=setup.epochs, optimizer=two),
        first=first if start is None else start,
    )


def _features(perceptual: Perceptual, weights: str | None, layer: str | None) -> LayerMaps | None:
    """Return what gives the features that are compared; None for none."""
    if perceptual not in get_args(Perceptual):
        raise ConfigError(f"perceptual {perceptual!r} is unknown: {nearest(str(perceptual), get_args(Perceptual))}")
    if perceptual == "none":
        if weights is not None or layer is not None:
            raise ConfigError("without features there are no weights and no layer to read: say which --perceptual")
        return None
    if weights is None:
        needed = (
            "VGG19's weights, which no package brings: give torchvision's state dict by --weights vgg19.pth"
            if perceptual == "vgg19"
            else "an encoder that withstand export wrote: give it by --weights FILE.safetensors"
        )
        raise ConfigError(f"perceptual {perceptual} needs {needed}")
    if perceptual == "features":
        return ExportedMaps(weights, layer)
    if layer is not None:
        raise ConfigError("perceptual vgg19 compares four layers: leave layer out")
    return VGGMaps(weights, every=True)
