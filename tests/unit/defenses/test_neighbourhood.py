"""Closed forms of BEYOND, against a plain formula in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from guards import Same, Shaken, detector, pictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.victims.victim import Victim
from withstand.defenses.neighbourhood import label_cosine, picture_neighbours
from withstand.defenses.neighbourhood_detector import NeighbourhoodDetector


def plain_score(made: NeighbourhoodDetector, x: Tensor, draws: Draws, *, alpha: float, rank: int, ssl: bool) -> Tensor:
    """The formula of the paper's code, one sample and one neighbour at a time."""
    gauge, model = made.gauge.eval(), made.victim.model.eval()
    scores = []
    with torch.no_grad():
        for place in range(len(x)):
            one = x[place : place + 1]
            features = gauge.encoder(one)
            z, label = gauge.projector(features)[0], model(one).argmax()
            if ssl:
                label = gauge.labeller(features).argmax()
            found = []
            for neighbour in range(gauge.neighbours):
                own = draws[slice(place, place + 1)].child(neighbour)
                close = gauge.encoder(gauge.view(Batch(one, torch.zeros(1, dtype=torch.int64)), own).x)
                z_j, q_j = gauge.projector(close)[0], gauge.labeller(close)[0]
                similar = (z @ z_j) / (z.norm() * z_j.norm())
                found.append(alpha * q_j[label] / q_j.norm() + (1 - alpha) * similar)
            scores.append(torch.stack(found).sort(descending=True).values[rank - 1])
    return torch.stack(scores)


@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("source", ["classifier", "ssl"])
def test_the_score_is_the_plain_formula(alpha: float, source: str) -> None:
    made, x, draws = detector(alpha=alpha, label_source=source), pictures(), Draws(4, torch.arange(9))
    wanted = plain_score(made, x, draws, alpha=alpha, rank=3, ssl=source == "ssl")
    torch.testing.assert_close(made.score(x, draws), wanted, rtol=0, atol=1e-12)


def test_identity_neighbours_are_all_alike() -> None:
    made, x = detector(view=Same()), pictures()
    found = made.explain(x)
    torch.testing.assert_close(found.similarity, torch.ones(9, dtype=torch.float64))
    relations = made._compare(x, None)[1]
    similar = label_cosine(relations.votes, found.label)
    torch.testing.assert_close(similar, similar[:, :1].expand_as(similar))  # a row may round by where it stands
    assert set(found.agreeing.tolist()) <= {0, 7}


def test_alpha_zero_does_not_look_at_the_classifier_and_one_not_at_the_projector() -> None:
    x = pictures()

    def other(x: Tensor) -> Tensor:
        return torch.eye(5, dtype=torch.float64)[(torch.arange(len(x)) + 3) % 5]

    for alpha, same in ((0.0, True), (0.8, False)):
        one, two = detector(alpha=alpha).score(x), detector(alpha=alpha, victim=Victim(other)).score(x)
        assert torch.equal(one, two) is same
    projectors = [nn.Linear(12, 6).double(), None]
    for alpha, same in ((1.0, True), (0.8, False)):
        one, two = (detector(alpha=alpha, projector=projector).score(x) for projector in projectors)
        assert torch.equal(one, two) is same


def test_rank_one_is_the_largest_and_rank_k_the_least() -> None:
    x = pictures()
    scores = torch.stack([detector(rank=rank).score(x) for rank in range(1, 8)], dim=1)
    assert torch.equal(scores, scores.sort(dim=1, descending=True).values)
    label, relations = detector()._compare(x, None)
    mixed = 0.8 * label_cosine(relations.votes, label) + 0.2 * relations.cosines
    torch.testing.assert_close(scores[:, 0], mixed.amax(1))
    torch.testing.assert_close(scores[:, -1], mixed.amin(1))


def test_scaling_projections_and_logits_changes_nothing() -> None:
    made, x = detector(), pictures()
    before = made.score(x)
    with torch.no_grad():
        for layer, factor in ((made.gauge.projector, 7.0), (made.gauge.labeller, 0.3)):
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
    torch.testing.assert_close(made.score(x), before, rtol=0, atol=1e-12)


def test_label_cosine_is_one_only_on_the_axis() -> None:
    label = torch.tensor([1, 1, 0])
    logits = torch.tensor([[[0.0, 3.0]], [[0.1, 3.0]], [[0.0, 0.0]]], dtype=torch.float64)
    found = label_cosine(logits, label)[:, 0]
    assert found[0] == 1
    assert 0.99 < found[1] < 1
    assert found[2] == 0
    many = label_cosine(torch.randn(50, 4, 3), torch.arange(50) % 3)
    assert many.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("at_once", [1, 20, 10_000])
def test_memory_bound_changes_nothing_with_and_without_gradients(at_once: int) -> None:
    whole, made, x = detector(), detector(at_once=at_once), pictures()
    torch.testing.assert_close(made.score(x), whole.score(x), rtol=0, atol=1e-12)
    slopes = []
    for one in (whole, made):
        with one.fit(x).exposed().held() as surface:
            point = x.clone().requires_grad_(True)
            slopes.append(torch.autograd.grad(surface(point)["appeal"].sum(), point)[0])
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)
    assert slopes[0].flatten(1).any(1).all()


def test_most_samples_in_one_pass() -> None:
    made, x, seen = detector(at_once=20), pictures(), []
    made.gauge.encoder.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    made.score(x)
    assert max(seen) <= 20
    assert sum(seen) == 9 + 7 * 9


def test_counters() -> None:
    x = pictures(60)
    made = detector(combine="counts", similar=0.5)
    label, relations = made._compare(x, None)
    same = (relations.votes.argmax(2) == label[:, None]).double().mean(1)
    near = (relations.cosines >= 0.5).double().mean(1)
    torch.testing.assert_close(made.score(x), torch.minimum(same, near))
    made.fit(x, fpr=0.2)
    least = made.gauge.least
    assert torch.equal(made.predict(x), (same >= least[0]) & (near >= least[1]))
    assert 1 - made.predict(x).double().mean() <= 0.2
    with pytest.raises(ConfigError, match="similar is not known"):
        detector(combine="counts").score(x)
    assert 0.4 < (detector(combine="counts").fit(x)._compare(x, None)[1].cosines >= 0).double().mean() <= 1


def test_explanation_adds_up() -> None:
    made, x = detector(), pictures()
    found = made.explain(x)
    torch.testing.assert_close(found.score, made.score(x))
    assert torch.equal(found.label, made(x).logits.argmax(1))
    assert found.agreeing.min() >= 0
    assert found.agreeing.max() <= 7


def test_pictures_neighbours_have_draws_of_their_own() -> None:
    x = torch.rand(2, 3, 10, 10)[:1].expand(4, -1, -1, -1).contiguous()
    made = picture_neighbours(10)(Batch(x, torch.arange(4)), Draws(0, torch.arange(4))).x
    assert len({tuple(picture.flatten().tolist()) for picture in made}) == 4


def test_rows_of_a_table_take_a_view_of_their_own() -> None:
    encoder, victim = nn.Linear(6, 4), nn.Linear(6, 3)
    made = NeighbourhoodDetector(encoder, None, nn.Linear(4, 3), Victim(victim, low=-9, high=9), view=Shaken(0.1))
    made.fit(torch.randn(40, 6), fpr=0.1)
    assert made(torch.randn(5, 6)).accepted.shape == (5,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 8}, "rank must lie between 1 and the 7"),
        ({"alpha": 1.5}, "alpha"),
        ({"neighbours": 0}, "neighbours"),
        ({"combine": "mixd"}, "did you mean 'mixed'"),
        ({"label_source": "sll"}, "did you mean 'ssl'"),
        ({"similar": 2.0}, "similar"),
    ],
)
def test_useless_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        detector(**settings)


def test_classes_must_agree() -> None:
    with pytest.raises(DataError, match="knows 3 classes"):
        detector(labeller=nn.Linear(12, 3).double()).score(pictures())


@pytest.mark.oracle
def test_agrees_with_art_in_its_own_mode() -> None:
    module = pytest.importorskip("art.defences.detector.evasion.beyond_detector")

    class Wrapped:
        def __init__(self, model: nn.Module) -> None:
            self.model = model

    ours = detector(label_source="ssl", view=_Halved(), neighbours=6)
    ssl = nn.Module()
    ssl.backbone, ssl.classifier, ssl.projector = ours.gauge.encoder, ours.gauge.labeller, ours.gauge.projector
    halve: Callable[[Tensor], Tensor] = _halve
    theirs = module.BeyondDetectorPyTorch(
        Wrapped(ours.victim.model), Wrapped(ssl), augmentations=halve, aug_num=6, alpha=0.8, var_K=3, percentile=5
    )
    x = pictures(40)
    theirs.fit(x.numpy(), None)
    report, rejected = theirs.detect(x.numpy())
    torch.testing.assert_close(ours.score(x), torch.from_numpy(report), rtol=0, atol=1e-12)
    # numpy's percentile lies between two scores, ours is one of them.
    assert torch.equal(~ours.fit(x, fpr=0.05).predict(x), torch.from_numpy(rejected))


def _halve(x: Tensor) -> Tensor:
    return x.flip(3) / 2


class _Halved(Same):
    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_x(_halve(batch.x))
