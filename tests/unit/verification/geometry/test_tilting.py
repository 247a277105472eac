import math

import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.victims.victim import Victim
from withstand.verification.geometry.local import class_means, local_tilt, quantiles
from withstand.verification.geometry.path import (
    fit_boundary,
    head_tilts,
    kinds,
    plane,
    regularisation_path,
    subspace,
    table,
)
from withstand.verification.geometry.tilting import Boundary, TiltingAnalysis, error_distance, error_rate, front, kind


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_classes(width: int = 5, count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    y = torch.arange(count) % 2
    shift = torch.zeros(width, dtype=torch.float64)
    shift[0] = 3
    return normal(count, width, seed=seed) * torch.linspace(1, 0.2, width) + y[:, None] * shift, y


@pytest.mark.parametrize("seed", range(5))
def test_adversarial_distance_is_half_the_centroids_distance_times_the_cosine(seed: int) -> None:
    x, y = two_classes(seed=seed)
    analysis = TiltingAnalysis.fit(x, y)
    boundary = Boundary(normal(5, seed=10 + seed), 0.7)
    closed = 0.5 * float(analysis.axis.norm()) * math.cos(math.radians(analysis.angle(boundary)))
    signed = torch.where(y == 1, 1.0, -1.0) * boundary.distance(x)
    by_samples = (signed[y == 0].mean() + signed[y == 1].mean()) / 2
    found = analysis.adversarial_distance(boundary)
    assert found == pytest.approx(closed, abs=1e-12)
    assert found == pytest.approx(float(by_samples), abs=1e-12)
    assert analysis.adversarial_distance(Boundary(3 * boundary.weight, -5)) == pytest.approx(found, abs=1e-12)
    assert analysis.adversarial_distance(Boundary(-boundary.weight)) == pytest.approx(-found, abs=1e-12)
    for norm, order in (("linf", 1.0), ("l1", math.inf)):
        dual = torch.linalg.vector_norm(boundary.weight, ord=order)
        closed_p = float(0.5 * boundary.weight @ analysis.axis / dual)
        assert analysis.adversarial_distance(boundary, norm) == pytest.approx(closed_p, abs=1e-12)  # type: ignore[arg-type]


def test_the_bisector_has_no_tilt_and_mirrors_the_centroids() -> None:
    analysis = TiltingAnalysis.fit(*two_classes())
    assert analysis.angle(analysis.bisector) == pytest.approx(0, abs=1e-9)
    assert analysis.strength(analysis.bisector).tolist() == pytest.approx([1, 1], abs=1e-12)
    assert torch.allclose(analysis.bisector.mirror(analysis.first[None])[0], analysis.second, atol=1e-12)
    assert analysis.low_variance_share(analysis.bisector) == pytest.approx(0, abs=1e-9)


def test_projected_and_mirror_images() -> None:
    x, _ = two_classes()
    boundary = Boundary(normal(5, seed=3), 0.4)
    mirrored, projected = boundary.mirror(x), boundary.project(x)
    assert torch.allclose(boundary.mirror(mirrored), x, atol=1e-12)
    assert torch.allclose(boundary.distance(mirrored), -boundary.distance(x), atol=1e-12)
    assert torch.allclose((x - mirrored).norm(dim=1), 2 * boundary.distance(x).abs(), atol=1e-12)
    assert torch.allclose(boundary.distance(projected), torch.zeros(len(x), dtype=torch.float64), atol=1e-12)
    # No other point of the boundary is nearer: any step along it adds to the distance.
    other = boundary.project(projected + 0.1 * normal(len(x), 5, seed=8))
    assert bool(((other - x).norm(dim=1) >= (projected - x).norm(dim=1) - 1e-12).all())


def test_a_boundary_through_the_middle_is_as_strong_as_one_over_the_cosine() -> None:
    analysis = TiltingAnalysis.fit(*two_classes())
    weight = analysis.axis + normal(5, seed=2)
    boundary = Boundary(weight, -float(weight @ analysis.middle))
    expected = 1 / math.cos(math.radians(analysis.angle(boundary)))
    assert analysis.strength(boundary).tolist() == pytest.approx([expected, expected], abs=1e-9)


@pytest.mark.parametrize("angle", [0.0, 45.0, 89.9])
def test_tilting_along_a_flat_direction_changes_no_prediction(angle: float) -> None:
    x, y = two_classes()
    padded = torch.cat([x, torch.zeros(len(x), 2, dtype=torch.float64)], dim=1)
    analysis = TiltingAnalysis.fit(padded, y)
    boundary = Boundary(analysis.axis + torch.cat([normal(5, seed=4), torch.zeros(2, dtype=torch.float64)]), 0.2)
    flat = analysis.cheapest_tilt(boundary)
    assert flat[:5].abs().max() < 1e-9
    tilted = boundary.tilted(flat, angle, analysis.middle)
    assert torch.equal(tilted.classes(padded), boundary.classes(padded))
    shrunk = analysis.adversarial_distance(boundary) * math.cos(math.radians(angle))
    assert analysis.adversarial_distance(tilted) == pytest.approx(shrunk, abs=1e-9)
    assert analysis.angle(tilted) >= analysis.angle(boundary) - 1e-9
    if angle > 80:
        assert analysis.low_variance_share(tilted) > 0.99


def test_rotation_translation_and_scaling_leave_angle_and_strength() -> None:
    x, y = two_classes()
    turn = torch.linalg.qr(normal(5, 5, seed=6)).Q
    boundary = Boundary(normal(5, seed=7), 0.3)
    moved = 2.5 * x @ turn.T + 1.5
    weight = turn @ boundary.weight
    other = Boundary(weight, 2.5 * boundary.bias - 1.5 * float(weight.sum()))
    before, after = TiltingAnalysis.fit(x, y), TiltingAnalysis.fit(moved, y)
    assert after.angle(other) == pytest.approx(before.angle(boundary), abs=1e-9)
    assert torch.allclose(after.strength(other), before.strength(boundary), atol=1e-9)
    assert after.adversarial_distance(other) == pytest.approx(2.5 * before.adversarial_distance(boundary), abs=1e-9)


@pytest.mark.parametrize("loss", ["hinge", "softplus"])
def test_a_strong_penalty_leads_to_the_bisector(loss: str) -> None:
    x, y = two_classes(count=100)
    analysis = TiltingAnalysis.fit(x, y)
    boundary = fit_boundary(x, y, 1e-6, loss=loss)  # type: ignore[arg-type]
    assert math.cos(math.radians(analysis.angle(boundary))) > 0.999
    # The bias alone would be badly placed there.
    assert error_rate(boundary, x, y) <= error_rate(analysis.bisector, x, y) + 0.05


def test_the_gaussian_classifier_has_the_known_angle() -> None:
    # Two classes at +-mu with an exact covariance: the sample moments are what they are said to be.
    square = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    spread = torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
    mean = torch.tensor([1.0, 1.0], dtype=torch.float64)
    x = torch.cat([square @ spread - mean, square @ spread + mean])
    y = torch.arange(8) // 4
    analysis = TiltingAnalysis.fit(x, y)
    assert analysis.variances.tolist() == pytest.approx([4, 0.25])
    bayes = Boundary(torch.linalg.solve(spread @ spread, 2 * mean))
    assert analysis.angle(bayes) == pytest.approx(math.degrees(math.atan2(4, 0.25)) - 45, abs=1e-9)
    assert analysis.spectrum(bayes).sum() == pytest.approx(1)
    inner, share = analysis.in_principal_subspace(bayes, 1)
    assert inner == pytest.approx(0, abs=1e-9)
    assert share == pytest.approx(0.25**2 / (0.25**2 + 16), abs=1e-9)


def test_errors_are_counted_and_measured() -> None:
    x = torch.tensor([[-1.0], [0.5], [2.0], [-3.0]])
    y = torch.tensor([4, 4, 9, 9])
    boundary = Boundary(torch.tensor([2.0]))
    assert error_rate(boundary, x, y) == 0.5
    assert error_distance(boundary, x, y) == pytest.approx(3.5 / 4)


def test_types_by_the_front() -> None:
    points = [(10.0, 0.1), (40.0, 0.02), (60.0, 0.02), (70.0, 0.05), (80.0, 0.0)]
    assert front(points) == [(10.0, 0.1), (40.0, 0.02), (80.0, 0.0)]
    found = [kind(angle, error, points) for angle, error in points]
    assert found == ["near-bisector", "overfit tilt", "non-optimal tilt", "non-optimal tilt", "overfit tilt"]


def test_the_path_untilts_as_the_penalty_grows() -> None:
    x, y = two_classes(width=8, count=80)
    flipped = y.clone()
    flipped[:4] = 1 - flipped[:4]
    steps = regularisation_path(x, flipped, x, y, (1e-3, 1e-1, 100.0))
    angles = [step.angle for step in steps]
    assert angles == sorted(angles)
    assert steps[0].distance > steps[-1].distance
    assert table(steps).x == "C"
    assert plane(steps).column("C") == (1e-3, 1e-1, 100.0)
    assert len(kinds(steps)) == 3
    analysis = TiltingAnalysis.fit(x, flipped)
    shares = subspace(analysis, steps[-1].boundary, (1, 4, 8)).column("share of the normal within")
    assert shares[-1] == pytest.approx(1)
    assert list(shares) == sorted(shares)


def test_every_pair_of_a_head() -> None:
    x, y = normal(60, 4, seed=1), torch.arange(60) % 3
    x = x + 2 * torch.eye(4, dtype=torch.float64)[y]
    head = nn.Linear(4, 3, bias=False)
    means = class_means(x, y)
    with torch.no_grad():
        head.weight.copy_(means)
    rows = head_tilts(head, x, y)
    assert rows.column("classes") == ("0 against 1", "0 against 2", "1 against 2")
    assert max(rows.column("deviation angle")) < 1e-3  # float32 weights
    with pytest.raises(DataError, match="3 outputs"):
        head_tilts(head, x, y + 1)


def test_the_local_tilt_of_a_linear_network_is_the_global_one() -> None:
    x, y = two_classes()
    x = (x - x.min()) / (x.max() - x.min())
    network = nn.Linear(5, 2).double().requires_grad_(False)
    with torch.no_grad():
        network.weight.copy_(normal(2, 5, seed=5))
    boundary = Boundary(network.weight[1] - network.weight[0], float(network.bias[1] - network.bias[0]))
    distance, angle = local_tilt(Victim(network), x, class_means(x, y), batch=7)
    assert torch.allclose(distance, boundary.distance(x).abs(), atol=1e-12)
    expected = TiltingAnalysis.fit(x, y).angle(boundary)
    assert torch.allclose(angle, torch.full_like(angle, expected), atol=1e-9)
    assert len(quantiles(distance, angle).rows) == 5


def test_what_cannot_be_measured_is_said() -> None:
    x, y = two_classes()
    with pytest.raises(DataError, match="not 3"):
        TiltingAnalysis.fit(x, torch.arange(len(x)) % 3)
    with pytest.raises(DataError, match="same centroid"):
        TiltingAnalysis.fit(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(DataError, match="not all zero"):
        Boundary(torch.zeros(3))
    with pytest.raises(DataError, match="the boundary 4"):
        Boundary(torch.ones(4)).distance(x)
    with pytest.raises(ConfigError, match="below 90"):
        Boundary(torch.ones(5)).tilted(x[0], 90, x[1])
    with pytest.raises(ConfigError, match="hinge"):
        fit_boundary(x, y, 1.0, loss="hing")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="C must be positive"):
        fit_boundary(x, y, 0.0)
