"""Hard contrastive learning, SupCon, and heads in place of the usual one: steps by their formulas, settings."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.random import isolated
from withstand.core.roles import Method, Model
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.hard_negatives.hardness import hard_contrastive, simple_contrastive
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.hard_contrastive import HardContrastive
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.methods.non_contrastive.vicreg import VICReg
from withstand.methods.supervised_contrast.supcon import SupCon
from withstand.models.blocks.reweighting import ReweightingHead

EXACT = {"rtol": 0, "atol": 1e-10}


class Flat(Model):
    """A linear encoder."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x.flatten(1))
        return features


def batch(count: int = 8, views: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(count, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(views)]
    return Batch(torch.zeros(count, 3, 2, 2), torch.arange(count), torch.arange(count) % 3, views=tuple(pictures))


def make(kind: type[Method], **settings: object) -> Method:
    with isolated("study"):
        return kind(Flat(), **settings).double()


def projections(method: Method, given: Batch) -> tuple[Tensor, Tensor]:
    z1, z2 = method.projector()(method.encoder(torch.cat(given.views))).chunk(2)
    return z1, z2


def test_hard_steps_by_their_formulas() -> None:
    given = batch()
    hard = make(HardContrastive, dim=4, temperature=0.5, alpha=0.3)
    torch.testing.assert_close(
        hard.step(given)["loss"], hard_contrastive(*projections(hard, given), 0.5, alpha=0.3), **EXACT
    )
    simple = make(HardContrastive, dim=4, simple=True, weight=0.2)
    torch.testing.assert_close(
        simple.step(given)["loss"], simple_contrastive(*projections(simple, given), 0.2, alpha=0.1), **EXACT
    )
    whole, simclr = make(HardContrastive, dim=4, temperature=0.5, alpha=1.0), make(SimCLR, dim=4, temperature=0.5)
    simclr.load_state_dict(whole.state_dict())
    torch.testing.assert_close(whole.step(given)["loss"], simclr.step(given)["loss"], **EXACT)


def test_supcon_by_its_formula_and_as_nt_xent_where_each_sample_is_a_class() -> None:
    given, method = batch(), make(SupCon, classes=3, dim=4)
    z = torch.cat(projections(method, given))
    expected = supervised_contrastive(z, given.y.repeat(2), 0.1)
    torch.testing.assert_close(method.step(given)["loss"], expected, **EXACT)
    own = replace(given, y=torch.arange(8))
    method = make(SupCon, classes=8, dim=4)
    expected = nt_xent(*projections(method, given), 0.1)
    torch.testing.assert_close(method.step(own)["loss"], expected, **EXACT)


@pytest.mark.parametrize("kind", [SimCLR, DCL, HardContrastive, BarlowTwins, VICReg])
def test_the_fixed_head_drops_in(kind: type[Method]) -> None:
    method = make(kind, head=ReweightingHead(6, 1.1))
    assert {name.partition(".")[0] for name, _ in method.named_parameters()} == {"encoder"}
    assert describe(build(describe(method), allow=("test_study_methods",))) == describe(method)
    z1, _ = projections(method, batch())
    features = method.encoder(batch().views[0])
    torch.testing.assert_close(z1, features * 1.1 ** -torch.arange(6, dtype=torch.float64), rtol=0, atol=1e-6)
    method.step(batch())["loss"].backward()
    assert method.encoder.layer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", [HardContrastive, SupCon])
@pytest.mark.parametrize("views", [1, 3])
def test_other_than_two_views_are_refused(kind: type[Method], views: int) -> None:
    method = make(kind, classes=3) if kind is SupCon else make(kind)
    with pytest.raises(DataError, match=f"two views of each sample, not {views}"):
        method.step(batch(views=views))


@pytest.mark.parametrize("temperature", [0, -0.5])
def test_temperatures_are_above_0(temperature: float) -> None:
    for kind in (SimCLR, DCL, HardContrastive):
        with pytest.raises(ConfigError, match=f"temperature must be above 0, not {temperature}"):
            kind(Flat(), temperature=temperature)
    with pytest.raises(ConfigError, match=f"temperature must be above 0, not {temperature}"):
        SupCon(Flat(), classes=3, temperature=temperature)


def test_other_bad_settings_get_a_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"alpha must lie in \(0, 1\], not 1.5"):
        HardContrastive(Flat(), alpha=1.5)
    with pytest.raises(ConfigError, match="weight must be above 0, not -1"):
        HardContrastive(Flat(), simple=True, weight=-1)
    with pytest.raises(ConfigError, match=r"alpha 0.05 keeps none of 14 negatives: give at least 0.0715"):
        make(HardContrastive, alpha=0.05).step(batch())
    make(HardContrastive, alpha=0.0715).step(batch())  # what is advised works
    with pytest.raises(ConfigError, match="classes must be at least 2, not 1"):
        SupCon(Flat(), classes=1)
    with pytest.raises(DataError, match="learns from labels, and the data have none"):
        make(SupCon, classes=3).step(replace(batch(), y=None))
    with pytest.raises(DataError, match=r"labels lie in \[0, 2\], outside 0 to 1"):
        make(SupCon, classes=2).step(batch())
