"""TecoGAN's parts in closed form, who gets gradients of what, and what it refuses."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Terms
from withstand.data.clips.stretches import Stretches
from withstand.data.clips.whole import Clips
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD, Adam
from withstand.losses.restoration.clips import cosine_error, matching_loss, ping_pong, ping_pong_loss
from withstand.methods.restoration.tecogan import FRVSR, TecoGAN
from withstand.models.restoration.clip_critic import ClipCritic, Triplets, by_channel, centered, grouped
from withstand.models.restoration.frame_recurrent import FrameRecurrent
from withstand.models.restoration.warp import warp
from withstand.views.clips import ClipView


def gan(**settings: object) -> TecoGAN:
    torch.manual_seed(0)
    return TecoGAN(FrameRecurrent.example(), ClipCritic.example(), **settings).double()  # type: ignore[arg-type]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_clip_runs_forward_and_back_round_its_last_frame() -> None:
    clip = torch.arange(4).view(1, 4, 1)
    there = ping_pong(clip)
    assert there.flatten().tolist() == [0, 1, 2, 3, 2, 1, 0]
    assert torch.equal(there, there.flip(1))


def test_what_makes_each_frame_alone_pays_nothing_and_what_drifts_pays_its_drift() -> None:
    frames = ping_pong(noise(2, 3, 3, 4, 4))
    assert float(ping_pong_loss(frames)) == 0
    drift = torch.arange(5.0, dtype=torch.float64).view(1, 5, 1, 1, 1)
    # Frames 0 and 4 differ by 4, frames 1 and 3 by 2; the middle one has no partner.
    assert float(ping_pong_loss(frames + drift)) == pytest.approx(3)
    with pytest.raises(DataError, match=r"3, 5, 7 or more frames, not 4"):
        ping_pong_loss(frames[:, :4])


def test_both_passes_are_moved_by_their_difference() -> None:
    frames = (ping_pong(noise(1, 3, 1, 2, 2)) + torch.arange(5).view(1, 5, 1, 1, 1)).requires_grad_()
    ping_pong_loss(frames).backward()
    signs = frames.grad.sign()[0, :, 0, 0, 0].tolist()  # type: ignore[union-attr]
    assert signs == [-1, -1, 0, 1, 1]


def test_a_recurrent_network_with_new_weights_pays_and_a_still_clip_of_one_frame_has_nothing_before() -> None:
    torch.manual_seed(0)
    network = FrameRecurrent.example().double()
    low = ping_pong(noise(1, 3, 3, 8, 8))
    assert float(ping_pong_loss(network.enlarge(low, network.flows(low)))) > 0
    alone = network.enlarge(low[:, :1], network.flows(low[:, :1]))[:, 0]
    torch.testing.assert_close(alone, network.drawn(low[:, 0], network.maps(low[:, 0], None)))


def test_matching_and_cosine_by_hand() -> None:
    one, other = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)
    assert float(matching_loss(one, other, 12)) == pytest.approx(float((one - other).abs().sum()) / (2 * 4 * 5) / 12)
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=1).mean()
    assert float(cosine_error(one, other)) == pytest.approx(1 - float(cosine))
    assert float(cosine_error(one, 3 * one)) == pytest.approx(0, abs=1e-12)


def test_the_steps_terms_are_the_papers_written_out() -> None:
    method = gan()
    batch = method.example_batch()
    found, made = method.step(batch), method.made(batch)
    assert made.frames.shape == (8, 5, 3, 32, 32)
    error = (made.frames - made.true).square()
    torch.testing.assert_close(found["content"], error.sum(2).mean())
    moved = torch.stack([warp(made.low[:, k], made.flows[:, k]) for k in range(4)], 1)
    torch.testing.assert_close(found["flow"], (moved - made.low[:, 1:]).square().sum(2).mean())
    torch.testing.assert_close(found["ping-pong"], ping_pong_loss(made.frames))
    read = method.triplets(made)
    (true, wanted), (fooled, maps) = (method.critic(read.read(frames)) for frames in (made.true, made.frames))
    judged = -(true.sigmoid().log().mean() + (1 - fooled.sigmoid()).log().mean())
    torch.testing.assert_close(found["critic"], judged)
    adversarial = -fooled.sigmoid().log().mean()
    layers = sum(
        0.02 * (one - other).abs().sum(1).mean() / size
        for one, other, size in zip(maps, wanted, (12, 14, 24, 100), strict=True)
    )
    total = found["content"] + found["flow"] + 0.5 * found["ping-pong"] + 0.01 * adversarial + layers
    torch.testing.assert_close(found["loss"], total + judged)
    torch.testing.assert_close(found["lead"], true.sigmoid().log().mean() - fooled.sigmoid().log().mean())


def test_frames_of_triplets_meet_on_the_second_by_known_flows() -> None:
    """A picture that moves by (2, 1) a frame: moved onto the second, all three are alike in the interior."""
    world = noise(1, 3, 60, 60)
    clip = torch.stack([world[..., 8 + 2 * k : 40 + 2 * k, 10 + k : 42 + k] for k in range(7)], 1)
    # Frame k at (y, x) is the world at (8 + 2 k + y, 10 + k + x): one frame earlier it was 2 down and 1 right.
    to_second = torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 1, 2, 1, 1).expand(1, 2, 2, 8, 8) / 4
    read = Triplets.of(noise(1, 7, 3, 8, 8), to_second, -to_second).read(clip)
    assert read.shape == (2, 27, 32, 32)
    for k, second in enumerate((1, 4)):
        torch.testing.assert_close(read[k, 0:3], clip[0, second - 1 : second + 2, 0], msg="three reds first")
        for color in range(3):
            moved = read[k, 9 + 3 * color : 12 + 3 * color, 6:-6, 6:-6]
            torch.testing.assert_close(moved, clip[0, second, color, 6:-6, 6:-6].expand(3, -1, -1))
    assert float(read[:, 9:18, :4].abs().max()) == 0, "an eighth of each side is dark"
    assert float(read[:, 9:18, 4, 4:-4].abs().min()) > 0


def test_the_flow_of_the_way_back_is_that_of_the_mirrored_pair() -> None:
    method = gan()
    clips = method.example_batch().views[0]
    batch = Batch(clips, torch.arange(8), views=(torch.cat([clips, clips.flip(3)], 1),))  # six frames, eleven in all
    made = method.made(batch)
    read = method.triplets(made)
    seconds = (1, 4, 7)
    for place, second in enumerate(seconds):
        for flow, other in ((read.before, second - 1), (read.after, second + 1)):
            wanted = method.encoder.flow(made.low[:, other], made.low[:, second])
            torch.testing.assert_close(flow.view(8, 3, 2, 32, 32)[:, place, :, ::4, ::4], 4 * wanted)
    plain = gan(forward_and_back=False)
    forward = replace(made, low=made.low[:, :6], flows=made.flows[:, :5])
    torch.testing.assert_close(plain.triplets(forward).after[:16:2], read.after.view(8, 3, 2, 32, 32)[:, 0])


def test_groups_of_channels_and_their_dark_border() -> None:
    clips = torch.arange(2 * 7 * 2.0).view(2, 7, 2, 1, 1)
    three = grouped(clips)
    assert three.shape == (4, 3, 2, 1, 1)
    assert by_channel(three)[1].flatten().tolist() == [6, 8, 10, 7, 9, 11]
    seen = centered(torch.ones(1, 1, 10, 8))
    assert int(seen.sum()) == 7 * 6
    assert seen[0, 0, 0].sum() == 0
    assert float(seen[0, 0, 1, 1]) == 1


def grads(network: torch.nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if value.grad is not None and bool(value.grad.any())}


class Turns:
    """A trainer that keeps whose gradients each turn makes."""

    def __init__(self, method: TecoGAN) -> None:
        self.method = method
        self.moved: dict[str, dict[str, set[str]]] = {}

    def terms(self, batch: Batch, objective=None) -> Terms:  # type: ignore[no-untyped-def]
        return (objective or self.method)(batch)  # type: ignore[no-any-return]

    def descend(self, loss: Tensor, group: str = "main", *, retain: bool = False) -> None:
        loss.backward()
        self.moved[group] = {"encoder": grads(self.method.encoder), "critic": grads(self.method.critic)}
        self.method.zero_grad(set_to_none=True)


def test_each_turn_moves_one_of_both() -> None:
    method, trainer = gan(), Turns(gan())
    trainer.method = method
    method.update(method.example_batch(), trainer)
    assert not trainer.moved["critic"]["encoder"]
    assert len(trainer.moved["critic"]["critic"]) == len(list(method.critic.parameters()))
    assert not trainer.moved["generator"]["critic"]
    assert len(trainer.moved["generator"]["encoder"]) == len(list(method.encoder.parameters()))


def test_a_critic_far_ahead_sits_out() -> None:
    method = gan()
    trainer = Turns(method)
    method.leading.fill_(0.41)
    terms = method.update(method.example_batch(), trainer)
    assert set(trainer.moved) == {"generator"}
    assert float(method.leading) == pytest.approx(0.99 * 0.41 + 0.01 * float(terms["lead"]))
    method.leading.fill_(0.39)
    method.update(method.example_batch(), trainer)
    assert set(trainer.moved) == {"generator", "critic"}


def test_moved_frames_teach_the_flow_network_alone_and_the_critics_flows_teach_none() -> None:
    method = gan()
    made = method.made(method.example_batch())
    made.motion().backward()
    assert all(name.startswith("flow.") for name in grads(method.encoder))
    assert len(grads(method.encoder)) == len(list(method.encoder.flow.parameters()))
    method.zero_grad()
    made = method.made(method.example_batch())
    method.critic(method.triplets(made).read(made.true))[0].mean().backward()
    assert not grads(method.encoder)


def test_without_weights_the_second_stage_is_the_first_continued() -> None:
    method = gan(ping_pong_weight=0.0, adversarial=0.0, matching=0.0, forward_and_back=False)
    plain = FRVSR(method.encoder)
    batch = method.example_batch()
    torch.testing.assert_close(method.fooled(method.made(batch))["loss"], plain.step(batch)["loss"])


def stages() -> Experiment:
    source = Stretches(Clips.example(), 3, 40, stride=40)
    plan = Plan(epochs=1, batch=4, optimizer=Adam(1e-2), precision="float32", layout="contiguous", log_every=1)
    first = Experiment("frvsr", source, ClipView(), FRVSR(FrameRecurrent.example()), plan)
    two = {"generator": Adam(1e-12), "critic": SGD(1e-12)}  # that does not move
    second = TecoGAN(FrameRecurrent.example(), ClipCritic.example())
    return replace(first, name="tecogan", method=second, plan=replace(plan, optimizer=two), first=first)


def test_the_critics_stage_starts_from_the_first_ones_network(tmp_path: Path) -> None:
    made = stages()
    folder = train(made, tmp_path / "run", quiet=True)
    method, first = made.method, made.first.method  # type: ignore[union-attr]
    assert isinstance(method, TecoGAN)
    checkpoint.load(folder.checkpoints, method)
    checkpoint.load(folder.first.checkpoints, first)
    for name, value in first.encoder.state_dict().items():
        torch.testing.assert_close(method.start.state_dict()[name], value, msg=name)
        torch.testing.assert_close(method.encoder.state_dict()[name], value, msg=name)
    assert list(method.upscalers()) == ["FRVSR", "TecoGAN"]


@pytest.mark.thorough
def test_a_game_that_stopped_in_mid_epoch_goes_on_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both optimizers' moments, the lead and what the critic believes are of the state."""

    def made() -> Experiment:
        torch.manual_seed(0)
        whole = stages()
        two = {"generator": Adam(1e-3), "critic": Adam(1e-3)}
        return replace(whole, first=None, plan=replace(whole.plan, optimizer=two, save_every=0.0))

    straight, broken = made(), made()
    at = train(straight, tmp_path / "straight", quiet=True)
    last = len(straight.source) // 4
    assert last > 3
    follow = TecoGAN.after_step

    def fail(self: TecoGAN, step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt
        follow(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(TecoGAN, "after_step", fail)
        with pytest.raises(KeyboardInterrupt):
            train(broken, tmp_path / "broken", quiet=True)
    again = train(broken, tmp_path / "broken", quiet=True)
    done, resumed = (checkpoint.load(run.checkpoints, one.method) for run, one in ((at, straight), (again, broken)))
    assert done is not None
    assert resumed is not None
    assert done.step == resumed.step == last
    assert float(straight.method.leading) != 0
    for name, value in straight.method.state_dict().items():
        assert torch.equal(broken.method.state_dict()[name], value), name


def test_a_critic_that_cannot_tell_leads_by_nothing() -> None:
    method = gan()
    for value in method.critic.judge.parameters():
        torch.nn.init.zeros_(value)
    terms = method.judged(method.made(method.example_batch()))
    assert float(terms["lead"]) == pytest.approx(0)
    assert float(terms["critic"]) == pytest.approx(2 * math.log(2))


def test_what_does_not_fit_is_refused() -> None:
    method = gan()
    with pytest.raises(DataError, match="3 channels, not samples of shape"):
        method.accept(Clips(torch.zeros(2, 4, 1, 44, 44, dtype=torch.uint8)), 2)
    with pytest.raises(DataError, match="3 frames of 40 x 40 at least to be learnt from, not 2 of 44 x 44"):
        method.accept(Clips(torch.zeros(2, 2, 3, 44, 44, dtype=torch.uint8)), 2)
    with pytest.raises(ConfigError, match="adversarial must be at least 0, not -1"):
        gan(adversarial=-1.0)
    with pytest.raises(ConfigError, match="the earlier stage's FrameRecurrent does not fit"):
        method.inherit(FRVSR(FrameRecurrent(width=2, blocks=1, flow_width=2)))
