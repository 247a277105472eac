import pytest
import torch
from torch import nn

from withstand.claims.protocol.claim import Budget
from withstand.claims.protocol.compare import compare
from withstand.claims.studies import naive_bayes_probe as claimed
from withstand.recipes.studies import naive_bayes_probe as recipe


def test_learning_curve_gives_the_curve_of_any_features() -> None:
    finding = recipe.learning_curve(data="digits", sizes=(50, 500), repeats=2)
    assert finding.tables["curve"].column("labelled samples") == (50, 500)
    assert all(0.5 < share < 1 for share in finding.tables["curve"].column("naive Bayes"))
    narrow = recipe.learning_curve(data="digits", encoder=nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 32)), Mean()),
                               sizes=(50,), repeats=2)  # fmt: skip
    assert narrow.tables["curve"].column("naive Bayes")[0] < finding.tables["curve"].column("naive Bayes")[0]


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(2)


@pytest.mark.slow
def test_claim_runs_and_says_its_protocol() -> None:
    found = compare(claimed.claim(), Budget(least=2, most=2)).finding("naive-bayes-probe")
    assert found.protocol["verdict"] in ("reproduced", "not reproduced at this scale", "undecided")
    assert len(found.tables["parts"].rows) == 5
    # The simulation's gap is no matter of noise.
    assert found.tables["parts"].rows[0][3] > 0.15
    growth = found.tables["samples to reach 0.95 in n dimensions"]
    assert growth.column("n") == (50, 100, 200, 400)
