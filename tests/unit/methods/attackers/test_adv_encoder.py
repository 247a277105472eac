"""AdvEncoder: its objective term by term, its ball, its patch, and a victim that stays as it is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Attack, Model
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.methods.attackers.adv_encoder import AdvEncoder
from withstand.models.pictures.noise_generator import NoiseGenerator
from withstand.views.frequencies import high_pass, power


class Small(Model):
    """A smooth encoder in which every step can be followed."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        with isolated("small"):
            self.layers = nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(400, 6)
            )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


def made(**settings: object) -> AdvEncoder:
    with isolated("adv encoder"):
        return AdvEncoder(Small(), (3, 12, 12), **settings).double()  # type: ignore[arg-type]


def batch(count: int = 6) -> Batch:
    x = torch.rand(count, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(count))


def trained(method: AdvEncoder, steps: int, rate: float) -> None:
    optimizer = torch.optim.Adam(method.groups()["main"], rate)
    for step in range(steps):
        optimizer.zero_grad()
        method.step(batch())["loss"].backward()
        optimizer.step()
        method.after_step(step + 1)


@pytest.mark.parametrize("kind", ["perturbation", "patch"])
def test_the_loss_is_the_papers(kind: str) -> None:
    method = made(kind=kind, generator=False, high_frequency=2.0, closeness=3.0)
    with torch.no_grad():
        method.learnt.values.uniform_(-0.03, 0.03) if kind == "perturbation" else method.learnt.values.uniform_()
    x = batch().x
    values = method.learnt.values
    attacked = x + values if kind == "perturbation" else torch.where(method.learnt.mask, values, x)  # type: ignore[union-attr]
    attacked = attacked.clamp(0, 1)
    one, two = (F.normalize(method.encoder.eval()(each), dim=1) for each in (x, attacked))
    contrast = F.cross_entropy(one @ two.T / 0.1, torch.arange(6))
    close = F.mse_loss(attacked, x)
    # float32, in which the change is weighed, is as near as pictures come
    high = F.mse_loss(high_pass(attacked, method.radius), high_pass(x, method.radius))
    terms = method.step(batch())
    torch.testing.assert_close(terms["loss"], -5 * contrast + 3 * close - 2 * high, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(terms["contrast"], contrast)


def test_gradients_are_those_of_finite_differences() -> None:
    method = made(generator=False, closeness=0.0, high_frequency=0.0, clip=False)
    values = method.learnt.values
    slope = torch.autograd.grad(method.step(batch())["loss"], values)[0]
    direction = torch.randn(values.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            values.add_(direction, alpha=sign * 1e-6)
            losses.append(method.step(batch())["loss"])
            values.add_(direction, alpha=-sign * 1e-6)
    torch.testing.assert_close((losses[0] - losses[1]) / 2e-6, (slope * direction).sum(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("generator", [True, False])
def test_the_perturbation_stays_in_its_ball_and_is_the_same_for_all(generator: bool) -> None:
    method = made(generator=generator, eps=0.05)
    before = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    start = float(method.step(batch())["contrast"])
    trained(method, 30, 1e-2)
    assert float(method.step(batch())["contrast"]) > start
    assert method.learnt.values.abs().max() <= 0.05
    attack = method.product("attack")
    assert isinstance(attack, Attack)
    x = batch().x.float().clamp(0.1, 0.9)
    change = attack(Victim(method.encoder.float(), low=0.0, high=1.0), x).x - x
    torch.testing.assert_close(change, change[:1].expand_as(change))
    torch.testing.assert_close(change[0], method.learnt.values.float())
    assert all(torch.equal(value.to(before[name]), before[name]) for name, value in method.encoder.state_dict().items())


def test_a_patch_leaves_other_pixels_alone() -> None:
    method = made(kind="patch", eps=0.01)
    trained(method, 5, 1e-2)
    attack = method.product("attack")
    assert isinstance(attack, Attack)
    x = batch().x.float()
    moved = attack(Victim(method.encoder.float(), low=0.0, high=1.0), x).x
    mask = method.learnt.mask  # type: ignore[union-attr]
    assert int(mask[0].sum()) == 4, "3 % of 144 pixels, as a square: 2 x 2"
    assert torch.equal(moved[:, ~mask], x[:, ~mask])
    torch.testing.assert_close(moved[:, mask], method.learnt.values.float()[mask].expand(6, -1))


def test_at_64_pixels_the_patch_lies_where_the_papers_does() -> None:
    method = AdvEncoder(Small(), (3, 64, 64), kind="patch", generator=False)
    rows = method.learnt.mask[0].any(1).nonzero()[:, 0]  # type: ignore[union-attr]
    assert rows.tolist() == list(range(39, 50))


def test_closeness_alone_takes_the_change_back_and_high_frequencies_alone_fill_the_ball() -> None:
    method = made(generator=False, adversarial=0.0, high_frequency=0.0)
    trained(method, 200, 1e-3)
    assert method.learnt.values.abs().max() < 1e-3
    method = made(generator=False, adversarial=0.0, closeness=0.0, radius=3)
    trained(method, 300, 1e-3)
    spectrum = power(method.learnt.values.detach())
    outer = torch.hypot(*torch.meshgrid(*[torch.arange(12.0) - 6] * 2, indexing="ij")) >= 3
    assert spectrum[:, outer].sum() / spectrum.sum() > 0.9
    assert float(method.learnt.values.detach().abs().max()) == pytest.approx(10 / 255)


def test_a_generators_picture_hangs_on_its_weights_alone() -> None:
    with isolated("noise"):
        network = NoiseGenerator((1, 9, 14), candidates=3, latent=4, width=2)
    assert network().shape == (1, 9, 14)
    assert torch.equal(network.train()(), network.eval()())


@pytest.mark.parametrize(
    "settings",
    [{"kind": "patches"}, {"eps": "-1"}, {"adversarial": -1.0}, {"temperature": 0.0}, {"high_frequency": float("nan")}],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings)) if "kind" not in settings else "patch"):
        made(**settings)


def test_pictures_of_another_shape_are_refused() -> None:
    source = ArraySource(torch.randint(0, 256, (8, 3, 10, 10), dtype=torch.uint8).numpy())
    with pytest.raises(DataError, match=r"\(3, 12, 12\), and these have \(3, 10, 10\)"):
        made().accept(source, 4)
