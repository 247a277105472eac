"""Unlearning: what a classifier still knows of samples that it was to forget, beside one that never saw them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Product, Source, Trial, network_of
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.subset import Subset, labelled
from withstand.evaluation.continual.forgotten import (
    AFTER,
    BEFORE,
    GONE,
    KEPT,
    RETRAINED,
    TEST,
    TEST_GONE,
    is_a_goal,
    is_forgotten,
    is_kept,
    is_no_member,
    was_known,
)
from withstand.evaluation.features import Features, embed
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, columns, shares

GAP, GAP_BEFORE = "mean gap to the retrained classifier", "mean gap to it before"
_LEAST = 1e-7


@runtime_checkable
class Edited(Protocol):
    """A method that changed a classifier.

    Attributes:
        before: the classifier as it was.
        retrained: one that was trained without what was to be forgotten; None where there is none.
    """

    before: nn.Module
    retrained: nn.Module | None

    def product(self, name: str) -> Product:
        """Return a product by its name."""
        ...


@dataclass(frozen=True)
class Unlearning(Evaluator):
    """Accuracies, a membership attack and the time to relearn: before, after, and of a retrained classifier.

    The goal is the retrained classifier's figures, not the lowest. Where all samples of a class are forgotten, test
    samples of that class are counted apart, and the attack sees none of them.

    The attack is a logistic regression on sorted log-probabilities, fitted for each classifier on as many remaining
    samples as half of the test samples; its success is its accuracy on forgotten samples, called members, and as many
    other test samples. A half is chance. It is a weak attack: a figure of a half proves nothing.

    Relearning is training of a copy on the forgotten samples, by Adam, until their accuracy is what it was before.

    Args:
        forget: the samples that were to be forgotten.
        remaining: the others that were learnt from.
        learning_rate: of relearning.
        most: steps after which relearning is given up.
        batch: samples of a step of relearning.
        unseen: samples that were never learnt from, where `evaluate` is given none.
        seed: of the attack's choices and relearning's order.
    """

    forget: Source
    remaining: Source
    learning_rate: float = 1e-3
    most: int = 100
    batch: int = 64
    unseen: Source | None = None
    seed: int = 0

    product = "method"

    @classmethod
    def example(cls) -> "Unlearning":
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=generator)
        whole = ArraySource(x, torch.arange(24) % 4)
        return cls(Subset(whole, list(range(6))), Subset(whole, list(range(6, 24))), most=2, unseen=whole)

    def example_trial(self) -> Trial:
        from withstand.methods.editing.laf import LAF

        return Trial(LAF.example(), small_pictures())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that nothing was edited, or that there are no labels to judge by."""
        if not isinstance(subject, Edited):
            return f"{type(subject).__name__} has not kept the classifier that it changed"
        known = self.forget.labels is not None and self.remaining.labels is not None and source.labels is not None
        return "" if known else "forgetting is judged by labels, and the data have none"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "unlearning", with a table of the classifiers and, with a reference, the gaps to it.

        Args:
            subject: a method that is `Edited`.
            source: not used: what is forgotten and what remains are settings.
            test: samples that were never learnt from; `unseen` if None.
            control: not used.

        Raises:
            ConfigError: the method has not kept the classifier that it changed.
            DataError: no labels, or no test samples.
        """
        test = self.unseen if test is None else test
        if test is None:
            raise DataError("forgetting is judged on test samples, and there are none")
        for some in (source, test):
            if lacking := self.lacks(subject, some):
                raise (DataError if isinstance(subject, Edited) else ConfigError)(lacking)
        after = network_of(subject, "classifier")
        subjects = {BEFORE: subject.before, AFTER: after}
        if subject.retrained is not None:
            subjects[RETRAINED] = subject.retrained
        parts = self.parts(labelled(test))
        logits = {name: {part: embed(one, some) for part, some in parts.items()} for name, one in subjects.items()}
        right = {
            name: {part: found.x.argmax(1) == found.labels for part, found in of.items()} for name, of in logits.items()
        }
        attacked = {name: self._membership(of) for name, of in logits.items()}
        wanted = float(right[BEFORE][GONE].double().mean())
        steps = {name: self._relearning(one, wanted) for name, one in subjects.items()}
        figures = {
            f"accuracy, {part}": Share.of(right[AFTER][part]).measure("higher" if part in (KEPT, TEST) else None)
            for part in parts
        }
        success = {name: Share.of(hits) for name, (hits, _) in attacked.items()}
        figures["membership attack's success"] = success[AFTER].measure(None)
        figures["steps to relearn"] = Measure(float(steps[AFTER]), "count", None)
        if RETRAINED in subjects:
            for name, of in ((GAP, right[AFTER]), (GAP_BEFORE, right[BEFORE])):
                gaps = [_gap(of[part], right[RETRAINED][part]) for part in parts]
                figures[name] = Measure(mean(gaps), "share", "lower", of=len(gaps))
        known = {part: _labels(found) for part, found in logits[BEFORE].items()}
        checks = (
            was_known(right, {part: found.x.argmax(1) for part, found in logits[BEFORE].items()}, known[GONE]),
            is_forgotten(right, ~torch.isin(known[GONE], known[KEPT]), steps),
            is_kept(right, known[TEST]),
            *((is_a_goal(right, known[TEST]),) if RETRAINED in subjects else ()),
            is_no_member({name: hits for name, (hits, _) in attacked.items()}),
        )
        return Finding(
            name="unlearning",
            figures=figures,
            headline=GAP if GAP in figures else f"accuracy, {GONE}",
            tables={"classifiers": _table(right, success, attacked, steps)},
            checks=checks,
            protocol={
                "evaluator": describe(self),
                "samples": {part: len(some) for part, some in parts.items()},
                "retrained": "from new weights, as the first run, on what remains"
                if RETRAINED in subjects
                else "none: the gap to it is not known",
                "steps to relearn": f"until accuracy on forgotten samples is what it was before, at most {self.most}",
            },
        )

    def parts(self, test: Source) -> dict[str, Source]:
        """Return what is judged, by name; classes of which nothing remains stand apart in the test samples."""
        forget, remaining = labelled(self.forget), labelled(self.remaining)
        assert forget.labels is not None
        assert remaining.labels is not None
        assert test.labels is not None
        lost = torch.isin(test.labels, forget.labels) & ~torch.isin(test.labels, remaining.labels)
        found: dict[str, Source] = {KEPT: remaining, GONE: forget}
        for name, rows in ((TEST, ~lost), (TEST_GONE, lost)):
            if bool(rows.any()):
                found[name] = Subset(test, rows.nonzero()[:, 0].tolist())
        if len(found.get(TEST, ())) < 2:
            raise DataError(
                f"the membership attack learns from one half of the test samples whose class remains, and is judged on "
                f"the other: it needs 2, and there are {len(found.get(TEST, ()))}"
            )
        return found

    def _membership(self, logits: Mapping[str, Features]) -> tuple[Tensor, Tensor]:
        """Return which of the attack's answers are right, and which forgotten samples it calls members."""
        kept, gone, test = (_sorted(logits[part].x) for part in (KEPT, GONE, TEST))
        order = permutation(len(test), self.seed, "membership")
        half = len(test) // 2
        members = kept[permutation(len(kept), self.seed, "members")[:half]]
        strangers = test[order[:half]][: len(members)]
        chosen = gone[permutation(len(gone), self.seed, "forgotten")]
        others = test[order[half:]][: len(chosen)]
        x = torch.cat([members, strangers]).numpy()
        y = np.arange(len(x)) < len(members)
        attack = LogisticRegression(max_iter=1000).fit(x, y)
        called = torch.from_numpy(attack.predict(chosen.numpy()))
        refused = ~torch.from_numpy(attack.predict(others.numpy()))
        return torch.cat([called[: len(others)], refused]), called

    def _relearning(self, network: nn.Module, wanted: float) -> int:
        """Return after how many steps a copy names forgotten samples as well as before; the most where it never does.

        All of a copy is trained, in eval mode, so that what normalizations know stays.
        """
        device, source = device_of_network(network), labelled(self.forget)
        copied = copy.deepcopy(network).requires_grad_(True).eval()
        optimizer = torch.optim.Adam(copied.parameters(), self.learning_rate)
        size = min(self.batch, len(source))
        for step in range(self.most):
            found = embed(copied, source)
            if float((found.x.argmax(1) == found.labels).double().mean()) >= wanted:
                return step
            rows = Draws(derive(self.seed, "relearning"), torch.arange(len(source)), epoch=step).bits(1)[:, 0].argsort()
            batch = source[rows[:size]].to(device)
            assert batch.y is not None
            loss = cross_entropy(copied(unit_range(batch.x)).float(), batch.y)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return self.most


def _labels(found: Features) -> Tensor:
    assert found.labels is not None
    return found.labels


def _sorted(logits: Tensor) -> Tensor:
    """Return log-probabilities, the largest first, float64 `(N, K)`."""
    return logits.double().softmax(1).clamp_min(_LEAST).log().sort(1, descending=True).values


def _gap(ours: Tensor, theirs: Tensor) -> float:
    return abs(float(ours.double().mean()) - float(theirs.double().mean()))


def _table(
    right: Mapping[str, Mapping[str, Tensor]],
    success: Mapping[str, Share],
    attacked: Mapping[str, tuple[Tensor, Tensor]],
    steps: Mapping[str, int],
) -> Table:
    """Return a row a classifier: accuracies, the attack, the time to relearn."""
    parts = list(next(iter(right.values())))
    attack, recall, time = "membership attack", "forgotten called members", "steps to relearn"
    names = [name for part in parts for name in columns(part)]
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            *(cell for part in parts for cell in Share.of(of[part]).cells),
            *success[name].cells,
            Share.of(attacked[name][1]).value,
            steps[name],
        )
        for name, of in right.items()
    ]
    found = ("classifier", *names, *columns(attack), recall, time)
    return Table(found, tuple(rows), units=shares(*names, *columns(attack), recall) | {time: "count"})
