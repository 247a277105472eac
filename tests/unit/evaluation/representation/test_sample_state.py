"""What a method keeps of its samples: both ends, spread, classes, and what is refused."""

import numpy as np
import pytest
import torch

from toys import ToyPictures, toy_method, toy_rows
from withstand.core.errors import ConfigError, DataError
from withstand.evaluation.representation.sample_state import SampleState
from withstand.methods.contrastive.isogclr import ISogCLR
from withstand.methods.robust.acl import ACL


def kept(count: int = 40) -> ISogCLR:
    method = toy_method(ISogCLR, samples=count)
    assert isinstance(method, ISogCLR)
    method.temperatures.copy_(torch.linspace(0.1, 0.5, count)[torch.arange(count) * 7 % count])
    return method


def test_both_ends_are_shown() -> None:
    method, source = kept(), ToyPictures(40)
    finding = SampleState(ends=5).evaluate(method, source)
    order = method.temperatures.argsort()
    for name, rows in (("lowest temperature", order[:5]), ("highest temperature", order[-5:].flip(0))):
        assert finding.pictures[name].shape == (5, 16, 16, 3)
        np.testing.assert_array_equal(finding.pictures[name], source[rows].x.permute(0, 2, 3, 1))
        table = finding.tables[f"pictures, {name}"]
        assert table.column("number") == tuple(rows.tolist())
        assert table.column("temperature") == pytest.approx(method.temperatures[rows].tolist())
        assert table.column("class") == tuple(source.classes[k] for k in source.labels[rows].tolist())
    assert finding.numbers["temperature, mean"] == pytest.approx(0.3)
    assert finding.numbers["temperature, lowest"] == pytest.approx(0.1)
    assert sum(finding.tables["temperature of the samples"].column("samples")) == 40
    by_class = finding.tables["temperature by class"]
    expected = [method.temperatures[source.labels == label].mean().item() for label in range(4)]
    assert by_class.column("temperature") == pytest.approx(expected)


def test_frequent_classes_are_told_from_rare_ones() -> None:
    source = ToyPictures(40)
    source._y = (torch.arange(40) >= 30).long()  # 30 and 10
    method = kept()
    method.temperatures.copy_(torch.where(source._y == 0, 0.5, 0.1))
    numbers = SampleState().evaluate(method, source).numbers
    assert numbers["rank correlation of temperature with the size of the class"] == pytest.approx(1)
    assert not any("correlation" in name for name in SampleState().evaluate(kept(), ToyPictures(40)).numbers)


def test_samples_that_are_no_pictures_are_told_by_number() -> None:
    finding = SampleState(ends=3).evaluate(kept(16), toy_rows(16))
    assert not finding.pictures
    assert len(finding.tables["pictures, lowest temperature"].rows) == 3


def test_wrapped_methods_and_mistakes() -> None:
    source = ToyPictures(40)
    assert SampleState().evaluate(ACL(kept()), source).numbers == SampleState().evaluate(kept(), source).numbers
    assert ACL(kept()).projector() is not None
    with pytest.raises(ConfigError, match="SimCLR keeps nothing of its samples"):
        SampleState().evaluate(toy_method(), source)
    with pytest.raises(DataError, match="kept of 40 samples, and the data have 30"):
        SampleState().evaluate(kept(), ToyPictures(30))
    with pytest.raises(ConfigError, match="ends must be at least 1"):
        SampleState(ends=0)
