"""LARS against plain formulas, and which parameters decay."""

import math

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.engine.optimizers import LARS, SGD, Adam, AdamW


def pair(seed: int = 0) -> tuple[nn.Parameter, nn.Parameter]:
    """A matrix and a vector."""
    generator = torch.Generator().manual_seed(seed)
    matrix = nn.Parameter(torch.randn(5, 3, generator=generator, dtype=torch.float64))
    vector = nn.Parameter(torch.randn(5, generator=generator, dtype=torch.float64))
    return matrix, vector


def gradients(steps: int, like: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(like.shape, generator=generator, dtype=like.dtype) for _ in range(steps)]


def run(settings: LARS | SGD, steps: int = 4, scale: float = 1.0, rates: tuple[float, ...] = ()) -> list[Tensor]:
    """Feed both parameters fixed gradients, and return where they end."""
    matrix, vector = pair()
    optimizer = settings.make([matrix, vector])
    for place, (g, h) in enumerate(zip(gradients(steps, matrix, 1), gradients(steps, vector, 2), strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = rates[place] if rates else group["lr"]
        matrix.grad, vector.grad = scale * g, scale * h
        optimizer.step()
    return [matrix.detach(), vector.detach()]


def plain_lars(
    parameter: Tensor,
    grads: list[Tensor],
    *,
    rate: float,
    decay: float,
    momentum: float,
    trust: float,
    clip: bool,
    separate: bool,
) -> Tensor:
    """The update, number by number, without torch's norms or in-place arithmetic."""
    p, m = parameter.tolist(), [[0.0] * parameter.shape[1] for _ in range(len(parameter))]
    for gradient in grads:
        g = gradient.tolist()
        d = [[g[i][j] + decay * p[i][j] for j in range(len(p[0]))] for i in range(len(p))]
        size, slope, decayed = (math.sqrt(sum(v * v for row in rows for v in row)) for rows in (p, g, d))
        q = trust * size / (slope + decay * size if separate else decayed)
        q = min(q / rate, 1.0) if clip else q
        m = [[momentum * m[i][j] + q * d[i][j] for j in range(len(p[0]))] for i in range(len(p))]
        p = [[p[i][j] - rate * m[i][j] for j in range(len(p[0]))] for i in range(len(p))]
    return torch.tensor(p, dtype=torch.float64)


@pytest.mark.parametrize("ratio", ["decayed", "separate"])
@pytest.mark.parametrize(("trust", "clip"), [(0.001, False), (0.02, True), (5.0, True)])
def test_lars_equals_the_plain_formula(trust: float, clip: bool, ratio: str) -> None:
    matrix, _ = pair()
    expected = plain_lars(
        matrix, gradients(4, matrix, 1), rate=0.3, decay=0.5, momentum=0.9, trust=trust, clip=clip,
        separate=ratio == "separate",
    )  # fmt: skip
    found, _ = run(LARS(0.3, weight_decay=0.5, trust=trust, clip=clip, ratio=ratio))
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("clip", [False, True])
def test_lars_does_not_see_the_gradients_scale(clip: bool) -> None:
    settings = LARS(0.3, weight_decay=0.0, trust=0.001, clip=clip)
    torch.testing.assert_close(run(settings)[0], run(settings, scale=1000.0)[0], atol=1e-14, rtol=1e-12)


def test_lars_first_step_has_the_trusted_length() -> None:
    matrix, _ = pair()
    start = matrix.detach().clone()
    found, _ = run(LARS(0.3, weight_decay=0.0, trust=0.02), steps=1)
    assert (found - start).norm().item() == pytest.approx(0.3 * 0.02 * start.norm().item(), rel=1e-12)


def test_clipped_lars_is_plain_descent_where_trust_is_ample() -> None:
    lars = run(LARS(0.3, weight_decay=0.0, trust=1e6, clip=True))
    torch.testing.assert_close(lars[0], run(SGD(0.3, weight_decay=0.0))[0], atol=1e-14, rtol=1e-12)


def test_lars_vectors_are_plain_descent_without_decay() -> None:
    assert torch.equal(run(LARS(0.3, weight_decay=0.5))[1], run(SGD(0.3, weight_decay=0.0))[1])
    assert torch.equal(run(LARS(0.3, vector_rate=0.01))[1], run(SGD(0.01, weight_decay=0.0))[1])


@pytest.mark.parametrize("ratio", ["decayed", "separate"])
@pytest.mark.parametrize("clip", [False, True])
def test_lars_where_a_norm_is_zero(clip: bool, ratio: str) -> None:
    """Zero weights move as under plain descent; zero gradients without decay do not move at all."""
    zero, still = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LARS(2.0, weight_decay=0.0, clip=clip, ratio=ratio).make([zero, still])
    zero.grad, still.grad = torch.ones(2, 2), torch.zeros(2, 2)
    optimizer.step()
    assert torch.equal(zero.detach(), torch.full((2, 2), -2.0))
    assert torch.equal(still.detach(), torch.ones(2, 2))


def test_clipped_lars_at_rate_zero_is_the_limit_of_small_rates() -> None:
    """Warm-up starts at rate 0: what enters the momentum there must be what enters at any tiny rate."""
    settings = LARS(0.3, weight_decay=0.0, trust=0.02, clip=True)
    zero, tiny = (run(settings, steps=2, rates=(rate, 0.3)) for rate in (0.0, 1e-12))
    torch.testing.assert_close(zero[0], tiny[0], atol=1e-9, rtol=0)


def test_lars_takes_a_closure_and_skips_what_has_no_gradient() -> None:
    matrix, vector = pair()
    before = vector.detach().clone()
    optimizer = LARS(0.1).make([matrix, vector])

    def closure() -> float:
        loss = matrix.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == pytest.approx(pair()[0].detach().square().sum().item())
    assert torch.equal(vector.detach(), before)


@pytest.mark.parametrize(
    "settings", [SGD(0.1, weight_decay=0.5), AdamW(0.1, weight_decay=0.5), LARS(0.1, weight_decay=0.5)]
)
def test_only_matrices_decay(settings: SGD | AdamW | LARS) -> None:
    matrix, vector = pair()
    optimizer = settings.make([vector, matrix])
    assert [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups] == [(1, 0.5), (1, 0.0)]
    assert optimizer.param_groups[0]["params"][0] is matrix
    assert all(group["lr"] == group["initial_lr"] == 0.1 for group in optimizer.param_groups)


def test_hopeless_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ratio 'seperate' is unknown.*separate"):
        LARS(0.1, ratio="seperate").make(pair())
    for settings in (SGD(0.0), AdamW(0.1, weight_decay=-1.0)):
        with pytest.raises(ConfigError, match="learning_rate must be above 0"):
            settings.make(pair())


def test_adam_decays_every_parameter_inside_the_gradient() -> None:
    matrix, vector = pair()
    theirs = [nn.Parameter(matrix.detach().clone()), nn.Parameter(vector.detach().clone())]
    own = Adam(0.01, weight_decay=0.3).make([matrix, vector])
    other = torch.optim.Adam(theirs, 0.01, weight_decay=0.3, foreach=False)
    for _ in range(5):
        for parameters, optimizer in (((matrix, vector), own), (theirs, other)):
            optimizer.zero_grad()
            sum(parameter.square().sum() for parameter in parameters).backward()
            optimizer.step()
    for one, two in zip((matrix, vector), theirs, strict=True):
        torch.testing.assert_close(one, two)
