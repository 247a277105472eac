"""The claim of DLV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.claims.protocol.claim import Claim, Tables
from withstand.core.batch import Batch, unit_range
from withstand.core.findings.finding import Cell, Table
from withstand.core.part import Tree
from withstand.core.random import isolated
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.load import splits
from withstand.verification.dlv.search import Settings, proven, search
from withstand.verification.exact.milp import solve_milp
from withstand.verification.exact.question import Question
from withstand.verification.network.capture import capture

NETWORK = "a network on digits"
RADII = (1 / 64, 1 / 32, 1 / 16, 1 / 8)
_DIGITS = 8
"""Test samples a seed."""
_SEARCH = Settings(features=5, mode="convex", heuristic="gradient", bounds=None)
_FLAT = Settings(features=16, mode="convex", bounds=None, layers=(0,), batch=32)
_HIDDEN = Settings(features=5, mode="convex", bounds="crown")


@dataclass(frozen=True)
class _Case:
    """One digit at one radius: the exact answer, and what each search said of it."""

    radius: float
    exact: str
    dlv: float | None
    fgsm: float | None
    pgd: float | None
    hidden: str
    cells: str
    steps: int
    flat: int | None


def claim() -> Claim[int, list[dict[str, Any]]]:
    """Put the paper's direction to the test: digits pooled to 4x4, a 16-12-12-10 network, boxes of four radii.

    The figure is the share of the decisions that can be made wrong, as mixed-integer programming says, that are found.
    Seeds are independent trainings, with different test samples.
    """
    return Claim(
        statement="a search over manipulated features finds more of the wrong decisions near an input than FGSM does",
        quantity="share of the wrong decisions that exist which is found",
        names=("DLV", "FGSM"),
        arms={NETWORK: int},
        measure=lambda seed: [asdict(case) for case in _cases(seed)],
        figures=_figures,
        protocol=_protocol,
        tables=_tables,
    )


def _of(found: Mapping[str, list[dict[str, Any]]]) -> list[_Case]:
    return [_Case(**case) for case in found[NETWORK]]


def _figures(found: Mapping[str, list[dict[str, Any]]]) -> tuple[float, float]:
    broken = [case for case in _of(found) if case.exact == "unsafe"]
    return _share(case.dlv is not None for case in broken), _share(case.fgsm is not None for case in broken)


def _protocol(arms: object, found: object) -> dict[str, Tree]:
    return {
        "data": "digits, pooled to 4x4, in [0, 1]",
        "network": "16-12-12-10 ReLU, 300 full-batch steps of Adam at 0.02",
        "queries": f"{_DIGITS} test digits that the network gets right, radii 1/64, 1/32, 1/16, 1/8 (Linf)",
        "DLV": "corners of 5 features at a time, by gradient, from the worst point found; all layers, no bounds",
        "FGSM": "one step of the whole radius",
        "exact answer": "mixed-integer programming",
    }


def _tables(found: Sequence[Mapping[str, list[dict[str, Any]]]]) -> Tables:
    every = [case for one in found for case in _of(one)]
    columns = ("eps", "share unsafe", "share found by DLV", "share found by PGD", "share found by FGSM")
    rows = tuple(_by_radius(every, radius) for radius in RADII)
    return {
        "parts": _parts(every),
        "by radius": Table(columns, rows, x="eps", units={"eps": "radius"} | dict.fromkeys(columns[1:], "share")),
    }


def _cases(seed: int) -> list[_Case]:
    train, test = (_pooled(source[torch.arange(len(source))]) for source in splits("digits"))
    network = _trained(*train, seed)
    x, y = test
    with torch.no_grad():
        right = (network(x).argmax(1) == y).nonzero()[:, 0]
    rows = right[seed * _DIGITS : (seed + 1) * _DIGITS]
    captured = capture(Victim(network), x[:1])
    found = []
    for radius in RADII:
        ball = Ball("linf", radius)
        ways = {name: _ways(attack, network, x[rows], y[rows]) for name, attack in _attacks(ball).items()}
        for place, row in enumerate(rows.tolist()):
            center = x[row].double()
            low, high = (center - radius).clamp_min(0), (center + radius).clamp_max(1)
            asked = Question.wins(captured, low, high, int(y[row]), model=network, dtype=torch.float32)
            grid, flat = search(asked, center, _SEARCH), search(asked, center, _FLAT)
            found.append(
                _Case(
                    radius=radius,
                    exact=solve_milp(asked).status,
                    dlv=_way(grid.counterexamples[0], center) if grid.status == "unsafe" else None,
                    fgsm=ways["fgsm"][place],
                    pgd=ways["pgd"][place],
                    hidden=search(asked, center, _HIDDEN).status,
                    cells=proven(asked, center, budget=2000, timeout=5.0).status,
                    steps=grid.evaluations,
                    flat=flat.evaluations if flat.status == "unsafe" else None,
                )
            )
    return found


def _pooled(batch: Batch) -> tuple[Tensor, Tensor]:
    assert batch.y is not None
    return F.avg_pool2d(unit_range(batch.x), 2).flatten(1), batch.y


def _trained(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    with isolated("dlv", seed):
        network = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(x), y))
        optimizer.step()
    return network.eval().requires_grad_(False)


def _attacks(ball: Ball) -> dict[str, InputAttack]:
    return {"fgsm": FGSM(ball), "pgd": PGD(ball, steps=100)}


def _ways(attack: InputAttack, network: nn.Module, x: Tensor, y: Tensor) -> list[float | None]:
    """Return the L2 way of each successful attack, None for the others."""
    attacked = attack(Victim(network), x, y, generator=0)
    ways = (attacked.x - x).norm(dim=1).tolist()
    return [way if won else None for way, won in zip(ways, attacked.success.tolist(), strict=True)]


def _way(found: Tensor, center: Tensor) -> float:
    return float((found.double() - center).norm())


def _share(held: Iterable[bool]) -> float:
    values = list(held)
    return sum(values) / len(values) if values else float("nan")


def _by_radius(cases: list[_Case], radius: float) -> tuple[Cell, ...]:
    own = [case for case in cases if case.radius == radius]
    return (
        radius,
        _share(case.exact == "unsafe" for case in own),
        *(_share(way is not None for way in ways) for ways in zip(*((c.dlv, c.pgd, c.fgsm) for c in own), strict=True)),
    )


def _parts(cases: list[_Case]) -> Table:
    """Return what else the search is worth, as counts and means over all queries."""
    unsafe = [case for case in cases if case.exact == "unsafe"]
    safe = [case for case in cases if case.exact == "safe"]
    both = [(case.dlv, case.fgsm) for case in unsafe if case.dlv is not None and case.fgsm is not None]
    counted = [(case.steps, case.flat) for case in unsafe if case.dlv is not None and case.flat is not None]
    wrong = sum(
        (said == "safe" and case.exact == "unsafe") or (said == "unsafe" and case.exact == "safe")
        for case in cases
        for said in (case.hidden, case.cells)
    )
    rows: tuple[tuple[Cell, ...], ...] = (
        ("queries", len(cases)),
        ("unsafe", len(unsafe)),
        ("found by DLV", sum(case.dlv is not None for case in unsafe)),
        ("found by PGD, 100 steps", sum(case.pgd is not None for case in unsafe)),
        ("found by DLV, missed by PGD", sum(case.dlv is not None and case.pgd is None for case in unsafe)),
        ("found by PGD, missed by DLV", sum(case.dlv is None and case.pgd is not None for case in unsafe)),
        ("L2 way, DLV, where FGSM wins too", mean(way for way, _ in both) if both else None),
        ("L2 way, FGSM, there", mean(way for _, way in both) if both else None),
        ("points to the first counterexample, DLV, median", median(steps for steps, _ in counted) if counted else None),
        ("points, all corners in turn, median", median(flat for _, flat in counted) if counted else None),
        ("safe", len(safe)),
        ("proven by CROWN in the layers", sum(case.hidden == "safe" for case in safe)),
        ("proven by cells", sum(case.cells == "safe" for case in safe)),
        ("answers that contradict the exact one", wrong),
    )
    return Table(("what", "value"), rows)
