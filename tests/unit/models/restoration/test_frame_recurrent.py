"""Flows, alignment and recurrence in closed form; clips of any size and length."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.models.restoration.clip_critic import ClipCritic
from withstand.models.restoration.frame_recurrent import (
    ClipUpscaler,
    FlowNetwork,
    FrameRecurrent,
    blurred_clip,
    enlarged_flow,
    without_margin,
)
from withstand.models.restoration.resampling import blurred, spread
from withstand.models.restoration.warp import depth_to_space, space_to_depth, warp


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def flow(u: float, v: float, *size: int) -> Tensor:
    return torch.tensor([u, v], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, *size)


def test_no_flow_changes_nothing_and_whole_pixels_shift() -> None:
    x = noise(1, 2, 7, 9)
    torch.testing.assert_close(warp(x, flow(0, 0, 7, 9)), x)
    moved = warp(x, flow(2, -1, 7, 9))  # out[y, x] = in[y - 1, x + 2]
    torch.testing.assert_close(moved[..., 1:, :-2], x[..., :-1, 2:])
    torch.testing.assert_close(moved[..., 0, :-2], x[..., 0, 2:], msg="beyond the border the nearest pixel is taken")
    half = warp(x, flow(0.5, 0, 7, 9))
    torch.testing.assert_close(half[..., :-1], (x[..., :-1] + x[..., 1:]) / 2)


def test_a_flow_of_small_frames_is_four_times_as_long_in_large_ones() -> None:
    large = enlarged_flow(flow(0.5, -0.25, 6, 5))
    assert large.shape == (1, 2, 24, 20)
    torch.testing.assert_close(large, flow(2, -1, 24, 20))


def test_pixels_into_channels_and_back() -> None:
    x = noise(2, 3, 8, 12)
    deep = space_to_depth(x, 4)
    assert deep.shape == (2, 48, 2, 3)
    for down, across, color in ((0, 0, 0), (1, 2, 1), (3, 3, 2)):
        torch.testing.assert_close(deep[:, (4 * down + across) * 3 + color], x[:, color, down::4, across::4])
    torch.testing.assert_close(depth_to_space(deep, 4), x)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_every_fourth_pixel_is_the_small_ones(mode: str) -> None:
    x = noise(1, 2, 5, 6)
    large = spread(x, 4, mode)  # type: ignore[arg-type]
    torch.testing.assert_close(large[..., ::4, ::4], x)
    if mode == "bilinear":
        last = large[..., -4:-3, :].expand(-1, -1, 3, -1)
        torch.testing.assert_close(large[..., -3:, :], last, msg="the last row goes on")
    torch.testing.assert_close(spread(torch.full_like(x, 0.3), 4, mode), torch.full((1, 2, 20, 24), 0.3).double())  # type: ignore[arg-type]


def test_a_slope_is_enlarged_to_a_slope() -> None:
    ramp = torch.arange(8.0, dtype=torch.float64).expand(1, 1, 8, 8)
    torch.testing.assert_close(spread(ramp, 4, "bilinear")[0, 0, 0, :29], torch.arange(29.0).double() / 4)
    # Half-way between 1 and 2 the kernel with a = -0.75 weighs -3/32, 19/32, 19/32, -3/32.
    step = torch.tensor([0.0, 0, 1, 0, 0, 0, 0, 0]).double().expand(1, 1, 8, 8)
    assert float(spread(step, 4, "bicubic")[0, 0, 0, 10]) == pytest.approx(19 / 32)
    assert float(spread(step, 4, "bicubic")[0, 0, 0, 14]) == pytest.approx(-3 / 32)


def test_the_blur_is_a_gaussian_whose_grid_lies_on_the_large_pixels() -> None:
    flat = torch.full((1, 1, 41, 45), 0.4, dtype=torch.float64)
    torch.testing.assert_close(blurred(flat), torch.full((1, 1, 9, 10), 0.4).double())
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 4 + 4 * 3, 4 + 4 * 5] = 1
    small = blurred(point)[0, 0]
    taps = torch.exp(-(torch.arange(-4.0, 5) ** 2) / (2 * 1.5**2)).double()
    taps = taps / taps.sum()
    assert float(small[3, 5]) == pytest.approx(float(taps[4] ** 2), rel=1e-6)
    assert float(small[2, 5]) == pytest.approx(float(taps[4] * taps[0]), rel=1e-6)
    clip = noise(1, 2, 3, 43, 40)
    assert blurred_clip(clip).shape == (1, 2, 3, 8, 8)
    torch.testing.assert_close(without_margin(clip), clip[..., 4:36, 4:36])
    torch.testing.assert_close(blurred_clip(clip)[:, 0], blurred(clip[:, 0, :, :40]))
    with pytest.raises(DataError, match="40 x 40 at least"):
        blurred_clip(clip[..., :39, :])


def test_flows_reach_as_far_as_they_are_told_and_frames_of_any_size_are_read() -> None:
    torch.manual_seed(0)
    network = FlowNetwork(width=2, farthest=3.0)
    for size in ((8, 8), (9, 15), (13, 8)):
        assert network(torch.rand(2, 3, *size), torch.rand(2, 3, *size)).shape == (2, 2, *size)
    torch.nn.init.constant_(network.last[2].bias, 9.0)
    assert float((network(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)) - 3).abs().max()) < 1e-2
    with pytest.raises(DataError, match="8 x 8 pixels at least, not 7 x 20"):
        network(torch.rand(1, 3, 7, 20), torch.rand(1, 3, 7, 20))


def test_frames_that_8_divides_do_not_change_with_the_padding() -> None:
    torch.manual_seed(0)
    network = FlowNetwork(width=2).double()
    before, now = noise(1, 3, 16, 16), noise(1, 3, 16, 16).flip(2)
    wide = [torch.nn.functional.pad(x, (0, 1, 0, 0), mode="reflect") for x in (before, now)]
    assert network(*wide).shape == (1, 2, 16, 17)


def test_a_stream_is_the_whole_clip_frame_by_frame_and_any_two_frames_decide_the_next() -> None:
    torch.manual_seed(0)
    network = FrameRecurrent.example().double()
    clip = noise(1, 5, 3, 9, 12)
    large = network.enlarge(clip, network.flows(clip))
    assert large.shape == (1, 5, 3, 36, 48)
    for frame, streamed in zip(large.unbind(1), network.stream(clip.unbind(1)), strict=True):
        torch.testing.assert_close(frame, streamed)
    moved = network.moved(large[:, 2], network.flow(clip[:, 2], clip[:, 3]))
    torch.testing.assert_close(large[:, 3], network.drawn(clip[:, 3], network.maps(clip[:, 3], moved)))
    made = ClipUpscaler(network)(clip)
    torch.testing.assert_close(made, ((large + 1) / 2).clamp(0, 1))


def test_before_a_first_frame_there_was_a_black_one_and_pixels_become_channels() -> None:
    torch.manual_seed(0)
    network = FrameRecurrent.example().double()
    frame, before = noise(1, 3, 8, 8), noise(1, 3, 32, 32)
    black = torch.full_like(before, -1)
    torch.testing.assert_close(network.maps(frame, black), network.maps(frame, None))
    seen: list[Tensor] = []
    network.first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network.maps(frame, 2 * before - 1)
    torch.testing.assert_close(seen[0][:, :3], frame)
    torch.testing.assert_close(seen[0][:, 3:], space_to_depth(before, 4), msg="in [0, 1], as the small frame is")


def test_a_network_of_zeros_is_bicubic_enlargement() -> None:
    network = FrameRecurrent.example().double()
    for value in network.parameters():
        torch.nn.init.zeros_(value)
    clip = noise(2, 3, 3, 8, 8)
    wanted = 2 * spread(clip.flatten(0, 1), 4, "bicubic").view(2, 3, 3, 32, 32) - 1
    torch.testing.assert_close(network.enlarge(clip, network.flows(clip)), wanted)


def test_a_long_clip_is_held_two_frames_at_a_time() -> None:
    network, held = FrameRecurrent.example(), []

    def frames():  # type: ignore[no-untyped-def]
        for place in range(6):
            held.append(place)
            yield torch.rand(1, 3, 8, 8)

    for place, _ in enumerate(network.stream(frames())):
        assert held[-1] == place, "no frame is asked for before the one before is given"


def test_the_critic_judges_places_by_the_batch_in_eval_mode_too() -> None:
    torch.manual_seed(0)
    critic = ClipCritic(width=2)
    x = torch.rand(2, 27, 32, 48)
    logits, maps = critic(x)
    assert logits.shape == (2, 1, 2, 3)
    assert [tuple(one.shape[1:]) for one in maps] == [(2, 16, 24), (2, 8, 12), (4, 4, 6), (8, 2, 3)]
    torch.testing.assert_close(critic.eval()(x)[0], logits)
    assert not any("norm" in name for name in critic.state_dict()), "neither scale nor running statistics"


@pytest.mark.parametrize("made", [FrameRecurrent, FlowNetwork, ClipCritic])
def test_counts_below_1_are_refused(made: type) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        made(width=0)
