"""Accuracy by domain: where one tells the classes by what the others lack."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.roles import Indices
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.wrapped import Wrapped
from withstand.data.pictures.domains import DOMAIN, DomainPart
from withstand.evaluation.probes.domains import SEEN, UNSEEN, DomainProbe
from withstand.evaluation.robustness.fairness import GroupGaps


class Cued(Wrapped):
    """Two classes, told apart by one entry, and by a stronger cue that domain "c" turns round."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        y, self._domain = torch.arange(600) % 2, torch.arange(600) // 200
        sign = 2.0 * y - 1
        cue = torch.where(self._domain == 2, -sign, sign)
        x = torch.stack([0.02 * sign, cue], 1) + 0.1 * torch.randn(600, 2, generator=generator)
        self._wrap(ArraySource(x, y))

    def __getitem__(self, indices: Indices) -> Batch:
        return self.source[indices]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {DOMAIN: self._domain}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {DOMAIN: ("a", "b", "c")}

    def fingerprint(self) -> str:
        return "cued"


def test_a_cue_that_a_domain_turns_round_costs_what_it_gave() -> None:
    train, test = (DomainPart(Cued(), "c", part) for part in ("train", "test"))
    finding = DomainProbe().evaluate(nn.Flatten(), train, test=test, control=nn.Flatten())
    figures = finding.figures
    assert figures[SEEN].value > 0.95
    assert figures[UNSEEN].value < 0.05
    assert figures[SEEN].of == 80  # a fifth of each class of two domains
    assert figures[UNSEEN].of == 200
    gap = figures["gap between domains learnt from and left out"]
    assert gap.value == figures[SEEN].value - figures[UNSEEN].value
    assert figures[UNSEEN].control is not None
    rows = finding.tables["domains"].rows
    assert [row[:2] for row in rows] == [("a", "learnt from"), ("b", "learnt from"), ("c", "left out")]
    assert [row[2] for row in rows[2:]] == [200]
    assert all(row[3] == row[-1] for row in rows)  # the control is the same network here


def test_without_domains_it_does_not_judge() -> None:
    plain = ArraySource(torch.rand(6, 2), torch.arange(6) % 2)
    assert DomainProbe().lacks(None, plain) == "the data know no domains"
    assert DomainProbe().lacks(None, Cued()) == ""


def test_groups_can_be_what_the_data_say_of_their_samples() -> None:
    class Second(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([-x[:, 1], x[:, 1]], 1)

    source = Cued()
    finding = GroupGaps(DOMAIN).evaluate(Victim(Second(), low=-5.0, high=5.0), source)
    shares = {row[0]: row[2] for row in finding.tables[DOMAIN].rows}
    assert shares == pytest.approx({"a": 1.0, "b": 1.0, "c": 0.0}, abs=0.02)
