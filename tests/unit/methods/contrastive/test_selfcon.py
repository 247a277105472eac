"""SelfCon and the detector on it: parts of the loss, what is frozen, and the network without early strides."""

from dataclasses import replace

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.origins import GENERATOR, Origins
from withstand.losses.contrast.self_contrastive import self_contrastive
from withstand.methods.contrastive.origin_detector import OriginDetector
from withstand.methods.supervised_contrast.selfcon import SelfCon
from withstand.models.blocks.taps import with_last_maps, with_maps
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized


def method(**changed: object) -> SelfCon:
    torch.manual_seed(0)
    settings: dict[str, object] = {"shape": (3, 8, 8), "hidden": 12, "dim": 10, **changed}
    return SelfCon(Normalized.example(), **settings).eval()  # type: ignore[arg-type]


def test_the_loss_is_the_sum_of_both_by_weight() -> None:
    subject = method(origin_weight=0.5, generator_weight=2.0)
    batch = subject.example_batch()
    terms = subject.step(batch)
    torch.testing.assert_close(terms["loss"].detach(), 0.5 * terms["origin"] + 2 * terms["generator"])
    sub, main = terms["embeddings"]
    torch.testing.assert_close(self_contrastive((sub, main), batch.y), terms["origin"])
    synthetic = batch.y == 1
    made = batch.extras[GENERATOR][synthetic]
    torch.testing.assert_close(self_contrastive((sub[synthetic], main[synthetic]), made), terms["generator"])


def test_without_synthetic_pictures_their_loss_is_0() -> None:
    batch = method().example_batch()
    real = replace(batch, y=batch.y * 0, extras={GENERATOR: -torch.ones(8, dtype=torch.int64)})  # type: ignore[operator]
    terms = method().step(real)
    assert float(terms["generator"]) == 0
    assert bool(terms["loss"].isfinite())


def test_the_early_exit_reads_the_stage_that_is_named() -> None:
    encoder = Normalized(ResNet(2, 10, stem="full"), (0.5,) * 3, (0.25,) * 3).eval()
    assert SelfCon(encoder, shape=(3, 8, 8), stage=3).exit.in_features == 4
    x = torch.rand(2, 3, 32, 32)
    features, maps = with_maps(encoder, x, 1)
    assert maps.shape == (2, 2, 32, 32), "neither the stem nor its pooling has a stride"
    last = with_last_maps(encoder, x)[1]
    assert last.shape == (2, 16, 4, 4)
    torch.testing.assert_close(last.mean((2, 3)), features)
    with pytest.raises(ConfigError, match="none numbered 6"):
        with_maps(encoder, x, 6)


def test_a_frozen_encoder_stays_as_it_is() -> None:
    detector = OriginDetector.example().train()
    before = {name: value.clone() for name, value in detector.encoder.state_dict().items()}
    batch = detector.example_batch()
    detector.step(batch)["loss"].backward()
    assert all(torch.equal(value, before[name]) for name, value in detector.encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.encoder.parameters())
    earlier = method()
    detector.inherit(earlier)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(detector.encoder(x), earlier.encoder(x))


def test_the_head_reads_directions_alone() -> None:
    head = OriginDetector.example().classifier
    features = torch.rand(3, 16)
    torch.testing.assert_close(head(features), head(7 * features))


def test_bad_settings_and_data() -> None:
    with pytest.raises(ConfigError, match="origin_weight"):
        method(origin_weight=0.0, generator_weight=0.0)
    with pytest.raises(ConfigError, match="hidden"):
        OriginDetector(Normalized.example(), hidden=-1)
    with pytest.raises(DataError, match="Origins"):
        method().accept(ArraySource(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)), 4)
    method().accept(Origins.example(), 4)
    with pytest.raises(DataError, match="generator"):
        method().step(replace(method().example_batch(), extras={}))
