"""doctor: is everything there, and what slows a run down."""

import platform
import re
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from withstand.cli.reply import Reply
from withstand.core.part import Tree

_NOT_FOR_USERS = ("all", "dev", "docs", "oracles")
"""Extras that gather others, or are for work on this library."""


def run_doctor(run: Path | None = None, *, allow: tuple[str, ...] = ()) -> Reply:
    """Check the installation; with a run folder, time its loader, views and steps apart and name the slowest.

    Args:
        run: a run folder
    """
    import torch

    wanted = [line for line in requires("withstand") or () if "extra ==" not in line]
    names = sorted(re.split(r"[<>=!~;\[ ]", line)[0] for line in wanted)
    packages: dict[str, Tree] = {name: _version(name) for name in ["withstand", *names]}
    extras: dict[str, Tree] = {
        extra: "ready" if all(_version(name) for name in needed) else f"pip install 'withstand[{extra}]'"
        for extra, needed in _extras().items()
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    facts: dict[str, Tree] = {
        "python": platform.python_version(),
        "device": device,
        "threads": torch.get_num_threads(),
        "packages": packages,
        "extras": extras,
    }
    lines = [f"python {facts['python']}, {device}, {facts['threads']} threads", "", "packages"]
    lines += [f"  {name:18} {found or 'MISSING'}" for name, found in packages.items()]
    lines += ["", "extras", *(f"  {name:18} {state}" for name, state in extras.items())]
    if run is not None:
        times, options = _time_parts(run, allow)
        facts["milliseconds a batch"] = {name: round(1000 * seconds, 2) for name, seconds in times.items()}
        facts["milliseconds a step"] = {name: round(1000 * seconds, 2) for name, seconds in options.items()}
        slowest = max(times, key=lambda name: times[name])
        share = times[slowest] / sum(times.values())
        lines += ["", "milliseconds a batch", *(f"  {name:18} {1000 * s:8.1f}" for name, s in times.items())]
        lines += [f"  {share:.0%} of the time goes into {slowest}"]
        lines += ["", "milliseconds a step, by --set plan.precision= and plan.layout="]
        lines += [f"  {name:24} {1000 * s:8.1f}" for name, s in options.items()]
    missing = [name for name, found in packages.items() if not found]
    if missing:
        lines.append(f"missing: pip install {' '.join(missing)}")
    return Reply("\n".join(lines), facts, code=1 if missing else 0)


def _extras() -> dict[str, list[str]]:
    """Return the packages of each extra, as this installation declares them."""
    found: dict[str, list[str]] = {}
    for line in requires("withstand") or ():
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if extra is not None and extra[1] not in _NOT_FOR_USERS:
            found.setdefault(extra[1], []).append(re.split(r"[<>=!~;\[ ]", line)[0])
    return dict(sorted(found.items()))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _time_parts(path: Path, allow: tuple[str, ...]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of loading, views and the training step for a batch of a run; and of a step by its numerics.

    The latter, on at most 128 samples, tell whether another precision or layout would be faster.
    """
    from withstand.api.front import from_tree, open_run
    from withstand.core.devices.device import device_of
    from withstand.core.random import Draws, isolated, permutation
    from withstand.engine.numerics import Numerics, choose, native_bfloat16, time_step

    record = open_run(path, allow=allow).folder.record()
    experiment = from_tree(record["tree"], allow=allow)
    plan, device = experiment.plan, device_of("auto")
    method = experiment.method.to(device).train()
    numerics = Numerics.from_record(record["engine"]) or choose(experiment, device)
    numerics.prepare(method)
    rows = permutation(len(experiment.source), plan.seed, "doctor")[: plan.batch]
    batch = experiment.source[rows].to(device)
    viewed = experiment.view(batch, Draws(plan.seed, batch.index))
    ready = replace(viewed, views=tuple(map(numerics.cast, viewed.views)))

    def step() -> None:
        with numerics.autocast(device):
            loss = method(ready)["loss"]
        loss.backward()

    options = [
        Numerics(precision, layout)
        for precision in ("float32", "bfloat16")
        for layout in ("contiguous", "channels-last")
        if precision == "float32" or native_bfloat16(device)
    ]
    with isolated(plan.seed, "doctor"):
        parts = {
            "loading": _seconds(lambda: experiment.source[rows].to(device)),
            "views": _seconds(lambda: experiment.view(batch, Draws(plan.seed, batch.index))),
            "step": _seconds(step),
        }
        return parts, {f"{o.precision} {o.layout}": time_step(experiment, o, device) for o in options}


def _seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the least seconds of a few runs, after one to warm up."""
    import torch

    def finish() -> None:
        work()
        if torch.cuda.is_available():  # which is handed its work and does it later
            torch.cuda.synchronize()

    finish()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        finish()
        times.append(time.perf_counter() - start)
    return min(times)
