import pytest
import torch
from torch import Tensor, nn

import withstand.attacks.autoattack.square_turns as square_turns
from victims import random_pictures, small_net
from withstand.attacks.autoattack.square import Square
from withstand.attacks.objectives import Margin
from withstand.core.random import Draws
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim


@pytest.mark.parametrize("rescale", [False, True])
def test_looking_ahead_is_the_search_one_by_one(monkeypatch: pytest.MonkeyPatch, *, rescale: bool) -> None:
    x, y = random_pictures(9, channels=3, dtype=torch.float64)
    victim = Victim(small_net(channels=3, dtype=torch.float64))
    attack = Square(Ball("linf", 0.03), queries=150, rescale=rescale)
    passes = []
    values = square_turns.SquareTurns._values

    def listen(run: square_turns.SquareTurns, tried: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        passes.append(int(sample.bincount().max()))
        return values(run, tried, sample)

    monkeypatch.setattr(square_turns.SquareTurns, "_values", listen)
    fast = attack(victim, x, y)
    assert max(passes) > 1
    monkeypatch.setattr(square_turns, "_FURTHEST", 1)
    passes.clear()
    slow = attack(victim, x, y)
    assert set(passes) == {1}
    torch.testing.assert_close(fast.x, slow.x, rtol=0, atol=1e-9)
    assert torch.equal(fast.queries, slow.queries)
    assert not slow.success.all()


def by_the_paper(model: nn.Module, x: Tensor, y: Tensor, attack: Square, draws: Draws) -> Tensor:
    """One picture, one rectangle at a time, on numbers drawn as the search draws them."""
    eps, (channels, height, width) = attack.ball.eps, x.shape
    signs = draws.child("start").bits(channels, 1, width)[0].sign().to(x)
    look = lambda point: Margin()(model(point[None]), y[None], point).item()  # noqa: E731
    point = (x + eps * signs).clamp(0, 1)
    best = look(point)
    stream = draws.child("turns")
    for turn in range(attack.queries):
        if best > 0:
            break
        bits = stream.bits_at(turn * (channels + 2) + torch.arange(channels + 2)[None])[0]
        h, w = attack.sides(turn, height, width)
        top, left = (((int(bits[i]) >> 32) % 2**32 * (n + 1)) >> 32 for i, n in ((0, height - h), (1, width - w)))
        window = (slice(None), slice(top, top + h), slice(left, left + w))
        sign = torch.where(bits[2:] >= 0, 1.0, -1.0).to(x)[:, None, None]
        tried = point.clone()
        tried[window] = (x[window] + eps * sign).clamp(0, 1)
        if torch.equal(tried, point):
            tried[window] = (x[window] - eps * sign).clamp(0, 1)
        value = look(tried)
        if value > best:
            point, best = tried, value
    return point


def test_it_is_the_papers_random_search() -> None:
    x, y = random_pictures(4, channels=3, dtype=torch.float64)
    model = small_net(channels=3, dtype=torch.float64).eval()
    with torch.no_grad():
        y = model(x.clone()).argmax(1)
        attack, draws = Square(Ball("linf", 0.02), queries=80), Draws(3, torch.arange(4))
        found = attack(Victim(model), x, y, generator=draws)
        for row in range(4):
            wanted = by_the_paper(model, x[row], y[row], attack, draws[row : row + 1])
            torch.testing.assert_close(found.x[row], wanted, rtol=0, atol=1e-9)


def test_numbers_at_places_do_not_hang_on_what_was_drawn() -> None:
    draws = Draws(0, torch.arange(5))
    places = torch.tensor([[0, 7], [7, 0], [1, 2], [3, 4], [5, 6]])
    first = draws.bits_at(places)
    draws.bits(3)
    assert torch.equal(draws.bits_at(places), first)
    assert first.unique().numel() == 10
    assert torch.equal(Draws(0, torch.arange(5)).bits(8)[:, 7], draws.bits_at(torch.full((5, 1), 7))[:, 0])


def test_every_turn_up_to_the_last_is_tried_with_its_own_rectangle(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    rectangles = square_turns.SquareTurns._rectangles

    def spied(self: square_turns.SquareTurns, rows: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen.update(turns.flatten().tolist())
        return rectangles(self, rows, turns)

    monkeypatch.setattr(square_turns.SquareTurns, "_rectangles", spied)
    never = Victim(lambda x: torch.stack([1 + 0 * x.flatten(1).sum(1), 0 * x.flatten(1).sum(1)], 1))
    found = Square(Ball("linf", 0.1), queries=7)(never, torch.rand(2, 1, 6, 6), torch.zeros(2).long(), generator=0)
    assert seen == set(range(7))
    assert not found.success.any()
