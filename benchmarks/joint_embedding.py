"""A step of every method on views, against SimCLR's: same net, batch and views, fixed numerics.

    python benchmarks/joint_embedding.py [results.jsonl] [--width 16] [--batch 128] [--steps 5]

A step is forward, backward, the optimizer and `after_step`, on one batch of random pictures; the factor is over
SimCLR's step, best of the rounds, in turns. Beside it stands the factor of the passes that its mathematics needs: a
method's own work is what is above, and shall not be more than 15 %.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from withstand.core.batch import Batch
from withstand.core.random import isolated
from withstand.core.roles import Method, Model
from withstand.methods.contrastive.cacr import CACR
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.g_simclr import GSimCLR
from withstand.methods.contrastive.groco import GroCo
from withstand.methods.contrastive.hard_contrastive import HardContrastive
from withstand.methods.contrastive.isogclr import ISogCLR
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.contrastive.nnclr import NNCLR
from withstand.methods.contrastive.scatsimclr import ScatSimCLR
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.momentum_contrast.mochi import MoCHi
from withstand.methods.momentum_contrast.moco_v2 import MoCoV2
from withstand.methods.momentum_contrast.moco_v3 import MoCoV3
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.methods.non_contrastive.byol import BYOL
from withstand.methods.non_contrastive.dino import DINO
from withstand.methods.non_contrastive.mixed_barlow_twins import MixedBarlowTwins
from withstand.methods.non_contrastive.simsiam import SimSiam
from withstand.methods.non_contrastive.swav import SwAV
from withstand.methods.non_contrastive.vicreg import VICReg
from withstand.models.pictures.convnets.autoencoder import ConvCode
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized

MAKERS: dict[str, tuple[Callable[[Model], Method], float, str]] = {
    "SimCLR": (SimCLR, 1.0, ""),
    "DCL": (DCL, 1.0, ""),
    "hard contrastive": (HardContrastive, 1.0, ""),
    "Barlow Twins": (lambda net: BarlowTwins(net, dim=256), 1.0, ""),
    "VICReg": (lambda net: VICReg(net, dim=256), 1.0, ""),
    "SimSiam": (lambda net: SimSiam(net, dim=256), 1.0, ""),
    "NNCLR": (lambda net: NNCLR(net, queue_size=4096), 1.0, ""),
    "iSogCLR": (lambda net: ISogCLR(net, samples=4096), 1.0, ""),
    "CACR": (CACR, 1.0, ""),
    "GroCo": (lambda net: GroCo(net, dim=256), 1.0, ""),
    "SwAV": (lambda net: SwAV(net, prototypes=300), 1.0, ""),
    "G-SimCLR": (lambda net: GSimCLR(net, ConvCode(width=2), samples=4096, dim=128), 1.0, ""),
    "MCL": (lambda net: MCL(SimCLR(net), ConvCode(width=2), samples=4096), 1.0, ""),
    "ScatSimCLR, no task": (lambda net: ScatSimCLR(net, pretext="none"), 1.0, ""),
    "ScatSimCLR": (ScatSimCLR, 3.0, "a pass of four turned pictures besides one of two views"),
    "MoCo v2": (
        lambda net: MoCoV2(net, queue_size=4096),
        2 / 3,
        "one view is learnt from, the other passes the key encoder forward only",
    ),
    "MoCHi": (
        lambda net: MoCHi(net, queue_size=4096, hardest=256, pairs=128, with_query=64, warmup_epochs=0),
        2 / 3,
        "as MoCo v2",
    ),
    "BYOL": (BYOL, 4 / 3, "a teacher's forward pass of both views"),
    "MoCo v3": (MoCoV3, 4 / 3, "a teacher's forward pass of both views"),
    "DINO": (lambda net: DINO(net, prototypes=1024), 4 / 3, "a teacher's forward pass of both views"),
    "Mixed Barlow Twins": (
        lambda net: MixedBarlowTwins(net, dim=256),
        3 / 2,
        "a third pass forward and backward, of mixed pictures",
    ),
}
"""How each is made; the passes through the encoder that its mathematics needs, over SimCLR's (a backward pass counts as
two forward ones); and what they are."""


class Stepper:
    """One method and its optimizer, stepped on one batch again and again."""

    def __init__(self, make: Callable[[Model], Method], width: int, batch: Batch) -> None:
        with isolated("benchmark"):
            self.method = make(Normalized(ResNet(width, 10), (0.5,) * 3, (0.25,) * 3)).train()
        self.method.to(memory_format=torch.channels_last)
        self.method.before_run(1000)
        parameters = [parameter for group in self.method.groups().values() for parameter in group]
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        self.batch, self.step = batch, 0

    def seconds(self) -> float:
        start = time.perf_counter()
        self.method(self.batch)["loss"].backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.method.after_step(self.step)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.batch, 3, 32, 32)
    views = [torch.rand(shape, generator=generator).contiguous(memory_format=torch.channels_last) for _ in range(2)]
    batch = Batch(views[0], torch.arange(arguments.batch), views=tuple(views))
    steppers = {name: Stepper(make, arguments.width, batch) for name, (make, _, _) in MAKERS.items()}
    best = dict.fromkeys(MAKERS, float("inf"))
    for _ in range(arguments.steps + 1):  # the first round warms up and fills queues
        for name, stepper in steppers.items():
            best[name] = min(best[name], stepper.seconds())
    print(
        f"one step, batch {arguments.batch}, 32 x 32, ResNet-10 of width {arguments.width}, best of {arguments.steps}"
    )
    for name, seconds in best.items():
        _, needed, why = MAKERS[name]
        ratio = seconds / best["SimCLR"]
        print(f"  {name:20} {seconds * 1000:7.0f} ms  {ratio:5.2f}x, {ratio / needed:.2f}x of what it needs  {why}")
    if arguments.results is not None:
        line = {
            "work": f"steps of joint-embedding methods, width {arguments.width}, batch {arguments.batch}",
            "seconds": best,
            "ratio": {name: seconds / best["SimCLR"] for name, seconds in best.items()},
            "needed": {name: needed for name, (_, needed, _) in MAKERS.items()},
            "why": {name: why for name, (_, _, why) in MAKERS.items()},
        }
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
