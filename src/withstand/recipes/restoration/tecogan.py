"""TecoGAN: enlarge clips with natural texture that does not flicker, against a critic that watches time.

paper: Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation (Chu et al., SIGGRAPH 2020)
claims: a critic of three frames and a loss on clips that run forward and back give detail that holds still over time
learns from: clips, videos as folders of frames, at full resolution, without labels; small ones are made of them
use it when: enlarged videos shall look natural and not flicker; the texture is invented, not recovered
not for: measuring, evidence or diagnosis: what it adds was never seen; single pictures, for which there is srgan
differences: squares and stretches lie on a grid of half their side and length in place of random places, and a still
  frame that is panned goes on mirrored at its edges. Without a file of VGG19's weights there is no perceptual term;
  --content vgg19 is the paper's own. The paper takes 5e5 steps and more in either stage. A run starts from a stage by
  squared error that is trained first, or from --start RUN
command: withstand train tecogan --data clips --test calendar
"""

from dataclasses import replace

from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.restoration.clips import ClipsRestored
from withstand.methods.restoration.tecogan import FRVSR, TecoGAN
from withstand.models.restoration.clip_critic import ClipCritic
from withstand.models.restoration.frame_recurrent import FrameRecurrent
from withstand.recipes.setups.clips import ClipSetup, clip_parts
from withstand.views.clips import ClipView

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
        lead: the critic learns only while the running mean of log D(true) - log D(made) is below.
        critic_rate: learning rate of the critic's Adam.
        critic_width: channels of the critic's first maps.

    Raises:
        ConfigError: a crop that 32 does not divide.
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
