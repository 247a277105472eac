"""BYOL, Barlow Twins, VICReg and DINO end to end on CIFAR-size pictures: our engine against lightly's own loops.

    python -m benchmarks.lightly_loops [results.jsonl] [--methods BYOL DINO] [--width 8] [--steps 36] [--rounds 2]

Same network, heads, batch, views and number of crops; lightly's losses, heads, transforms and momentum update in the
loop of its examples, with 0 and with 2 workers, the better of which counts. Rates are pictures a second, all their
views included; best of the rounds, in turns, because a machine's speed drifts. Ours includes checkpoints and metrics.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.views import pictures
from withstand.core.roles import Method, Model, View
from withstand.data import ArraySource
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.engine.schedules import Constant
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.methods.non_contrastive.byol import BYOL
from withstand.methods.non_contrastive.dino import DINO
from withstand.methods.non_contrastive.vicreg import VICReg
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.views.presets import barlow_small, multicrop_small, vicreg_small

BATCH, DIM, PROTOTYPES, PARTS = 256, 256, 1024, 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

OURS: dict[str, tuple[Callable[[Model], Method], View]] = {
    "BYOL": (lambda net: BYOL(net, dim=DIM), barlow_small(32)),
    "Barlow Twins": (lambda net: BarlowTwins(net, dim=DIM), barlow_small(32)),
    "VICReg": (lambda net: VICReg(net, dim=DIM), vicreg_small(32)),
    "DINO": (
        lambda net: DINO(net, prototypes=PROTOTYPES, batch_norm=True),
        multicrop_small(32, local_crops=PARTS, solarize=True),
    ),
}


def ours(name: str, x: Tensor, width: int, steps: int) -> float:
    """Return the rate of `withstand train`, from its first line of metrics to its last."""
    make, view = OURS[name]
    plan = Plan(epochs=-(-steps // (len(x) // BATCH)), batch=BATCH, optimizer=SGD(0.06), schedule=Constant())
    method = make(Normalized(ResNet(width, 10), MEAN, STD))
    with TemporaryDirectory() as folder:
        source = ArraySource(x, layout="NCHW")
        run = train(Experiment("bench", source, view, method, plan), Path(folder) / "run", quiet=True)
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
        print(f"    {run.record()['engine']}")
    return (lines[-1]["step"] - lines[0]["step"]) * BATCH / (lines[-1]["seconds"] - lines[0]["seconds"])


class _Pictures(Dataset[list[Tensor]]):
    def __init__(self, x: Tensor, transform: Callable[[Image.Image], list[Tensor]]) -> None:
        self.x, self.transform = x.permute(0, 2, 3, 1).contiguous().numpy(), transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> list[Tensor]:
        return self.transform(Image.fromarray(self.x[place]))


class _Peer(nn.Module):
    """lightly's parts of one method; `loss` is its examples' training step up to the loss."""

    def __init__(self, name: str, width: int) -> None:
        from lightly import loss, transforms
        from lightly.models.modules import heads
        from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform

        super().__init__()
        self.name, self.net = name, ResNet(width, 10)
        inside = self.net.width
        self.transform: Callable[[Image.Image], list[Tensor]] = transforms.BYOLTransform(
            BYOLView1Transform(input_size=32, gaussian_blur=0.0), BYOLView2Transform(input_size=32, gaussian_blur=0.0)
        )
        if name == "BYOL":
            self.head = heads.BYOLProjectionHead(inside, 2 * inside, DIM)
            self.predictor = heads.BYOLPredictionHead(DIM, 2 * inside, DIM)
            self.criterion = loss.NegativeCosineSimilarity()
        elif name == "Barlow Twins":
            self.head = heads.BarlowTwinsProjectionHead(inside, DIM, DIM)
            self.criterion = loss.BarlowTwinsLoss()
        elif name == "VICReg":
            self.head = heads.VICRegProjectionHead(inside, DIM, DIM, 3)
            self.criterion = loss.VICRegLoss()
            self.transform = transforms.VICRegTransform(
                32, cj_bright=0.8, cj_contrast=0.8, cj_sat=0.4, cj_hue=0.2, min_scale=0.2, gaussian_blur=0.0
            )
        else:
            # Weight normalisation cannot be copied: the teacher's head is made anew, as in lightly's example.
            self.head, other = (
                heads.DINOProjectionHead(inside, inside, 256, PROTOTYPES, batch_norm=True) for _ in range(2)
            )
            other.load_state_dict(self.head.state_dict())
            self.criterion = loss.DINOLoss(PROTOTYPES)
            self.transform = transforms.DINOTransform(
                global_crop_size=32,
                global_crop_scale=(0.3, 1.0),
                local_crop_size=16,
                local_crop_scale=(0.1, 0.3),
                n_local_views=PARTS,
                gaussian_blur=(0.0, 0.0, 0.0),
            )
        if name != "DINO":
            other = copy.deepcopy(self.head)
        self.teacher = nn.Sequential(copy.deepcopy(self.net), other).requires_grad_(False)

    def loss(self, views: list[Tensor]) -> Tensor:
        if self.name in ("BYOL", "DINO"):
            from lightly.models.utils import update_momentum

            update_momentum(self.net, self.teacher[0], m=0.99)
            update_momentum(self.head, self.teacher[1], m=0.99)
        if self.name == "DINO":
            targets = [self.teacher(view) for view in views[:2]]
            return self.criterion(targets, [self.head(self.net(view)) for view in views])
        z1, z2 = (self.head(self.net(view)) for view in views)
        if self.name != "BYOL":
            return self.criterion(z1, z2)
        with torch.no_grad():
            target1, target2 = (self.teacher(view) for view in views)
        both = self.criterion(self.predictor(z1), target2) + self.criterion(self.predictor(z2), target1)
        return both / 2


def lightly(name: str, x: Tensor, width: int, workers: int, steps: int) -> float:
    """Return the rate of lightly's loop, its first two steps left out."""
    peer = _Peer(name, width)
    optimizer = torch.optim.SGD([p for p in peer.parameters() if p.requires_grad], lr=0.06)
    loader = DataLoader(_Pictures(x, peer.transform), BATCH, shuffle=True, drop_last=True, num_workers=workers)
    done, start = 0, 0.0
    while done < steps:
        for views in loader:
            peer.loss(views).backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            if done == 2:
                start = time.perf_counter()
            if done == steps:
                break
    return (steps - 2) * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--methods", nargs="+", choices=list(OURS), default=list(OURS))
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    x, width = pictures(4608), arguments.width
    for name in arguments.methods:
        mine, peers = 0.0, dict.fromkeys((0, 2), 0.0)
        for _ in range(arguments.rounds):
            mine = max(mine, ours(name, x, width, arguments.steps))
            for workers in peers:
                rate = lightly(name, x, width, workers, max(6, arguments.steps // 4))
                peers[workers] = max(peers[workers], rate)
        ratio = mine / max(peers.values())
        print(f"{name} end to end, batch {BATCH}, width {width}: {mine:,.0f} pictures/s, {ratio:.2f}x lightly")
        for workers, rate in peers.items():
            print(f"  lightly, {workers} workers: {rate:,.0f} pictures/s", flush=True)
        if arguments.results is not None:
            line = {
                "work": f"{name} end to end, width {width}",
                "ours": mine,
                "peers": {f"lightly, {workers} workers": rate for workers, rate in peers.items()},
                "ratio to lightly": ratio,
            }
            with arguments.results.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
