"""DPO, IPO and SRPO: values by hand, starting losses, the game in closed form, and what does not move it."""

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.preference.pairwise import dpo, ipo
from withstand.losses.preference.self_improving import LogRatios, solve_preference_game, srpo
from withstand.losses.preference.sequence import mean_log_prob, summed_log_prob, token_log_probs

N = 4
NAMES = [field.name for field in fields(LogRatios)]


def game(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return an intransitive preference and two references over a few answers."""
    generator = torch.Generator().manual_seed(seed)
    skew = torch.randn(N, N, dtype=torch.float64, generator=generator)
    preference = torch.sigmoid(skew - skew.T)
    reference = torch.randn(N, dtype=torch.float64, generator=generator).softmax(0)
    conditional = torch.randn(N, N, dtype=torch.float64, generator=generator).softmax(1)
    return preference, reference, conditional


def of_table(r: Tensor, rd: Tensor) -> LogRatios:
    """Return the log-ratios of every pair of w, preferred, and x, from r(y) and from rd(y1, y2)."""
    w, x = torch.cartesian_prod(torch.arange(N), torch.arange(N)).unbind(1)
    return LogRatios(r[w], r[x], rd[x, w], rd[x, x], rd[w, w], rd[w, x])


def population(
    game: tuple[Tensor, Tensor, Tensor], beta: float, alpha: float, mu: Tensor, parameters: Tensor
) -> Tensor:
    """Return the mean loss of pairs that are drawn from mu twice and labelled by P."""
    preference, reference, conditional = game
    r = parameters[0].log_softmax(0) - reference.log()
    rd = parameters[1:].log_softmax(1) - conditional.log()
    found = srpo(of_table(r, rd), beta, alpha, preference.flatten())
    return (found.loss * torch.outer(mu, mu).flatten()).sum()


def test_losses_by_hand() -> None:
    chosen, rejected = torch.tensor([0.3, -1.0]).double(), torch.tensor([-0.2, 0.5]).double()
    expected = [-math.log(1 / (1 + math.exp(-0.1 * 0.5))), -math.log(1 / (1 + math.exp(0.1 * 1.5)))]
    torch.testing.assert_close(dpo(chosen, rejected, 0.1), torch.tensor(expected).double())
    torch.testing.assert_close(ipo(chosen, rejected, 0.1), torch.tensor([(0.5 - 5) ** 2, (-1.5 - 5) ** 2]).double())
    numbers = dict(zip(NAMES, torch.tensor([0.5, -0.5, 1.0, 0.25, 0.75, -1.0]).double()[:, None], strict=True))
    found = srpo(LogRatios(**numbers), beta=0.4, alpha=0.25)
    improving = ((0.4 * 0.75 - 0.5) ** 2 + (0.4 * 1.75 - 0.5) ** 2) / 2
    generative = (0.4 * ((1.0 + 0.5) - (-1.0 - 0.5)) - 1) ** 2
    assert found.improving.item() == pytest.approx(improving)
    assert found.generative.item() == pytest.approx(generative)
    assert found.loss.item() == pytest.approx(0.75 * generative + 0.25 * improving)


def test_at_the_references_the_terms_are_one_and_a_quarter_and_pull_the_right_way() -> None:
    numbers = {name: torch.zeros(3, dtype=torch.float64, requires_grad=True) for name in NAMES}
    found = srpo(LogRatios(**numbers), beta=0.3, alpha=0.5)
    assert found.generative.tolist() == [1.0] * 3
    assert found.improving.tolist() == [0.25] * 3
    found.loss.sum().backward()  # type: ignore[no-untyped-call]
    signs = {name: float(value.grad.sign()[0]) for name, value in numbers.items() if value.grad is not None}
    assert signs == {
        "chosen": -1, "rejected": 1, "chosen_after_rejected": -1, "rejected_after_rejected": 1,
        "chosen_after_chosen": -1, "rejected_after_chosen": 1,
    }  # fmt: skip


@pytest.mark.parametrize("beta", [0.05, 0.5, 3.0])
def test_the_closed_form_solves_the_game(beta: float) -> None:
    preference, reference, conditional = game(1)
    pi, improver = solve_preference_game(preference, reference, conditional, beta)
    torch.testing.assert_close(pi.sum(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(improver.sum(1), torch.ones(N, dtype=torch.float64))
    r, rd = (pi / reference).log(), (improver / conditional).log()
    own = rd.diag()
    # Steps of the derivation: P(y2 > y1) - 1/2 = beta (rd(y2|y1) - rd(y1|y1)), and r(y) = rd(y|y) + a constant.
    torch.testing.assert_close(beta * (rd - own[:, None]), preference.T - 0.5, atol=1e-12, rtol=0)
    torch.testing.assert_close(r - own - (r - own)[0], torch.zeros(N).double(), atol=1e-12, rtol=0)
    assert srpo(of_table(r, rd), beta, 0.5, preference.flatten()).loss.max() < 1e-24

    def value(pi: Tensor, improver: Tensor) -> Tensor:
        inner = (improver * preference.T).sum(1) - beta * (improver * (improver / conditional).log()).sum(1)
        return pi @ inner + beta * (pi * (pi / reference).log()).sum()

    best, generator = value(pi, improver), torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = 0.3 * torch.randn(N + 1, N, dtype=torch.float64, generator=generator)
        assert value((pi.log() + noise[0]).softmax(0), improver) > best, "the answering policy lowers the value"
        assert value(pi, (improver.log() + noise[1:]).softmax(1)) < best, "the improving policy raises it"


@pytest.mark.parametrize("alpha", [0.2, 0.9])
@pytest.mark.parametrize("skewed", [False, True])
def test_no_gradient_at_the_closed_form_whatever_pairs_are_drawn(alpha: float, *, skewed: bool) -> None:
    preference, reference, conditional = game(2)
    mu = torch.tensor([0.7, 0.1, 0.1, 0.1] if skewed else [0.25] * 4, dtype=torch.float64)
    pi, improver = solve_preference_game(preference, reference, conditional, 0.5)
    at = torch.cat([pi[None], improver]).log().requires_grad_()
    loss = population((preference, reference, conditional), 0.5, alpha, mu, at)
    (gradient,) = torch.autograd.grad(loss, at)
    assert gradient.abs().max() < 1e-14


def _least(objective: object, start: Tensor) -> Tensor:
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [parameters], max_iter=2000, tolerance_grad=1e-14, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = objective(parameters)  # type: ignore[operator]
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return parameters.detach()


def test_the_minimum_does_not_hang_on_how_pairs_are_drawn_as_those_of_dpo_and_ipo_do() -> None:
    preference, reference, conditional = game(5)
    flat, skewed = torch.full((N,), 0.25).double(), torch.tensor([0.7, 0.1, 0.1, 0.1]).double()
    pi, improver = solve_preference_game(preference, reference, conditional, 0.5)
    w, x = torch.cartesian_prod(torch.arange(N), torch.arange(N)).unbind(1)
    p = preference.flatten()

    def dpo_of(mu: Tensor) -> Tensor:
        def loss(table: Tensor) -> Tensor:
            r = table.log_softmax(0) - reference.log()
            both = p * dpo(r[w], r[x], 0.5) + (1 - p) * dpo(r[x], r[w], 0.5)
            return (both * torch.outer(mu, mu).flatten()).sum()

        return _least(loss, reference.log()).softmax(0)

    def ipo_of(mu: Tensor) -> Tensor:
        def loss(table: Tensor) -> Tensor:
            r = table.log_softmax(0) - reference.log()
            both = p * ipo(r[w], r[x], 0.5) + (1 - p) * ipo(r[x], r[w], 0.5)
            return (both * torch.outer(mu, mu).flatten()).sum()

        return _least(loss, reference.log()).softmax(0)

    start = torch.cat([reference[None], conditional]).log()
    for mu in (flat, skewed):
        found = _least(lambda at, mu=mu: population((preference, reference, conditional), 0.5, 0.5, mu, at), start)
        assert (found[0].softmax(0) - pi).abs().sum() / 2 < 1e-6
        assert (found[1:].softmax(1) - improver).abs().max() < 1e-6
    moved = [float((one(flat) - one(skewed)).abs().sum() / 2) for one in (dpo_of, ipo_of)]
    assert min(moved) > 0.01, moved


def test_without_a_preference_or_at_any_price_the_policies_are_the_references() -> None:
    preference, reference, conditional = game(3)
    even = torch.full((N, N), 0.5, dtype=torch.float64)
    for some, beta, close in ((even, 0.1, 1e-12), (preference, 1e8, 1e-7)):
        pi, improver = solve_preference_game(some, reference, conditional, beta)
        torch.testing.assert_close(pi, reference, atol=close, rtol=0)
        torch.testing.assert_close(improver, conditional, atol=close, rtol=0)
    zeros = LogRatios(**dict.fromkeys(NAMES, torch.zeros(1).double()))
    assert srpo(zeros, 0.1, 0.5, 0.5).loss == 0


def test_a_pair_turned_round_with_the_chance_turned_round_is_the_same_pair() -> None:
    values = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ratios = LogRatios(*values)
    turned = LogRatios(values[1], values[0], values[5], values[4], values[3], values[2])
    one, two = srpo(ratios, 0.2, 0.3, 0.8), srpo(turned, 0.2, 0.3, 0.2)
    torch.testing.assert_close(one.loss, two.loss)
    torch.testing.assert_close(one.generative, two.generative)


def test_only_ratios_within_a_context_count() -> None:
    values = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moved = values + torch.tensor([2.0, 2.0, 0.0, 0.0, 0.0, 0.0]).double()[:, None]
    torch.testing.assert_close(
        srpo(LogRatios(*values), 0.2, 0.5).loss, srpo(LogRatios(*moved), 0.2, 0.5).loss
    )  # the answers' own constant cancels
    torch.testing.assert_close(dpo(values[0], values[1], 0.1), dpo(values[0] + 3, values[1] + 3, 0.1))


def test_sums_and_means_are_over_the_answers_tokens_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator)
    ids = torch.randint(0, 7, (2, 5), generator=generator)
    told = torch.tensor([[0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]).bool()
    logits[0, 4], logits[1, 3] = math.inf, math.nan  # what stands behind padding
    each = logits.log_softmax(2)
    wanted = [each[0, 1, ids[0, 2]] + each[0, 2, ids[0, 3]], each[1, 0, ids[1, 1]]]
    torch.testing.assert_close(summed_log_prob(logits, ids, told), torch.stack(wanted))
    torch.testing.assert_close(mean_log_prob(logits, ids, told), torch.stack([wanted[0] / 2, wanted[1]]))
    assert token_log_probs(logits[:, :3].bfloat16(), ids[:, :3]).dtype is torch.float32
    with pytest.raises(DataError, match="answer 1 of the batch has no tokens"):
        summed_log_prob(logits, ids, told & torch.tensor([[True], [False]]))
    with pytest.raises(DataError, match="first token"):
        mean_log_prob(logits, ids, torch.ones(2, 5).bool())


def test_bad_settings_are_refused_by_name() -> None:
    zero = torch.zeros(1)
    ratios = LogRatios(*[zero] * 6)
    for call in (lambda: dpo(zero, zero, 0.0), lambda: ipo(zero, zero, -1.0), lambda: srpo(ratios, math.nan, 0.5)):
        with pytest.raises(ConfigError, match="beta must be above 0"):
            call()
    for alpha in (0.0, 1.1):
        with pytest.raises(ConfigError, match="alpha must lie in"):
            srpo(ratios, 0.1, alpha)
    preference, reference, conditional = game(0)
    with pytest.raises(ConfigError, match="must be 1"):
        solve_preference_game(preference + 0.1, reference, conditional, 0.1)
    with pytest.raises(ConfigError, match="conditional must hold distributions"):
        solve_preference_game(preference, reference, conditional * 2, 0.1)


@pytest.mark.oracle
def test_losses_and_log_probabilities_are_those_of_trl() -> None:
    pytest.importorskip("trl")
    from tests.unit.losses.preference.oracle import trl_losses

    for kind, ours in (("sigmoid", dpo), ("ipo", ipo)):
        given, theirs = trl_losses(kind, beta=0.2)
        score = summed_log_prob if kind == "sigmoid" else mean_log_prob
        ratios = score(given.policy, given.ids, given.told) - score(given.reference, given.ids, given.told)
        chosen, rejected = ratios.chunk(2)
        assert ours(chosen, rejected, 0.2).mean().item() == pytest.approx(theirs, abs=1e-6)
