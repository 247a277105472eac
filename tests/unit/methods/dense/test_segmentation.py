"""Segmentation: its loss, what it takes over, what it refuses, and a judge that counts what is there."""

import pytest
import torch

from withstand.core.batch import MASK
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.volumes.source import VolumeSource
from withstand.evaluation.dense.segmentation.judge import DICE, SegmentationJudge
from withstand.losses.agreement.dice import dice_loss
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.dense.local_contrast import LocalContrast
from withstand.methods.dense.segmentation import Segmentation
from withstand.models.dense.unet import Segmenter, UNet, UNetDecoder, UNetEncoder
from withstand.models.pictures.normalized import Normalized


def test_the_loss_is_dice_of_the_first_view_and_its_masks() -> None:
    method = Segmentation.example().double()
    batch = method.example_batch()
    logits = method.segmenter(batch.views[0])
    torch.testing.assert_close(method.step(batch)["loss"], dice_loss(logits, batch.extras[MASK]))
    with pytest.raises(DataError, match="masks"):
        method.step(type(batch)(batch.x, batch.index))


def test_it_goes_on_from_an_earlier_u_net_and_from_nothing_else() -> None:
    with isolated("earlier"):
        earlier = LocalContrast.example()
    method = Segmentation.example()
    method.inherit(earlier)
    before = earlier.dense().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in method.segmenter.network.state_dict().items())
    with pytest.raises(ConfigError, match="builds on a U-Net"):
        method.inherit(SimCLR(Normalized.example(), dim=4))
    other = Segmentation(Segmenter(UNet(UNetEncoder((2, 3)), UNetDecoder((2, 3))), 3))
    with pytest.raises(ConfigError, match="same width and levels"):
        other.inherit(earlier)


def test_other_structures_are_refused_by_name() -> None:
    source = VolumeSource.example()
    Segmentation(Segmenter(UNet.example(), 2)).accept(source, 4)
    with pytest.raises(ConfigError, match="tells 3 structures"):
        Segmentation.example().accept(source, 4)


def test_a_segmenter_that_knows_the_masks_has_a_dice_of_1() -> None:
    source = VolumeSource.example()

    class Knows(Segmenter):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            whole = source[range(len(source))]
            rows = [int((whole.x.float() / 255 == one).flatten(1).all(1).nonzero()[0]) for one in x]
            return torch.nn.functional.one_hot(whole.extras[MASK][rows].clamp_min(0), 2).movedim(3, 1).float()

    finding = SegmentationJudge().evaluate(Knows(UNet.example(), 2), source)
    assert finding.figures[DICE].value == 1
    assert finding.protocol["volumes"] == 2, "the third has no mask"
