"""SSACL's adversarial step and its loss, against their closed forms in float64."""

import pytest
import torch
from torch.nn.functional import softplus

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Epoch
from withstand.methods.contrastive.ssacl import SSACL
from withstand.models.tables.records import RecordMatcher


def made(**settings: object) -> SSACL:
    with isolated(3):
        return SSACL(RecordMatcher.example(), **{"negatives": 3, "warmup": 0, **settings}).double()  # type: ignore[arg-type]


def moved(method: SSACL) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch = method.example_batch()
    vectors, there = method.matcher.encoder.tokens(batch.x)
    return vectors.detach(), there, method.adversary(vectors, there, batch).detach()


def log_p(method: SSACL, clean: torch.Tensor, worse: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    read = method.matcher.read
    return -softplus(-method.matcher.compare(read(worse, there), read(clean, there)))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_step_goes_up_the_loss_within_its_length(norm: str) -> None:
    method = made(eps=1e-6, norm=norm)
    clean, there, worse = moved(method)
    change = (worse - clean).flatten(1)
    size = change.norm(dim=1) if norm == "l2" else change.abs().amax(1)
    torch.testing.assert_close(size, torch.full_like(size, 1e-6), rtol=1e-5, atol=0)
    assert not bool(((worse - clean) * ~there[..., None]).any()), "a missing value stays missing"
    before, after = (log_p(method, clean, x, there) for x in (clean, worse))
    assert bool((after < before).all()), "down the loss would make pairs easier, as the published code does"
    if norm == "l2":  # to first order the fall is eps times the gradient's length
        x = clean.clone().requires_grad_()
        (slope,) = torch.autograd.grad(log_p(method, clean, x, there).sum(), x)
        fall = (1e-6 * slope.flatten(1).norm(dim=1)).detach()
        torch.testing.assert_close((before - after).detach(), fall, rtol=2e-2, atol=1e-15)
        expected = -1e-6 * slope / slope.flatten(1).norm(dim=1)[:, None, None]
        torch.testing.assert_close(worse - clean, expected, rtol=1e-5, atol=1e-12)


def test_several_steps_stay_in_the_ball_and_one_is_the_single_step() -> None:
    clean, _, worse = moved(made(eps=0.3, steps=3))
    assert float((worse - clean).flatten(1).norm(dim=1).max()) <= 0.3 + 1e-9
    assert torch.equal(moved(made(eps=0.3, steps=1))[2], moved(made(eps=0.3))[2])


def test_no_length_is_the_pair_itself() -> None:
    method = made(eps=0.0)
    clean, there, worse = moved(method)
    assert torch.equal(clean, worse)
    terms = method.step(method.example_batch())
    torch.testing.assert_close(terms["adversarial"], -log_p(method, clean, clean, there).mean().detach())
    torch.testing.assert_close(terms["loss"].detach(), terms["contrast"] + 0.5 * terms["adversarial"])
    assert "adversarial" not in made(adversarial=0.0).step(method.example_batch())


def test_the_length_grows_in_the_warm_up() -> None:
    method = made(eps=0.01, warmup=5)
    assert [round(method.radius(epoch), 6) for epoch in (0, 5, 9)] == [0.001, 0.01, 0.01]
    assert made(eps=0.01).radius(0) == 0.01


@pytest.mark.parametrize("near", [False, True])
def test_no_record_is_its_own_negative(near: bool) -> None:
    method = made(negatives=20, near=near)
    batch = method.example_batch()
    vectors, _ = method.matcher.encoder.tokens(batch.x)
    chosen = method._others(batch, vectors, vectors)
    assert chosen.shape == (8, 7), "the whole batch but oneself"
    for row, others in enumerate(chosen.tolist()):
        assert sorted(others) == [one for one in range(8) if one != row]


def test_near_negatives_are_the_most_alike() -> None:
    method = made(negatives=1, near=True)
    batch = method.example_batch()
    vectors, _ = method.matcher.encoder.tokens(batch.x)
    alike = (vectors[:, None] * vectors[None]).sum((2, 3)).fill_diagonal_(-9)
    assert torch.equal(method._others(batch, vectors, vectors)[:, 0], alike.argmax(1))


def test_contrast_is_that_of_the_pairs() -> None:
    method = made(negatives=7, adversarial=0.0)
    batch = method.example_batch()
    with torch.no_grad():
        loss = method.step(batch)["loss"]
        total = torch.zeros((), dtype=torch.float64)
        for row in range(8):
            one = batch.x[row : row + 1]
            for view in batch.views:
                total += softplus(-method.matcher(one, view[row : row + 1])).sum()
            for other in range(8):
                if other != row:
                    total += softplus(method.matcher(one, batch.x[other : other + 1])).sum()
    torch.testing.assert_close(loss, total / (16 + 56), atol=1e-10, rtol=0)


def test_ngrams_are_weighed_once_over_all_records() -> None:
    method = made()
    x = method.example_batch().x
    method.before_epoch(Epoch(0, 0, lambda function: torch.cat([function(x[:5]), function(x[5:])])))
    encoder = RecordMatcher.example().encoder
    encoder.weigh(encoder.documents(x), int((x[..., 0] != 0).sum()))
    torch.testing.assert_close(method.matcher.encoder.weights.float(), encoder.weights)


def test_bad_settings_and_batches_are_refused() -> None:
    for settings in ({"negatives": 0}, {"eps": -1.0}, {"norm": "l1"}, {"steps": 0}, {"adversarial": -0.5}):
        with pytest.raises(ConfigError):
            made(**settings)
    with pytest.raises(DataError, match="copies"):
        made().step(made().example_batch().with_views())
