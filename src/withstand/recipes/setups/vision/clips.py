"""What recipes on clips share: stretches to learn from, whole clips to judge on, budget."""

from dataclasses import dataclass

from withstand.core.errors import ConfigError
from withstand.core.options import Options
from withstand.core.roles import Source
from withstand.data.clips.stretches import Stretches
from withstand.data.clips.whole import clips_of
from withstand.data.derived.subset import holdout
from withstand.data.load import Data
from withstand.models.restoration.frame_recurrent import FLOW_SIDES, MARGIN, SCALE


@dataclass(frozen=True, kw_only=True)
class ClipSetup(Options):
    """What a recipe on clips can be told: data, network, budget.

    Args:
        data: a folder or zip archive of folders of frames, one a clip; a folder of videos (extra video); a .npy or .npz
            array (N, T, C, H, W); or a set: clips, calendar.
        test: other clips that are judged on; else a fifth of the clips.
        frames: N, of a stretch that is learnt from.
        crop: side in pixels of the squares that are learnt from, a multiple of 32.
        step: frames from one stretch to the next; half a stretch if not said.
        stride: pixels from one square to the next; half a side if not said.
        width: channels of the network's maps.
        blocks: residual ones; FRVSR and the small model of the official code have 10.
        flow_width: channels of the flow network's first maps.
        epochs: passes over the data.
        batch: stretches a step.
        learning_rate: of Adam.
        seed: of weights and order.
        processes: how many train together.
    """

    data: Data = "clips"
    test: str | None = None
    frames: int = 10
    crop: int = 128
    step: int | None = None
    stride: int | None = None
    width: int = 64
    blocks: int = 16
    flow_width: int = 32
    epochs: int = 20
    batch: int = 4
    learning_rate: float = 5e-5
    seed: int = 0
    processes: int = 1


def clip_parts(setup: ClipSetup) -> tuple[Source, Source]:
    """Return (stretches to learn from, whole clips to judge on).

    Raises:
        ConfigError: a crop that 32 does not divide, or a single clip.
        DataError: no clips that are as long and large as a stretch.
    """
    side = SCALE * FLOW_SIDES
    if setup.crop < side or setup.crop % side:
        down = max(side, setup.crop // side * side)
        raise ConfigError(f"crop must be a multiple of {side}, not {setup.crop}: say {down} or {down + side}")
    clips = clips_of(setup.data)
    if setup.test is not None:
        train, held = clips, clips_of(setup.test)
    elif len(clips) > 1:
        train, held = holdout(clips)
    else:
        raise ConfigError(f"{clips.name} holds a single clip, of which none can be held out: name others by --test")
    return Stretches(train, setup.frames, setup.crop + 2 * MARGIN, setup.step, setup.stride), held
