"""SRGAN's losses in closed form and as the paper writes them; who gets gradients in whose turn; the stages."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Terms, network_of
from withstand.data.arrays.source import ArraySource
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.export import to_safetensors
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD, Adam
from withstand.engine.schedules import Stepped
from withstand.losses.restoration.adversarial import critic_loss, fooling_loss
from withstand.losses.restoration.content import feature_error, total_variation
from withstand.methods.restoration.srgan import SRGAN, SuperResolution
from withstand.models.pictures.normalized import Normalized
from withstand.models.restoration.critic import Critic
from withstand.models.restoration.layer_maps import ExportedMaps
from withstand.models.restoration.srresnet import SRResNet
from withstand.views.columns import AsIs


def test_a_critic_that_cannot_tell_costs_log_2_and_one_that_is_sure_still_pulls() -> None:
    level = torch.zeros(4, dtype=torch.float64)
    assert float(fooling_loss(level)) == pytest.approx(math.log(2))
    assert float(critic_loss(level, level)) == pytest.approx(2 * math.log(2))
    sure = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(fooling_loss(sure), sure)
    assert float(slope) == pytest.approx(-1, abs=1e-6)


def test_losses_are_binary_cross_entropy_on_logits() -> None:
    true, made = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ones, zeros = torch.ones_like(true), torch.zeros_like(true)
    expected = binary_cross_entropy_with_logits(true, ones) + binary_cross_entropy_with_logits(made, zeros)
    torch.testing.assert_close(critic_loss(true, made), expected)
    torch.testing.assert_close(fooling_loss(made), binary_cross_entropy_with_logits(made, ones))


def test_feature_error_is_the_papers_and_grows_with_the_square_of_the_scale() -> None:
    made, true = torch.randn(2, 3, 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_hand = sum(
        float((made[b, :, y, x] - true[b, :, y, x]).norm() ** 2) for b in range(3) for y in range(4) for x in range(6)
    ) / (3 * 4 * 6)
    assert float(feature_error(made, true)) == pytest.approx(by_hand)
    assert float(feature_error(made, true, 2.0)) == pytest.approx(4 * by_hand)
    assert float(feature_error(made, true, 1 / 12.75)) == pytest.approx(by_hand / 12.75**2)
    pixels = feature_error(made[:, :3], true[:, :3])
    torch.testing.assert_close(pixels, 3 * torch.nn.functional.mse_loss(made[:, :3], true[:, :3]))


def test_total_variation_of_a_slope() -> None:
    ramp = (3 * torch.arange(4.0)[:, None] + 4 * torch.arange(5.0)).expand(1, 1, 4, 5).double()
    assert float(total_variation(ramp)) == pytest.approx(5)
    flat = torch.ones(1, 1, 3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(total_variation(flat), flat)
    assert float(slope.abs().max()) == 0


def gan(**settings: object) -> SRGAN:
    torch.manual_seed(0)
    return SRGAN(SRResNet.example(), Critic.example(), **settings).double()  # type: ignore[arg-type]


def grads(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}


def test_the_step_is_the_papers_written_out() -> None:
    """LR in [0, 1], HR in [-1, 1], BCE on logits, 1e-3 for the adversarial term; the critic sees made ones detached."""
    method = gan(adversarial=1e-3)
    batch = method.example_batch()
    found = method.step(batch)
    high = batch.views[0].double() / 255
    low = interpolate(high, (4, 4), mode="bicubic", antialias=True).clamp(0, 1).mul(255).round() / 255
    made = method.encoder.enlarge(low)
    true_logits, made_logits = method.critic(2 * high - 1), method.critic(made)
    ones = torch.ones(8, dtype=torch.float64)
    content = (made - (2 * high - 1)).square().mean()
    adversarial = binary_cross_entropy_with_logits(made_logits, ones)
    critic = binary_cross_entropy_with_logits(true_logits, ones) + binary_cross_entropy_with_logits(
        made_logits, 0 * ones
    )
    torch.testing.assert_close(found["content"], content.detach())
    torch.testing.assert_close(found["fooling"], adversarial.detach())
    torch.testing.assert_close(found["critic"], critic.detach())
    torch.testing.assert_close(found["loss"], content + 1e-3 * adversarial + critic)
    error = ((made + 1) / 2 - high).square().mean()
    torch.testing.assert_close(found["psnr"], -10 * error.log10().detach())


class Turns:
    """A trainer that keeps each turn's gradients, and moves the critic far away in its turn."""

    def __init__(self, method: SRGAN) -> None:
        self.method, self.kept, self.calls = method, {}, 0  # type: ignore[var-annotated]
        enlarge = method.encoder.enlarge

        def counted(x: Tensor) -> Tensor:
            self.calls += 1
            return enlarge(x)

        method.encoder.enlarge = counted  # type: ignore[method-assign]

    def terms(self, batch: Batch, objective=None) -> Terms:  # type: ignore[no-untyped-def]
        return (objective or self.method)(batch)  # type: ignore[no-any-return]

    def descend(self, loss: Tensor, group: str = "main", *, retain: bool = False) -> None:
        loss.backward()
        self.kept[group] = {"encoder": grads(self.method.encoder), "critic": grads(self.method.critic)}
        self.method.zero_grad(set_to_none=True)


def test_each_turn_moves_one_of_both_and_pictures_are_made_once() -> None:
    method = gan()
    trainer = Turns(method)
    terms = method.update(method.example_batch(), trainer)
    assert trainer.calls == 1
    assert not trainer.kept["critic"]["encoder"], "the critic's turn leaves the generator alone"
    assert len(trainer.kept["critic"]["critic"]) == len(list(method.critic.parameters()))
    assert not trainer.kept["generator"]["critic"], "and the generator's turn the critic"
    assert len(trainer.kept["generator"]["encoder"]) == len(list(method.encoder.parameters()))
    assert not any(value.requires_grad for value in terms.values())
    assert all(value.requires_grad for value in method.critic.parameters())


def test_without_a_critics_word_the_second_stage_is_the_first_continued() -> None:
    method = gan(adversarial=0.0)
    plain = SuperResolution(method.encoder)
    plain.step(method.example_batch())["loss"].backward()
    wanted = {name: value.clone() for name, value in grads(method.encoder).items()}
    method.zero_grad()
    trainer = Turns(method)
    method.update(method.example_batch(), trainer)
    for name, value in trainer.kept["generator"]["encoder"].items():
        torch.testing.assert_close(value, wanted[name])


def test_features_of_an_exported_encoder_are_the_content(tmp_path: Path) -> None:
    path = str(to_safetensors(Normalized.example().eval(), tmp_path / "encoder.safetensors"))
    method = gan(features=ExportedMaps(path, factor=0.5), adversarial=0.0)
    batch = method.example_batch()
    found = method.step(batch)
    true, made = method.made(batch)
    maps = method.features
    assert maps is not None
    expected = (0.5 * maps((made + 1) / 2) - 0.5 * maps((true + 1) / 2)).square().sum(1).mean()
    torch.testing.assert_close(found["content"], expected.detach())
    assert all("features" not in name for name in method.state_dict())
    found["loss"].backward()
    assert len(grads(method.encoder)) == len(list(method.encoder.parameters()))


def test_a_critic_that_has_won_is_named_once() -> None:
    method = gan()
    assert method.diverged() == ""
    terms = {"believed true": torch.tensor(1.0), "believed made": torch.tensor(0.0)}
    method.believed.copy_(torch.tensor([1.0, 0.0]))
    with pytest.warns(UserWarning, match="the critic has won: it gives true pictures a probability of 1"):
        method.watch(terms, 49)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method.watch(terms, 99)
    assert "the critic has won" in method.diverged()
    for _ in range(30):
        method.watch({"believed true": torch.tensor(0.9), "believed made": torch.tensor(0.1)}, 0)
    assert method.diverged() == ""


def stages(average: float = 0.0) -> Experiment:
    source = ArraySource(ToyPictures(24, size=8)[range(24)].x)
    plan = Plan(epochs=1, batch=8, optimizer=Adam(1e-2), precision="float32", layout="contiguous", log_every=1)
    encoder, other = (SRResNet(2, width=4, blocks=1, norm="none") for _ in range(2))
    first = Experiment("srresnet", source, AsIs(), SuperResolution(encoder, average=average), plan)
    method = SRGAN(other, Critic.example(), average=average)
    two = {"generator": Adam(1e-12), "critic": SGD(1e-12)}  # that does not move
    return replace(first, name="srgan", method=method, plan=replace(plan, optimizer=two), first=first)


def test_the_critics_stage_starts_from_the_first_ones_generator(tmp_path: Path) -> None:
    made = stages(average=0.5)
    folder = train(made, tmp_path / "run", quiet=True)
    method, first = made.method, made.first.method  # type: ignore[union-attr]
    assert isinstance(method, SRGAN)
    assert isinstance(first, SuperResolution)
    checkpoint.load(folder.checkpoints, method)
    checkpoint.load(folder.first.checkpoints, first)
    wanted = first.generator().state_dict()
    assert not torch.equal(wanted["last.weight"], first.encoder.last.weight), "the average is what is built on"
    for network in (method.start, method.encoder, method.generator()):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, wanted[name], msg=name)
    assert list(method.upscalers()) == ["MSE", "GAN"]
    assert network_of(method.eval(), "generator")(torch.rand(1, 3, 5, 4)).shape == (1, 3, 10, 8)


def test_a_game_that_stopped_in_mid_epoch_goes_on_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both optimizers' moments, the average and what the critic believes are of the state."""

    def made() -> Experiment:
        whole = stages(average=0.5)
        two = {"generator": Adam(1e-3), "critic": Adam(1e-3)}
        return replace(whole, first=None, plan=replace(whole.plan, optimizer=two, save_every=0.0))

    straight, broken = made(), made()
    at = train(straight, tmp_path / "straight", quiet=True)
    follow = SRGAN.after_step

    def fail(self: SRGAN, step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt
        follow(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(SRGAN, "after_step", fail)
        with pytest.raises(KeyboardInterrupt):
            train(broken, tmp_path / "broken", quiet=True)
    again = train(broken, tmp_path / "broken", quiet=True)
    done, resumed = (checkpoint.load(run.checkpoints, one.method) for run, one in ((at, straight), (again, broken)))
    assert done is not None
    assert resumed is not None
    assert done.step == resumed.step == 3
    for name, value in straight.method.state_dict().items():
        assert torch.equal(broken.method.state_dict()[name], value), name


def test_what_does_not_fit_is_refused() -> None:
    method = gan()
    with pytest.raises(DataError, match="scale 2 does not divide pictures of 7 x 8"):
        method.accept(ArraySource(torch.zeros(2, 3, 7, 8, dtype=torch.uint8)), 2)
    with pytest.raises(DataError, match="3 channels, not samples of shape"):
        method.accept(ArraySource(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), 2)
    with pytest.raises(ConfigError, match="adversarial must be at least 0, not -1"):
        gan(adversarial=-1.0)
    with pytest.raises(ConfigError, match="average must be at least 0 and below 1, not 1"):
        SuperResolution(SRResNet.example(), average=1.0)
    with pytest.raises(ConfigError, match="the earlier stage's SRResNet does not fit"):
        method.inherit(SuperResolution(SRResNet(2, width=2, blocks=1)))


def test_the_rate_falls_at_the_half() -> None:
    schedule = Stepped((0.5, 0.75), 0.1)
    assert [round(schedule.factor(step, 4, 2), 9) for step in range(8)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    with pytest.raises(ConfigError, match="rising shares between 0 and 1"):
        Stepped((0.7, 0.5))
