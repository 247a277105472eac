"""Scores of tables: recomputed by scikit-learn from saved predictions, left out where they are not defined."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

from withstand.core.findings.finding import Finding
from withstand.data.tables.source import TableSource
from withstand.evaluation.features import Features
from withstand.evaluation.probes.named import Linear
from withstand.evaluation.structured import table_heads
from withstand.evaluation.structured.rows.native import native
from withstand.evaluation.structured.rows.scores import Predicted, calibration_error, class_scores, number_scores
from withstand.evaluation.structured.table_heads import Answers, Head
from withstand.evaluation.structured.table_probe import ColumnImportance, TableHeads

BOTH = ("linear", "boosting")


def table(count: int, answers: int, *, part: str = "train") -> TableSource:
    """A table whose answer is one of so many classes, 0 for a number, and hangs on two columns."""
    draws = np.random.default_rng(0)
    key, word = draws.normal(size=count), np.array(["a", "b", "c"])[draws.integers(0, 3, count)]
    value = key + (word == "b") + 0.7 * draws.normal(size=count)
    cuts = np.quantile(value, np.linspace(0, 1, answers + 1)[1:-1]) if answers else ()
    answer = np.array(["low", "middle", "top"])[np.digitize(value, cuts)] if answers else 10 * value
    return TableSource({"key": key, "word": word, "answer": answer}, part=part, target="answer")  # type: ignore[arg-type]


def doubled(x: Tensor) -> Tensor:
    return x * 2


def slots(source: TableSource) -> Tensor:
    return source[torch.arange(len(source))].x


def saved(source: TableSource, path: Path) -> dict[str, np.ndarray]:
    """Predictions of a linear head on the features, saved and read again."""
    test = source.other("test")
    y = source.targets if source.labels is None else source.labels
    truth = test.targets if test.labels is None else test.labels
    assert y is not None
    assert truth is not None
    head = Head("linear").fit(doubled(slots(source)), Answers(y))
    x = doubled(slots(test))
    p = torch.zeros(0) if head.probabilities is None else head.probabilities(x)
    np.savez(path, y=truth.numpy(), said=head(x).numpy(), p=p.numpy())
    with np.load(path) as file:
        return dict(file)


def numbers(found: Finding, of: str = "linear on features") -> dict[str, float]:
    return {name.removesuffix(f", {of}"): value for name, value in found.numbers.items() if name.endswith(f", {of}")}


def binned(y: np.ndarray, p: np.ndarray) -> float:
    """The expected calibration error by scikit-learn's reliability curve, and the bins' counts."""
    sure, right = p.max(1), p.argmax(1) == y
    share, confidence = metrics_curve(right, sure)
    counts = np.histogram(sure, np.linspace(0, 1, 16))[0]
    return float((counts[counts > 0] / len(y) * np.abs(share - confidence)).sum())


def metrics_curve(right: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.calibration import calibration_curve

    share, confidence = calibration_curve(right, sure, n_bins=15, strategy="uniform")
    return share, confidence


def test_calibration_error_has_fifteen_bins() -> None:
    """Gaps of both signs, so that fewer bins would hide some."""
    draws = np.random.default_rng(0)
    y, p = draws.integers(0, 3, 300), draws.dirichlet([0.5] * 3, 300)
    assert calibration_error(torch.from_numpy(y), torch.from_numpy(p)) == pytest.approx(binned(y, p))


def test_two_classes_by_scikit_learn(tmp_path: Path) -> None:
    source = table(300, 2)
    found = TableHeads(BOTH).evaluate(doubled, source)
    kept = saved(source, tmp_path / "predictions.npz")
    y, said, p = kept["y"], kept["said"], kept["p"]
    assert numbers(found) == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(y, said),
            "AUROC": metrics.roc_auc_score(y, p[:, 1]),
            "average precision": metrics.average_precision_score(y, p[:, 1]),
            "F1 of middle": metrics.f1_score(y, said),
            "balanced accuracy": metrics.balanced_accuracy_score(y, said),
            "log loss": metrics.log_loss(y, p),
            "expected calibration error": binned(y, p),
        }
    )
    assert source.labels is not None
    most = int(source.labels.bincount().argmax())
    constant = found.figures[f"accuracy, always {source.classes[most]!r}"]
    assert constant.value == float((y == most).mean())
    assert found.figures["accuracy, linear on features"].chance == constant.value
    assert found.protocol["scores"] == "AUROC, average precision and F1 of 'middle'"
    assert "15 bins of equal width" in str(found.protocol["expected calibration error"])


def test_several_classes_by_scikit_learn(tmp_path: Path) -> None:
    source = table(300, 3)
    found = TableHeads(BOTH).evaluate(doubled, source)
    kept = saved(source, tmp_path / "predictions.npz")
    y, said, p = kept["y"], kept["said"], kept["p"]
    own = numbers(found)
    assert own == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(y, said),
            "macro AUROC": metrics.roc_auc_score(y, p, multi_class="ovr", average="macro"),
            "macro average precision": metrics.average_precision_score(np.eye(3)[y], p, average="macro"),
            "macro F1": metrics.f1_score(y, said, average="macro"),
            "balanced accuracy": metrics.balanced_accuracy_score(y, said),
            "log loss": metrics.log_loss(y, p),
            "expected calibration error": binned(y, p),
        }
    )
    scores = found.tables["scores"]
    assert scores.rows[0][:2] == ("always 'low'", "–")
    row = next(row for row in scores.rows if row[:2] == ("linear", "features"))
    assert dict(zip(scores.columns[2:], row[2:], strict=True)) == own


def test_numbers_by_scikit_learn(tmp_path: Path) -> None:
    source = table(200, 0)
    found = TableHeads(BOTH).evaluate(doubled, source)
    kept = saved(source, tmp_path / "predictions.npz")
    y, said = kept["y"], kept["said"]
    assert numbers(found) == pytest.approx(
        {
            "RMSE": metrics.root_mean_squared_error(y, said),
            "MAE": metrics.mean_absolute_error(y, said),
            "R²": metrics.r2_score(y, said),
        }
    )
    assert source.targets is not None
    scores = {str(row[0]): row for row in found.tables["scores"].rows}
    for name, middle in (("mean", source.targets.mean()), ("median", source.targets.quantile(0.5))):
        row = scores[f"always the {name}, {float(middle):.4g}"]
        constant = np.full(len(y), float(middle))
        assert row[2:4] == pytest.approx(
            (metrics.root_mean_squared_error(y, constant), metrics.mean_absolute_error(y, constant))
        )


def test_what_is_not_defined_is_left_out_with_its_reason() -> None:
    sure = Predicted(torch.tensor([1, 1, 0]), torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]))
    of_one = class_scores(torch.tensor([0, 0, 0]), sure, ("no", "yes"))
    assert set(of_one.undefined) == {"AUROC", "average precision", "F1 of yes", "balanced accuracy"}
    assert set(of_one.undefined.values()) == {"all judged rows are 'no'"}
    assert set(of_one.values) == {"accuracy", "log loss", "expected calibration error"}
    never = Predicted(torch.tensor([0, 0]), torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
    found = class_scores(torch.tensor([0, 2]), never, ("a", "b", "c"))
    assert found.undefined == {"log loss": "the class of 1 of 2 judged rows was given probability 0"}
    assert found.values["macro F1"] == pytest.approx(metrics.f1_score([0, 2], [0, 0], average="macro", zero_division=0))
    constant = number_scores(torch.tensor([3.0, 3.0]), torch.tensor([1.0, 2.0]))
    assert constant.undefined == {"R²": "the target is the same in all judged rows"}
    assert number_scores(torch.tensor([3.0]), torch.tensor([1.0])).undefined == {"R²": "one row is judged"}


def test_defaults_are_what_they_were() -> None:
    """A stored claim was made with them: one seed, plain boosting, an untuned perceptron."""
    source = table(200, 2)
    test, y = source.other("test"), source.labels
    assert y is not None
    assert test.labels is not None
    found = TableHeads(("mlp", "boosting")).evaluate(doubled, source)
    for name in ("mlp", "boosting"):
        said = Head(name).fit(slots(source), Answers(y))(slots(test))  # type: ignore[arg-type]
        assert found.numbers[f"accuracy, {name} on raw columns"] == float((said == test.labels).double().mean())
        assert found.figures[f"accuracy, {name} on raw columns"].spread is None


def test_baselines_are_steady_over_seeds_and_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_heads, "SETTINGS", ((8, 1e-4), (64, 1e-2)))
    monkeypatch.setattr(table_heads, "LEAST_STEPS", 40)
    monkeypatch.setattr(table_heads, "LEAST_PATIENCE", 6)
    source = table(130, 2)
    heads = TableHeads(("mlp", "boosting"), seeds=2, tuned=True, native=True)
    found = heads.evaluate(doubled, source)
    assert [len(values) for values in found.tables["accuracy"].rows] == [5, 5]
    chosen = found.protocol["perceptrons"]["mlp on raw columns"]  # type: ignore[index,call-overload]
    for name in ("mlp", "boosting"):
        figure = found.figures[f"accuracy, {name} on raw columns"]
        values = []
        for seed in range(2):
            head = Head(name, seed=seed, early=True)  # type: ignore[arg-type]
            categories = None
            x, there = slots(source), slots(source.other("test"))
            if name == "mlp":
                first = Head("mlp", early=True).tuned(x, Answers(source.labels))  # type: ignore[arg-type]
                assert (first.hidden, first.learning_rate) == (chosen["hidden"], chosen["learning rate"])
                head = replace(first, seed=seed)
            else:
                both, categories = native(source.schema, torch.cat([x, there]), len(x))
                x, there = both[: len(x)], both[len(x) :]
            said = head.fit(x, Answers(source.labels), categories=categories)(there)  # type: ignore[arg-type]
            values.append(float((said == source.other("test").labels).double().mean()))
        assert (figure.value, figure.spread, figure.of) == (
            pytest.approx(np.mean(values)),
            pytest.approx(np.std(values, ddof=1)),
            2,
        )
    assert found.tables["accuracy"].columns[1:3] == ("on features", "on features ±")


def test_categories_are_categories_and_gaps_are_gaps() -> None:
    columns = {"n": [1.0, np.nan, 3.0, 2.0], "c": ["x", "y", "", "x"], "answer": [0, 1, 0, 1]}
    source = TableSource(columns, target="answer")
    found, categories = native(source.schema, slots(source), 4)
    assert categories == (False, True)
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 0.0], [np.nan, 1.0], [1.0, np.nan], [0.5, 0.0]]), equal_nan=True
    )
    words = [f"w{code:03}" for code in range(256) for _ in range(2 if code != 7 else 1)]
    many = TableSource({"c": words, "y": list(range(511))}, target="y", kinds={"c": "categorical"})
    lumped = native(many.schema, slots(many), len(many))[0][:, 0]
    assert sorted(set(lumped.tolist())) == list(range(255))
    assert int((lumped == 254).sum()) == 3  # the rarest, and one of those that are equally frequent


def test_an_end_of_the_grid_is_told() -> None:
    draws = torch.Generator().manual_seed(0)
    noise, y = torch.randn(60, 20, generator=draws), torch.randint(0, 2, (60,), generator=draws)
    train = Features(noise, y, torch.arange(60))
    told = [check for check in Linear(C=(1e-3, 1e-2)).fit(train).checks if check.passed is None]
    assert told[0].detail.startswith("the best regularisation, C = 0.0")
    assert not [check for check in Linear(C=1.0).fit(train).checks if check.passed is None]
    alone = Linear().fit(train[torch.tensor([int(y.argmin()), int(y.argmax())])])
    assert "no class has two samples" in alone.checks[-1].detail
    steep = torch.linspace(0, 1, 60)[:, None]
    ridge = Head("linear").fit(steep, Answers(5 * steep[:, 0]))
    assert ridge.edge == "the best regularisation, alpha = 0.01, is the grid's smallest"


@pytest.mark.thorough
@pytest.mark.parametrize("answers", [0, 2])
def test_ten_rows_are_all_judged(answers: int) -> None:
    source = table(10, answers)
    found = TableHeads(BOTH, few=100, seeds=3).evaluate(doubled, source)
    assert found.protocol["test rows"] == 10
    assert "all 10 rows with an answer are judged" in found.checks[0].detail
    undefined = [check.detail for check in found.checks if check.name == "every score is defined"]
    assert undefined == (
        ["no AUROC and no average precision: scores of different fits are not ranked against each other"]
        if answers
        else []
    )
    assert ColumnImportance(few=100).evaluate(doubled, source).protocol["test rows"] == 10
    assert TableHeads(BOTH).evaluate(doubled, source).protocol["test rows"] == 2


def test_rows_too_few_for_a_head_have_a_constant_answer() -> None:
    source = TableSource({"key": [1.0, 2.0, 4.0], "answer": ["a", "b", "a"]}, part="train", target="answer")
    found = TableHeads(few=100).evaluate(doubled, source)
    assert found.headline == "accuracy, always 'a'"
    assert [check.name for check in found.checks][:2] == [
        "there are rows enough for a test part",
        "there are rows enough for heads",
    ]
    columns = ColumnImportance(few=100).evaluate(doubled, source)
    assert (dict(columns.figures), columns.checks) == ({}, found.checks[: len(columns.checks)])
