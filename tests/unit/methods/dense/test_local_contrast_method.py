"""The decoder's stage: the encoder stays bit by bit, other volumes' regions join in, and what does not fit."""

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError
from withstand.data.arrays.source import ArraySource
from withstand.data.volumes.source import VolumeSource
from withstand.losses.contrast.local import local_contrast
from withstand.methods.dense.global_contrast import GlobalContrast
from withstand.methods.dense.local_contrast import LocalContrast
from withstand.methods.shared.by_volume import example_slices
from withstand.models.dense.unet import UNetDecoder, UNetEncoder


def test_the_encoder_stays_as_it_was_to_the_last_bit() -> None:
    torch.manual_seed(0)
    earlier, subject = GlobalContrast.example(), LocalContrast.example().train()
    subject.inherit(earlier)
    before = {name: value.clone() for name, value in subject.encoder.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in subject.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        subject.step(example_slices(range(8)))["loss"].backward()
        optimizer.step()
    for name, value in subject.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert torch.equal(value, earlier.encoder.state_dict()[name]), name
    assert all(parameter.grad is None for parameter in subject.encoder.parameters())


def test_blocks_beyond_those_that_are_learnt_stay_too() -> None:
    encoder, decoder = UNetEncoder((2, 3, 4, 5)), UNetDecoder((2, 3, 4, 5))
    subject = LocalContrast(encoder, decoder, blocks=2)
    frozen = [name for name, parameter in decoder.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(name.split(".")[1] == "2" for name in frozen)
    assert subject.dense()(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_other_volumes_regions_are_positives_of_their_own() -> None:
    torch.manual_seed(0)
    batch = example_slices(range(8))
    subject = LocalContrast(UNetEncoder.example(), UNetDecoder.example(), blocks=2, loss="ld", slices=(8, 8)).eval()
    one, other = subject.regions(torch.cat(batch.views)).chunk(2)
    near = tuple(points[:4] for points in subject.near)
    # With two volumes the next but one is the slice itself.
    shifted = [one.roll(-4, 0), one]
    expected = [local_contrast(one, two, subject.anchors, near, 0.1) for two in (other, *shifted)]
    torch.testing.assert_close(subject.step(batch)["loss"], torch.stack(expected).mean())


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    subject = LocalContrast(UNetEncoder.example(), UNetDecoder.example(), blocks=1)
    with pytest.raises(ConfigError, match="8 cells a side"):
        subject.accept(ArraySource(np.zeros((4, 1, 16, 16), np.uint8), layout="NCHW"), 4)
    with pytest.raises(ConfigError, match="between 1 and 2"):
        LocalContrast(UNetEncoder.example(), UNetDecoder.example(), blocks=3)
    across = LocalContrast(
        UNetEncoder.example(), UNetDecoder.example(), blocks=2, loss="ld", slices=(7, 8, 9), partitions=2
    )
    with pytest.raises(ConfigError, match="use --batch 6"):
        across.accept(VolumeSource.example(), 4)
    across.accept(VolumeSource.example(), 6)
    with pytest.raises(ConfigError, match=r"use --batch 6$"):
        across.accept(VolumeSource.example(), 8)
    with pytest.raises(ConfigError, match="same channels"):
        across.inherit(LocalContrast(UNetEncoder((2, 3)), UNetDecoder((2, 3)), blocks=1))
