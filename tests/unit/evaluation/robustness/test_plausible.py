"""A clean accuracy that comes of the wrong range, labels or weights is caught, and the remedy named."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from victims import digits
from withstand.core.findings.finding import Check
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.certificates.certificate import Certificate
from withstand.evaluation.robustness.certificates.smoothed import SmoothedCertificate
from withstand.evaluation.robustness.classifiers.plausible import NAME, plausible, skilled
from withstand.evaluation.robustness.corruptions import CorruptionBench
from withstand.verification.smoothing import Smoothing

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def told(victim: Victim, y: Tensor | None = None, x: Tensor | None = None) -> Check:
    _, own, labels = digits()
    return plausible(victim, own if x is None else x, labels if y is None else y, CLASSES)


def test_an_honest_net_is_plausible() -> None:
    check = told(digits()[0])
    assert check.name == NAME
    assert check.passed is True
    assert "would be by chance" in check.detail


class Nearest(nn.Module):
    """Answers with the nearest of ten pictures, in the units that it was made for."""

    def __init__(self, pictures: Tensor) -> None:
        super().__init__()
        self.pictures = pictures

    def forward(self, z: Tensor) -> Tensor:
        return -torch.cdist(z.flatten(1), self.pictures.flatten(1))


def pictures() -> tuple[Tensor, Tensor, Tensor]:
    """Return ten flat pictures, each of another color, and noisy ones with labels, all in [0, 1]."""
    colors = torch.stack([torch.arange(10) * step % 10 for step in (1, 3, 7)], 1) / 10 + 0.05
    prototypes = colors[:, :, None, None].expand(10, 3, 4, 4).contiguous()
    y = torch.arange(60) % 10
    noise = torch.randn(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return prototypes, (prototypes[y] + 0.05 * noise).clamp(0, 1), y


def channels(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


PROTOTYPES, X, _ = pictures()
IMAGENET = channels(0.485, 0.456, 0.406), channels(0.229, 0.224, 0.225)
OWN = X.mean((0, 2, 3)).view(-1, 1, 1), X.std((0, 2, 3)).view(-1, 1, 1)
FED: dict[str, tuple[Tensor, dict[str, object]]] = {
    "inputs from 0 to 255": (PROTOTYPES * 255, {}),
    "inputs from -1 to 1": (PROTOTYPES * 2 - 1, {}),
    "inputs from 0 to 1": (PROTOTYPES, {"low": 0.0, "high": 255.0}),
    "inputs normalised by their own mean and spread": ((PROTOTYPES - OWN[0]) / OWN[1], {}),
    "ImageNet's normalisation": ((PROTOTYPES - IMAGENET[0]) / IMAGENET[1], {}),
    "inputs that are not normalised": (PROTOTYPES, {"normalize": ((3.0,) * 3, (0.1,) * 3)}),
    "the channels in reverse order": (PROTOTYPES.flip(1), {}),
}


@pytest.mark.parametrize("words", FED)
def test_inputs_that_a_net_was_not_made_for_are_named(words: str) -> None:
    made_for, settings = FED[words]
    _, x, y = pictures()
    victim = Victim(Nearest(made_for), **settings)
    check = plausible(victim, x * (victim.high - victim.low) + victim.low, y)
    assert check.passed is False
    assert words in check.detail
    assert "with " in check.detail


def test_what_is_fed_rightly_has_no_remedy() -> None:
    _, x, y = pictures()
    assert plausible(Victim(Nearest(PROTOTYPES)), x, y).passed is True
    victim = Victim(Nearest(PROTOTYPES * 255), low=0, high=255)
    assert plausible(victim, x * 255, y).passed is True


def test_shuffled_labels_and_shifted_ones_are_told_apart() -> None:
    _, _, y = digits()
    shuffled = told(digits()[0], y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))])
    assert shuffled.passed is False
    assert "no more than by chance" in shuffled.detail
    shifted = told(digits()[0], (y + 1) % 10)
    assert shifted.passed is False
    assert "numbered in another order: its class " in shifted.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: torch.zeros(len(x), 10), "the outputs are the same for every sample"),
        (lambda x: torch.arange(10.0) + 0.01 * x.mean((1, 2, 3))[:, None], "the answer is 'nine' for every sample"),
        (lambda x: x.flatten(1)[:, :10], "no more than by chance"),
    ],
)
def test_victims_that_know_nothing(answer: Callable[[Tensor], Tensor], words: str) -> None:
    check = told(Victim(answer))
    assert check.passed is False
    assert words in check.detail


def test_labels_that_never_change_and_handfuls_tell_nothing() -> None:
    _, x, y = digits()
    assert told(digits()[0], y[y == 3], x[y == 3]).passed is None
    assert told(digits()[0], y[:2], x[:2]).passed is None


def test_a_rare_class_is_judged_by_skill_and_not_by_accuracy() -> None:
    y = (torch.arange(400) % 20 == 0).long()
    always = torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    assert skilled(always, y).passed is False  # right in 95 %
    some = always.clone()
    some[y == 1] = torch.tensor([0.0, 1.0])
    some[1:41:2] = torch.tensor([0.0, 1.0])  # right in 95 % as well, but it finds the rare ones
    assert skilled(some, y).passed is True


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 8), st.integers(8, 60), st.integers(0, 2**31))
def test_one_sample_more_or_less_never_turns_skill_into_failure(classes: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (count,), generator=generator)
    perfect = nn.functional.one_hot(y, classes).float()
    worse = perfect.clone()
    worse[0] = perfect[0].roll(1)
    assert skilled(perfect, y).passed is not False
    assert skilled(worse, y).passed is not False or skilled(perfect, y).passed is None or count < 12


def test_the_audit_asks() -> None:
    victim, x, y = digits()
    other = torch.randperm(len(y), generator=torch.Generator().manual_seed(3))
    audit = RobustnessAudit(Ball("linf", 0.1), linf=(), l2=(), samples=40, steps=3, ensemble="none")
    found = audit.evaluate(victim, ArraySource(x, y[other], layout="rows"))
    assert not found.believable
    assert "no more than by chance" in str(found.protocol["verdict"])
    again = audit.evaluate(victim, ArraySource(x, y, layout="rows"))
    assert next(check for check in again.checks if check.name == NAME).passed is True


def rolled() -> nn.Module:
    """A network that knows the digits, and numbers them otherwise."""
    return Rolled(digits()[0].model).eval()


class Rolled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.roll(1, 1)


JUDGES = {
    "corruptions": CorruptionBench(kinds=("fog",), severities=(1,), samples=60),
    "certificate": Certificate(Ball("linf", 0.001), "ibp", samples=60, radii=1, halvings=1),
    "smoothed": SmoothedCertificate(0.1, Smoothing(0.05, samples=20, selection=10), samples=60),
}


@pytest.mark.parametrize("name", JUDGES)
def test_corruptions_and_certificates_ask_as_audits_do(name: str) -> None:
    victim, x, y = digits()
    source = ArraySource((x * 255).round().to(torch.uint8), y)
    checks = {check.name: check for check in JUDGES[name].evaluate(Victim(victim.model), source).checks}
    assert checks[NAME].passed is True
    checks = {check.name: check for check in JUDGES[name].evaluate(Victim(rolled()), source).checks}
    assert checks[NAME].passed is False
    assert "if its classes are numbered in another order" in checks[NAME].detail
