"""inspect: pictures that may carry a backdoor's trigger."""

from pathlib import Path

from withstand.api.settings import Inspection
from withstand.cli.reply import Reply, finding_facts
from withstand.core.options import Device


def run_inspect(
    data: str,
    *,
    run: Path | None = None,
    asked: Inspection = Inspection(),  # noqa: B008 - a frozen value
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Look through pictures for a pattern in their colors that many share, and list those that hold it, with reasons.

    Writes suspicious.csv, suspicious.png and inspection.json. A score is no proof.

    Args:
        run: a run on such pictures, whose features are scored too
        out: the folder of the files, inspect-NAME if not said
    """
    from withstand.api.inspecting import NO_PROOF, NOT_CLEAN, in_words, inspect

    found = inspect(data, asked, run=run, out=out, device=device, allow=allow)
    finding = found.finding
    count = {name: int(value) for name, value in finding.numbers.items()}
    grey = count["grey pictures, not looked at"]
    lines = [
        f"{count['pictures']:,} pictures at {found.shape[1]} x {found.shape[2]} pixels, "
        f"{found.spectra.coefficients:,} frequencies of their colors"
        f"{f'; {grey:,} grey ones were not looked at' if grey else ''}"
    ]
    if found.spectra.shared:
        held = count["pictures that hold a shared frequency"]
        lines += [f"  {held:,} pictures hold a frequency that too many share for chance:"]
        lines += [f"    {in_words(one)}" for one in found.spectra.shared]
        lines += [f"  {NO_PROOF}"]
    else:
        lines += [f"  no frequency is shared by more pictures than chance gives. {NOT_CLEAN}"]
    files = {name: str(path) for name, path in found.files.items()}
    return Reply("\n".join([*lines, *files.values()]), {**finding_facts(finding), "files": {**files}})
