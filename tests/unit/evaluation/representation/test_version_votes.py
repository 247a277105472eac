"""The votes of a picture's versions: each counted at its own columns, shown with what it says."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.judges import judge
from withstand.evaluation.representation.version_votes import AGREED, ALONE, TOGETHER, VersionVotes
from withstand.methods.pretext.multi_task import MultiTask
from withstand.methods.pretext.sla import SLA
from withstand.models.blocks.classifiers.aggregated import Aggregated
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.transforms import Rotations

CLASSES = ("bag", "shoe", "coat")


class Corner(ResNet):
    """One feature a corner: how bright it is."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.width = 4

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0], x[:, 0, 0, -1], x[:, 0, -1, 0], x[:, 0, -1, -1]], 1)


def network(reading: str = "aggregate") -> Aggregated:
    with isolated("votes"):
        return Aggregated(Corner(), 3, Rotations(), reading=reading).eval()  # type: ignore[arg-type]


def source(count: int = 40) -> ArraySource:
    x = torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ArraySource(x, torch.arange(count) % 3, layout="NCHW", classes=CLASSES)


def test_each_version_is_read_at_its_own_columns() -> None:
    subject, data = network(), source()
    finding = VersionVotes(shown=5).evaluate(subject, data, control=network())
    x, y = unit_range(data[range(40)].x), data.labels
    assert y is not None
    head = subject.head
    votes = []
    for turns in range(4):
        logits = head(subject.encoder(x.rot90(turns, (2, 3))))
        votes.append(logits[:, turns::4])
    together = torch.stack(votes).mean(0).argmax(1)
    assert finding.figures[TOGETHER].value == pytest.approx((together == y).float().mean().item())
    assert finding.figures[ALONE].value == pytest.approx((votes[0].argmax(1) == y).float().mean().item())
    alike = torch.stack([vote.argmax(1) for vote in votes])
    assert finding.figures[AGREED].value == pytest.approx((alike == alike[0]).all(0).float().mean().item())
    assert finding.tables["accuracy by version"].column("accuracy")[2] == pytest.approx(
        (votes[2].argmax(1) == y).float().mean().item()
    )
    assert finding.figures[TOGETHER].control == replace(finding.figures[TOGETHER], control=None)


def test_pictures_are_shown_as_the_network_sees_them_with_their_votes() -> None:
    subject, data = network(), source()
    finding = VersionVotes(shown=5, versions=3).evaluate(subject, data)
    names = list(Rotations().names[:3])
    assert list(finding.pictures) == names
    upright = torch.from_numpy(finding.pictures[names[0]]).permute(0, 3, 1, 2)
    for turns, name in enumerate(names):
        turned = torch.from_numpy(finding.pictures[name]).permute(0, 3, 1, 2)
        assert torch.equal(turned, upright.rot90(turns, (2, 3)))
        logits = subject.head(subject.encoder(unit_range(turned)))[:, turns::4]
        table = finding.tables[f"pictures, {name}"]
        assert table.column("vote") == tuple(CLASSES[place] for place in logits.argmax(1))
        assert table.column("probability") == pytest.approx(logits.softmax(1).amax(1).tolist(), rel=1e-5)
    rows = [int((data[range(40)].x == picture).flatten(1).all(1).nonzero()) for picture in upright]
    assert finding.tables["pictures"].column("class") == tuple(CLASSES[row % 3] for row in rows)


def test_what_has_no_versions_is_left_out_and_refused_by_itself() -> None:
    with isolated("plain"):
        plain, joint = MultiTask.example().eval(), SLA.example().eval()
    data = ArraySource(torch.zeros(8, 3, 8, 8, dtype=torch.uint8), torch.arange(8) % 4)
    assert judge((VersionVotes(),), plain, data) == []
    assert [finding.name for finding in judge((VersionVotes(),), joint, data)] == ["votes"]
    with pytest.raises(ConfigError, match="Classifier sees one version of a picture only: there is nothing to vote"):
        VersionVotes().evaluate(plain.network(), data)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="votes are held against labels"):
        VersionVotes().evaluate(network(), ArraySource(source()[range(8)].x))
    with pytest.raises(ConfigError, match="shown must lie between 1 and samples"):
        VersionVotes(shown=0)
