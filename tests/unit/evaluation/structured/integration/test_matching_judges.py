"""Self-made pairs, the threshold from them, and judges that no known answer reaches before it is asked."""

import numpy as np
import pytest
import torch

from toys import toy_rows
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.pairs.source import Pairs, RecordSource
from withstand.evaluation.structured.integration.integrate import integrate
from withstand.evaluation.structured.integration.judges import MatchJudge, TypoAudit, judged, tfidf
from withstand.evaluation.structured.integration.selfmade import best_threshold, f1_of, self_made
from withstand.models.tables.records import Read, RecordEncoder, RecordMatcher


class Plain(RecordMatcher):
    """The cosine of two records' mean vectors, as a matcher that needs no training."""

    def compare(self, left: Read, right: Read) -> torch.Tensor:
        ours, theirs = left.tokens.sum(1), right.tokens.sum(1)
        return torch.cosine_similarity(ours, theirs) * 10


def plain() -> Plain:
    with isolated(0):
        return Plain(RecordEncoder(256, buckets=1024), hidden=(4,)).eval()


NAMES = ("blue lantern", "old mill", "casa verde", "harbour grill", "noodle palace", "royal bakery", "sunset diner")
LEFT = {"name": [*NAMES, "burger barn", ""], "phone": [f"617-{row}0{row}-01{row}{row}" for row in range(8)] + [""]}
RIGHT = {"name": ["blu lantern", "old mil", "caza verde", "taco stand"], "phone": [*LEFT["phone"][:3], "999"]}


def test_thresholds_are_the_lowest_of_the_best() -> None:
    assert best_threshold(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.5
    assert best_threshold(np.array([2.0]), np.array([])) == 2.0
    random = np.random.default_rng(0)
    for _ in range(20):
        positive, negative = random.normal(1, 1, 12).round(1), random.normal(0, 1, 15).round(1)
        scores, match = np.concatenate([positive, negative]), np.arange(27) < 12
        best = max(f1_of(match, scores >= value) for value in scores)
        found = best_threshold(positive, negative)
        assert f1_of(match, scores >= found) == pytest.approx(best)
        assert all(f1_of(match, scores >= value) < best - 1e-9 for value in scores if value < found)
    with pytest.raises(DataError):
        best_threshold(np.array([]), np.array([1.0]))


def test_self_made_pairs_are_of_one_table_and_never_of_equal_records() -> None:
    twice = {name: [*values, values[0]] for name, values in LEFT.items()}
    source = RecordSource(twice, RIGHT)
    made = self_made(source, seed=1)
    table, texts = source.attributes["table"], source.whole_texts
    assert len(made.left)
    assert torch.equal(table[made.left], table[made.right]), "pairs across tables may match"
    assert all(texts[a] != texts[b] for a, b in zip(made.left.tolist(), made.right.tolist(), strict=True))
    assert not torch.equal(made.copies, source[made.copied].x)
    assert torch.equal(self_made(source, seed=1).copies, made.copies)
    with pytest.raises(DataError, match="one record"):
        self_made(RecordSource({"a": ["x"]}))


def test_known_answers_do_not_move_the_threshold() -> None:
    source = RecordSource(LEFT, RIGHT)
    left, right = torch.tensor([0, 1, 2]), torch.tensor([8, 9, 11])
    found = []
    for match in ([True, True, False], [False, False, True]):
        source.pairs = Pairs(left, right, torch.tensor(match), np.array(["test"] * 3))
        found.append((judged(plain(), source), tfidf(source, self_made(source))))
    for one, other in zip(*found, strict=True):
        assert one.threshold == other.threshold
        assert one.f1 == 1
        assert other.f1 == 0


def test_judges_say_what_pairs_they_judge_on() -> None:
    source = RecordSource(LEFT, RIGHT)
    finding = MatchJudge().evaluate(plain(), source, control=plain())
    assert "self-made, which are easier than real ones" in str(finding.protocol["pairs"])
    assert finding.figures["F1"].control is not None
    audit = TypoAudit((1, 3), headline=3).evaluate(plain(), source)
    table = audit.tables["F1 under typos"]
    assert table.column("typos in each value") == (0, 1, 3)
    ours = table.column("matcher")
    assert audit.figures["F1 lost"].value == pytest.approx(ours[0] - ours[2])  # type: ignore[operator]
    with pytest.raises(DataError, match="headline"):
        TypoAudit((1,), headline=2)
    with pytest.raises(DataError, match="records"):
        MatchJudge().evaluate(plain(), toy_rows())


def test_integration_merges_what_matches_and_keeps_every_row() -> None:
    source = RecordSource(LEFT, RIGHT)
    found = integrate(plain(), source)
    rows = dict(zip(found.merged.columns["sources"], found.merged.columns["name"], strict=True))
    assert {"A:1 B:1", "A:2 B:2", "A:3 B:3", "B:4", "A:9"} <= rows.keys(), "an empty row stays by itself"
    assert sorted(" ".join(rows).split()) == sorted(
        [*(f"A:{n}" for n in range(1, 10)), *(f"B:{n}" for n in range(1, 5))]
    )
    assert rows["A:1 B:1"] == "blue lantern", "the longer of two"
    assert found.finding.numbers["rows in"] == 13
    assert found.finding.numbers["rows out"] == 10
    assert found.finding.numbers["conflicts"] == len(found.conflicts) == 3
    assert "'blu lantern': B:1" in found.conflicts.columns["values and who holds them"][0]
    assert found.finding.numbers["sets of equal records alone"] == 0
    strict = integrate(plain(), source, threshold=0.99999)
    assert strict.finding.numbers["rows out"] == 13
    assert strict.finding.protocol["threshold from"] == "the user"
    for wrong in (0.0, 1.0):
        with pytest.raises(ConfigError, match="threshold"):
            integrate(plain(), source, threshold=wrong)
    with pytest.raises(ConfigError, match="every record"):
        integrate(plain(), source.other("train"))


def test_exact_copies_are_told_from_matches_and_a_matcher_that_glues_everything_is_caught() -> None:
    table = {name: [*values[:8], values[0], values[1]] for name, values in LEFT.items()}
    found = integrate(plain(), RecordSource(table))
    assert found.finding.numbers["sets of equal records alone"] == 2
    table["kind"] = ["a house by the harbour"] * 10
    every = integrate(plain(), RecordSource(table), threshold=1e-9, grouping="components")
    assert every.finding.numbers["rows out"] == 1
    assert not every.finding.believable
