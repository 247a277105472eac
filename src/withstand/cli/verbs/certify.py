"""certify: prove what a network withstands, break it, or say that nobody knows."""

from pathlib import Path

from withstand.api.settings import Certification, Inputs, LabelTable
from withstand.cli.network import folder_of, is_network, refuse_for_runs
from withstand.cli.options import goes_alone
from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError
from withstand.core.options import Device
from withstand.core.part import Tree


@goes_alone("--vnnlib", beside=("--timeout", "--out"), why="answers what its file asks")
def run_certify(
    run: Path,
    *,
    data: str | None = None,
    asked: Certification = Certification(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    table: LabelTable = LabelTable(),  # noqa: B008 - a frozen value
    vnnlib: Path | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Prove that answers hold in a whole ball, find inputs that break them, and say what stays undecided.

    Args:
        run: a run folder; or a network: FILE.onnx (or .onnx.gz), FILE.safetensors with its FILE.json, FILE.py:NAME,
            MODULE:NAME or timm:NAME
        timeout: seconds of search for each sample, or for the instance
        vnnlib: answer this property of a FILE.onnx, as verification competitions ask it, by branch and bound; the
            property says what to prove and where, so that of the other options --timeout and --out alone go with it
        out: for a network that is no run: the folder of its finding and report, certificate-NAME if not said; with
            --vnnlib the file of the answer
    """
    if vnnlib is not None:
        return _instance(run, vnnlib, asked.timeout, out)

    if is_network(run):
        table.refuse_for_networks()
        from withstand.api.networks import certify

        if data is None:
            raise ConfigError("a network that is no run needs --data: on what shall it be certified?")
        folder = out or folder_of("certificate", run)
        finding = certify(
            str(run), data, asked, inputs, out=folder, device=device,
            allow=allow,
        )  # fmt: skip
        report = folder / "report.html"
    else:
        from withstand.api.front import open_run

        refuse_for_runs(inputs, out=out)
        opened = open_run(run, allow=allow, device=device, labels=table.labels, label_column=table.label_column)
        finding = opened.certify(data, asked)
        report = opened.report()
    return Reply(f"{finding}\nreport: {report}", {**finding_facts(finding), "report": str(report)})


def _instance(network: Path, vnnlib: Path, timeout: float, out: Path | None) -> Reply:
    """Answer a competition's instance in the competition's words."""
    from withstand.core.files import replacing
    from withstand.verification.exchange.instance import Instance
    from withstand.verification.exchange.solve import solve

    instance = Instance.read(network, vnnlib)
    verdict = solve(instance, timeout=timeout)
    answer = instance.reply(verdict)
    if out is not None:
        with replacing(out) as aside:
            aside.write_text(answer, encoding="utf-8")
    word = answer.split()[0]
    facts: dict[str, Tree] = {"answer": word, "seconds": verdict.seconds}
    because = verdict.reason or ("proven in exact arithmetic for the file's weights" if word == "unsat" else "")
    text = answer if out is None else f"{word}: {because}\nwritten to {out}"
    return Reply(text, {**facts, "method": verdict.method, "reason": verdict.reason})
