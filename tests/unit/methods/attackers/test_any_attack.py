"""AnyAttack: its temperature, its carriers, its losses, and a decoder of any size."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, isolated
from withstand.core.roles import Model
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.encoders.target_retrieval import LEARNT, RETRIEVED, TargetRetrieval
from withstand.methods.attackers.any_attack import AnyAttack, carried
from withstand.models.pictures.noise_decoder import LinearAttention, NoiseDecoder


class Coarse(Model):
    """Means of a picture's quarters."""

    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (F.adaptive_avg_pool2d(x, 2).flatten(1) - 0.5) * self.scale


def made(**settings: object) -> AnyAttack:
    with isolated("any attack"):
        decoder = NoiseDecoder(12, (3, 8, 8), width=2)
        return AnyAttack(Coarse(), (3, 8, 8), network=decoder, **settings).double()  # type: ignore[arg-type]


def batch(count: int = 6, step: int = 0) -> Batch:
    x = torch.rand(count, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(count), step=step)


def test_the_temperature_falls_evenly_in_its_logarithm_and_stays() -> None:
    method = made(falling=100)
    assert [method.temperature(step) for step in (0, 100, 500)] == pytest.approx([1.0, 0.07, 0.07])
    assert method.temperature(50) == pytest.approx(math.sqrt(0.07))
    method = made()
    method.before_run(200)
    assert method.temperature(100) == pytest.approx(0.07)
    assert method.temperature(50) == pytest.approx(math.sqrt(0.07))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_every_picture_carries_one_change_and_never_its_own(count: int) -> None:
    rows = torch.arange(count)
    seen = set()
    for seed in range(30):
        other = carried(rows, count, Draws(seed, torch.zeros(1, dtype=torch.int64)))
        assert other.sort().values.equal(rows)
        assert bool((other != rows).all())
        halves = [carried(part, count, Draws(seed, torch.zeros(1, dtype=torch.int64))) for part in rows.chunk(2)]
        assert torch.cat(halves).equal(other), "processes agree"
        seen.add(tuple(other.tolist()))
    assert len(seen) >= min(2, math.factorial(count - 1))


@pytest.mark.parametrize("wanted", ["one-way", "both-ways", "cosine"])
def test_the_loss_is_the_papers(wanted: str) -> None:
    method = made(wanted=wanted, carriers=2, falling=10).eval()
    given = batch(step=4)
    x = given.x
    target = method.encoder(x)
    noise = method.decoder(target).clamp(-16 / 255, 16 / 255)
    rows = torch.arange(6)
    carriers = [x[carried(rows, 6, given.draws_for_all("carriers", k))] for k in range(2)]
    moved = torch.stack([method.encoder((one + noise).clamp(0, 1)) for one in carriers]).mean(0)
    one, two = F.normalize(target, dim=1), F.normalize(moved, dim=1)
    logits = one @ two.T / 0.07**0.4
    forth, back = F.cross_entropy(logits, rows), F.cross_entropy(logits.T, rows)
    expected = {"one-way": forth, "both-ways": (forth + back) / 2, "cosine": -(one * two).sum(1).mean()}[wanted]
    torch.testing.assert_close(method.step(given)["loss"].double(), expected, rtol=1e-6, atol=1e-7)


def test_the_change_hangs_on_the_target_alone_and_stays_in_its_ball() -> None:
    method = made().float().eval()
    attack = method.product("attack")
    assert isinstance(attack, InputAttack)
    x = batch().x.float()
    target = method.encoder(x[:1]).detach().expand(6, -1)
    middle = x.clamp(0.2, 0.8)
    change = attack(Victim(method.encoder), middle, target).x - middle
    torch.testing.assert_close(change, change[:1].expand_as(change))
    assert change.abs().max() <= 16 / 255 + 1e-6
    assert torch.equal(attack.at(0.0)(Victim(method.encoder), x, target).x, x)


def test_a_trained_decoder_finds_targets_and_the_judge_sees_it() -> None:
    method = made(eps=0.3, carriers=2, falling=60)
    judge = TargetRetrieval(samples=40, gallery=20, steps=3, eps=(1.0,), shown=2)
    x = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    source = ArraySource((x * 255).round().to(torch.uint8).numpy())
    name = f"{RETRIEVED}, {LEARNT}"
    before = judge.evaluate(method.float().eval(), source).figures[name].value
    optimizer = torch.optim.Adam(method.decoder.parameters(), 3e-3)
    method.train()
    for step in range(80):
        optimizer.zero_grad()
        method.step(Batch(x, torch.arange(60), step=step))["loss"].backward()
        optimizer.step()
    found = judge.evaluate(method.eval(), source)
    assert found.figures[name].value > before + 0.3
    assert found.figures[f"{RETRIEVED}, clean"].value < 0.3


def test_attention_is_the_explicit_sums() -> None:
    with isolated("attention"):
        layer = LinearAttention(4, 4, 2).double()
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = [each(x).flatten(2) for each in (layer.keys, layer.queries, layer.values)]
    out = torch.zeros(2, 4, 6, dtype=torch.float64)
    for head in range(2):
        keys, queries, values = (each[:, 2 * head : 2 * head + 2] for each in flat)
        for place in range(6):
            asked = queries[:, :, place].softmax(1)
            for key in range(2):
                context = (keys[:, key].softmax(1)[:, None] * values).sum(2)
                out[:, 2 * head : 2 * head + 2, place] += asked[:, key : key + 1] * context
    torch.testing.assert_close(layer(x), layer.out(out.view(2, 4, 3, 2)) + x)
    with pytest.raises(ConfigError, match="heads"):
        LinearAttention(8, 2, 4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 17, 50), (1, 3, 3), (3, 224, 224)])
def test_a_decoder_makes_pictures_of_any_size(shape: tuple[int, ...]) -> None:
    decoder = NoiseDecoder(5, shape, width=1 if shape[-1] < 200 else 2).eval()
    with torch.no_grad():
        assert decoder(torch.randn(2, 5)).shape == (2, *shape)
    if shape[-1] == 224:
        assert decoder.small == (14, 14)


@pytest.mark.parametrize("settings", [{"carriers": 0}, {"falling": 0}, {"wanted": "bi"}, {"eps": "x"}])
def test_bad_settings_are_refused_by_name(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        made(**settings)
