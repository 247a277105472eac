"""U-Net: maps halve and double, levels join what is theirs, and sides that do not fit are refused."""

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.models.dense.unet import PUBLISHED, Segmenter, UNet, UNetDecoder, UNetEncoder, pixel_head


def test_maps_have_the_published_sizes() -> None:
    with torch.no_grad():
        encoder, decoder = UNetEncoder().eval(), UNetDecoder().eval()
        maps = encoder.maps(torch.rand(1, 1, 192, 192))
        assert [tuple(one.shape[1:]) for one in maps] == [
            (channels, 192 >> place, 192 >> place) for place, channels in enumerate(PUBLISHED)
        ]
        assert decoder(maps, 3).shape == (1, 64, 48, 48)
        assert decoder(maps).shape == (1, 16, 192, 192)
    assert pixel_head(64)[0].weight.shape == (64, 64, 1, 1)


def test_bytes_are_what_they_stand_for_and_features_are_means() -> None:
    encoder = UNetEncoder.example().eval()
    x = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(encoder(x), encoder(x / 255))
    torch.testing.assert_close(encoder(x), encoder.maps(x)[-1].mean((2, 3)))


def test_a_block_reads_its_own_level() -> None:
    net = UNet.example().eval()
    maps = net.encoder.maps(torch.rand(1, 1, 16, 16))
    first = net.decoder(maps, 1)
    other = [torch.zeros_like(maps[0]), *maps[1:]]
    torch.testing.assert_close(net.decoder(other, 1), first)
    assert not torch.equal(net.decoder(other), net.decoder(maps))


def test_logits_are_of_every_pixel() -> None:
    assert Segmenter.example()(torch.rand(2, 1, 16, 16)).shape == (2, 3, 16, 16)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="multiples of 4"):
        UNetEncoder.example()(torch.rand(1, 1, 18, 16))
    with pytest.raises(ConfigError, match="two levels"):
        UNetEncoder((4,))
    with pytest.raises(ConfigError, match="other channels"):
        UNet(UNetEncoder((2, 3)), UNetDecoder((2, 4)))
    with pytest.raises(ConfigError, match="at least 2"):
        Segmenter(UNet.example(), 1)
