"""What learnt prompts are worth, against counts by hand; and what is said where something is missing."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.multimodal.prompts import (
    BASE,
    HARMONIC,
    LEARNT,
    NEW,
    PLAIN,
    PromptTransfer,
    harmonic,
    transfer,
)
from withstand.methods.multimodal.clip_rocket import CLIPRocket
from withstand.methods.multimodal.gopro import GOPro


class Fixed(nn.Module):
    """Logits of four classes that the first pixels tell."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :4]


def told(rows: list[list[int]], labels: list[int] | None) -> ArraySource:
    x = np.zeros((len(rows), 3, 4, 4), dtype=np.uint8)
    x[:, 0, 0] = rows
    return ArraySource(x, None if labels is None else np.array(labels), layout="NCHW", classes=tuple("abcd"))


def test_base_classes_are_told_among_base_ones_and_new_among_new() -> None:
    rows = [[9, 1, 99, 99], [1, 9, 99, 99], [9, 1, 0, 0], [99, 99, 2, 1], [99, 99, 2, 1]]
    found = transfer(Fixed(), 2, told(rows, [0, 1, 1, 2, 3]))
    assert found.base.tolist() == [True, True, False]
    assert found.new.tolist() == [True, False]
    assert found.figures == pytest.approx({BASE: 2 / 3, NEW: 1 / 2, HARMONIC: harmonic(2 / 3, 1 / 2)})
    everything = transfer(Fixed(), 4, told(rows, [0, 1, 1, 2, 3]))
    assert everything.figures == {BASE: 0.0}
    assert harmonic(0.0, 0.0) == 0.0


def test_where_nothing_was_learnt_both_classifiers_are_alike() -> None:
    torch.manual_seed(0)
    method = GOPro(**{**GOPro.example()._init_args, "base": 2, "prompts": "coop"}).eval()
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    source = ArraySource(x, np.arange(40) % 4, layout="NCHW", classes=("ant", "bee", "cat", "dog"))
    finding = PromptTransfer({"drawn": source}, corruptions=("fog",)).evaluate(method, source)
    assert finding.headline == HARMONIC
    for name in (BASE, NEW, HARMONIC):
        assert finding.figures[name].value == finding.figures[f"{PLAIN}, {name}"].value
    table = finding.tables["shifted pictures"]
    assert table.column("pictures") == ("test pictures", "fog, severity 3", "drawn")
    assert table.column(f"{BASE}, {LEARNT}") == table.column(f"{BASE}, {PLAIN}")
    assert table.rows[0][1:] == table.rows[2][1:]
    words = finding.tables["nearest words"]
    first = [row for row in words.rows if row[3] == 0.0]
    assert [row[1:3] for row in first] == [("a", "a"), ("photo", "photo"), ("of", "of")]
    assert len(words.rows) == 9


def test_what_is_missing_is_said() -> None:
    source = told([[1, 2, 3, 4]], [0])
    with pytest.raises(ConfigError, match="CLIPRocket learnt no prompts"):
        PromptTransfer().evaluate(CLIPRocket.example(), source)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has no labels"):
        PromptTransfer().evaluate(GOPro.example(), told([[1, 2, 3, 4]], None))
    with pytest.raises(DataError, match="no picture of the 2 classes"):
        transfer(Fixed(), 2, told([[1, 2, 3, 4]], [3]))
    for wrong, words in (({"corruptions": ("fogg",)}, "'fog'"), ({"severity": 6}, "severity"), ({"words": 0}, "words")):
        with pytest.raises(ConfigError, match=words):
            PromptTransfer(**wrong)  # type: ignore[arg-type]
