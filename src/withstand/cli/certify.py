"""certify: prove what a network withstands, break it, or say that nobody knows."""

from pathlib import Path
from typing import Literal

from withstand.cli.network import folder_of, is_network, normalization, refuse_for_runs
from withstand.cli.reply import Reply, finding_facts, show_finding
from withstand.core.errors import ConfigError
from withstand.core.options import Device
from withstand.core.part import Tree


def run_certify(
    run: Path,
    *,
    data: str | None = None,
    norm: Literal["linf", "l2", "l1"] | None = None,
    eps: str | None = None,
    method: Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab", "milp", "smt", "grid", "smoothing"]
    | None = None,
    samples: int | None = None,
    timeout: float = 10.0,
    sigma: float | None = None,
    features: int | None = None,
    spans: int | None = None,
    vnnlib: Path | None = None,
    low: float | None = None,
    high: float | None = None,
    normalize: tuple[str, ...] = (),
    seed: int | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Prove that answers hold in a whole ball, find inputs that break them, and say what stays undecided.

    Args:
        run: a run folder; or a network: FILE.onnx (or .onnx.gz), FILE.safetensors with its FILE.json, FILE.py:NAME or
            MODULE:NAME
        norm: how the size of a change is measured; linf if not said
        eps: the radius, in input units or as a share of the input range like 1/255, which it is if not said; curves go
            to twice that
        method: bounds alone (ibp, crown-ibp, crown, alpha-crown; auto, if not said, is the cheap ones first); bab,
            milp, smt or grid also search; smoothing certifies the noisy classifier in L2, with confidence and not by
            proof
        samples: how many test samples are certified; 100 if not said
        timeout: seconds of search for each sample, or for the instance
        sigma: of smoothing's noise, in input units; a quarter of the input range if not said
        features: inputs that a grid steps together, the most prominent first; all if not said
        spans: a grid's steps to each side; 1 if not said
        vnnlib: answer this property of a FILE.onnx, as verification competitions ask it, by branch and bound; the
            property says what to prove and where, so that of the other options --timeout and --out alone go with it
        seed: of everything that is drawn; 0 if not said
        out: for a network that is no run: the folder of its finding and report, certificate-NAME if not said; with
            --vnnlib the file of the answer
    """
    if vnnlib is not None:
        given = {
            "data": data, "norm": norm, "eps": eps, "method": method, "samples": samples, "sigma": sigma,
            "features": features, "spans": spans, "seed": seed, "allow": allow or None,
            "low": low, "high": high, "normalize": normalize or None,
            "device": None if device == "auto" else device,
        }  # fmt: skip
        idle = [f"--{name}" for name, value in given.items() if value is not None]
        if idle:
            raise ConfigError(f"--vnnlib answers what its file asks: {', '.join(idle)} would change nothing of it")
        return _instance(run, vnnlib, timeout, out)

    norm, method, seed = norm or "linf", method or "auto", seed or 0
    eps, samples = "1/255" if eps is None else eps, 100 if samples is None else samples
    spans = 1 if spans is None else spans
    if is_network(run):
        from withstand.api.front import certify

        if data is None:
            raise ConfigError("a network that is no run needs --data: on what shall it be certified?")
        folder = out or folder_of("certificate", run)
        finding = certify(
            str(run), data, out=folder, norm=norm, eps=eps, method=method, samples=samples, timeout=timeout,
            sigma=sigma, features=features, spans=spans, seed=seed, low=low, high=high,
            normalize=normalization(normalize), device=device, allow=allow,
        )  # fmt: skip
        report = folder / "report.html"
    else:
        from withstand.api.front import open_run

        refuse_for_runs(out=out, low=low, high=high, normalize=normalize)
        opened = open_run(run, allow=allow, device=device)
        finding = opened.certify(
            data, norm=norm, eps=eps, method=method, samples=samples, timeout=timeout, sigma=sigma, features=features,
            spans=spans, seed=seed,
        )  # fmt: skip
        report = opened.report()
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
    word = answer.split()[0]
    facts: dict[str, Tree] = {"answer": word, "seconds": verdict.seconds}
    because = verdict.reason or ("proven in exact arithmetic for the file's weights" if word == "unsat" else "")
    text = answer if out is None else f"{word}: {because}\nwritten to {out}"
    return Reply(text, {**facts, "method": verdict.method, "reason": verdict.reason})
