import pytest

from withstand.core.errors import ConfigError
from withstand.recipes.verification import dlv as recipe


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match="small"):
        recipe.claim(scale="full")


@pytest.mark.slow
def test_no_answer_contradicts_the_exact_one() -> None:
    found = recipe.claim(seeds=2)
    parts = dict(found.tables["parts"].rows)
    assert parts["answers that contradict the exact one"] == 0
    assert parts["proven by cells"] <= parts["safe"]
    assert parts["found by DLV"] <= parts["unsafe"]
    assert found.verdict in ("reproduced", "not reproduced at this scale", "undecided")
