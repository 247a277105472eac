"""steer: how far pictures steer what a vision-language model says."""

from pathlib import Path

from withstand.api.settings import Steering
from withstand.cli.network import folder_of
from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError
from withstand.core.options import Device


def run_steer(
    model: str,
    *,
    data: str | None = None,
    asked: Steering = Steering(),  # noqa: B008 - a frozen value
    out: Path | None = None,
    device: Device = "auto",
) -> Reply:
    """Measure how far a picture makes a vision-language model of your own say one harmless sentence.

    Answers are counted on prompts that the attacker never asked, beside clean pictures, noise and purifiers.

    Args:
        model: a folder that transformers wrote with save_pretrained, its processor too; or a name of the Hugging Face
            Hub
        out: the folder of the finding and its report, steer-NAME if not said
    """
    from withstand.api.adversaries.steering import steer

    if data is None:
        raise ConfigError("steer needs --data: which pictures shall be moved?")
    folder = out or folder_of("steer", Path(model))
    finding = steer(model, data, asked, out=folder, device=device)
    report = folder / "report.html"
    return Reply(f"{finding}\nreport: {report}", {**finding_facts(finding), "report": str(report)})
