"""The attacks that know the detector, beside the official algorithms written out here."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.adapted.evasion import AdaptivePGD, OrthogonalPGD
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Outputs, Victim

EPS, CLASSES = 0.2, 4


class Surface(nn.Module):
    """What a guarded classifier shows an attacker, and where it was asked for slopes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.classify, self.appeal = (
                nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, CLASSES)).double() for _ in range(2)
            )
            self.lead = nn.Linear(12, 1).double()
        self.path: list[Tensor] = []

    def forward(self, x: Tensor) -> Outputs:
        if x.requires_grad:
            self.path.append(x.detach().clone())
        return {
            "logits": 3 * self.classify(x),
            "appeal": self.appeal(x).log_softmax(1),
            "lead": self.lead(x).squeeze(1) + 0.5,
        }


def points() -> tuple[Tensor, Tensor]:
    x = torch.rand(8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return x, 3 * torch.arange(8) % CLASSES


def slope(value: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    z = x.clone().requires_grad_(True)
    return torch.autograd.grad(value(z).sum(), z)[0]


def likeliest(surface: Surface, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        outputs = surface(x)
    both = outputs["logits"].softmax(1) * outputs["appeal"].exp()
    return both.scatter(1, y[:, None], -1).argmax(1)


def confined(x: Tensor, clean: Tensor) -> Tensor:
    return (clean + (x - clean).clamp(-EPS, EPS)).clamp(0, 1)


def adaptive(surface: Surface, x: Tensor, y: Tensor, steps: int, length: float) -> list[Tensor]:
    """delta <- delta - step (sign grad CE(f, t) + sign grad [CE of the neighbours - mean cosine])."""
    wanted, clean, path = likeliest(surface, x, y), x, []
    for _ in range(steps):
        path.append(x)
        first = slope(lambda z: F.cross_entropy(surface(z)["logits"], wanted, reduction="none"), x)
        second = slope(lambda z: -surface(z)["appeal"].gather(1, wanted[:, None]), x)
        x = confined(x - length * (first.sign() + second.sign()), clean)
    return path


def orthogonal(surface: Surface, x: Tensor, y: Tensor, steps: int, length: float, projected: bool) -> list[Tensor]:
    """One sample at a time: grad_c until the attack has succeeded with 0.05 added to the label's logit, then grad_d."""
    wanted, clean, path = likeliest(surface, x, y), x, []
    for _ in range(steps):
        path.append(x)
        grad_c = slope(lambda z: F.cross_entropy(surface(z)["logits"], wanted, reduction="none"), x)
        grad_d = slope(lambda z: -surface(z)["appeal"].gather(1, wanted[:, None]), x)
        moved = []
        for row in range(len(x)):
            c, d = grad_c[row], grad_d[row]
            if projected:
                c, d = c - (c @ d) / (d @ d) * d, d - (d @ c) / (c @ c) * c
            logits = surface(x)["logits"][row].detach()
            logits[y[row]] += 0.05
            moved.append(x[row] - length * (d if logits.argmax() == wanted[row] else c).sign())
        x = confined(torch.stack(moved), clean)
    return path


@pytest.mark.parametrize("kind", ["adaptive", "orthogonal", "selective"])
def test_the_steps_are_the_official_ones(kind: str) -> None:
    x, y = points()
    surface, steps, share = Surface(), 25, 0.064
    ball = Ball("linf", EPS)
    if kind == "adaptive":
        attack, wanted = AdaptivePGD(ball, steps=steps, step_size=share), adaptive(surface, x, y, steps, share * EPS)
    else:
        attack = OrthogonalPGD(ball, steps=steps, step_size=share, orthogonal=kind == "orthogonal")
        wanted = orthogonal(surface, x, y, steps, share * EPS, kind == "orthogonal")
    surface.path.clear()
    found = attack(Victim(surface), x, y)
    assert len(surface.path) == steps
    for ours, theirs in zip(surface.path, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    with torch.no_grad():
        fooled = surface(found.x)["logits"].argmax(1) != y
        assert fooled.sum() > 0  # so that both ways of stepping were taken
        assert not surface(x)["logits"].argmax(1).ne(y).all()


def test_what_is_kept_deceives_and_has_the_largest_lead_on_the_way() -> None:
    x, y = points()
    surface = Surface()
    found = OrthogonalPGD(Ball("linf", EPS), steps=25)(Victim(surface), x, y)
    wanted = likeliest(surface, x, y)
    with torch.no_grad():
        outputs = [surface(point) for point in surface.path]
        leads = torch.stack([one["lead"].masked_fill(one["logits"].argmax(1) != wanted, -torch.inf) for one in outputs])
        kept = surface(found.x)
    reached = leads.isfinite().any(0)
    assert reached.any()
    assert (kept["logits"].argmax(1) == wanted)[reached].all()
    assert (kept["lead"] >= leads.amax(0) - 1e-12)[reached].all()


def test_the_margins_form_goes_on_until_all_others_are_behind() -> None:
    outputs = {"logits": torch.tensor([[1.0, 1.04, 0.0, 0.0], [1.0, 1.06, 1.05, 0.0], [0.0, 1.0, 0.8, 0.0]])}
    label, wanted = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    official, margin = OrthogonalPGD(), OrthogonalPGD(loss="margin")
    assert official._deceived(outputs, label, wanted).tolist() == [False, True, True]
    assert margin._deceived(outputs, label, wanted).tolist() == [False, False, True]


def test_the_margins_gradient_does_not_fade() -> None:
    x, y = points()
    surface, official, margin = Surface(), AdaptivePGD(Ball("l2", EPS)), AdaptivePGD(Ball("l2", EPS), loss="margin")
    assert not torch.equal(official(Victim(surface), x, y).x, margin(Victim(surface), x, y).x)
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        AdaptivePGD(loss="margins")  # type: ignore[arg-type]


def test_a_chosen_class_is_aimed_at() -> None:
    x, y = points()
    surface, goal = Surface(), (y + 1) % CLASSES
    found = OrthogonalPGD(Ball("linf", 0.6, targeted=True), steps=30)(Victim(surface), x, goal)
    with torch.no_grad():
        hit = (surface(found.x)["logits"].argmax(1) == goal) & (surface(found.x)["lead"] >= 0)
    assert torch.equal(found.success, hit)
    assert hit.any()
