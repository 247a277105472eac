"""LQ-VAE: its codes, who learns from which error, its penalty, and a filter that hides no gradient."""

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.core.roles import network_of
from withstand.losses.restoration.variational import kl_to_standard, slope_penalty
from withstand.methods.restoration.lq_vae import LQVAE
from withstand.models.restoration.latent_code import LatentDecoder, LatentEncoder, hard_code, soft_code


def made(**settings: object) -> LQVAE:
    with isolated("lq-vae"):
        encoder = LatentEncoder((3, 8, 8), latent=8, width=2, hidden=6)
        return LQVAE(encoder, width=2, hidden=6, **settings).double()  # type: ignore[arg-type]


def batch(count: int = 5) -> Batch:
    x = torch.rand(count, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(count))


def test_codes_are_signs_of_lying_within_the_threshold() -> None:
    z = torch.tensor([0.0, 0.09, -0.09, 0.11, -3.0], dtype=torch.float64, requires_grad=True)
    assert hard_code(z, 0.1).tolist() == [1, 1, 1, -1, -1]
    soft = soft_code(z, 0.1, 500)
    assert soft.detach().abs().max() < 1
    torch.testing.assert_close(soft_code(z, 0.1, 1e9), hard_code(z, 0.1), atol=1e-5, rtol=0)
    assert soft_code(torch.tensor(0.5, dtype=torch.float64), 0.5, 500) == 0
    (slope,) = torch.autograd.grad(soft.sum(), z)
    apart = 500 * (0.01 - z.detach() ** 2)
    torch.testing.assert_close(slope, -1000 * z.detach() / (1 + apart.abs()) ** 2)


def test_the_divergence_is_that_of_normal_laws() -> None:
    mean, log_variance = torch.tensor([[0.3, -1.0]], dtype=torch.float64), torch.tensor([[0.5, -2.0]]).double()
    law, standard = torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(
        kl_to_standard(mean, log_variance), torch.distributions.kl_divergence(law, standard).mean()
    )
    assert kl_to_standard(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_the_penalty_of_a_linear_map_hangs_on_its_weights_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    for seed in range(3):
        x = torch.randn(5, 6, dtype=torch.float64, generator=generator.manual_seed(seed)).requires_grad_()
        torch.testing.assert_close(slope_penalty(x, x @ weight, 0.1), (0.1 - weight.sum(1).norm()) ** 2)
    flat = torch.zeros(2, 3, requires_grad=True)
    found = slope_penalty(flat, flat * 0, 0.1)
    assert torch.isclose(found, torch.tensor(0.01))
    assert found.isfinite()


def test_the_decoder_of_signs_teaches_the_encoder_nothing() -> None:
    method = made(penalty=0.0, divergence=0.0)
    given = batch()

    def gradients(method: LQVAE) -> list[Tensor]:
        method.zero_grad()
        method.step(given)["loss"].backward()
        return [p.grad.clone() for p in method.encoder.parameters() if p.grad is not None]

    before = gradients(method)
    with torch.no_grad():
        for parameter in method.decoder.parameters():
            parameter.mul_(3)
    assert all(torch.equal(one, two) for one, two in zip(before, gradients(method), strict=True))
    assert method.soft_decoder is not None
    with torch.no_grad():
        for parameter in method.soft_decoder.parameters():
            parameter.mul_(3)
    assert not all(torch.equal(one, two) for one, two in zip(before, gradients(method), strict=True))


def test_the_loss_is_the_official_ones_sum() -> None:
    method, given = made(), batch()
    x = (2 * given.x - 1).requires_grad_()
    mean, log_variance = method.encoder.latent((x + 1) / 2)
    z = mean + 0.05 * (log_variance / 2).exp() * given.draws("latent").normal(8).double()
    assert method.soft_decoder is not None
    errors = [
        (2 * net(code) - 1 - x).square().mean()
        for net, code in ((method.decoder, hard_code(z, 0.1)), (method.soft_decoder, soft_code(z, 0.1, 500)))
    ]
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / (8 * 5)
    (slope,) = torch.autograd.grad(mean.sum(), x, retain_graph=True)
    penalty = (0.1 - slope.flatten(1).norm(dim=1)).square().mean()
    torch.testing.assert_close(method.step(given)["loss"], kl + 10 * sum(errors) + 10 * penalty)


def test_the_filter_is_the_decoded_code_and_has_the_soft_codes_slopes() -> None:
    method = made()
    clean = network_of(method, "purifier").eval()
    x = batch().x.requires_grad_()
    z = method.encoder(x)
    found = clean(x)
    torch.testing.assert_close(found, method.decoder(hard_code(z, 0.1)))
    assert torch.equal(found, clean(x)), "it draws nothing"
    assert 0 <= float(found.detach().min()) <= float(found.detach().max()) <= 1
    (slope,) = torch.autograd.grad(found.sum(), x, retain_graph=True)
    code = hard_code(z, 0.1).detach().requires_grad_()
    (through,) = torch.autograd.grad(method.decoder(code).sum(), code)
    (wanted,) = torch.autograd.grad((soft_code(method.encoder(x), 0.1, 500) * through).sum(), x)
    torch.testing.assert_close(slope, wanted)
    assert slope.abs().max() > 0


def test_what_flips_no_bit_changes_nothing() -> None:
    method = made()
    with torch.no_grad():
        nn.init.constant_(method.encoder.both.bias, 5.0)
    clean, x = network_of(method, "purifier").eval(), batch().x
    assert torch.equal(clean(x), clean((x + 1e-3).clamp(0, 1)))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)])
def test_pictures_of_any_size_come_back_in_their_size(shape: tuple[int, ...]) -> None:
    encoder, decoder = (
        LatentEncoder(shape, latent=4, width=2, hidden=3),
        LatentDecoder(shape, latent=4, width=2, hidden=3),
    )
    assert decoder(encoder(torch.rand(2, *shape))).shape == (2, *shape)


@pytest.mark.parametrize(
    "settings", [{"threshold": 0.0}, {"sharpness": -1.0}, {"penalty": -1.0}, {"slope": float("nan")}]
)
def test_bad_settings_are_refused_by_name(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        made(**settings)


def test_means_hang_on_the_picture_from_the_start() -> None:
    """Means that hardly differ all lie within the threshold, where the soft code has no slope, and stay there."""
    with isolated("lq-vae"):
        encoder = LatentEncoder((1, 28, 28), width=16, hidden=128)
    x = torch.rand(64, 1, 7, 7, generator=torch.Generator().manual_seed(0)).round()
    x = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    with torch.no_grad():
        spread = encoder(x).std(0).mean().item()
    assert spread > 0.1 * 0.1
