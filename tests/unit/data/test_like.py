"""Other data are read as a run's own were, by the source's own word: an outsider's source has it too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from toys import toy_rows
from withstand.core.batch import Batch
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.grouped import Grouped
from withstand.data.derived.paired import PairedSource
from withstand.data.derived.subset import Subset
from withstand.data.load import splits_like
from withstand.data.shared.rows import rows_like


class Lines(Source):
    """Numbers of a text file, one a line, with the last digit's parity as the label; a scale is part of the reading."""

    kind = "line"

    def __init__(self, path: str, scale: float, part: str = "all") -> None:
        numbers = torch.tensor([float(line) for line in Path(path).read_text().split()])
        half = len(numbers) // 2
        self.numbers = {"all": numbers, "train": numbers[:half], "test": numbers[half:]}[part]
        self.path, self.scale, self.part = path, scale, part

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        return Batch(self.numbers[rows, None] * self.scale, rows, self.labels[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def labels(self) -> Tensor:
        return self.numbers.long() % 2

    def like(self, data: Any, split: str = "all") -> "Lines | None":
        parts = Path(data).name.startswith("parts")
        return None if split == "test" and not parts else Lines(data, self.scale, split if parts else "all")

    def fingerprint(self) -> str:
        return f"{self.path} {self.scale} {self.part}"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Return what a run learnt from, other data in parts, and other data in one piece."""
    paths = [tmp_path / name for name in ("own.txt", "parts.txt", "whole.txt")]
    for place, path in enumerate(paths):
        path.write_text("\n".join(str(10 * place + number) for number in range(10)))
    own, parts, whole = map(str, paths)
    return own, parts, whole


def test_a_source_says_how_other_data_are_read(files: tuple[str, str, str]) -> None:
    own, parts, whole = files
    learnt = Subset(Lines(own, 0.5), [3, 1, 4])
    train, test = splits_like(learnt, parts)
    assert train[[0, 4]].x.flatten().tolist() == [5, 7]
    assert test[[0, 4]].x.flatten().tolist() == [7.5, 9.5]
    train, test = splits_like(learnt, whole)
    assert (len(train), len(test)) == (8, 2), "without a part to judge by, a share is held out"
    assert sorted(torch.cat([side[range(len(side))].x.flatten() for side in (train, test)]).tolist()) == [
        10 + number / 2 for number in range(10)
    ]
    (rows,) = rows_like(learnt, parts)
    assert rows.source[range(10)].x.flatten().tolist() == [5 + number / 2 for number in range(10)]


def test_a_wrapped_tables_schema_reads_other_tables() -> None:
    own, other = toy_rows(32), {"age": [30, 40], "color": ["blue", "red"], "weight": [60.0, 61.0]}
    other |= {"size": ["small", "large"], "height": [170.0, 171.0], "answer": ["no", "yes"]}
    wanted = rows_like(own, other)[0].source[[0, 1]].x  # type: ignore[arg-type]
    beside = PairedSource(own, {"mask": torch.zeros(32, 2)})
    for wrapped in (Subset(own, [0, 5]), beside, Subset(beside, [1, 2]), Grouped(own, (0, 1))):
        assert torch.equal(rows_like(wrapped, other)[0].source[[0, 1]].x, wanted)  # type: ignore[arg-type]
        read = wrapped.like(other)
        assert read is not None
        assert torch.equal(read[[0, 1]].x, wanted)


def test_pictures_and_rows_without_names_are_read_as_any() -> None:
    source = ArraySource(torch.rand(12, 5))
    assert source.like(torch.rand(3, 5)) is None
    train, test = splits_like(source, torch.rand(10, 5))
    assert len(train) + len(test) == 10
