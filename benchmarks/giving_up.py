"""What runs of AutoAttack's attacks still gain late in their course.

The figures behind `withstand.attacks.autoattack.shortcuts.giving_up`.

Run: WITHSTAND_DATA=... python -m benchmarks.giving_up [--cases kw-cifar:2 resnet20:0.5 resnet20:1] [--pictures 16]
     [--attacks APGD-T FAB-T Square]

Nothing is given up here, so that a run is seen to its end: it takes minutes on a deep network.
"""

import argparse
import math
from typing import ClassVar
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks._nets import NETS
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.shortcuts import giving_up
from withstand.attacks.autoattack.square import Square
from withstand.attacks.objectives import DLR, Margin
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

ATTACKS = ("APGD-T", "FAB-T", "Square")


def climbs(ball: Ball, victim: Victim, x: Tensor, y: Tensor) -> None:
    """Print what climbs that succeed later lacked, over what they had gained."""
    runs: list[list[tuple[float, Tensor, Tensor]]] = []

    def listen(gain: Tensor, first: Tensor, done: float) -> Tensor:
        if not runs or done <= runs[-1][-1][0]:
            runs.append([])
        runs[-1].append((done, gain.clone(), first))
        return torch.zeros_like(gain, dtype=torch.bool)

    with patch.object(giving_up, "hopeless", listen):
        APGD(ball, DLR(), targets=9, give_up=True)(victim, x, y, generator=0)
    for place in range(3):
        step = round(100 * runs[0][place][0])
        gain, first, last = (
            torch.cat([found[part][which] for found in runs]) for part, which in ((place, 1), (place, 2), (-1, 1))
        )
        lacking = -gain / (gain - first).clamp_min(1e-9)
        late, never = (gain <= 0) & (last > 0), last <= 0
        print(f"  climbs, step {step}: {int(late.sum())} succeed later, lacking {_most(lacking[late])}; "
              f"median of {int(never.sum())} that never do {_median(lacking[never])}")  # fmt: skip


def boundaries(ball: Ball, victim: Victim, x: Tensor, y: Tensor) -> None:
    """Print how far FAB's nearest points and foretold boundaries are from where they are in the end."""
    seen: list[list[tuple[Tensor, Tensor]]] = []

    def listen(size: Tensor, foretold: Tensor, eps: float, step: int) -> Tensor:
        if step == 1:
            seen.append([])
        seen[-1].append((size.clone(), foretold.clone()))
        return torch.zeros_like(size, dtype=torch.bool)

    with patch.object(giving_up, "too_far", listen):
        FAB(ball, targets=9, give_up=True)(victim, x, y, generator=0)
    for step in (5, 10, 20, 30):
        sizes, foretold = [], []
        for run in seen:
            (size, least), last = run[step - 1], run[-1][0]
            known = last.isfinite() & (last > 0)
            sizes.append((size / last)[known & size.isfinite()])
            foretold.append((torch.minimum(size, least) / last)[known])
        print(f"  boundaries, step {step}: nearest point over the last one {_most(torch.cat(sizes))}, "
              f"it or what is foretold {_most(torch.cat(foretold))}")  # fmt: skip


class Watched(giving_up.Growth):
    """Gives no search up, and keeps what each that never succeeds had gained, by its place among all."""

    watched: ClassVar[list[tuple[int, Tensor, Tensor]]] = []

    def __init__(self, first: Tensor, turns: int) -> None:
        super().__init__(first, turns)
        self.places = torch.arange(len(first))
        Watched.watched = []

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self.places = self.places[rows]

    def hopeless(self, turn: int, gain: Tensor) -> Tensor:
        self.watched.append((turn, self.places, gain - self.first))
        return torch.zeros_like(gain, dtype=torch.bool)


def squares(ball: Ball, victim: Victim, x: Tensor, y: Tensor) -> None:
    """Print what the rest of Square's search adds, over what its last doubling did for each doubling left."""
    with patch.object(giving_up, "Growth", Watched):
        attack = Square(ball, Margin(), rescale=False, screened=True, give_up=True)
        attack(victim, x, y, generator=0, batch=len(x))
    if not Watched.watched:
        return
    left = Watched.watched[-1][1]
    ends = [turn for turn, _, _ in Watched.watched]
    gained = [gain[torch.isin(places, left)] for _, places, gain in Watched.watched]
    for turn in (1000, 2000, 3000, 4000, 4500):
        now, half = (min(range(len(ends)), key=lambda place, at=at: abs(ends[place] - at)) for at in (turn, turn / 2))
        doubling = (gained[now] / gained[half] - 1) * math.log2(5000 / ends[now])
        rest = (gained[-1] / gained[now] - 1) / doubling
        print(f"  squares, turn {ends[now]}: over the last doubling {_most(rest[rest.isfinite()])}")


def _most(values: Tensor) -> str:
    return "nothing" if not len(values) else f"{float(values.max()):.2f} at most, median {float(values.median()):.2f}"


def _median(values: Tensor) -> str:
    return "unknown" if not len(values) else f"{float(values.median()):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=("kw-cifar:2", "resnet20:0.5", "resnet20:1"), metavar="NET:EPS")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS)
    options = parser.parse_args()
    for case in options.cases:
        name, size = case.split(":")
        model, x, y = NETS[name].load(options.pictures)
        with torch.no_grad():
            right = model(x).argmax(1) == y
        print(f"{name} within {size}/255, {int(right.sum())} pictures")
        ball, victim = Ball("linf", float(size) / 255), Victim(model)
        for attack, measure in zip(ATTACKS, (climbs, boundaries, squares), strict=True):
            if attack in options.attacks:
                measure(ball, victim, x[right], y[right])


if __name__ == "__main__":
    main()
