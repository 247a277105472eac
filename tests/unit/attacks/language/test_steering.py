"""Steering: what a steered network gives, and that steps of the attack do what a linear network makes them do."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from withstand.attacks.language.steering import EXACT, NLL, Sentence, Steered, steer, steering, unbound
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.defenses.filters import by_bit_depth
from withstand.models.tokens.picture_to_text import PictureToText, Scored


class Linear(PictureToText):
    """Says "yes" where a linear function of the picture is above 0; its NLL of "yes" falls linearly with it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * 4 * 4, generator=generator))
        self.reads = 0

    def read(self, images: Tensor) -> Tensor:
        self.reads += 1
        return (images.flatten(1) - 0.5) @ self.weight.to(images.dtype)

    def score(self, seen: Tensor, prompts: Sequence[str], targets: Sequence[str], rows: Tensor | None = None) -> Scored:
        seen = seen if rows is None else seen[rows]
        shift = torch.tensor([len(prompt) for prompt in prompts], dtype=seen.dtype)
        return Scored(100 + shift - seen, seen > 0, torch.ones(len(seen), dtype=torch.int64))

    def write(self, seen: Tensor, prompts: Sequence[str]) -> list[str]:
        return ["yes" if value > 0 else "no" for value in seen.tolist()]

    def require(self, text: str, what: str) -> None:
        if text != "yes":
            raise ConfigError(f"{what} {text!r} is not yes")


def x(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.25


def draws(count: int = 3) -> Draws:
    return Draws(5, torch.arange(count))


def test_a_steered_network_reads_each_picture_once_for_all_prompts() -> None:
    network = Linear()
    found = Steered(network, ("a", "bbb"), "yes")(x())
    assert network.reads == 1
    torch.testing.assert_close(found[NLL][:, 1] - found[NLL][:, 0], torch.full((3,), 2.0))
    assert found[EXACT].shape == (3, 2)
    torch.testing.assert_close(Sentence()(found, torch.zeros(3), x()), found[NLL].mean(1))
    assert Sentence().reached(found, torch.zeros(3), targeted=True).tolist() == (network.read(x()) > 0).tolist()


def test_one_signed_step_lowers_a_linear_nll_by_its_length_times_the_slopes_sum() -> None:
    network = Linear()
    victim = Victim(Steered(network, ("a",), "yes"))
    eps = 0.1
    clean, attack = x(), steering(eps, 1, eps)
    found = steer(attack, victim, clean, draws(), start=clean)
    fell = victim.output(clean, NLL) - victim.output(found.x, NLL)
    torch.testing.assert_close(fell[:, 0], (eps * network.weight.abs().sum()).expand(3), rtol=1e-4, atol=1e-4)


def test_the_attack_stays_inside_keeps_the_best_and_leaves_the_network_alone() -> None:
    network = Linear().train()
    victim = Victim(Steered(network, ("a", "bb"), "yes"))
    clean, before = x(), network.weight.detach().clone()
    one, again = (steer(steering(0.05, 8, 1 / 255), victim, clean, draws()) for _ in range(2))
    assert float((one.x - clean).abs().max()) <= 0.05 + 1e-6
    assert torch.equal(one.x, again.x), "seeded"
    assert not torch.equal(one.x, steer(steering(0.05, 8, 1 / 255), victim, clean, Draws(6, torch.arange(3))).x)
    assert torch.equal(before, network.weight)
    assert network.training
    assert network.weight.grad is None
    assert network.weight.requires_grad


def test_more_steps_and_larger_radii_from_where_smaller_ones_ended_never_do_worse() -> None:
    victim, clean = Victim(Steered(Linear(), ("a",), "yes")), x()
    start, last = None, torch.full((3,), torch.inf)
    for eps in (0.02, 0.05, 0.1):
        found = steer(steering(eps, 4, 1 / 255), victim, clean, draws(), start=start)
        assert bool((found.loss <= last + 1e-4).all())
        start, last = found.x, found.loss
    few, many = (steer(steering(0.05, steps, 1 / 255), victim, clean, draws()).loss for steps in (2, 12))
    assert bool((many <= few + 1e-4).all())


def test_without_a_radius_it_starts_from_noise_and_may_go_anywhere() -> None:
    victim, clean = Victim(Steered(Linear(), ("a",), "yes")), x()
    found = unbound(steering(0.05, 60, 0.05), victim, clean, draws())
    assert 0 <= float(found.x.min()) <= float(found.x.max()) <= 1
    wanted = (victim.model.network.weight > 0).to(found.x).view(3, 4, 4).expand_as(found.x)  # type: ignore[union-attr]
    torch.testing.assert_close(found.x, wanted, rtol=0, atol=1e-5)
    other = unbound(steering(0.05, 60, 0.05), victim, 1 - clean, draws())
    torch.testing.assert_close(found.x, other.x, rtol=0, atol=1e-5)


def test_steps_are_of_the_papers_length_where_they_can_cross_the_ball() -> None:
    assert steering(16 / 255, 100, 1 / 255).step_size == pytest.approx(1 / 16)
    assert steering(16 / 255, 4, 1 / 255).step_size == pytest.approx(1 / 4)


def test_guards_of_a_steered_network_can_be_attacked_through() -> None:
    guard = by_bit_depth(Victim(Steered(Linear(), ("a",), "yes")))
    found = steer(steering(0.2, 8, 0.05), guard.exposed(), x(), draws())
    plain = guard(x()).outputs
    moved = guard(found.x).outputs
    assert isinstance(plain, dict)
    assert isinstance(moved, dict)
    assert bool((moved[NLL] < plain[NLL]).all())


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="the target 'perhaps' is not yes"):
        Steered(Linear(), ("a",), "perhaps")
    with pytest.raises(ConfigError, match="prompts must be one or more, in a list, not 'abc'"):
        Steered(Linear(), "abc", "yes")
    with pytest.raises(DataError, match=r"a steered network gives NLLs \(N, P\), not \(3,\)"):
        Sentence().check({NLL: torch.zeros(3)}, torch.zeros(3))
