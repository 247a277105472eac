"""ScatSimCLR: SimCLR's loss plus a pretext task's, by their formulas, and what the task is given."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, derive, isolated
from withstand.core.roles import Model
from withstand.losses.contrast.contrastive import nt_xent
from withstand.methods.contrastive.scatsimclr import ScatSimCLR
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.pictures.pretexts import CLOCKWISE

EXACT = {"rtol": 0, "atol": 1e-10}


class Flat(Model):
    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(108, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x / 255 if x.dtype == torch.uint8 else x
        features: Tensor = self.layer(x.flatten(1).to(self.layer.weight.dtype))
        return features


def method(**settings: object) -> ScatSimCLR:
    with isolated("scatsimclr"):
        return ScatSimCLR(Flat(), dim=5, **({"dropout": 0.0} | settings)).double()


def batch(count: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=generator)
    views = [torch.rand(count, 3, 6, 6, generator=generator, dtype=torch.float64) for _ in range(2)]
    return Batch(x, torch.arange(count), views=tuple(views))


def test_rotation_by_its_formula() -> None:
    subject, given = method(), batch()
    terms = subject.step(given)
    z1, z2 = (subject.head(subject.encoder(view)) for view in given.views)
    logits = subject.pretext.head(subject.encoder(CLOCKWISE.every(given.views[0])))
    labels = torch.arange(4).repeat(7)
    expected = nt_xent(z1, z2, 0.5) + 0.3 * cross_entropy(logits, labels)
    torch.testing.assert_close(terms["loss"], expected, **EXACT)
    assert float(terms["solved"]) == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    weights = list(subject.encoder.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(terms["loss"], weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_jigsaw_by_its_formula() -> None:
    subject, given = method(pretext="jigsaw", grid=2, orders=6), replace(batch(), step=3)
    terms = subject.step(given)
    z1, z2 = (subject.head(subject.encoder(view)) for view in given.views)
    draws = Draws(derive(0, "pretext"), given.index, epoch=3)
    # The task sees the samples themselves, not their views.
    inputs, labels = subject.pretext.made(given.x.double() / 255, draws)
    pieces = subject.pretext.each(subject.encoder(inputs)).view(7, -1)
    expected = nt_xent(z1, z2, 0.5) + 0.3 * cross_entropy(subject.pretext.head(pieces), labels)
    torch.testing.assert_close(terms["loss"], expected, **EXACT)
    assert subject.step(replace(given, step=4))["loss"] != terms["loss"], "each step deals orders anew"


@pytest.mark.parametrize("settings", [{"pretext_weight": 0.0}, {"pretext": "none"}])
def test_without_the_task_it_is_simclr(settings: dict[str, object]) -> None:
    subject, given = method(**settings), batch()
    plain = SimCLR(subject.encoder, dim=5, temperature=0.5, batch_norm=False).double()
    plain.head = subject.head
    assert torch.equal(subject.step(given)["loss"], plain.step(given)["loss"])
    assert subject.pretext is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"pretext": "rotate"}, "did you mean 'rotation'"),
        ({"pretext_weight": -1.0}, "pretext_weight must be at least 0"),
        ({"dropout": 1.0}, r"dropout lie in \[0, 1\)"),
        ({"pretext": "jigsaw", "grid": 5}, "grid must be 2 or 3"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        method(**settings)
