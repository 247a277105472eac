"""`steer`: how far a picture within a radius steers what a vision-language model of one's own says."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from withstand.api.settings import Steering, changed
from withstand.attacks.autoattack.ensemble_state import victim_fingerprint
from withstand.core.devices.device import device_of
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import printable
from withstand.core.findings.finding import Finding
from withstand.core.part import describe
from withstand.core.victims.victim import Victim
from withstand.data.load import Data, judged
from withstand.defenses.filters import MedianSmoothing, Name, NoisyInput, by_bit_depth, by_jpeg
from withstand.engine.folder import RunFolder
from withstand.evaluation.robustness.vision_language.susceptibility import Guard, Susceptibility
from withstand.models.pictures.processor import side_of
from withstand.models.tokens.hugging_face_vision import HuggingFaceVision, opened
from withstand.models.tokens.picture_to_text import PictureToText
from withstand.report import render

GUARDS: dict[str, Guard] = {
    "jpeg": by_jpeg, "bit-depth": by_bit_depth, "median": MedianSmoothing, "noise": NoisyInput,
}  # fmt: skip
"""Purifiers by the names that `withstand defend` knows them by."""


def steer(
    model: str | Path | PictureToText,
    data: Data,
    asked: Steering = Steering(),  # noqa: B008 - a frozen value
    *,
    out: str | Path | None = None,
    device: str = "auto",
    **settings: object,
) -> Finding:
    """Move pictures towards one harmless sentence, and count the answers that hold it: on prompts never asked before.

    Beside stand clean pictures, noise of the same size, and purifiers, each against who knows of it and who does not.

    Args:
        model: a folder that transformers' `save_pretrained` wrote, or a name of the Hugging Face Hub; or a network.
        data: pictures: a set's name, a folder, an array, a source. Of data that come in parts the test part is
            attacked.
        asked: the sentence, prompts, radii, steps, purifiers.
        out: a folder for the finding and a report. None keeps nothing.
        device: where a model that had to be found is run: auto, cpu, cuda or mps. One's own stays where it is.
        **settings: single fields of `asked`, by name: `target="a red boat"`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    judge = _judge(asked)
    if isinstance(model, PictureToText):
        network, name = model, type(model).__name__
        source = judged(data, size=asked.size, reading=asked.reading)
    else:
        if RunFolder(Path(model)).exists():
            raise ConfigError(
                f"{model} is a run, and steer takes a model of transformers': withstand probe measures the same of a "
                "run of vlm-susceptibility"
            )
        made, processor = opened(str(model))
        side = asked.size or (side_of(processor) if _of_any_size(data) else None)
        source, name = judged(data, size=side, reading=asked.reading), str(model)
        network = HuggingFaceVision(
            made.to(device_of(device)), processor, source.shape, rounding=asked.rounding, template=asked.template,
            before=asked.before, longest=asked.longest,
        ).eval()  # fmt: skip
    if out is None:
        return judge.evaluate(network, source)
    if lacking := judge.lacks(network, source):
        raise DataError(lacking)
    judge.require(network)
    folder = RunFolder(Path(out))
    with folder.locked():
        folder.adopt(
            printable(name), {"steered": type(network).__name__, "judge": describe(judge)}, source, asked.seed,
            weights=victim_fingerprint(Victim(network)),
        )  # fmt: skip
        finding = judge.evaluate(network, source)
        folder.save(finding)
        render(folder.path)
    return finding


def _judge(asked: Steering) -> Susceptibility:
    guards = tuple(one for one in asked.guards if one != "none")
    for one in guards:
        if one not in GUARDS:
            raise ConfigError(f"guard {one!r} is unknown: {nearest(one, (*get_args(Name), 'none'))}")
    return Susceptibility(
        asked.target,
        tuple(asked.prompts),
        tuple(asked.held_out),
        tuple(asked.eps),
        asked.headline,
        guards={one: GUARDS[one] for one in guards},
        samples=asked.samples,
        steps=asked.steps,
        step=asked.step,
        seed=asked.seed,
        batch=asked.batch,
    )


def _of_any_size(data: Data | Sequence[object]) -> bool:
    """Return whether pictures lie in a folder or in shards, which are read at the size that is asked for."""
    return isinstance(data, str | Path) and (Path(data).expanduser().is_dir() or str(data).endswith(".tar"))
