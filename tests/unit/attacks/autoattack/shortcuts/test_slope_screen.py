import pytest
import torch
from torch import Tensor, nn

from victims import Linear2, random_pictures, small_net
from withstand.attacks.autoattack.square import Square
from withstand.attacks.autoattack.square_turns import FIRST, PAGE, SquareTurns
from withstand.attacks.objectives import Margin
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

BALL = Ball("linf", 0.02)
QUERIES = FIRST + 4 * PAGE


class Deaf(nn.Module):
    """A network whose gradient is replaced."""

    def __init__(self, net: nn.Module, lie: float | None) -> None:
        super().__init__()
        self.net, self.lie = net, lie

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.detach().clone())
        return logits if self.lie is None else logits + (self.lie * (self.net(x.clone()) - logits))


def both(model: nn.Module, x: Tensor, y: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    found = []
    for screened in (True, False):
        result = Square(BALL, queries=QUERIES, screened=screened)(Victim(model), x, y)
        found.append((result.x, result.success, result.loss, result.queries))
    return found[0], found[1]


def firm_pictures(model: nn.Module, count: int = 12) -> tuple[Tensor, Tensor]:
    """Return those of many pictures, with the model's own labels, whose margins are largest."""
    x, _ = random_pictures(80, dtype=torch.float64)
    with torch.no_grad():
        logits = model(x.clone())
    top = logits.topk(2, 1).values
    chosen = (top[:, 0] - top[:, 1]).argsort(descending=True)[:count]
    return x[chosen], logits.argmax(1)[chosen]


def test_on_a_linear_victim_nothing_is_missed_and_most_is_passed_over() -> None:
    model = Linear2(36)
    x, _ = random_pictures(12, dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(1)
    screened, plain = both(model, x, y)
    torch.testing.assert_close(screened[0], plain[0], rtol=0, atol=0)
    holds = ~plain[1]
    assert holds.any()
    assert (screened[3][holds] < 0.8 * plain[3][holds]).all()


def test_on_a_network_the_climb_is_as_high() -> None:
    model = small_net(dtype=torch.float64).eval()
    screened, plain = both(model, *firm_pictures(model))
    start = Square(BALL, queries=1)(Victim(model), *firm_pictures(model)).loss
    assert (screened[3] < plain[3]).all()
    climbed, full = screened[2] - start, plain[2] - start
    assert climbed.mean() > 0.9 * full.mean()


@pytest.mark.parametrize("lie", [None, 0.0])
def test_a_victim_without_a_slope_is_asked_every_time(lie: float | None) -> None:
    model = Deaf(small_net(dtype=torch.float64), lie).eval()
    screened, plain = both(model, *firm_pictures(model))
    torch.testing.assert_close(screened[0], plain[0], rtol=0, atol=0)
    assert (screened[3] - plain[3] <= 1 + QUERIES // PAGE).all()


@pytest.mark.parametrize("lie", [-1.0, 1e-4])
def test_a_slope_that_misleads_is_found_out(lie: float) -> None:
    model = Deaf(small_net(dtype=torch.float64), lie).eval()
    screened, plain = both(model, *firm_pictures(model))
    start = Square(BALL, queries=1)(Victim(model), *firm_pictures(model)).loss
    climbed, full = screened[2] - start, plain[2] - start
    assert climbed.mean() > 0.9 * full.mean()


def test_a_sample_is_screened_alike_alone_and_in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_net(dtype=torch.float64).eval()
    x, y = firm_pictures(model)
    attack = Square(BALL, Margin(), queries=QUERIES, screened=True)
    together = attack(Victim(model), x, y).x
    monkeypatch.setattr("withstand.attacks.autoattack.square_turns._FEW", 1)
    apart = attack(Victim(model), x, y, batch=5).x
    torch.testing.assert_close(together, apart, rtol=0, atol=0)


def test_a_block_never_leaves_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_net(dtype=torch.float64).eval()
    ends: list[int] = []
    page = SquareTurns._page

    def listen(self: SquareTurns, end: int) -> Tensor:
        met = page(self, end)
        assert (self.turns[~met] == end).all()
        ends.append(end)
        return met

    monkeypatch.setattr(SquareTurns, "_page", listen)
    Square(BALL, queries=QUERIES, screened=True)(Victim(model), *firm_pictures(model))
    assert ends == [FIRST, *range(FIRST + PAGE, QUERIES + 1, PAGE)]
