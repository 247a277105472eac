"""doctor: is everything there, and what slows a run down."""

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from withstand.cli.reply import Reply
from withstand.core.extras import USES, extras, installed, lacking, required
from withstand.core.part import Tree


def run_doctor(run: Path | None = None, *, allow: tuple[str, ...] = ()) -> Reply:
    """Say what is installed, and what is missing for which verb; with a run folder, what its time goes into.

    Args:
        run: a run folder, whose loader, views and steps are timed apart
    """
    start = time.perf_counter()
    import torch

    seconds = time.perf_counter() - start
    packages: dict[str, Tree] = {name: installed(name) for name in ["withstand", *required()]}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    kept, bytes_kept, free = _cache()
    facts: dict[str, Tree] = {
        "python": platform.python_version(),
        "device": device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "seconds to import torch": round(seconds, 2),
        "packages": packages,
        "extras": {extra: _state(extra) for extra in extras()},
        "verbs": {verb: list[Tree](names) for verb, names in _wanting().items()},
        "cache": {"folder": str(kept), "bytes": bytes_kept, "free": free},
    }
    lines = [
        f"python {facts['python']}, {device}, {facts['threads']} threads of {facts['cores']} cores; torch is imported "
        f"in {seconds:.1f} s",
        f"decoded and downloaded data: {kept}, {bytes_kept / 2**30:.2f} GiB; {free / 2**30:.0f} GiB are free there",
        *("", "packages", *(f"  {name:18} {found or 'MISSING'}" for name, found in packages.items())),
        *("", "extras", *(f"  {extra:12} {_state(extra):38} {USES[extra][1]}" for extra in extras())),
    ]
    if wanting := _wanting():
        lines += ["", "what a verb may ask for and does not find"]
        lines += [f"  {verb:12} {', '.join(names)}" for verb, names in wanting.items()]
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
    else:
        lines += ["", "withstand doctor --run RUN says what a run's time goes into"]
    missing = [name for name, found in packages.items() if not found]
    if missing:
        lines.append(f"missing: pip install {' '.join(missing)}")
    return Reply("\n".join(lines), facts, code=1 if missing else 0)


def _state(extra: str) -> str:
    return f"pip install 'withstand[{extra}]'" if lacking(extra) else "ready"


def _wanting() -> dict[str, list[str]]:
    """Return the extras that each verb may ask for and that are not there."""
    found: dict[str, list[str]] = {}
    for extra in extras():
        for verb in USES[extra][0] if lacking(extra) else ():
            found.setdefault(verb, []).append(extra)
    return found


def _cache() -> tuple[Path, int, int]:
    """Return the folder of what can be made or fetched again, how many bytes it holds, and how many are free there."""
    from withstand.data.shared.cache_folder import cache_folder

    folder = cache_folder()
    held = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return folder, held, shutil.disk_usage(there).free


def _time_parts(path: Path, allow: tuple[str, ...]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of loading, views and the training step for a batch of a run; and of a step by its numerics.

    The latter, on at most 128 samples, tell whether another precision or layout would be faster.
    """
    from withstand.api.front import from_tree, open_run
    from withstand.core.batch import Batch
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

    def loaded() -> Batch:
        return experiment.source.for_views(rows).to(device)

    def viewed() -> Batch:  # what views take parts of is read when they ask
        batch = loaded()
        return experiment.view(batch, Draws(plan.seed, batch.index))

    made = viewed()
    ready = replace(made, views=tuple(map(numerics.cast, made.views)), whole=None)

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
        loading, both = _seconds(loaded), _seconds(viewed)
        parts = {"loading": loading, "views": max(both - loading, 0.0), "step": _seconds(step)}
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
