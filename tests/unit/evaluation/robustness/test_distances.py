import torch

from withstand.core.roles import Attacked
from withstand.evaluation.robustness.distances import distance_of, distance_table, still_right_at


def test_shares_over_radii() -> None:
    success = torch.tensor([True, True, False, True])
    norm = torch.tensor([0.0, 2.0, 9.0, 1.0])
    found = Attacked(norm[:, None], success, norm, norm, torch.ones(4, dtype=torch.int64))
    distance = distance_of(found)
    assert distance.tolist() == [0.0, 2.0, torch.inf, 1.0]
    assert [still_right_at(distance, share) for share in (1.0, 0.75, 0.5, 0.25, 0.0)] == [0, 0, 1, 2, torch.inf]
    for share in (0.75, 0.5, 0.25):
        assert float((distance > still_right_at(distance, share)).double().mean()) <= share
    table = distance_table(distance, (0.5, 1.0, 3.0))
    assert [row[:2] for row in table.rows] == [(0.5, 0.75), (1.0, 0.5), (3.0, 0.25)]
    assert all(row[2] <= row[1] <= row[3] for row in table.rows)
