"""Losses between pictures and texts, against plain loops in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.cross_modal import clip_loss, swapped_batches


def embeddings(views: int, count: int = 6, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(views, count, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("views", "texts"), [(1, 1), (2, 2), (3, 1)])
def test_clip_is_the_mean_cross_entropy_over_all_pairs_of_views(views: int, texts: int, smoothing: float) -> None:
    one, other = embeddings(views), embeddings(texts, seed=1)
    target = torch.arange(6)
    plain = []
    for picture in one:
        for text in other:
            logits = normalize(picture, dim=1) @ normalize(text, dim=1).T / 0.2
            plain += [cross_entropy(way, target, label_smoothing=smoothing) for way in (logits, logits.T)]
    torch.testing.assert_close(clip_loss(one, other, 0.2, smoothing=smoothing), torch.stack(plain).mean())


def test_clip_knows_no_first_kind_and_scales_do_not_matter() -> None:
    one, other = embeddings(2), embeddings(2, seed=1)
    torch.testing.assert_close(clip_loss(one, other), clip_loss(other, one))
    torch.testing.assert_close(clip_loss(3 * one, other / 7), clip_loss(one, other))


def test_clip_of_equal_embeddings_is_ln_n_and_of_orthonormal_pairs_0() -> None:
    same = torch.ones(1, 5, 3, dtype=torch.float64)
    assert clip_loss(same, same, 0.01).item() == pytest.approx(math.log(5))
    pairs = torch.eye(5, dtype=torch.float64)[None]
    assert clip_loss(pairs, pairs, 0.01).item() == pytest.approx(0, abs=1e-12)
    assert clip_loss(pairs, pairs.roll(1, 1), 0.01).item() == pytest.approx(100)


def test_gradients_are_those_of_the_formula() -> None:
    one, other = embeddings(2).requires_grad_(), embeddings(2, seed=1).requires_grad_()
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: clip_loss(*given, smoothing=0.1), (one, other, temperature))


def plain_sinkhorn(scores: Tensor) -> Tensor:
    matrix = (scores / 0.05).exp().T
    matrix = matrix / matrix.sum()
    kinds, samples = matrix.shape
    for _ in range(3):
        matrix = matrix / matrix.sum(1, keepdim=True) / kinds
        matrix = matrix / matrix.sum(0, keepdim=True) / samples
    return (matrix * samples).T


def test_swapped_batches_are_told_from_the_other_views() -> None:
    one, other = embeddings(2), embeddings(2, seed=1)
    plain = []
    for anchors, candidates in ((one, other), (other, one)):
        for first in range(2):
            for second in range(2):
                logits = normalize(anchors[first], dim=1) @ normalize(candidates[second], dim=1).T
                told = normalize(anchors[1 - first], dim=1) @ normalize(candidates[1 - second], dim=1).T
                plain.append(cross_entropy(logits / 0.1, plain_sinkhorn(told)))
    torch.testing.assert_close(swapped_batches(one, other, 0.1), torch.stack(plain).mean())
    torch.testing.assert_close(swapped_batches(one, other, 0.1), swapped_batches(other, one, 0.1))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(1, 6, 4\) and \(1, 5, 4\)"):
        clip_loss(embeddings(1), embeddings(1, 5))
    with pytest.raises(ConfigError, match="smoothing"):
        clip_loss(embeddings(1), embeddings(1), smoothing=1.0)
    with pytest.raises(DataError, match="two by two"):
        swapped_batches(embeddings(3), embeddings(2))
