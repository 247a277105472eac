"""Continual pretraining: what replay and a frozen copy add to the loss, and where a stage begins."""

from dataclasses import replace

import pytest
import torch

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import derive, isolated
from withstand.methods.continual.continual_pretraining import ContinualPretraining
from withstand.methods.masked.mae import MAE
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT


def mae(seed: int = 0) -> MAE:
    with isolated("mae", seed):
        return MAE(Normalized(ViT(4, 12, 1, 3), (0.5,) * 3, (0.25,) * 3), depth=1, width=8, heads=2)


def batch(seed: int = 0) -> Batch:
    return ToyPictures(6, seed=seed)[range(6)]


def test_alone_it_is_the_method_inside_and_begins_where_that_ended() -> None:
    made, earlier = ContinualPretraining(mae()), mae(seed=1)
    assert made.before is None
    made.inherit(earlier)
    assert torch.equal(made.step(batch())["loss"], earlier.step(batch())["loss"])
    third = ContinualPretraining(mae(seed=2))
    third.inherit(made)
    assert torch.equal(third.step(batch())["loss"], earlier.step(batch())["loss"])


def test_replayed_samples_weigh_as_much_as_new_ones() -> None:
    """The mean of both is the loss of one batch of twice the size, for every picture has as many hidden patches."""
    made, new, old = ContinualPretraining(mae()), batch(), batch(seed=1)
    terms = made.step(replace(new, beside={"replay": old}))
    masks = [made.method.masks(one) for one in (new, replace(old, seed=derive(0, "replay")))]  # type: ignore[operator]
    assert not torch.equal(masks[0][1], masks[1][1]), "a place is another sample there"
    both = torch.cat([new.x, old.x]).float() / 255
    whole = made.method.terms(both, *(torch.cat(parts) for parts in zip(*masks, strict=True)))  # type: ignore[operator]
    torch.testing.assert_close(terms["loss"], whole["loss"])
    torch.testing.assert_close((terms["new"] + terms["replayed"]) / 2, terms["loss"].detach())


def test_the_frozen_copy_is_what_the_stage_before_gave_and_stays() -> None:
    made, earlier = ContinualPretraining(mae(), distil=2.0), mae(seed=1)
    made.inherit(earlier)
    some = batch()
    assert made.step(some)["drift"] == 0
    with torch.no_grad():
        for value in made.method.parameters():
            value.mul_(1.1)
    x = some.x.float() / 255
    gap = (made.encoder(x) - earlier.encoder(x)).square().sum(1).mean()
    terms = made.step(some)
    torch.testing.assert_close(terms["drift"], gap.detach())
    torch.testing.assert_close(terms["loss"], made.method.step(some)["loss"] + 2 * gap)
    terms["loss"].backward()
    assert made.before is not None
    assert all(value.grad is None for value in made.before.parameters())


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="distil must be at least 0, not -1"):
        ContinualPretraining(mae(), distil=-1)
