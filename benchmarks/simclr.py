"""SimCLR end to end on CIFAR-size pictures: our engine against the loop of lightly's README, same net and batch.

    python benchmarks/simclr.py [results.jsonl] [--widths 8 32] [--steps 54]

Also against forward, backward and step alone, on random tensors at the best precision and layout: what views,
loading and the loss cost. Rates are pictures (with two views each) a second; lightly's is the best of 0 and 2 workers.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.views import pictures
from withstand.data import ArraySource
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.engine.schedules import Constant
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.views.presets import simclr_small

BATCH = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ours(x: Tensor, width: int, steps: int) -> float:
    """Return the rate of `withstand train`, from its first line of metrics (step 10) to its last."""
    method = SimCLR(Normalized(ResNet(width, 10), MEAN, STD), temperature=0.5)
    per_epoch = len(x) // BATCH
    plan = Plan(epochs=-(-steps // per_epoch), batch=BATCH, optimizer=SGD(0.06), schedule=Constant())
    with TemporaryDirectory() as folder:
        source = ArraySource(x, layout="NCHW")
        run = train(Experiment("bench", source, simclr_small(32), method, plan), Path(folder) / "run", quiet=True)
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
        print(f"    {run.record()['engine']}")
    return (lines[-1]["step"] - lines[0]["step"]) * BATCH / (lines[-1]["seconds"] - lines[0]["seconds"])


class _Pictures(Dataset[list[Tensor]]):
    def __init__(self, x: Tensor) -> None:
        from lightly.transforms import SimCLRTransform

        self.x = x.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> list[Tensor]:
        return self.transform(Image.fromarray(np.asarray(self.x[place])))


def lightly(x: Tensor, width: int, workers: int, steps: int) -> float:
    """Return the rate of lightly's README loop, its first two steps left out."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    net = ResNet(width, 10)
    head, loss_of = SimCLRProjectionHead(net.width, net.width, 128), NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.06)
    loader = DataLoader(_Pictures(x), BATCH, shuffle=True, drop_last=True, num_workers=workers)
    done, start = 0, 0.0
    while done < steps:
        for first, second in loader:
            loss = loss_of(head(net(first)), head(net(second)))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            if done == 2:
                start = time.perf_counter()
            if done == steps:
                break
    return (steps - 2) * BATCH / (time.perf_counter() - start)


def compute(width: int, steps: int) -> dict[str, float]:
    """Return the rates of forward, backward and step alone, by precision and layout."""
    rates = {}
    for bf16, channels_last in ((False, False), (False, True), (True, False), (True, True)):
        encoder = ResNet(width, 10)
        net: nn.Module = nn.Sequential(encoder, ProjectionHead(encoder.width, encoder.width, 128))
        x = torch.rand(2 * BATCH, 3, 32, 32)
        if channels_last:
            net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.06, momentum=0.9)
        start = 0.0
        for step in range(steps):
            if step == 2:
                start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                z = net(x)
            z.float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        name = f"{'bfloat16' if bf16 else 'float32'}, {'channels-last' if channels_last else 'contiguous'}"
        rates[name] = (steps - 2) * BATCH / (time.perf_counter() - start)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--steps", type=int, default=54)
    arguments = parser.parse_args()
    x = pictures(4608)
    for width in arguments.widths:
        steps = arguments.steps if width < 32 else max(20, arguments.steps // 2)
        mine, peers = 0.0, dict.fromkeys(("lightly, 0 workers", "lightly, 2 workers", "compute alone"), 0.0)
        for _ in range(2):  # in turns, and the best of each: the machine's speed drifts
            mine = max(mine, ours(x, width, steps))
            for workers in (0, 2):
                name = f"lightly, {workers} workers"
                peers[name] = max(peers[name], lightly(x, width, workers, max(8, steps // 3)))
            peers["compute alone"] = max(peers["compute alone"], *compute(width, max(8, steps // 3)).values())
        print(f"SimCLR end to end, batch {BATCH}, width {width}: {mine:,.0f} pictures/s")
        for name, rate in peers.items():
            print(f"  {name:45} {rate:8,.0f}   {mine / rate:5.2f}x")
        if arguments.results is not None:
            line = {
                "work": f"SimCLR end to end, width {width}",
                "ours": mine,
                "peers": peers,
                "ratio": {name: mine / rate for name, rate in peers.items()},
            }
            with arguments.results.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
