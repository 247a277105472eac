"""Scores of suspicion on made cases, the audit's verdict with and without a pattern, and cleansing."""

import torch

from withstand.core.random import Draws
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.poisoned import POISONED, Poisoned
from withstand.evaluation.defenses.backdoor.cleansing import cleansed
from withstand.evaluation.defenses.backdoor.frequency_audit import FrequencyAudit, coefficients_of
from withstand.evaluation.defenses.backdoor.suspicion import (
    activation_clustering,
    deep_neighbours,
    pseudo_classes,
    spectral_signatures,
    strip,
)
from withstand.evaluation.defenses.detection.roc import auroc
from withstand.views.triggers import FrequencyTrigger, cosine_basis


def mixture() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two classes of 190 samples; the first has 10 more that lie far off to one side."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(390, 16, generator=generator)
    labels, odd = torch.zeros(390, dtype=torch.int64), torch.zeros(390, dtype=torch.bool)
    labels[200:], odd[:10] = 1, True
    x[200:, 1] += 8
    x[:10, 0] += 14
    return x, labels, odd


def test_clusters_and_spectra_find_a_cluster_apart() -> None:
    x, labels, odd = mixture()
    for score in (activation_clustering(x, labels), spectral_signatures(x, labels)):
        first = labels == 0
        assert auroc(-score[first & ~odd], -score[first & odd]) > 0.95
    part = x[labels == 0].double()
    part = part - part.mean(0)
    top = torch.linalg.eigh(part.T @ part).eigenvectors[:, -1]
    torch.testing.assert_close(spectral_signatures(x, labels)[labels == 0], (part @ top).square())


def test_neighbours_of_another_class_are_counted() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0], [0.1, 1.0]])
    assert deep_neighbours(x, torch.tensor([0, 0, 1, 1, 1]), k=2).tolist() == [0.5, 0.5, 1.0, 0.5, 0.5]
    assert deep_neighbours(torch.ones(3, 2), torch.tensor([0, 0, 0]), k=9).tolist() == [0.0] * 3


def test_strip_is_minus_the_entropy_of_blends() -> None:
    x, clean = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0]])

    def sure_of_bright(blend: torch.Tensor) -> torch.Tensor:
        return torch.where(blend > 0.25, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))

    found = strip(sure_of_bright, x, clean, Draws(0, torch.arange(2)), blends=3)
    torch.testing.assert_close(found, torch.tensor([-torch.log(torch.tensor(2.0)).item(), 0.0], dtype=torch.float64))


def test_clusters_of_features_stand_in_for_classes() -> None:
    x = torch.eye(3).repeat_interleave(5, 0)
    found = pseudo_classes(x, 3)
    assert all(len(found[start : start + 5].unique()) == 1 for start in (0, 5, 10))
    assert len(found.unique()) == 3


def photos(count: int = 300) -> ArraySource:
    """Smooth noise in color."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 3, 4, 4, generator=generator)
    x = torch.nn.functional.interpolate(x, size=16, mode="bicubic").clamp(0, 1)
    x = x + 0.02 * torch.randn(x.shape, generator=generator)
    return ArraySource((x.clamp(0, 1) * 255).round().to(torch.uint8), torch.arange(count) % 3)


def test_the_audit_finds_a_pattern_that_many_share_and_none_where_there_is_none() -> None:
    plain, audit = photos(), FrequencyAudit()
    assert audit.look(plain).shared == ()
    poisoned = Poisoned(plain, FrequencyTrigger(60, window=16), rate=0.1)
    found, marked = audit.look(poisoned), poisoned.attributes[POISONED].bool()
    assert auroc(-found.score[~marked], -found.score[marked]) == 1.0
    assert set(marked.nonzero()[:, 0].tolist()) <= set(found.flagged())
    assert len(found.flagged()) <= 33
    assert found.shared[0].p < 0.01
    kept = cleansed(poisoned, found.score, 0.1)
    assert len(kept) == 270
    assert int(kept.attributes[POISONED].sum()) == 0


def test_copies_of_one_picture_are_no_pattern() -> None:
    x = photos()[range(300)].x
    striped = x.clone()
    striped[:40] = x[0]
    striped[:40, 2, ::2, ::2] = 255
    assert FrequencyAudit().look(ArraySource(striped)).shared == ()


def test_coefficients_are_those_of_the_mean_window() -> None:
    trigger = FrequencyTrigger(40, window=8, positions=((2, 5),), channels=("v",), exact=True)
    grey = torch.full((1, 3, 16, 16), 0.5)
    found = coefficients_of(grey + trigger.pattern(16, 16), 8)
    wanted = torch.zeros(2, 8, 8, dtype=torch.float64)
    wanted[1, 2, 5] = 40
    torch.testing.assert_close(found[0], wanted, atol=1e-4, rtol=0)
    assert cosine_basis(8).shape == (8, 8)
