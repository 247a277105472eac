"""Labels by the names of classes, whatever numbers they had."""

import pytest
import torch

from withstand.core.errors import DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.relabelled import numbered_as

CLASSES = ("cat", "dog", "horse")


def source(labels: list[int], classes: tuple[str, ...]) -> ArraySource:
    return ArraySource(torch.rand(len(labels), 3, 8, 8), torch.tensor(labels), classes=classes)


def test_some_of_the_classes_get_the_numbers_that_they_have_among_all() -> None:
    found = numbered_as(source([1, 0, 1], ("dog", "horse")), CLASSES)
    assert found.labels is not None
    assert found.labels.tolist() == [2, 1, 2]
    assert found.classes == CLASSES
    assert found[[1]].y == torch.tensor([1])


def test_what_has_the_same_numbers_or_no_names_stays() -> None:
    for given in (source([0, 1, 2], CLASSES), source([0, 1, 2], ()), ArraySource(torch.rand(3, 3, 8, 8))):
        assert numbered_as(given, CLASSES) is given
    given = source([1, 0, 1], ("dog", "horse"))
    assert numbered_as(given, ()) is given


def test_another_class_is_refused_where_samples_have_it() -> None:
    with pytest.raises(DataError, match="class 'hose', which the classifier does not know: did you mean 'horse'"):
        numbered_as(source([0, 1], ("dog", "hose")), CLASSES)
    found = numbered_as(source([0, 0], ("dog", "hose")), CLASSES)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 1], "a folder that is empty names a class of no sample"
