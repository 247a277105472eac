"""The convolutional autoencoder, its noise, and encoders side by side."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.core.roles import Model
from withstand.data.pictures.fashion_mnist.small import read_small
from withstand.methods.restoration.denoising_autoencoder import DenoisingAutoencoder
from withstand.models.blocks.concatenated import Concatenated
from withstand.models.pictures.convnets.autoencoder import ConvCode
from withstand.views.pictures.noise import GaussianNoise


def test_the_published_network() -> None:
    method = DenoisingAutoencoder()
    buffers = sum(b.numel() for name, b in method.named_buffers() if "running" in name)
    assert sum(p.numel() for p in method.parameters()) + buffers == 335_747
    assert method.encoder.code(torch.rand(2, 3, 32, 32)).shape == (2, 128, 4, 4)
    assert method.encoder(torch.rand(2, 3, 32, 32)).shape == (2, 128)


@pytest.mark.parametrize("side", [28, 32, 45])
def test_pictures_come_back_at_their_size(side: int) -> None:
    method = DenoisingAutoencoder(channels=1, width=4)
    rebuilt = method.rebuilt(torch.rand(2, 1, side, side))
    assert rebuilt.shape == (2, 1, side, side)
    assert 0 < rebuilt.min() <= rebuilt.max() < 1


def test_it_beats_the_mean_picture() -> None:
    x, rows = torch.from_numpy(read_small("train")[0][:48, 6:22, 6:22])[:, None], torch.arange(48)
    with isolated("autoencoder"):
        method = DenoisingAutoencoder(channels=1, width=8)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for step in range(60):
        batch = Batch(x, rows)
        noisy = GaussianNoise(0.01)(batch, Draws(0, rows, epoch=step)).x
        terms = method.step(batch.with_views(noisy))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert terms["unexplained"] < 0.2
    wanted = x / 255
    spread = (wanted - wanted.mean(0)).square().mean()
    torch.testing.assert_close(terms["unexplained"], terms["loss"].detach() / spread)


def test_what_it_cannot_read_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(B, 3, H, W\) of at least 8 pixels"):
        ConvCode()(torch.rand(2, 3, 4, 4))
    with pytest.raises(DataError, match="spoilt view"):
        DenoisingAutoencoder(width=2).step(Batch(torch.rand(2, 3, 8, 8), torch.arange(2)))
    with pytest.raises(ConfigError, match="must be at least 1"):
        ConvCode(levels=0)


def test_noise_is_of_its_size_and_each_samples_own() -> None:
    x = torch.full((200, 1, 16, 16), 0.5)
    index = torch.arange(200)
    noisy = GaussianNoise(0.1)(Batch(x, index), Draws(0, index)).x
    assert (noisy - 0.5).std() == pytest.approx(0.1, rel=0.02)
    assert abs(float((noisy - 0.5).mean())) < 0.002
    part = GaussianNoise(0.1)(Batch(x[5:9], index[5:9]), Draws(0, index[5:9])).x
    assert torch.equal(part, noisy[5:9])
    held = GaussianNoise(3.0)(Batch(x, index), Draws(0, index)).x
    assert 0 <= held.min() <= held.max() <= 1
    with pytest.raises(ConfigError, match="std must be at least 0"):
        GaussianNoise(-1.0)


class Linear(Model):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.layer = width, nn.Linear(12, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(x)
        return features


def test_concatenated_features_have_the_summed_inner_products() -> None:
    encoders = [Linear(3).double(), Linear(5).double()]
    both, x = Concatenated(encoders), torch.rand(6, 12, dtype=torch.float64)
    z = both(x)
    assert both.width == z.shape[1] == 8
    torch.testing.assert_close(z.norm(dim=1), torch.ones(6, dtype=torch.float64))
    gram = sum(encoder(x) @ encoder(x).T for encoder in encoders)
    length = gram.diagonal().sqrt()
    torch.testing.assert_close(z @ z.T, gram / (length[:, None] * length), rtol=0, atol=1e-10)
    one = Concatenated(encoders[:1])
    torch.testing.assert_close(one(x), normalize(encoders[0](x), dim=1), rtol=0, atol=1e-10)
    assert torch.equal(Concatenated(encoders, normalize=False)(x), torch.cat([e(x) for e in encoders], 1))
    with pytest.raises(ConfigError, match="at least one"):
        Concatenated([])
