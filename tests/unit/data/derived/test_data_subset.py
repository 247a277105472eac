import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe, externals
from withstand.data import ArraySource, NamedSource, Subset, holdout

X = torch.arange(40).view(20, 2)
Y = torch.arange(20) % 4


def test_a_subset_has_its_own_places_and_the_wholes_samples():
    whole = ArraySource(X, Y, classes=("a", "b", "c", "d"))
    part = Subset(whole, [19, 3, 5])
    batch = part[[2, 0]]
    assert torch.equal(batch.x, X[[5, 19]])
    assert batch.index.tolist() == [2, 0]
    assert batch.y is not None
    assert batch.y.tolist() == [1, 3]
    assert part.labels is not None
    assert part.labels.tolist() == [3, 3, 1]
    assert (len(part), part.shape, part.classes) == (3, (2,), whole.classes)
    assert part.rows.tolist() == [19, 3, 5]
    assert len({part.fingerprint(), whole.fingerprint(), Subset(whole, [3, 19, 5]).fingerprint()}) == 3


@pytest.mark.parametrize("indices", [[20], [-1], [], [[1]], [1.5], 3, [1j], ["a"], [[1], [2, 3]], None, {1: 2}])
def test_bad_indices(indices):
    with pytest.raises(DataError, match="subset"):
        Subset(ArraySource(X), indices)


@pytest.mark.parametrize("mask", [torch.arange(20) > 3, np.arange(20) > 3, [True, False]])
def test_a_mask_is_refused_by_name(mask):
    with pytest.raises(DataError, match=r"a mask of shape .* give the places where it is true"):
        Subset(ArraySource(X), mask)


FORMS = {
    "list": list,
    "tuple": tuple,
    "range": lambda rows: range(rows[0], rows[0] + 1),
    "numpy's numbers": lambda rows: [np.int64(row) for row in rows],
    "torch's numbers": lambda rows: [torch.tensor(row) for row in rows],
    **{f"array of {kind}": lambda rows, kind=kind: np.array(rows, kind) for kind in ("int64", "int32", "uint8")},
    **{
        f"tensor of {kind}": lambda rows, kind=kind: torch.tensor(rows, dtype=kind)
        for kind in (torch.int64, torch.uint8)
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_subset_is_built_of_its_description_whatever_its_indices_came_as(form):
    rows = FORMS[form]([7, 3, 19, 3])
    part = Subset(ArraySource(X), rows)
    tree = json.loads(json.dumps(describe(part)))
    assert tree["init_args"]["indices"] == [int(row) for row in rows]
    assert build(tree, supply=externals(part)).fingerprint() == part.fingerprint()
    assert describe(copy.deepcopy(part)) == describe(part)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda counts: sum(counts) > 1),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_a_holdout_divides_every_class_alike(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    size = len(labels)
    train, test = holdout(ArraySource(np.arange(size)[:, None], labels), fraction, seed)
    assert sorted([*train.rows.tolist(), *test.rows.tolist()]) == list(range(size))
    assert len(test) == min(max(round(size * fraction), 1), size - 1)
    held = np.bincount(labels[test.rows.numpy()], minlength=len(counts))
    assert np.all(np.abs(held - np.array(counts) * len(test) / size) < 1)
    again = holdout(ArraySource(np.arange(size)[:, None], labels), fraction, seed)[1]
    assert torch.equal(again.rows, test.rows)


def test_unlabelled_holdout_and_seeds():
    source = ArraySource(X)
    sides = [holdout(source, seed=seed) for seed in range(8)]
    assert all((len(train), len(test)) == (16, 4) for train, test in sides)
    assert len({tuple(test.rows.tolist()) for _, test in sides}) > 1
    assert sides[0][0].fingerprint() != sides[0][1].fingerprint()


def test_holdout_refuses_what_cannot_be_divided():
    with pytest.raises(DataError, match="one sample"):
        holdout(ArraySource(X[:1]))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        holdout(ArraySource(X), 1.0)


def test_describe_stays_small_and_round_trips():
    train, test = holdout(NamedSource("digits"))
    for side in (train, test):
        tree = describe(side)
        assert len(str(tree)) < 400
        assert build(tree).fingerprint() == side.fingerprint()
        assert pickle.loads(pickle.dumps(side)).fingerprint() == side.fingerprint()
    part = Subset(NamedSource("digits"), [3, 1])
    assert build(describe(part)).fingerprint() == part.fingerprint()
