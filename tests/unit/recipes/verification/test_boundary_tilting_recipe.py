import pytest
import torch
from torch import nn

from withstand.claims.protocol.claim import Budget
from withstand.claims.protocol.compare import compare
from withstand.claims.verification import boundary_tilting as claimed
from withstand.core.errors import DataError
from withstand.recipes.verification import boundary_tilting as recipe


def test_the_path_of_two_digits() -> None:
    finding = recipe.regularisation(data="digits", first=3, second=8, penalties=(1e-2, 1e-1, 1.0), noise=0.05)
    path = finding.tables["regularisation path"]
    angles = path.column("deviation angle")
    assert list(angles) == sorted(angles)
    assert finding.tables["principal subspace, weakest penalty"].column("components")[-1] == 64
    again = recipe.regularisation(data="digits", first=3, second=8, penalties=(1e-2,), noise=0.05)
    assert again.tables["regularisation path"].rows[0][:4] == path.rows[0][:4]


def test_features_of_an_encoder_are_measured_too() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    finding = recipe.regularisation(first=0, second=1, encoder=encoder, penalties=(0.1,), loss="softplus")
    assert finding.tables["principal subspace, weakest penalty"].column("components")[-1] == 10


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(DataError, match="class 12"):
        recipe.regularisation(first=12, penalties=(1.0,))


@pytest.mark.slow
def test_claim_says_its_protocol() -> None:
    found = compare(claimed.claim(), Budget(least=2, most=2)).finding("boundary-tilting")
    assert found.protocol["verdict"] in ("reproduced", "not reproduced at this scale", "undecided")
    parts = {row[0]: row[1:] for row in found.tables["parts"].rows}
    held, of = parts["the angle grows with C, 1 degree of slack"]
    assert held == of
