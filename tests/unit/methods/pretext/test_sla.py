"""SLA against its closed forms: joint labels, aggregation, distillation, and its kinship with multi-task training."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toys import ToyPictures
from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.threat import Ball
from withstand.data.arrays.source import ArraySource
from withstand.losses.agreement.label_augmentation import (
    distilled,
    joint_cross_entropy,
    joint_labels,
    version_logits,
)
from withstand.methods.pretext.multi_task import MultiTask
from withstand.methods.pretext.sla import SLA
from withstand.models.blocks.classifiers.aggregated import Aggregated
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transforms import Rotations, transform_set
from withstand.recipes.pretext import sla
from withstand.verification.certify import certify
from withstand.verification.network.capture import capture

N, M = 4, 4


def made(cls: type[SLA] | type[MultiTask] = SLA, **settings: object) -> SLA:
    with isolated("sla"):
        encoder = Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)
        return cls(encoder, classes=N, **settings).double()  # type: ignore[arg-type,return-value]


def batch(count: int = 6) -> Batch:
    return ToyPictures(count, size=8)[range(count)]


def joint(count: int = 5, changes: int = M) -> Tensor:
    return torch.randn(count * changes, N * changes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def labels(count: int = 5) -> Tensor:
    return torch.randint(0, N, (count,), generator=torch.Generator().manual_seed(2))


def test_labels_of_pairs_are_told_apart_and_told_back() -> None:
    y = labels()
    pairs = joint_labels(y, 6)
    assert torch.equal(pairs // 6, y.repeat_interleave(6))
    assert torch.equal(pairs % 6, torch.arange(6).repeat(5))


def test_the_loss_is_the_official_loop() -> None:
    """A stack of versions, a loss for each, summed and divided, as the paper writes it."""
    z, y = joint(), labels()
    per_change = [F.cross_entropy(z[j::M], y * M + j) for j in range(M)]
    torch.testing.assert_close(joint_cross_entropy(z, y, M), sum(per_change) / M)
    seen = version_logits(z, M)
    for j in range(M):
        assert torch.equal(seen[:, j], z[j::M, j::M])


def test_logits_all_alike_cost_the_log_of_the_pairs() -> None:
    assert joint_cross_entropy(torch.zeros(20, N * M), labels(), M).item() == pytest.approx(math.log(N * M))


def test_logits_that_are_sums_split_into_the_two_tasks() -> None:
    draws = torch.Generator().manual_seed(3)
    classes, changes = (torch.randn(5 * M, size, dtype=torch.float64, generator=draws) for size in (N, M))
    y = labels()
    whole = joint_cross_entropy((classes[:, :, None] + changes[:, None]).flatten(1), y, M)
    parts = F.cross_entropy(classes, y.repeat_interleave(M)) + F.cross_entropy(changes, torch.arange(M).repeat(5))
    torch.testing.assert_close(whole, parts)


def test_distillation_is_the_divergence_and_teaches_the_student_alone() -> None:
    teacher, student = joint()[:5, :N].requires_grad_(), joint()[5:10, :N].requires_grad_()
    for tau in (1.0, 3.0):
        p, q = (teacher / tau).softmax(1), (student / tau).softmax(1)
        torch.testing.assert_close(distilled(teacher, student, tau), tau**2 * (p * (p / q).log()).sum(1).mean())
    distilled(teacher, student).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert distilled(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_one_change_is_plain_training() -> None:
    method, some = made(transforms=Rotations((0,))), batch()
    logits = method.classifier(method.encoder(method.samples(some)))
    torch.testing.assert_close(method.step(some)["loss"], F.cross_entropy(logits, some.y))
    x = unit_range(some.x, torch.float64)
    plain = Classifier.joining(method.encoder, method.classifier).eval()
    assert torch.equal(method.eval().network()(x), plain(x))
    assert torch.equal(Aggregated.joining(method.encoder, method.classifier, Rotations((0,)), "single")(x), plain(x))


def test_large_loss_is_the_sum_over_changes() -> None:
    torch.testing.assert_close(made(large_loss=True).step(batch())["loss"], M * made().step(batch())["loss"])


def test_the_step_with_distillation_is_the_official_one() -> None:
    method, some = made(distill=True, temperature=2.0, beta=0.7), batch()
    x, y = method.samples(some), some.y
    assert y is not None
    features = method.encoder(torch.stack([x.rot90(k, (2, 3)) for k in range(M)], 1).view(-1, *x.shape[1:]))
    z, alone = method.classifier(features), method.single(features)[::M]  # type: ignore[misc]
    seen = sum(z[j::M, j::M] for j in range(M)) / M
    towards = F.kl_div((alone / 2).log_softmax(1), (seen / 2).softmax(1).detach(), reduction="batchmean")
    pairs = torch.stack([y * M + j for j in range(M)], 1).flatten()
    torch.testing.assert_close(
        method.step(some)["loss"], F.cross_entropy(z, pairs) + F.cross_entropy(alone, y) + 0.7 * 4 * towards
    )


def test_predictions_are_the_mean_of_logits_or_the_unchanged_version() -> None:
    method, x = made(distill=True).eval(), unit_range(batch().x, torch.float64)
    z = method.classifier(method.encoder(Rotations().every(x)))
    mean = sum(z[j::M, j::M] for j in range(M)) / M
    torch.testing.assert_close(Aggregated.joining(method.encoder, method.classifier, Rotations(), "aggregate")(x), mean)
    single = Aggregated.joining(method.encoder, method.classifier, Rotations(), "single")
    torch.testing.assert_close(single(x), z[0::M, 0::M])
    assert method.single is not None
    torch.testing.assert_close(method.network()(x), method.single(method.encoder(x)))
    torch.testing.assert_close(mean, version_logits(z, M).mean(1))


def test_aggregation_changes_nothing_where_versions_and_columns_are_alike() -> None:
    with isolated("alike"):
        network = Aggregated(Flat(), N, Rotations()).double()
    with torch.no_grad():
        network.head.weight.copy_(network.head.weight[::M].repeat_interleave(M, 0))
        network.head.bias.copy_(network.head.bias[::M].repeat_interleave(M, 0))
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(network(x), network.version(x, 0))


class Flat(ResNet):
    """Features that no turn changes."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.width = 3

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)), x.amin((1, 2, 3))], 1)


def test_multi_task_training_is_two_tasks_on_all_versions() -> None:
    some = batch()
    both, one = made(MultiTask), made(MultiTask, tell=False)
    features = both.encoder(Rotations().every(both.samples(some)))
    first = F.cross_entropy(both.classifier(features), some.y.repeat_interleave(M))  # type: ignore[union-attr]
    second = F.cross_entropy(both.teller(features), torch.arange(M).repeat(6))  # type: ignore[operator]
    torch.testing.assert_close(both.step(some)["loss"], first + second)
    torch.testing.assert_close(one.step(some)["loss"], first)


@pytest.mark.parametrize("mode", ["joint", "augmentation"])
def test_classes_that_a_turn_makes_are_learnt_with_joint_labels_only(mode: str) -> None:
    """6 and 9: one picture, and the same by half a turn. Augmentation is shown both under both names."""
    with isolated("sixes"):
        six = torch.rand(8, 1, 4, 4)
        encoder = Linear()
        settings = {"classes": 2, "transforms": transform_set("rotation2")}
        method = (SLA if mode == "joint" else MultiTask)(
            encoder, **settings, **({} if mode == "joint" else {"tell": False})
        )
    x, y = torch.cat([six, six.flip((2, 3))]), torch.arange(2).repeat_interleave(8)
    some = Batch(x, torch.arange(16), y)
    optimizer = torch.optim.Adam(method.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        method.step(some)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        logits = method.logits(x)
        loss = F.cross_entropy(method.logits(x), y).item()
    if mode == "joint":
        assert bool((logits.argmax(1) == y).all())
        assert loss < 0.5
    else:
        assert loss > math.log(2) - 1e-6, "each picture bears both names equally often"


class Linear(ResNet):
    """A network that can learn by heart."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.width = 64
        self.layer = nn.Linear(16, 64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x.flatten(1)))


@pytest.mark.parametrize("name", ["rotation", "color_perm3", "rot_color_perm6"])
def test_bounds_read_the_aggregated_classifier(name: str) -> None:
    """Capture holds what it read against the classifier itself; gradients reach the picture through every version."""
    with isolated("aggregated"):
        network = Aggregated(ConvNet(2, (3, 8, 8), 1, 6), N, transform_set(name)).eval()
        x = torch.rand(4, 3, 8, 8).requires_grad_()
    y = network(x).argmax(1)
    assert (torch.autograd.grad(network(x).sum(), x)[0].flatten(1).abs().sum(1) > 0).all()
    captured = capture(network, x.detach())
    torch.testing.assert_close(captured(x.detach().double()).float(), network(x).detach())
    verdicts = certify(network, x.detach(), y, Ball("linf", 1e-4), method="crown", attack=False)
    assert all(verdict.status == "safe" for verdict in verdicts)


def test_bad_settings_get_one_line() -> None:
    for settings, message in (
        ({"inference": "all"}, "inference 'all' is unknown: .*aggregate"),
        ({"inference": "distilled"}, "needs the head that distill=True trains"),
        ({"beta": -1.0}, "beta must be at least 0 and finite, not -1.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            made(**settings)
    for options, message in (
        ({"mode": "joined"}, "mode 'joined' is unknown: .*joint"),
        ({"mode": "plain", "inference": "single"}, "mode plain has neither inference nor large_loss"),
        ({"transforms": "turns"}, "transforms 'turns' is unknown"),
    ):
        with pytest.raises(ConfigError, match=message):
            sla.experiment(**options)  # type: ignore[arg-type]


def test_samples_that_cannot_be_changed_are_refused_before_anything_runs() -> None:
    wide = ArraySource(torch.zeros(8, 3, 8, 10, dtype=torch.uint8), torch.arange(8) % N)
    for cls in (SLA, MultiTask):
        with pytest.raises(DataError, match="only square pictures can be turned by a quarter"):
            made(cls).accept(wide, 4)
        made(cls, transforms=transform_set("rotation2")).accept(wide, 4)
