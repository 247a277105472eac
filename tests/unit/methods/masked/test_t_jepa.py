"""T-JEPA's closed forms: nothing leaks from unseen columns, who gets gradients, the loss, the teacher."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toys import toy_rows
from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.methods.masked.t_jepa import TJEPA, monitors
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.tables.encoder import TableEncoder

ROWS = toy_rows(24)
SHARES = {"context": (0.3, 0.5), "targets": (0.2, 0.5)}


def made(*, reg_tokens: int = 1, momentum: Momentum | None = None, **settings: object) -> TJEPA:
    with isolated("t-jepa"):
        encoder = TableEncoder(ROWS.schema, hidden=8, layers=2, heads=2, reg_tokens=reg_tokens)
        chosen = {} if momentum is None else {"momentum": momentum}
        return TJEPA(encoder, predictor_hidden=8, predictor_heads=2, **SHARES, **settings, **chosen).double()


def rows(count: int = 6) -> Tensor:
    return ROWS[range(count)].x.double()


def masks(method: TJEPA, count: int = 6, **at: int) -> tuple[Tensor, Tensor]:
    return method.masks(replace(ROWS[range(count)], **at))


def changed(x: Tensor, column: int) -> Tensor:
    """Rows with other values in one column."""
    x = x.clone()
    slots = list(ROWS.fields[ROWS.schema.columns[column].name])
    x[:, slots] = x[:, slots].roll(1, 1) * 0.5 + 0.1
    return x


def test_unseen_columns_do_not_leak() -> None:
    method, x = made().eval(), rows()
    context = torch.tensor([[0, 2, 4]]).expand(6, -1)
    for column in (1, 3):
        assert torch.equal(method.student.tokens(x, context), method.student.tokens(changed(x, column), context))
    seen = method.student.tokens(changed(x, 2), context)
    assert not torch.allclose(seen, method.student.tokens(x, context))
    assert not torch.allclose(method._taught.tokens(changed(x, 1)), method._taught.tokens(x))


def test_the_order_of_the_context_permutes_the_tokens_only() -> None:
    method, x = made().eval(), rows()
    context = torch.tensor([[0, 2, 4]]).expand(6, -1)
    tokens = method.student.tokens(x, context)
    other = method.student.tokens(x, context[:, [2, 0, 1]])
    torch.testing.assert_close(other[:, 0], tokens[:, 0])
    torch.testing.assert_close(other[:, 1:], tokens[:, 1:][:, [2, 0, 1]])


def test_gradients_reach_what_was_seen_and_reg() -> None:
    method, x = made(), rows()
    context = torch.tensor([[0, 4]]).expand(6, -1)  # age, and the second categorical column
    targets = torch.tensor([[[1], [2]]]).expand(6, -1, -1)
    method.terms(x, context, targets)["loss"].backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    tokenizer = method.student.tokenizer
    assert tokenizer.bias.grad is not None
    assert tokenizer.embedding is not None
    assert tokenizer.embedding.grad is not None
    assert tokenizer.weight is not None
    assert tokenizer.weight.grad is not None
    assert tokenizer.reg is not None
    assert tokenizer.reg.grad is not None
    assert bool((tokenizer.bias.grad[[0, 4]] != 0).any(1).all())
    assert bool((tokenizer.bias.grad[[1, 2, 3]] == 0).all())
    assert bool((tokenizer.weight.grad[1:] == 0).all())
    first = tokenizer.slots[0]
    assert bool((tokenizer.embedding.grad[:first] == 0).all())
    assert bool((tokenizer.embedding.grad[first:] != 0).any())
    assert bool((tokenizer.reg.grad != 0).any())


@pytest.mark.parametrize("reg_to_predictor", [True, False])
def test_queries_are_equivariant_and_equal_sets_change_nothing(reg_to_predictor: bool) -> None:
    method, x = made(reg_to_predictor=reg_to_predictor).eval(), rows()
    context, targets = torch.tensor([[0, 1]]).expand(6, -1), torch.tensor([[[2, 3, 4]]]).expand(6, -1, -1)
    one = method.predict(x, context, targets)
    torch.testing.assert_close(method.predict(x, context, targets[:, :, [2, 0, 1]]), one[:, :, [2, 0, 1]])
    four = method.predict(x, context, targets.expand(-1, 4, -1))
    torch.testing.assert_close(four, one.expand(-1, 4, -1, -1))
    loss = method.terms(x, context, targets)["loss"]
    torch.testing.assert_close(method.terms(x, context, targets.expand(-1, 4, -1))["loss"], loss)


def test_the_loss_is_the_mean_squared_error_of_the_teachers_tokens() -> None:
    method, x = made(), rows()
    context, targets = masks(method)
    predicted, whole = method.predict(x, context, targets).detach(), method._taught.tokens(x)
    total = 0.0
    for row in range(6):
        for number in range(targets.shape[1]):
            for place, column in enumerate(targets[row, number].tolist()):
                total += float((predicted[row, number, place] - whole[row, 1 + column]).square().sum())
    assert method.terms(x, context, targets)["loss"].item() == pytest.approx(total / predicted.numel())


def test_the_teacher_follows() -> None:
    def after(momentum: Momentum) -> tuple[TJEPA, list[Tensor]]:
        method = made(momentum=momentum)
        before = [parameter.clone() for parameter in method.teacher.parameters()]
        for parameter in method.student.parameters():
            parameter.data += 1
        method.before_run(10)
        method.after_step(1)
        return method, before

    frozen, before = after(Momentum(1.0, 1.0, "linear"))
    assert all(torch.equal(one, two) for one, two in zip(frozen.teacher.parameters(), before, strict=True))
    copied, _ = after(Momentum(0.0, None))
    for one, two in zip(copied.teacher.parameters(), copied.student.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_the_momentum_rises_linearly_from_the_first_step_to_the_last() -> None:
    method = made()
    method.before_run(5)
    found = [method.teacher.follow(method.student, step - 1) for step in range(1, 6)]
    assert found == pytest.approx([0.996, 0.997, 0.998, 0.999, 1.0])


def test_the_teacher_is_the_encoder_and_stays_in_eval_mode() -> None:
    method = made().train()
    assert method.encoder is method.teacher.network
    assert not any(module.training for module in method.teacher.modules())
    assert method.student.training
    assert any(module.training for module in made(teacher_dropout=True).train().teacher.modules())


def test_masks_hang_on_seed_step_and_index() -> None:
    method = made()
    context, targets = masks(method, 8)
    part = method.masks(ROWS[[5, 2]])
    assert torch.equal(part[0], context[[5, 2]])
    assert torch.equal(part[1], targets[[5, 2]])
    drawn = set()
    for step in range(12):
        drawn.add(str(masks(method, 8, step=step)[0].tolist()))
    assert len(drawn) > 8
    pairs = zip(masks(method, 8, seed=1), masks(method, 8), strict=True)
    assert not all(one.shape == other.shape and torch.equal(one, other) for one, other in pairs)


def test_monitors() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(200, 3, 4, generator=generator)
    found = monitors(tokens)
    flat = tokens.flatten(1).double()
    assert float(found["row_std"]) == pytest.approx(float(flat.std(0, correction=0).mean()), rel=1e-5)
    logs = flat.log_softmax(1)
    kl = [float((logs[row].exp() * (logs[row] - logs[(row + 1) % 200])).sum()) for row in range(200)]
    assert float(found["pair_kl"]) == pytest.approx(sum(kl) / 200, rel=1e-4)
    distances = [float((flat[row] - flat[row - 1]).norm()) for row in range(200)]
    assert float(found["pair_distance"]) == pytest.approx(sum(distances) / 200, rel=1e-5)
    alike = monitors(tokens[:1].expand(50, -1, -1))
    assert max(float(alike[name]) for name in ("row_std", "pair_distance", "pair_kl")) < 1e-3


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="sets must be"):
        made(sets=0)
    with pytest.raises(ConfigError, match="too few"):
        TJEPA(TableEncoder(ROWS.schema, hidden=8, heads=2), context=(0.8, 0.9), targets=(0.4, 0.9))
