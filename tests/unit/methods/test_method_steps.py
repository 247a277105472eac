"""What each method does in a step, spelt out with plain parts."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Model
from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.contrast.contrastive import dcl, dclw, nt_xent
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.models.pictures.convnets.resnet import ResNet

METHODS = [SimCLR, DCL, BarlowTwins]


class Spy(Model):
    """Counts passes, and passes features on."""

    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return x.flatten(1)


def batch(count: int = 6, views: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(count, 3, 2, 2, generator=generator) for _ in range(views)]
    return Batch(torch.full((count, 3, 2, 2), torch.nan), torch.arange(count), views=tuple(pictures))


def test_simclr_sees_both_views_in_one_pass() -> None:
    method = SimCLR(Spy(), temperature=0.3)
    terms = method.step(batch())
    assert method.encoder.sizes == [12]  # type: ignore[attr-defined]
    z = method.head(torch.cat(batch().views).flatten(1))
    torch.testing.assert_close(terms["loss"], nt_xent(z[:6], z[6:], 0.3))
    torch.testing.assert_close(terms["positive"], cosine_similarity(z[:6], z[6:]).mean())


@pytest.mark.parametrize("detach", [True, False])
def test_dcl_and_dclw(detach: bool) -> None:
    plain = DCL(Spy(), temperature=0.3)
    weighted = DCL(Spy(), temperature=0.3, weighted=True, sigma=0.4, detach_weight=detach)
    weighted.load_state_dict(plain.state_dict())
    z = plain.head(torch.cat(batch().views).flatten(1)).detach()
    torch.testing.assert_close(plain.step(batch())["loss"], dcl(z[:6], z[6:], 0.3))
    torch.testing.assert_close(weighted.step(batch())["loss"], dclw(z[:6], z[6:], 0.3, sigma=0.4))
    weighted.step(batch())["loss"].backward()
    found = [parameter.grad for parameter in weighted.head.parameters()]
    weighted.zero_grad()
    z = weighted.head(torch.cat(batch().views).flatten(1))
    dclw(z[:6], z[6:], 0.3, sigma=0.4, detach_weight=detach).backward()
    for a, b in zip(found, weighted.head.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad)


def test_barlow_twins_passes_each_view_by_itself() -> None:
    method = BarlowTwins(Spy(), dim=8, redundancy_weight=0.03, scale=0.1)
    terms = method.step(batch())
    assert method.encoder.sizes == [6, 6]  # type: ignore[attr-defined]
    z1, z2 = (method.head(view.flatten(1)) for view in batch().views)
    torch.testing.assert_close(terms["loss"], barlow_twins(z1, z2, 0.03, scale=0.1))
    torch.testing.assert_close(terms["loss"], 0.1 * (terms["invariance"] + 0.03 * terms["redundancy"]))


@pytest.mark.parametrize("method", METHODS)
def test_what_a_step_gives(method: type[Method]) -> None:
    terms = method(ResNet(2, 10), dim=8).step(batch())  # type: ignore[call-arg]
    assert terms["embeddings"].shape == (2, 6, 8)
    assert [name for name, value in terms.items() if value.requires_grad] == ["loss"]
    assert all(value.dim() == 0 for name, value in terms.items() if name != "embeddings")


@pytest.mark.parametrize("method", METHODS)
def test_only_views_are_read_and_two_are_needed(method: type[Method]) -> None:
    made = method(Spy(), dim=8)  # type: ignore[call-arg]
    assert made.step(batch())["loss"].isfinite(), "x holds NaN and must not matter"
    for views in (0, 1, 3):
        with pytest.raises(DataError, match=f"two views of each sample, not {views}"):
            made.step(batch(views=views))


@pytest.mark.parametrize("method", METHODS)
def test_the_encoder_is_what_users_take_away(method: type[Method]) -> None:
    x = batch().views[0]
    made = method(Spy(), dim=8)  # type: ignore[call-arg]
    assert torch.equal(made.embed(x), x.flatten(1))


def test_a_batch_of_one() -> None:
    assert SimCLR(Spy(), batch_norm=False).step(batch(1))["loss"].item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(DataError, match="at least 2 samples"):
        DCL(Spy(), batch_norm=False).step(batch(1))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        SimCLR(Spy(), temperature=0)
    with pytest.raises(ConfigError, match="sigma"):
        DCL(Spy(), sigma=0)
    assert SimCLR(Spy()).head.steps[0].out_features == 12, "the hidden layer is as wide as the encoder"
    assert BarlowTwins(Spy(), dim=8).head.steps[0].out_features == 8
