import pytest
import torch
from torch import Tensor

from victims import random_pictures, small_net
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import (
    DLR,
    CrossEntropy,
    EmbeddingDistance,
    Margin,
    OnLogits,
    TargetedDLR,
    as_objective,
)
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.threat import Ball
from withstand.core.victims.victim import Outputs, Victim

LOGITS = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
X = torch.zeros(2, 4)


def entropy_free(outputs: Outputs, y: Tensor, x: Tensor) -> Tensor:
    assert isinstance(outputs, Tensor)
    return -outputs.gather(1, y[:, None]).squeeze(1)


def test_values_by_hand() -> None:
    y = torch.tensor([0, 0])
    torch.testing.assert_close(CrossEntropy()(LOGITS, y, X), LOGITS.logsumexp(1) - LOGITS[:, 0])
    torch.testing.assert_close(Margin()(LOGITS, y, X), torch.tensor([-1.0, 3.0]))
    cosine = EmbeddingDistance()(LOGITS, torch.stack([LOGITS[0] * 5, -LOGITS[1]]), X)
    torch.testing.assert_close(cosine, torch.tensor([0.0, 2.0]), atol=1e-6, rtol=0)
    euclidean = EmbeddingDistance("euclidean")(LOGITS, LOGITS + torch.tensor([0.0, 3.0, 4.0]), X)
    torch.testing.assert_close(euclidean, torch.tensor([5.0, 5.0]))


def test_margin_is_positive_exactly_where_the_prediction_is_wrong() -> None:
    logits = torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    y = torch.arange(200) % 7
    wrong = CrossEntropy().reached(logits, y, targeted=False)
    assert torch.equal(Margin()(logits, y, logits) > 0, wrong)
    assert torch.equal(CrossEntropy().reached(logits, y, targeted=True), ~wrong)


def test_logits_that_tie_turn_no_ratio_round() -> None:
    three, four = torch.tensor([[1.0, 1.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
    assert DLR()(three, torch.tensor([3]), X) > 0
    assert TargetedDLR()(four, torch.tensor([[4, 0]]), X) > 0
    assert TargetedDLR()(four, torch.tensor([[0, 4]]), X) < 0


def test_margin_of_half_precision_is_taken_in_single() -> None:
    assert Margin()(LOGITS.half(), torch.tensor([0, 1]), X).dtype == torch.float32
    assert CrossEntropy()(LOGITS.bfloat16(), torch.tensor([0, 1]), X).dtype == torch.float32


def test_references_stand_for_missing_y() -> None:
    assert CrossEntropy().reference(LOGITS).tolist() == [0, 1]
    assert torch.equal(EmbeddingDistance().reference({"embedding": LOGITS}), LOGITS)


def test_embedding_success_is_a_threshold() -> None:
    y = torch.stack([LOGITS[0], -LOGITS[1]])
    objective = EmbeddingDistance(threshold=1.0)
    assert objective.reached(LOGITS, y, targeted=False).tolist() == [False, True]
    assert objective.reached(LOGITS, y, targeted=True).tolist() == [True, False]


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="cosine"):
        EmbeddingDistance("cosin")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'logits'"):
        CrossEntropy("logit")({"logits": LOGITS}, torch.tensor([0, 0]), X)


def test_embeddings_are_not_taken_for_logits() -> None:
    with pytest.raises(DataError, match="EmbeddingDistance"):
        CrossEntropy().check(torch.zeros(3, 4, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DataError, match="leave it out"):
        EmbeddingDistance().check(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))


def test_plain_function_is_an_objective_on_logits() -> None:
    x, y = random_pictures()
    assert as_objective(entropy_free) == OnLogits(loss=entropy_free)
    attack = PGD(Ball("linf", 0.1), entropy_free, steps=5)
    found = attack(Victim(small_net()), x, y)
    with torch.no_grad():
        outputs = small_net().eval()(found.x.clone())
    torch.testing.assert_close(found.loss, entropy_free(outputs, y, x))
    assert torch.equal(found.success, outputs.argmax(1) != y)
    with pytest.raises(ConfigError, match="allow"):
        build(describe(attack))  # a function outside the package must be allowed
    assert build(describe(attack), allow=[__name__]) == attack


def test_dict_outputs() -> None:
    x, y = random_pictures()
    net = small_net()
    victim = Victim(lambda x: {"logits": net(x), "embedding": net[:5](x)})
    net.eval()
    assert PGD(Ball("linf", 0.2), steps=5)(victim, x, y).success.any()
    assert (PGD(Ball("linf", 0.2), EmbeddingDistance(), steps=5)(victim, x).loss > 0.001).all()
    with pytest.raises(ConfigError, match="embedding"):
        PGD(Ball("linf", 0.2), EmbeddingDistance(output="embeding"))(victim, x)


def test_bare_encoder_is_moved_further_than_by_noise() -> None:
    x, _ = random_pictures()
    ball, encoder = Ball("linf", 0.05), Victim(small_net()[:5])
    for metric in ("cosine", "euclidean"):
        attacked = PGD(ball, EmbeddingDistance(metric), steps=10)(encoder, x)
        noise = Noise(ball, EmbeddingDistance(metric))(encoder, x)
        assert (attacked.loss > noise.loss).all()


def test_clean_start_on_a_stationary_point_is_refused() -> None:
    x, _ = random_pictures()
    encoder, ball = Victim(small_net()[:5]), Ball("linf", 0.05)
    for attack in (FGSM(ball, EmbeddingDistance()), PGD(ball, EmbeddingDistance(), random_start=False)):
        with pytest.raises(ConfigError, match="random_start"):
            attack(encoder, x)
        assert (attack(encoder, x, start=x + 0.01 * torch.rand_like(x).sub(0.5).sign()).loss > 0).all()


def test_targeted_embedding_comes_nearer() -> None:
    x, _ = random_pictures()
    encoder = Victim(small_net()[:5])
    with encoder.held():
        wanted = encoder.output(x.flip(0).clone()).detach()
    objective = EmbeddingDistance("euclidean")
    before = PGD(Ball("linf", 0.0, targeted=True), objective)(encoder, x, wanted).loss
    after = PGD(Ball("linf", 0.3, targeted=True), objective)(encoder, x, wanted).loss
    assert (after < before).all()


def test_nan_is_told() -> None:
    x, y = random_pictures()
    net = small_net().eval()
    with pytest.raises(DataError, match="NaN or infinite values for 6 of 6 clean inputs"):
        FGSM()(Victim(lambda x: net(x) * torch.nan), x, y)
