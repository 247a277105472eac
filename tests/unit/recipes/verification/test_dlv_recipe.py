import pytest

from withstand.claims.protocol.claim import Budget
from withstand.claims.protocol.compare import compare
from withstand.claims.verification import dlv


@pytest.mark.slow
def test_no_answer_contradicts_the_exact_one() -> None:
    found = compare(dlv.claim(), Budget(least=2, most=2)).finding("dlv")
    parts = dict(found.tables["parts"].rows)
    assert parts["answers that contradict the exact one"] == 0
    assert parts["proven by cells"] <= parts["safe"]
    assert parts["found by DLV"] <= parts["unsafe"]
    assert found.protocol["verdict"] in ("reproduced", "not reproduced at this scale", "undecided")
