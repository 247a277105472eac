"""The geometry of codes: closed forms, agreement with plain formulas, and what is refused."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from toys import ToyPictures, toy_method
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.probes.probe import CONTROL
from withstand.evaluation.representation.contrastive_geometry import ContrastiveGeometry
from withstand.views.compose import TwoViews
from withstand.views.pictures.geometry import Rotation


def vectors(x: Tensor, y: Tensor | None = None) -> ArraySource:
    return ArraySource(x.float(), y, layout="rows")


def found(x: Tensor, y: Tensor | None = None, **settings: object) -> dict[str, float]:
    return ContrastiveGeometry(**settings).evaluate(nn.Identity(), vectors(x, y)).numbers


def test_known_clouds() -> None:
    corners = found(torch.eye(10))
    assert corners["uniformity"] == pytest.approx(-4)  # every squared distance is 2
    assert corners["entropy of the push"] == pytest.approx(math.log(9), rel=1e-5)
    assert corners["push on the nearest"] == pytest.approx(1 / 9)
    assert corners["evenness of the push"] == pytest.approx(1)
    assert "tolerance" not in corners
    assert "alignment" not in corners
    point = ContrastiveGeometry().evaluate(nn.Identity(), vectors(torch.ones(10, 4)))
    assert point.numbers["uniformity"] == pytest.approx(0, abs=1e-6)
    assert not point.believable
    labels = torch.arange(30) % 3
    one_hot = found(torch.eye(3)[labels], labels)
    assert one_hot["tolerance"] == pytest.approx(1)
    assert one_hot["tolerance, joint"] == pytest.approx(9 / 29)  # the share of pairs that are of one class


def test_the_push_by_plain_formulas() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    finding = ContrastiveGeometry(temperature=0.25).evaluate(nn.Identity(), vectors(x))
    unit = normalize(x.double(), dim=1)
    cosines = torch.stack([torch.cat([unit[i] @ unit.T])[torch.arange(40) != i] for i in range(40)])
    shares = (cosines / 0.25).softmax(1).sort(1, descending=True).values
    tables = finding.tables
    near = tables["push by nearness"]
    for row in near.rows:
        assert row[near.columns.index("share of the push at 0.25")] == pytest.approx(
            shares[:, : row[0]].sum(1).mean().item()
        )
    assert near.rows[-1][0] == 39
    for tau, evenness, largest in tables["push by temperature"].rows:
        at = (cosines / tau).softmax(1)
        assert evenness == pytest.approx((torch.special.entr(at).sum(1).mean() / math.log(39)).item(), rel=1e-5)
        assert largest == pytest.approx(at.max(1).values.mean().item(), rel=1e-5)
    nearest = tables["nearest samples"]
    assert nearest.column("rank name")[0] == "1."
    expected = cosines.sort(1, descending=True).values[:, :10].mean(0)
    assert nearest.column("cosine") == pytest.approx(tuple(expected.tolist()), abs=1e-6)
    by_cosine = tables["push by cosine"]
    pushed, there = (by_cosine.column(name) for name in by_cosine.columns[:0:-1])
    assert sum(pushed) == pytest.approx(1)
    assert sum(there) == pytest.approx(1)
    mean = sum(x * share for x, share in zip(by_cosine.column("cosine"), pushed, strict=True))
    assert mean == pytest.approx(((cosines / 0.25).softmax(1) * cosines).sum(1).mean().item(), abs=0.02)


def test_a_methods_projections_are_read_beside_its_features_and_the_control() -> None:
    method, control, source = toy_method(), toy_method(), ToyPictures(40)
    judge = ContrastiveGeometry(view=TwoViews(Rotation()))
    modes = [module.training for module in method.modules()]
    finding = judge.evaluate(method, source, control=control)
    assert [module.training for module in method.modules()] == modes
    method.eval()
    x = source[torch.arange(40)].x
    with torch.no_grad():
        features = method.encoder(x)
        unit = normalize(method.head(features), dim=1)
    same = (source.labels[:, None] == source.labels) & ~torch.eye(40, dtype=torch.bool)
    assert finding.numbers["tolerance"] == pytest.approx((unit @ unit.T)[same].mean().item(), abs=1e-5)
    table = finding.tables["where it is read"]
    assert table.column("codes") == ("features", "projections", f"features, {CONTROL}", f"projections, {CONTROL}")
    assert table.column("width") == (32, 16, 32, 16)
    unit = normalize(features, dim=1)
    assert table.column("tolerance")[0] == pytest.approx((unit @ unit.T)[same].mean().item(), abs=1e-5)
    for place, name in enumerate(table.columns[2:], start=2):
        control = finding.figures[name].control
        assert control is not None
        assert control.value == table.rows[3][place]
    assert finding.tables["nearest samples"].rows[0][:2] == (0, "two views")
    for column in finding.tables["cosines of pairs"].columns[1:]:
        assert sum(finding.tables["cosines of pairs"].column(column)) == pytest.approx(1)


def test_the_order_of_samples_changes_nothing() -> None:
    x, y = torch.randn(30, 5, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    one, other = found(x, y), found(x[order], y[order])
    assert one == pytest.approx(other, abs=1e-5)


def test_settings_and_mistakes() -> None:
    judge = ContrastiveGeometry(temperature=0.5, samples=16)
    assert build(describe(judge)) == judge
    assert judge.evaluate(nn.Identity(), vectors(torch.randn(50, 3))).protocol["samples"] == 16
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        ContrastiveGeometry(temperature=0)
    with pytest.raises(ConfigError, match="temperature must be above 0, not -1"):
        ContrastiveGeometry(temperatures=(0.1, -1.0))
    with pytest.raises(ConfigError, match="samples must be at least 8"):
        ContrastiveGeometry(samples=4)
    with pytest.raises(DataError, match="at least 8 samples, not 5"):
        found(torch.randn(5, 3))
    with pytest.raises(DataError, match="two views"):
        ContrastiveGeometry(view=Rotation()).evaluate(nn.Flatten(), ToyPictures(16))
