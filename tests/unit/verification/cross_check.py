"""One random model put to every certifier, to strong attacks, and to samples; what may not be raises AssertionError.

Attacks know nothing of the certifiers: points are rounded towards the centre here, and judged by the model alone.
"""

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import get_args

import torch
from torch import Tensor

from unit.verification.random_models import Made, Maker, made
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball, Norm
from withstand.verification.bounds.crown import relax_network
from withstand.verification.bounds.forward import relax_forward
from withstand.verification.bounds.margins import METHODS, bound, margin_weights
from withstand.verification.network.capture import capture
from withstand.verification.network.network import Network
from withstand.verification.solvers import SOLVERS, Certifier, certify_by
from withstand.verification.specification.box import Region
from withstand.verification.specification.verdict import Verdict

NORMS = get_args(Norm)
ALL = tuple(method for method in get_args(Certifier) if method != "smt" or find_spec("z3"))
_TINY = torch.finfo(torch.float32).tiny
"""What lies below counts as 0, as it does to processors that flush such numbers."""

SHARES = (0.4, 0.9, 0.999, 1.001, 1.3)
"""Radii as shares of the distance to the nearest wrong input that was met."""


@dataclass
class Counts:
    """What was tried."""

    networks: int = 0
    points: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    norms: Counter[str] = field(default_factory=Counter)
    attacked: int = 0
    broken: int = 0
    replayed: int = 0
    bounded: int = 0

    def __str__(self) -> str:
        verdicts = ", ".join(f"{name} {count}" for name, count in sorted(self.verdicts.items()))
        return (
            f"{self.networks} networks ({dict(self.norms)}), {self.bounded} relaxations, {self.attacked} attacked "
            f"balls of which {self.broken} were broken, {self.points} attack points, {self.replayed} counterexamples "
            f"replayed; verdicts: {verdicts}; refused: {dict(self.refused)}; operations: {dict(self.steps)}"
        )


class Attack:
    """Looks for inputs of balls round one sample that a model gets wrong.

    Args:
        given: the model and the sample.
        network: a differentiable copy in float64, for its slopes.
        seed: of random points.
        restarts: descents of each margin.
        steps: of each descent.
    """

    def __init__(self, given: Made, network: Network, seed: int, *, restarts: int, steps: int) -> None:
        self.model, self.x, self.network = given.model, given.x, network
        self.y = int(given.model(given.x).argmax())
        self.draws = torch.Generator().manual_seed(seed)
        self.restarts, self.steps, self.points = restarts, steps, 0

    def inside(self, points: Tensor, norm: Norm, eps: float) -> Tensor:
        """Return points brought into the ball and the range, of the model's type, never further out than asked."""
        center = self.x.double()
        delta = (points - center).flatten(1)
        if norm == "linf":
            delta = delta.clamp(-eps, eps)
        else:
            size = delta.norm(p=2 if norm == "l2" else 1, dim=1, keepdim=True)
            delta = delta * (eps / size.clamp_min(1e-300)).clamp_max(1)
        exact = (center + delta.view_as(points)).clamp(0, 1)
        shown = exact.to(self.x.dtype)
        too_far = (shown.double() - center).abs() > (exact - center).abs()
        return torch.where(too_far, torch.nextafter(shown, self.x.expand_as(shown)), shown)

    def wrong(self, points: Tensor) -> Tensor:
        """Return which points the model gets wrong, each asked alone where a batch says so, `(B,)`."""
        self.points += len(points)
        with torch.no_grad():
            wrong = self.model(points).argmax(1) != self.y
            for place in wrong.nonzero().flatten()[:20].tolist():
                wrong[place] = int(self.model(points[place : place + 1]).argmax()) != self.y
        return wrong

    def tried(self, norm: Norm, eps: float) -> Tensor:
        """Return points of a ball: corners, a grid where the input is small, its surface, and descents of margins."""
        center = self.x.double()
        size, shape = center.numel(), center.shape[1:]
        unit = 2 * torch.rand(150, size, generator=self.draws, dtype=torch.float64) - 1
        found = [eps * unit, 1e3 * eps * unit]  # the latter end up on the surface
        signs = list(itertools.islice(itertools.product((-1.0, 1.0), repeat=size), 512))
        found.append(eps * torch.tensor(signs, dtype=torch.float64))
        axes = torch.eye(size, dtype=torch.float64)
        found += [eps * axes, -eps * axes]
        if size <= 3:
            line = torch.linspace(-1, 1, {1: 2001, 2: 61, 3: 17}[size], dtype=torch.float64)
            found.append(eps * torch.cartesian_prod(*[line] * size).view(-1, size))
        starts = center + torch.cat(found).view(-1, *shape)
        return torch.cat([self.inside(starts, norm, eps), self.descended(norm, eps)])

    def descended(self, norm: Norm, eps: float) -> Tensor:
        """Return what steps down each margin meet."""
        center = self.x.double()
        rivals = [rival for rival in range(self.network.classes) if rival != self.y]
        rival = torch.tensor(rivals).repeat_interleave(self.restarts)
        start = center + eps * torch.randn(len(rival), *center.shape[1:], generator=self.draws, dtype=torch.float64)
        start[:: self.restarts] = center
        point, met = self.inside(start, norm, eps), []
        for step in range(self.steps):
            met.append(point)
            x = point.double().requires_grad_()
            outputs = self.network(x)
            margin = outputs[:, self.y] - outputs.gather(1, rival[:, None]).squeeze(1)
            (slope,) = torch.autograd.grad(margin.sum(), x)
            flat = slope.flatten(1)
            if norm == "l2":
                move = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-300)
            elif norm == "linf":
                move = flat.sign()
            else:
                largest = flat.abs().argmax(1, keepdim=True)
                move = torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign())
            length = eps * (2.0 if step < self.steps // 3 else 0.5 if step < 2 * self.steps // 3 else 0.1)
            point = self.inside(point.double() - length * move.view_as(slope), norm, eps)
        return torch.cat([*met, point])

    def nearest(self, norm: Norm) -> float:
        """Return the distance of the nearest wrong input that is met; infinite if none is."""
        order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
        eps = {"linf": 1.0, "l2": self.x.numel() ** 0.5, "l1": float(self.x.numel())}[norm]
        least = float("inf")
        for _ in range(self.restarts // 2):
            points = self.tried(norm, eps)
            points = points[self.wrong(points)]
            if not len(points):
                break
            # Back along the line to the centre, as long as what is met stays wrong.
            low, high = torch.zeros(len(points)).double(), torch.ones(len(points)).double()
            away = points.double() - self.x.double()
            for _ in range(2 * self.restarts):
                middle = (low + high) / 2
                now = self.inside(self.x.double() + middle.view(-1, *[1] * (away.dim() - 1)) * away, norm, eps)
                wrong = self.wrong(now)
                low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
            least = min(least, (high * away.flatten(1).norm(p=order, dim=1)).min().item())
            eps = 0.7 * least
        return least


def check(
    seed: int,
    counts: Counts,
    *,
    methods: tuple[Certifier, ...] = ALL,
    timeout: float = 1.0,
    restarts: int = 12,
    steps: int = 20,
) -> None:
    """Put one random model to the test.

    Args:
        seed: of the model, the ball and the attack.
        counts: what was done is added to it.
        methods: the certifiers.
        timeout: seconds for each.
        restarts: of the attack.
        steps: of the attack.

    Raises:
        AssertionError: an attack in a ball that is called safe, a sample outside its bounds, a counterexample that
            is none, or two methods that contradict each other.
    """
    pick = Maker(seed + 10**6)
    dtype = torch.float64 if pick.chance(0.15) else torch.float32
    given, norm = made(seed, dtype), NORMS[seed % 3]
    network = capture(given.model.requires_grad_(False), given.x)
    attack = Attack(given, network, seed, restarts=restarts, steps=steps)
    near = attack.nearest(norm)
    eps = SHARES[pick.whole(0, 4)] * near if near < float("inf") else 10.0 ** -pick.whole(0, 2)
    ball = Ball(norm, eps)
    points = attack.tried(norm, eps)
    wrong = attack.wrong(points)
    counts.networks += 1
    counts.norms[norm] += 1
    counts.steps.update(given.steps)
    counts.attacked += 1
    counts.broken += bool(wrong.any())
    _bounds_hold(network, given, ball, points, attack.y, counts)
    outputs = network(points)
    rivals = [rival for rival in range(network.classes) if rival != attack.y]
    least = (outputs[:, [attack.y]] - outputs[:, rivals]).min().item()
    found: dict[str, Verdict] = {}
    for method in methods:
        if method in SOLVERS and (norm != "linf" or given.x.numel() > 8):
            continue
        try:
            # Time that other programs take counts for nothing.
            found[method] = certify_by(
                given.model, given.x, None, ball, method=method, timeout=timeout, clock=time.process_time
            )[0]
        except ConfigError as error:
            if "has no exact encoding" not in str(error) and "points, more than" not in str(error):
                raise
            counts.refused[method] += 1
            continue
        _verdict_holds(found[method], method, given, ball, attack, bool(wrong.any()), least)
        counts.verdicts[f"{method} {found[method].status}"] += 1
        counts.replayed += found[method].counterexample is not None
    counts.points += attack.points
    said = {method: verdict.status for method, verdict in found.items() if verdict.status != "unknown"}
    assert len(set(said.values())) <= 1, f"seed {seed}: {said} of {given.steps}"


def _verdict_holds(
    verdict: Verdict, method: str, given: Made, ball: Ball, attack: Attack, broken: bool, least: float
) -> None:
    where = f"{method}, {ball.norm} {ball.eps:g}, {given.steps}: {verdict}"
    if verdict.status == "safe":
        assert not broken, f"an attack breaks what is safe by {where}"
        assert 0 < verdict.margin <= least, f"a margin of {least} is met; {where}"
    if verdict.status == "unknown":
        assert verdict.reason, where
    if verdict.counterexample is not None:
        point = verdict.counterexample
        assert point.dtype == given.x.dtype, where
        assert ((point >= 0) & (point <= 1)).all(), where
        with torch.no_grad():
            assert int(given.model(point[None]).argmax()) != attack.y, f"right, and called broken by {where}"
        order = {"linf": torch.inf, "l2": 2, "l1": 1}[ball.norm]
        size = float((point.double() - given.x[0].double()).flatten().norm(p=order))
        # An attack in float32 leaves the ball by a rounding of each entry.
        slack = 0.0 if verdict.method != "attack" else 2e-7 * point.numel()
        assert size <= ball.eps * (1 + 1e-9) + slack, f"{size} away; {where}"


def _bounds_hold(network: Network, given: Made, ball: Ball, points: Tensor, label: int, counts: Counts) -> None:
    """Hold bounds of all nodes and of all margins against points of the ball, in both precisions."""
    region = Region.around(given.x, ball)
    few = points[:: max(1, len(points) // 200)].double()
    values = network.values(few)
    weight = margin_weights(torch.tensor([label]), network.classes)
    margins = (values[-1] @ weight[0].T).amin(0)
    for typed in (network, network.to(torch.float32)):
        fitting = region.to(typed.dtype)
        relaxations = [relax_network(typed, fitting, intermediate=name) for name in ("ibp", "crown")]  # type: ignore[arg-type]
        for relaxed in (*relaxations, relax_forward(typed, fitting)):
            counts.bounded += 1
            for node, box, value in zip(network.nodes, relaxed.boxes, values, strict=True):
                where = f"{node.name}, {typed.dtype}, {ball}, {given.steps}"
                below, above = box.low.double() - value, value - box.high.double()
                assert (below <= _TINY).all(), f"{float(below.max())} below {where}"
                assert (above <= _TINY).all(), f"{float(above.max())} above {where}"
        for method in METHODS:
            lower = bound(typed, region, weight, method)[0]
            assert (lower <= margins).all(), f"{method}: {lower} above {margins}; {typed.dtype}, {ball}, {given.steps}"
