"""Lists, pairs and DataLoaders are the same data as an array of them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

import withstand as ws
from withstand.core.errors import DataError
from withstand.data import load
from withstand.data.load import judged, splits

PICTURES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
Y = np.arange(20) % 4


def loader_of(pairs: list[Any], **settings: Any) -> DataLoader[Any]:
    return DataLoader(pairs, batch_size=4, **settings)  # type: ignore[arg-type]  # torch takes lists too


@pytest.mark.parametrize(
    "data",
    [
        list(PICTURES),
        [torch.from_numpy(picture) for picture in PICTURES],
        [Image.fromarray(picture) for picture in PICTURES],
        loader_of(list(PICTURES)),
    ],
    ids=["arrays", "tensors", "pictures", "loader"],
)
def test_samples_in_a_list_are_those_of_an_array(data: Any) -> None:
    assert load(data).fingerprint() == load(PICTURES).fingerprint()
    assert load(data).kind == "picture"
    assert len(judged(data)) == 20


@pytest.mark.parametrize(
    "data",
    [
        list(zip(PICTURES, Y, strict=True)),
        [[torch.from_numpy(x), int(y)] for x, y in zip(PICTURES, Y, strict=True)],
        (list(PICTURES), Y),
        ([Image.fromarray(picture) for picture in PICTURES], Y.tolist()),
        loader_of(list(zip(PICTURES, Y, strict=True))),
        DataLoader(TensorDataset(torch.from_numpy(PICTURES), torch.from_numpy(Y)), batch_size=3),
    ],
    ids=["pairs", "lists of two", "list and labels", "pictures and labels", "loader of pairs", "loader of tensors"],
)
def test_pairs_are_samples_and_labels(data: Any) -> None:
    assert load(data).fingerprint() == load((PICTURES, Y)).fingerprint()
    for ours, theirs in zip(splits(data), splits((PICTURES, Y)), strict=True):
        assert ours.fingerprint() == theirs.fingerprint()


def test_what_a_loader_does_by_itself_is_told() -> None:
    pairs = list(zip(PICTURES, Y, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(loader_of(pairs))
    with pytest.warns(UserWarning, match="every sample of it: not its order by RandomSampler$"):
        assert len(load(loader_of(pairs, shuffle=True))) == 20
    some = SubsetRandomSampler([7, 3, 11])  # says which samples there are
    with pytest.warns(UserWarning, match="those 3 of its samples that the loader names: not its order by Subset"):
        found = load(loader_of(pairs, sampler=some))
    assert torch.equal(found[range(3)].x, load(loader_of(pairs))[[3, 7, 11]].x)

    def doubled(batch: Any) -> Any:
        return batch * 2

    sampler = BatchSampler(SequentialSampler(range(5)), 2, drop_last=False)
    own = DataLoader(pairs, batch_sampler=sampler, collate_fn=doubled)  # type: ignore[arg-type, var-annotated]
    with pytest.warns(UserWarning, match="not its batch_sampler BatchSampler and its collate_fn doubled$"):
        assert len(load(own)) == 20


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from PICTURES


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (DataLoader(Endless()), "dataset, Endless, is an IterableDataset, and a run takes samples by their place"),
        ([PICTURES[0], "a.png"], "item 1 of a list is a str: allowed are x or"),
        ([PICTURES[0], (PICTURES[1], 2, 3)], "item 1 of a list is tuple of 3: allowed are x or"),
        ([PICTURES[0], PICTURES[0, :4]], r"item 1 of a list has shape \(4, 8, 3\), item 0 has \(8, 8, 3\)"),
        ((list(PICTURES), Y[:3]), "y holds 3 labels for 20 samples"),
        ((list(PICTURES), None), "y holds a NoneType of labels for 20"),
        ([], "a list is no data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(data: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load(data)


def test_a_run_and_an_audit_take_them(tmp_path: Path) -> None:
    pairs = list(zip(PICTURES, Y, strict=True))
    options = {"width": 4, "batch": 8}
    run = ws.train("simclr", loader_of(pairs), out=tmp_path / "run", epochs=1, options=options, quiet=True)
    assert len(run.source) == 16
    same = ws.train("simclr", (PICTURES, Y), out=tmp_path / "same", epochs=1, options=options, quiet=True)
    assert torch.equal(run.embed().x, same.embed().x)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    asked = ws.Audit(samples=4, steps=2, ensemble="none")
    one, other = (ws.audit(network, data, asked) for data in (pairs, (PICTURES, Y)))
    assert one.figures == other.figures
