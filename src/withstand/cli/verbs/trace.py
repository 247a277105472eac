"""trace: which copy of a classifier adversarial examples were made on."""

from pathlib import Path

from withstand.api.settings import Tracing
from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError
from withstand.core.options import Device


def run_trace(
    run: Path,
    adversarial: Path | None = None,
    /,
    *,
    asked: Tracing = Tracing(),  # noqa: B008 - a frozen value
    copies: Path | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Rank the copies of a run's classifier by how likely adversarial examples were made on them; no proof.

    Or, with --copies, write the copies that are to be handed out.

    Args:
        run: a run of attack-tracing
        adversarial: the .npz file of withstand attack: adversarial, with the originals x or labels y
        copies: a folder for the copies, each as copy-NUMBER.safetensors with its .json
        out: the .csv file of the pictures, trace-NAME.csv in the run folder if not said
    """
    from withstand.api.adversaries.tracing import NO_PROOF, UNKNOWN, trace, write_copies

    if (adversarial is None) == (copies is None):
        raise ConfigError(
            "trace takes a file of adversarial pictures, or --copies FOLDER to write the copies: one of them"
        )
    if copies is not None:
        written = write_copies(run, copies, allow=allow)
        lines = [f"{len(written)} copies; number them as they are handed out, and keep the list", *map(str, written)]
        return Reply("\n".join(lines), {"copies": [str(path) for path in written]})
    assert adversarial is not None
    found = trace(run, adversarial, asked, out=out, device=device, allow=allow)
    finding, worth = found.finding, found.worth
    named = UNKNOWN if found.copy is None else f"copy {found.copy}"
    lines = [
        f"{len(found.pictures):,} of {int(finding.numbers['pictures']):,} pictures can be traced, to one of "
        f"{len(worth.score)} copies",
        f"  if they all come from one source, it is: {named}",
        "  copy      score  confidence  p, corrected",
    ]
    for place in worth.score.sort(descending=True, stable=True).indices.tolist():
        lines.append(
            f"  {place:4}  {float(worth.score[place]):9.3f}  {float(worth.confidence[place]):10.4f}  "
            f"{float(worth.p[place]):12.4f}"
        )
    lines += [f"  {UNKNOWN:13}  {worth.unknown:10.4f}", f"  {NO_PROOF}", str(found.file)]
    return Reply("\n".join(lines), {**finding_facts(finding), "copy": found.copy, "file": str(found.file)})
