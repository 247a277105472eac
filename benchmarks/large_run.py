"""What a large run costs before it is begun: memory, hours, communication and reading, for a ViT on many devices.

    python -m benchmarks.large_run [--network vit-l] [--devices 8] [--pictures 1e8] [--tflops 400] [--out OUT.md]

What is counted: the numbers of a step's forward and backward pass, and the bytes that autograd keeps of each picture,
in bfloat16, from one real step of the method's own code (`--network vit-l` needs 8 GB of memory and minutes). What is
assumed stands in the table: the devices' rate, their memory, and the links between them. `--check` compares the count
with what a process really takes, on a small network.
"""

import argparse
import io
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from withstand.core.batch import Batch
from withstand.core.random import isolated
from withstand.core.roles import Method, Terms
from withstand.methods.masked.mae import MAE
from withstand.methods.non_contrastive.swav import SwAV
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT

NETWORKS = {"vit-l": (16, 1024, 24, 16), "vit-b": (16, 768, 12, 12), "vit-s": (16, 384, 12, 6), "tiny": (16, 96, 4, 3)}
"""Patch, width, depth and heads of the published networks, and of one to try this with."""
WHOLE, LOCAL, LOCALS = 224, 96, 6
ADAMW = 16
"""Bytes a parameter: its value, its gradient and AdamW's two means, in single precision."""


@dataclass(frozen=True)
class Cost:
    """What one method costs.

    Attributes:
        parameters: that are trained.
        flops: of a step, for each picture; twice the multiplications.
        kept: bytes that autograd keeps for each picture.
        recomputed: the same where blocks are computed again.
        flops_recomputed: of a step, for each picture, where blocks are computed again.
    """

    parameters: int
    flops: float
    kept: float
    recomputed: float
    flops_recomputed: float


def encoder(network: str, *, recompute: bool) -> Normalized:
    patch, width, depth, heads = NETWORKS[network]
    vit = ViT(patch, width, depth, heads, pooling="cls", recompute=recompute)
    return Normalized(vit, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def mae(network: str, *, recompute: bool) -> Method:
    return MAE(encoder(network, recompute=recompute))


def swav(network: str, *, recompute: bool) -> Method:
    return SwAV(encoder(network, recompute=recompute), hidden=2048, prototypes=3000, frozen_epochs=0)


def whole(count: int) -> Batch:
    x = torch.rand(count, 3, WHOLE, WHOLE)
    return Batch(x, torch.arange(count), views=(x,))


def crops(count: int) -> Batch:
    sides = (WHOLE,) * 2 + (LOCAL,) * LOCALS
    views = tuple(torch.rand(count, 3, side, side) for side in sides)
    return Batch(views[0], torch.arange(count), views=views)


METHODS: dict[str, tuple[Callable[..., Method], Callable[[int], Batch]]] = {
    "MAE, 75 % hidden, decoder of 8 blocks": (mae, whole),
    f"SEER (SwAV), 2 crops of {WHOLE} and {LOCALS} of {LOCAL}": (swav, crops),
}


def kept_by(method: Method, batch: Batch) -> tuple[Terms, int]:
    """Return a step's terms, and the bytes that autograd keeps for the backward pass, each storage once."""
    held: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        terms = method.step(batch)
    return terms, sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def step(make: Callable[..., Method], batches: Callable[[int], Batch], network: str, *, recompute: bool) -> list[float]:
    """Return parameters, operations a picture, and bytes kept a picture: the difference of two pictures and one more.

    What is kept once, such as weights in half precision, falls out of the difference.
    """
    with isolated(0, "large run"):
        method = make(network, recompute=recompute).train()
        bytes_kept, flops = [], 0.0
        for count in (2, 3):
            with FlopCounterMode(display=False) as counter:
                terms, held = kept_by(method, batches(count))
                loss = terms["loss"]
                assert isinstance(loss, Tensor)
                loss.backward()  # type: ignore[no-untyped-call]  # torch
            bytes_kept.append(held)
            flops = counter.get_total_flops() / count
    trained = sum(weight.numel() for weight in method.parameters() if weight.requires_grad)
    return [trained, flops, bytes_kept[1] - bytes_kept[0]]


def cost(name: str, network: str) -> Cost:
    make, batches = METHODS[name]
    trained, flops, kept = step(make, batches, network, recompute=False)
    _, again, recomputed = step(make, batches, network, recompute=True)
    return Cost(int(trained), flops, kept, recomputed, again)


def decoded(seconds: float = 3.0) -> float:
    """Return how many photos of 500 x 375 one core decodes and crops in a second."""
    draws = np.random.default_rng(0)
    smooth = np.kron(draws.integers(0, 256, (25, 33, 3)), np.ones((15, 16, 1))).astype(np.uint8)[:375, :500]
    content = io.BytesIO()
    Image.fromarray(smooth).save(content, "JPEG", quality=90)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        Image.open(content).convert("RGB").resize((WHOLE, WHOLE), Image.Resampling.BICUBIC, (60, 30, 420, 330))
        count += 1
    return count / (time.perf_counter() - begun)


def plan(costs: dict[str, Cost], options: argparse.Namespace) -> list[str]:
    """Return the plan's lines."""
    each, rate = options.pictures / options.devices, options.tflops * 1e12
    cores = decoded()
    lines = [
        f"A {options.network} with {options.devices} devices and {options.pictures:,.0f} pictures, one pass over them.",
        "",
        f"Assumed: {options.tflops:g} TFLOP/s reached of each device in bfloat16, {options.memory:g} GB of memory, "
        f"links of {options.link:g} GB/s within a machine and {options.wire:g} GB/s between machines, batches of "
        f"{options.batch} a device. Measured here: one core decodes and crops {cores:,.0f} photos of 500 x 375 a "
        "second.",
        "",
        "| | " + " | ".join(costs) + " |",
        "|---|" + "---|" * len(costs),
    ]
    rows: dict[str, list[str]] = {}

    def say(what: str, value: str) -> None:
        rows.setdefault(what, []).append(value)

    for found in costs.values():
        state = ADAMW * found.parameters / 1e9
        say("parameters that are trained, millions", f"{found.parameters / 1e6:,.0f}")
        say("GFLOP a picture, forward and backward", f"{found.flops / 1e9:,.0f}")
        say("weights, gradients and AdamW, GB", f"{state:.1f}")
        say("kept for the backward pass, MB a picture", f"{found.kept / 1e6:,.0f}")
        say("the same with `recompute`", f"{found.recomputed / 1e6:,.0f}")
        for words, kept in (("", found.kept), (", with `recompute`", found.recomputed)):
            say(f"GB of a device at batch {options.batch}{words}", f"{state + options.batch * kept / 1e9:,.0f}")
        for words, kept in (("", found.kept), (", with `recompute`", found.recomputed)):
            say(f"largest batch of a device{words}", f"{max(0, (0.9 * options.memory - state) * 1e9 / kept):,.0f}")
        hours, longer = (each * flops / rate / 3600 for flops in (found.flops, found.flops_recomputed))
        say("hours of a pass", f"{hours:,.1f}")
        say("hours of a pass, with `recompute`", f"{longer:,.1f}")
        say("device-hours of a pass", f"{hours * options.devices:,.0f}")
        moved = 2 * (options.devices - 1) / options.devices * 4 * found.parameters / 1e9
        computed = options.batch * found.flops / rate
        say("gradients each device sends in a step, GB", f"{moved:.1f}")
        for words, speed in (("one machine", options.link), ("between machines", options.wire)):
            say(f"sending over computing, {words}", f"{moved / speed / computed:.1%}")
        needed = options.devices * rate / found.flops
        say("pictures a second to be read, all devices", f"{needed:,.0f}")
        say("cores that decode them on the fly", f"{needed / cores:,.0f}")
    lines += [f"| {what} | " + " | ".join(values) + " |" for what, values in rows.items()]
    return lines


def _peak(queue: "multiprocessing.Queue[float]", network: str, count: int, recompute: bool) -> None:
    torch.set_num_threads(1)
    method = mae(network, recompute=recompute).train()
    optimizer = torch.optim.AdamW(method.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = method.step(whole(count))["loss"]
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        optimizer.step()
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0)


def check(network: str, counts: Sequence[int] = (16, 80)) -> list[str]:
    """Return lines that compare the bytes counted a picture with what processes take more for more pictures."""
    found = cost(next(iter(METHODS)), network)
    lines = ["", f"Checked on a {network} with MAE: peak memory of whole processes, batches of {counts}.", ""]
    for recompute, counted in ((False, found.kept), (True, found.recomputed)):
        peaks = []
        for count in counts:
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=_peak, args=(queue, network, count, recompute))
            process.start()
            peaks.append(queue.get())
            process.join()
        measured = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
        words = "with `recompute`" if recompute else "without `recompute`"
        lines.append(f"- {words}: counted {counted / 1e6:.1f} MB a picture, measured {measured / 1e6:.1f} MB")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="vit-l")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--pictures", type=float, default=1e8)
    parser.add_argument("--batch", type=int, default=128, help="pictures of each device in a step")
    parser.add_argument("--tflops", type=float, default=400.0, help="reached by a device in bfloat16")
    parser.add_argument("--memory", type=float, default=80.0, help="GB of a device")
    parser.add_argument("--link", type=float, default=450.0, help="GB/s between devices of one machine")
    parser.add_argument("--wire", type=float, default=50.0, help="GB/s between machines, a device")
    parser.add_argument("--check", action="store_true", help="compare the count with processes' memory, on a vit-s")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = plan({name: cost(name, options.network) for name in METHODS}, options)
    if options.check:
        lines += check("vit-s")
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
