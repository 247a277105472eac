"""SRGAN: enlarge pictures with natural texture, by features against a critic that tells them from true ones.

paper: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network (Ledig et al., CVPR 2017)
claims: a content loss on features and a critic give pictures that people find more natural, at a lower PSNR
learns from: photos, images, pictures at full resolution, without labels; small ones are made of them
use it when: enlarged pictures shall look natural; the texture is invented, not recovered
not for: measuring, evidence or diagnosis: what it adds was never seen; srresnet is nearer pixel by pixel
differences: squares lie on a grid of half their side in place of random places. Without a file of VGG19's weights the
  content is the squared error, as the paper's SRGAN-MSE has it; --content vgg54 is the paper's own. The paper takes 1e6
  steps by squared error and 2e5 against the critic. A critic's run starts from a stage by squared error that is trained
  first, or from --start RUN
time: 446 processor seconds for the claim, 5 seeds
reached: not reproduced at this scale: the energy of gradients is 0.601 of the true pictures' with a critic, 0.597 by
  squared error alone, at 32.92 against 32.92 dB (Set5, scale 2, the paper's weight of 1e-3); at ten times that weight
  0.603 at 32.85 dB
command: withstand train srgan --data yang91 --test set5 --content vgg54 --weights vgg19.pth
"""

from dataclasses import replace
from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Stepped
from withstand.methods.restoration.srgan import SRGAN
from withstand.models.restoration.critic import Critic
from withstand.models.restoration.layer_maps import ExportedMaps, LayerMaps, VGGMaps
from withstand.recipes.setups.vision.super_resolution import SuperSetup, network, of_first_stage

Content = Literal["mse", "vgg22", "vgg54", "features"]

SETUP = SuperSetup()


def experiment(
    setup: SuperSetup = SETUP,
    *,
    first_epochs: int = 40,
    first_rate: float = 1e-4,
    start: str | None = None,
    content: Content = "mse",
    weights: str | None = None,
    layer: str | None = None,
    factor: float | None = None,
    adversarial: float = 1e-3,
    variation: float | None = None,
    critic_rate: float = 1e-4,
    critic_width: int = 64,
    critic_dense: int = 1024,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget.
        epochs: passes over the data against the critic.
        learning_rate: of the generator's Adam; a tenth in the second half.
        first_epochs: passes by squared error before.
        first_rate: learning rate of these.
        start: folder of an srresnet run of the same network to start from, in place of a first stage.
        content: what is compared: mse of pixels; vgg22 or vgg54, early or late features of VGG19; or features of an
            encoder that withstand export wrote.
        weights: file of VGG19's weights, torchvision's state dict; or FILE.safetensors of the encoder.
        layer: of the encoder, where content is features; its last stage if not said.
        factor: what features are multiplied by; 1/12.75 for VGG19's as in the paper, 1 for others.
        adversarial: what fooling the critic weighs.
        variation: what total variation weighs; 2e-8 with vgg22 as in the paper, else 0.
        critic_rate: learning rate of the critic's Adam; a tenth in the second half.
        critic_width: channels of the critic's first maps.
        critic_dense: numbers between the critic's dense layers.

    Raises:
        ConfigError: a content without the file that it needs.
        DataError: no pictures as large as a square, or a file that does not hold what it should.
    """
    first = of_first_stage(setup, first_epochs, first_rate)
    source = first.source
    method = SRGAN(
        network(setup, source.shape[0]),
        Critic(source.shape[0], width=critic_width, dense=critic_dense),
        features=_features(content, weights, layer, factor),
        adversarial=adversarial,
        variation=(2e-8 if content == "vgg22" else 0.0) if variation is None else variation,
        average=setup.average,
    )
    plan = replace(
        first.plan,
        epochs=setup.epochs,
        optimizer={"generator": Adam(setup.learning_rate), "critic": Adam(critic_rate)},
        schedule=Stepped(),
    )
    return replace(first, name="srgan", method=method, plan=plan, first=first if start is None else start)


def _features(content: Content, weights: str | None, layer: str | None, factor: float | None) -> LayerMaps | None:
    """Return what gives the features that are compared; None for pixels."""
    if content not in get_args(Content):
        raise ConfigError(f"content {content!r} is unknown: {nearest(str(content), get_args(Content))}")
    if content == "mse":
        if weights is not None or layer is not None:
            raise ConfigError("content mse compares pixels, and takes no weights and no layer: say which --content")
        return None
    if weights is None:
        needed = (
            "an encoder that withstand export wrote: give it by --weights FILE.safetensors"
            if content == "features"
            else "VGG19's weights, which no package brings: give torchvision's state dict by --weights vgg19.pth, or "
            "take --content features with an encoder of your own, or --content mse"
        )
        raise ConfigError(f"content {content} needs {needed}")
    if content == "features":
        return ExportedMaps(weights, layer, factor=1.0 if factor is None else factor)
    if layer is not None:
        raise ConfigError(f"content {content} says which layer of VGG19 is read: leave layer out")
    return VGGMaps(weights, content) if factor is None else VGGMaps(weights, content, factor=factor)
