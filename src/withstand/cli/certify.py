"""certify: prove what a network withstands, break it, or say that nobody knows."""

import re
from pathlib import Path
from typing import Literal

from withstand.cli.reply import Reply, finding_facts, show_finding
from withstand.core.errors import ConfigError
from withstand.core.options import Device
from withstand.core.part import Tree


def run_certify(
    run: Path,
    *,
    data: str | None = None,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: str = "1/255",
    method: Literal[
        "auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab", "milp", "smt", "grid", "smoothing"
    ] = "auto",
    samples: int = 100,
    timeout: float = 10.0,
    sigma: float = 0.25,
    features: int | None = None,
    spans: int = 1,
    vnnlib: Path | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Prove that answers hold in a whole ball, find inputs that break them, and say what stays undecided.

    Args:
        run: a run folder; or a network: FILE.onnx, FILE.safetensors with its FILE.json, FILE.py:NAME or MODULE:NAME
        norm: how the size of a change is measured
        eps: the radius, in input units or like 1/255; curves go to twice that
        method: bounds alone (ibp, crown-ibp, crown, alpha-crown; auto is the cheap ones first); bab, milp, smt or grid
            also search; smoothing certifies the noisy classifier in L2, with confidence and not by proof
        samples: how many test samples are certified
        timeout: seconds of search for each sample, or for the instance
        sigma: of smoothing's noise, in input units
        features: inputs that a grid steps together, the most prominent first; all if not said
        spans: a grid's steps to each side
        vnnlib: answer this property of a FILE.onnx, as verification competitions ask it
        out: for a network that is no run: the folder of its finding and report, certificate-NAME if not said; with
            --vnnlib the file of the answer
    """
    if vnnlib is not None:
        return _instance(run, vnnlib, timeout, out)

    if run.suffix not in (".safetensors", ".onnx", ".py") and (run.is_dir() or ":" not in str(run)):
        from withstand.api import open_run

        if out is not None:
            raise ConfigError("--out is for networks that are no runs: a run's findings stay in its folder")
        opened = open_run(run, allow=allow, device=device)
        finding = opened.certify(
            data, norm=norm, eps=eps, method=method, samples=samples, timeout=timeout, sigma=sigma, features=features,
            spans=spans, seed=seed,
        )  # fmt: skip
        report = opened.report()
    else:
        from withstand.api import certify

        if data is None:
            raise ConfigError("a network that is no run needs --data: on what shall it be certified?")
        folder = out or Path(f"certificate-{re.sub(r'[^0-9A-Za-z]+', '-', str(run)).strip('-')}")
        finding = certify(
            str(run), data, out=folder, norm=norm, eps=eps, method=method, samples=samples, timeout=timeout,
            sigma=sigma, features=features, spans=spans, seed=seed, device=device, allow=allow,
        )  # fmt: skip
        report = folder / "report.html"
    return Reply(f"{show_finding(finding)}\nreport: {report}", {**finding_facts(finding), "report": str(report)})


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
    facts: dict[str, Tree] = {"answer": answer.split()[0], "seconds": verdict.seconds}
    return Reply(answer, {**facts, "method": verdict.method, "reason": verdict.reason})
