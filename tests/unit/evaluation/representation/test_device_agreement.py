"""Devices of one moment: cosines by a plain loop, and clocks that are late."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from withstand.core.errors import ConfigError
from withstand.data.windows.source import WindowSource
from withstand.evaluation.representation.device_agreement import ALIGNED, GAP, MISALIGNED, DeviceAgreement
from withstand.models.windows.tpn import TPN, AnchorEncoder

generator = torch.Generator().manual_seed(0)
MOTION = torch.randn(20, 40, generator=generator).cumsum(1)
NAMES = ("hip", "wrist"), ("acc_x",)


def windows(late: int) -> WindowSource:
    """Twenty windows of two devices that move alike, the second `late` readings after the first."""
    first, second = MOTION[:, 8:32], MOTION[:, 8 - late : 32 - late]
    return WindowSource(torch.stack([first, second], 1)[:, :, None] + 10, *NAMES)


def encoder() -> AnchorEncoder:
    torch.manual_seed(0)
    return AnchorEncoder(TPN(1, (8, 8), (4, 3), 0.0))


def test_cosines_by_a_plain_loop() -> None:
    source, network = windows(0), encoder()
    found = DeviceAgreement((0,)).evaluate(network, source, control=network)
    x = source[torch.arange(20)].x
    codes = [network.trunk(x[:, place]).detach() for place in range(2)]
    aligned = float(cosine_similarity(codes[0], codes[1]).mean())
    assert found.numbers[ALIGNED] == pytest.approx(aligned, abs=1e-5)
    assert found.numbers[GAP] == pytest.approx(found.numbers[ALIGNED] - found.numbers[MISALIGNED], abs=1e-6)
    assert found.figures[GAP].control is not None
    assert found.figures[GAP].control.value == pytest.approx(found.numbers[GAP])


@pytest.mark.parametrize("late", [0, 5, -4])
def test_a_late_clock_is_seen(late: int) -> None:
    found = DeviceAgreement((0,)).evaluate(encoder(), windows(late))
    (row,) = found.tables["devices"].rows
    assert row[4] == late
    (check,) = found.checks
    assert check.passed is (late == 0)


def test_unrelated_motion_tells_of_no_lag() -> None:
    x = torch.randn(50, 2, 1, 30, generator=torch.Generator().manual_seed(1)) + 10
    (check,) = DeviceAgreement((0,)).evaluate(encoder(), WindowSource(x, *NAMES)).checks
    assert check.passed is None


def test_other_encoders_are_refused() -> None:
    with pytest.raises(ConfigError, match="reads no windows of several devices"):
        DeviceAgreement().evaluate(TPN.example(), windows(0))  # type: ignore[arg-type]
