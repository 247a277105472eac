"""What runs of AutoAttack's attacks still gain late in their course.

The figures behind `withstand.attacks.autoattack.shortcuts.giving_up`.

Run: WITHSTAND_DATA=... python -m benchmarks.outlook [--cases kw-cifar:2 resnet20:0.5 resnet20:1] [--pictures 16]
     [--attacks APGD-T FAB-T Square]

Nothing is given up here, so that a run is seen to its end: it takes minutes on a deep network.
"""

import argparse
import math
from unittest.mock import patch

import torch
from torch import Tensor

import withstand.attacks.autoattack.apgd as apgd
import withstand.attacks.autoattack.fab as fab
from benchmarks._nets import NETS
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.autoattack.square_turns import LookAhead
from withstand.attacks.objectives import DLR, Margin
from withstand.core.threat import Ball
from withstand.core.victim import Victim

ATTACKS = ("APGD-T", "FAB-T", "Square")


def climbs(ball: Ball, victim: Victim, x: Tensor, y: Tensor) -> None:
    """Print what climbs that succeed later lacked, over what they had gained."""
    runs: list[list[tuple[Tensor, Tensor]]] = []
    look, together, single = apgd._Run._look, APGD._run_together, APGD._run

    def listen(run: apgd._Run) -> tuple[Tensor, Tensor, Tensor]:
        found = look(run)
        runs[-1].append((found[0].clone(), found[1].clone()))
        return found

    def begin(attack: APGD, problem, start, draws, best) -> None:
        runs.append([])
        together(attack, problem, start, draws, best)

    def alone(attack: APGD, problem, start, draws, best) -> None:
        runs.append([])
        single(attack, problem, start, draws, best)

    with (
        patch.object(apgd._Run, "_look", listen),
        patch.object(APGD, "_run_together", begin),
        patch.object(APGD, "_run", alone),
    ):
        APGD(ball, DLR(), targets=9)(victim, x, y, generator=0)
    gain = torch.cat([torch.stack([now for now, _ in run]) for run in runs], 1)
    success = torch.cat([torch.stack([now for _, now in run]) for run in runs], 1)
    when = torch.where(success.any(0), success.long().argmax(0), 10**6)
    for step in (22, 41, 57):
        top = gain[: step + 1].amax(0)
        lacking = -top / (top - gain[0]).clamp_min(1e-9)
        late, never = (when > step) & success.any(0), ~success.any(0)
        print(f"  climbs, step {step}: {int(late.sum())} succeed later, lacking {_most(lacking[late])}; "
              f"median of {int(never.sum())} that never do {_median(lacking[never])}")  # fmt: skip


def boundaries(ball: Ball, victim: Victim, x: Tensor, y: Tensor) -> None:
    """Print how far FAB's nearest points and foretold boundaries are from where they are in the end."""
    seen: dict[int, list[tuple[int, Tensor, Tensor]]] = {}

    def listen(attack: FAB, size: Tensor, foretold: Tensor, step: int) -> Tensor:
        if step == 1:
            seen[len(seen)] = []
        seen[len(seen) - 1].append((step, size.clone(), foretold.clone()))
        return torch.ones_like(size, dtype=torch.bool)

    with patch.object(fab.FAB, "_worth_a_step", listen):
        FAB(ball, targets=9)(victim, x, y, generator=0)
    for step in (5, 10, 20, 30):
        sizes, foretold = [], []
        for run in seen.values():
            (_, size, least), last = run[step - 1], run[-1][1]
            known = last.isfinite() & (last > 0)
            sizes.append((size / last)[known & size.isfinite()])
            foretold.append((torch.minimum(size, least) / last)[known])
        print(f"  boundaries, step {step}: nearest point over the last one {_most(torch.cat(sizes))}, "
              f"it or what is foretold {_most(torch.cat(foretold))}")  # fmt: skip


def squares(ball: Ball, victim: Victim, x: Tensor, y: Tensor) -> None:
    """Print what the rest of Square's search adds, over what its last doubling did for each doubling left."""
    with torch.no_grad():
        first = Margin()(victim(x), y, x)
    ends: list[int] = []
    gains: list[Tensor] = []
    page = LookAhead._page

    def listen(search: LookAhead, end: int) -> Tensor:
        met = page(search, end)
        gain = gains[-1].clone() if gains else first.clone()
        gain[search.problem.rows] = search.gain
        ends.append(end)
        gains.append(gain)
        return met

    with patch.object(LookAhead, "_page", listen):
        broken = Square(ball, Margin(), rescale=False, screened=True)(victim, x, y, generator=0, batch=len(x)).success
    gained = torch.stack(gains) - first
    for turn in (1000, 2000, 3000, 4000, 4500):
        now, half = (min(range(len(ends)), key=lambda place, at=at: abs(ends[place] - at)) for at in (turn, turn / 2))
        doubling = (gained[now] / gained[half] - 1) * math.log2(5000 / ends[now])
        rest = ((gained[-1] / gained[now] - 1) / doubling)[~broken]
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
