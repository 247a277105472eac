"""Self-distillation against its closed forms: what is pulled where, and from which start."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor, nn

import faults
from faults import FaultyView, Stop
from toys import ToyPictures, weights
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import again
from withstand.core.random import isolated
from withstand.core.roles import Method, Model, Terms
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import AdamW
from withstand.losses.agreement.distillation import squared_distance
from withstand.methods.continual.self_distillation import FurtherPretraining, SelfDistillation
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.masked.mae import MAE
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.compose import Compose

ALLOW = ("toys", "faults", "test_self_distillation")


def mae(pooling: str = "mean", seed: int = 0) -> MAE:
    with isolated("mae", seed):
        vit = ViT(4, 12, 1, 3, pooling=pooling)  # type: ignore[arg-type]
        return MAE(Normalized(vit, (0.5,) * 3, (0.25,) * 3), depth=1, width=8, heads=2)


class Line(Model):
    """f(x) = W x."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(4, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


class Regression(Method):
    """||W x - y||^2 with y = W* x, the mean over samples."""

    wanted: Tensor

    def __init__(self, encoder: Line) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("wanted", torch.arange(12.0).view(3, 4) / 10)

    @classmethod
    def example(cls) -> Self:
        return cls(Line())

    def step(self, batch: Batch) -> Terms:
        return {"loss": squared_distance(self.encoder(batch.x), batch.x @ self.wanted.T)}


def distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return float(sum((a - b).detach().double().square().sum() for a, b in pairs)) ** 0.5


def test_the_distance_is_a_sum_over_the_width_and_its_gradient_twice_the_gap_over_the_batch() -> None:
    features = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    loss = squared_distance(features, targets)
    torch.testing.assert_close(loss, 7 * nn.functional.mse_loss(features, targets))
    loss.backward()
    torch.testing.assert_close(features.grad, 2 * (features - targets).detach() / 5)
    assert targets.grad is None
    assert squared_distance(features, features) == 0
    with pytest.raises(DataError, match=r"one shape \(..., D\), not \(5, 7\) and \(5, 1\)"):
        squared_distance(features, targets[:, :1])


def stages(pooling: str = "mean", **settings: object) -> tuple[FurtherPretraining, SelfDistillation]:
    """Further pretraining that has moved, and a distillation that has inherited from it."""
    further = FurtherPretraining(mae(pooling))
    further.inherit(mae(pooling, seed=1))
    with torch.no_grad():
        for value in further.method.parameters():
            value.add_(0.1)
    student = SelfDistillation(mae(pooling, seed=2), **settings)  # type: ignore[arg-type]
    student.inherit(further)
    return further, student


def test_the_student_begins_where_the_earlier_stage_began_and_its_teacher_is_where_that_ended() -> None:
    further, student = stages()
    begun = mae(seed=1)
    assert distance(student.method, begun) == distance(student.start, begun) == distance(further.start, begun) == 0
    assert distance(student.teacher, further.encoder) == 0
    assert distance(student.encoder, further.encoder) > 1
    again_ = SelfDistillation(mae(seed=3))
    again_.inherit(student)  # a further round
    assert distance(again_.method, begun) == 0
    assert distance(again_.teacher, student.encoder) == 0


@pytest.mark.parametrize("match", ["features", "tokens"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_loss_is_the_official_one(pooling: str, match: str) -> None:
    further, student = stages(pooling, match=match, weight=0.5)
    batch = ToyPictures(5)[range(5)]
    x = batch.x.float() / 255
    terms, own = student.step(batch), student.method.step(batch)["loss"]
    # As the code has it for the class token: whole pictures, after the last normalisation, squares summed.
    ours, theirs = student.encoder.tokens(x), further.encoder.tokens(x)  # type: ignore[operator]
    if match == "features":
        ours, theirs = (t[:, :1] if pooling == "cls" else t.mean(1, keepdim=True) for t in (ours, theirs))
    gap = ((ours - theirs) ** 2).sum() / (len(x) * ours.shape[1])
    torch.testing.assert_close(terms["loss"], own + 0.5 * gap)
    torch.testing.assert_close(terms["distillation"], gap.detach())
    assert torch.equal(terms["pretraining"], own.detach())


def test_the_pull_moves_the_encoder_alone() -> None:
    _, student = stages()
    batch = ToyPictures(5)[range(5)]
    (student.step(batch)["loss"] - student.method.step(batch)["loss"]).backward()
    reached = {
        name for name, value in student.named_parameters() if value.grad is not None and value.grad.norm() > 1e-6
    }
    assert reached
    assert all(name.startswith("method.encoder.") for name in reached)


def test_without_weight_a_step_is_the_stages_before() -> None:
    further, student = stages(weight=0.0)
    batch = ToyPictures(5)[range(5)]
    assert torch.equal(student.step(batch)["loss"], further.start.step(batch)["loss"])


@pytest.mark.parametrize("weight", [0.5, 1.0, 4.0])
def test_a_linear_student_ends_between_its_goal_and_its_teacher(weight: float) -> None:
    """||W X - W* X||^2 + w ||W X - W_0 X||^2 is least at (W* + w W_0) / (1 + w), whatever X."""
    made = SelfDistillation(Regression(Line()), weight=weight).double()
    goal = made.method.wanted  # type: ignore[union-attr]
    batch = Batch(torch.randn(20, 4, dtype=torch.float64), torch.arange(20))
    least = (goal + weight * made.teacher.layer.weight) / (1 + weight)  # type: ignore[union-attr]
    made.encoder.layer.weight.data.copy_(least)  # type: ignore[union-attr]
    made.step(batch)["loss"].backward()
    gradient = made.encoder.layer.weight.grad  # type: ignore[union-attr]
    assert isinstance(gradient, Tensor)
    assert gradient.abs().max() < 1e-12


def chain(*, samples: int | None = 48, weight: float = 1.0, **plan: object) -> Experiment:
    """Three stages of two epochs of three batches."""
    settings = {"epochs": 2, "batch": 16, "precision": "float32", "layout": "contiguous", "save_every": 0.0} | plan
    some = Plan(optimizer=AdamW(2e-3), log_every=1, **settings)  # type: ignore[arg-type]
    start = Experiment("start", ToyPictures(48, seed=1), FaultyView(Compose(())), mae(), some)
    further = replace(start, source=ToyPictures(48), method=FurtherPretraining(again(start.method)), first=start)
    method = SelfDistillation(again(start.method), weight=weight, samples=samples)
    return replace(further, method=method, first=further)


@pytest.mark.thorough
def test_a_run_in_stages_resumes_exactly_and_leaves_its_teacher_alone(tmp_path: Path) -> None:
    faults.arrange()
    whole = train(chain(), tmp_path / "whole", quiet=True, allow=ALLOW)
    assert faults.plan.views == 18
    for stop in (8, 9):  # in mid-epoch of the second stage, and of the third
        faults.arrange(stop_view=stop)
        with pytest.raises(Stop):
            train(chain(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    faults.arrange()
    train(chain(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    assert faults.plan.views == 3
    one, other = weights(whole.path), weights(tmp_path / "stopped")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    start, further = weights(whole.first.first.path), weights(whole.first.path)
    for name, value in start.items():
        assert torch.equal(one[f"start.{name}"], value)
        if name.startswith("encoder."):
            assert torch.equal(one[f"teacher.{name.removeprefix('encoder.')}"], further[f"method.{name}"])
            assert not torch.equal(one[f"method.{name}"], value), name


@pytest.mark.thorough
def test_kept_features_of_the_teacher_change_nothing(tmp_path: Path) -> None:
    faults.arrange()
    kept = train(chain(precision="float64"), tmp_path / "kept", quiet=True, allow=ALLOW)
    asked = train(chain(precision="float64", samples=None), tmp_path / "asked", quiet=True, allow=ALLOW)
    one, other = weights(kept.path), weights(asked.path)
    for name, value in other.items():
        # A view of nothing rounds pixels to float32 once more.
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-6)


def test_without_weight_the_last_stage_is_the_one_before_to_the_bit(tmp_path: Path) -> None:
    faults.arrange()
    run = train(chain(weight=0.0), tmp_path / "run", quiet=True, allow=ALLOW)
    one, other = weights(run.path), weights(run.first.path)
    for name, value in other.items():
        assert torch.equal(one[name], value), name


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="keeps its start, not on MAE"):
        SelfDistillation(mae()).inherit(mae())
    with pytest.raises(ConfigError, match="the earlier stage's SimCLR does not fit this MAE"):
        FurtherPretraining(mae()).inherit(SimCLR.example())
    with pytest.raises(ConfigError, match="weight must be at least 0, not -1"):
        SelfDistillation(mae(), weight=-1)
    with pytest.raises(ConfigError, match="match 'token' is unknown: did you mean 'tokens'"):
        SelfDistillation(mae(), match="token")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="with match='tokens' it must be None"):
        SelfDistillation(mae(), match="tokens", samples=8)
    with pytest.raises(ConfigError, match="ResNet has no patches to hide"):
        SelfDistillation(SimCLR(Normalized(ResNet(4, 10), (0.5,) * 3, (0.25,) * 3)), match="tokens")
    with pytest.raises(ConfigError, match="samples is 8, but the data have 9"):
        SelfDistillation(mae(), samples=8).accept(ToyPictures(9), 4)
