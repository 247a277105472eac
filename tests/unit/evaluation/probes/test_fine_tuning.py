"""Fine-tuning: few labels, all weights, the encoder given left as it is, the same for the same seed."""

import pytest
import torch
from torch import Tensor

from toys import ToyPictures, toy_method
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Indices, Model
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.probes.fine_tuning import FineTuning
from withstand.views.presets import crop_and_flip


def patterns(count: int = 80, seed: int = 0) -> ArraySource:
    """Numbers that only the product of two entries tells apart: nothing linear does."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 6, generator=generator)
    return ArraySource(x, ((x[:, 0] > 0.5) ^ (x[:, 1] > 0.5)).long())


class Perceptron(Model):
    """Two layers, the first frozen or not by its caller."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 32
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x - 0.5).relu()
        return found


def perceptron() -> Perceptron:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Perceptron()


class Counted(ArraySource):
    """Says which samples were read."""

    read: set[int]

    def __getitem__(self, indices: Indices) -> Batch:
        batch = super().__getitem__(indices)
        self.read = getattr(self, "read", set()) | set(batch.index.tolist())
        return batch


@pytest.mark.thorough
def test_the_whole_encoder_is_trained_and_the_one_given_is_not_changed() -> None:
    encoder = perceptron().requires_grad_(False).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    asked = FineTuning(60, draws=2, steps=300, learning_rate=1e-2)
    state = torch.get_rng_state()
    found = asked.evaluate(encoder, patterns(200), test=patterns(200, seed=1), control=perceptron())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not encoder.training
    assert not any(value.requires_grad for value in encoder.parameters())
    figure = found.figures["accuracy, 60 labels a class"]
    assert figure.value > 0.8, "a linear layer reaches half"
    assert figure.control is not None
    assert figure.control.value == pytest.approx(figure.value), "the control is trained alike"
    assert found == asked.evaluate(encoder, patterns(200), test=patterns(200, seed=1), control=perceptron())


def test_only_the_drawn_samples_are_learnt_from() -> None:
    source = Counted(torch.rand(60, 6), torch.arange(60) % 3)
    asked = FineTuning(4, draws=2, steps=6, batch=5)
    source.read = set()
    asked.evaluate(perceptron(), source, test=patterns(20))
    rows = [asked.rows(source, draw) for draw in range(2)]
    assert [torch.bincount(source.labels[row]).tolist() for row in rows] == [[4, 4, 4]] * 2  # type: ignore[index]
    assert not torch.equal(*rows)
    assert source.read <= set(torch.cat(rows).tolist())


def test_the_rate_rises_and_falls() -> None:
    shares = [FineTuning(steps=100).share(step) for step in range(100)]
    assert shares[0] == pytest.approx(1 / 6)
    assert max(shares) == shares[5] == 1
    assert shares[99] == pytest.approx(1 / 95)
    assert 0 < FineTuning(steps=1).share(0) <= 1


def test_views_are_seen_in_training_alone() -> None:
    asked = FineTuning(3, draws=2, steps=2, view=crop_and_flip(16))
    found = asked.evaluate(toy_method().encoder, ToyPictures(24), test=ToyPictures(8))
    assert 0 <= next(iter(found.figures.values())).value <= 1


def test_what_cannot_be_tuned_is_refused() -> None:
    source = patterns(20)
    with pytest.raises(DataError, match="100 samples a class were asked for, but one class has only"):
        FineTuning(100).evaluate(perceptron(), source, test=source)
    with pytest.raises(DataError, match="needs labels, and the data have none"):
        FineTuning().evaluate(perceptron(), ArraySource(torch.rand(9, 6)))
    with pytest.raises(ConfigError, match="only an encoder can be tuned, not a Flatten"):
        FineTuning().evaluate(torch.nn.Flatten(), source)  # type: ignore[arg-type]
    for name, value in (("labels", 0), ("draws", 1), ("steps", 0), ("learning_rate", 0.0)):
        with pytest.raises(ConfigError, match=f"{name} must be"):
            FineTuning(**{name: value})  # type: ignore[arg-type]
