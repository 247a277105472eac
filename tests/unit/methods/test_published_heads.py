"""Each method's heads, layer by layer, as its paper or official code has them."""

import pytest
import torch
from torch import nn

from withstand.core.roles import Method, Model
from withstand.methods.contrastive.cacr import CACR
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.g_simclr import GSimCLR
from withstand.methods.contrastive.groco import GroCo
from withstand.methods.contrastive.isogclr import ISogCLR
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.momentum_contrast.mochi import MoCHi
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.methods.non_contrastive.byol import BYOL
from withstand.methods.non_contrastive.mixed_barlow_twins import MixedBarlowTwins
from withstand.methods.non_contrastive.simsiam import SimSiam
from withstand.methods.non_contrastive.vicreg import VICReg


class Flat(Model):
    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(x.flatten(1))
        return features


def layers(head: nn.Module) -> str:
    """Return a head in short: "12>6b" is a linear layer with a bias, N a batch normalisation (n: without scale)."""
    found = []
    for module in head.modules():
        if isinstance(module, nn.Linear):
            found.append(f"{module.in_features}>{module.out_features}" + ("b" if module.bias is not None else ""))
        elif isinstance(module, nn.BatchNorm1d):
            found.append("N" if module.affine else "n")
        elif isinstance(module, nn.ReLU):
            found.append("r")
        else:
            assert isinstance(module, nn.Sequential | Model), module
    return " ".join(found)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (SimCLR(Flat(), dim=5), "12>12 N r 12>5b"),
        (DCL(Flat(), dim=5), "12>12 N r 12>5b"),
        (GSimCLR(Flat(), Flat(), samples=8, dim=5), "12>12b r 12>6b r 6>5b"),
        (GroCo(Flat(), dim=8), "12>8 N r 8>8 N r 8>8 n"),
        (GroCo(Flat(), hidden=6, dim=8), "12>6 N r 6>6 N r 6>8 n"),
        (CACR(Flat(), dim=5), "12>12 N r 12>5b"),
        (ISogCLR(Flat(), samples=8, dim=5), "12>12 N r 12>5b"),
        (MoCHi(Flat(), dim=5), "12>12b r 12>5b"),
        (BYOL(Flat(), hidden=7, dim=5), "12>7 N r 7>5"),
        (SimSiam(Flat(), dim=8), "12>8 N r 8>8 N r 8>8 n"),
        (BarlowTwins(Flat(), dim=8), "12>8 N r 8>8 N r 8>8"),
        (VICReg(Flat(), dim=8), "12>8 N r 8>8 N r 8>8"),
        (MixedBarlowTwins(Flat(), dim=5), "12>12 N r 12>5b"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Method) else "",
)
def test_heads_as_published(method: Method, expected: str) -> None:
    assert layers(dict(method.named_children())["head"]) == expected
