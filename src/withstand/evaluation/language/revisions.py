"""What a language model that learnt from preferences is worth: held-out pairs, and answers that it revises itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from withstand.core.batch import Batch, as_structured
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import HIGH, LOW, Cell, Check, Finding, Measure, Table
from withstand.core.findings.measure import BEFORE
from withstand.core.outputs import Output
from withstand.core.part import describe
from withstand.core.random import ranked
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.text.container import TextPairs
from withstand.data.text.source import Preferences
from withstand.evaluation.language.win_rate import WinRate, length_controlled, preferred_by
from withstand.evaluation.statistics.intervals import Share

Rule: TypeAlias = Callable[[str, str], float]
"""How good an answer is: (prompt, answer) to a number."""
ACCURACY, IMPROVER, GAIN = "chosen is likelier", "better draft is likelier", "wins of the last revision"
_OWN = "the rule's own"
_AT_ONCE = 32


@runtime_checkable
class AnswersAndRevises(Protocol):
    """A method whose language model answers prompts and revises its answers."""

    def answered(
        self, batch: Batch, *, revisions: int = 5, most: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> dict[str, Output]:
        """Return the prompts, the answers and each revision of them."""
        ...

    def scores(self, pairs: TextPairs) -> Tensor:
        """Return the log-probabilities of pairs' answers in every context, `(B, 6)`."""
        ...


@dataclass(frozen=True)
class RevisedAnswers(Evaluator):
    """Held-out pairs, and answers revised by the model itself, beside the control's.

    Of pairs: how often the chosen answer is likelier than the rejected one, and, of a draft, how often the model would
    rather write the better answer than leave the worse. Of answers: how long they get with each revision and how many
    stay as they are; and, where a rule can tell good answers, how often each revision wins over the first answer, over
    the control's, and over the data's chosen one, plainly and as if both were equally long.

    Args:
        rule: a function (prompt, answer) to a number, higher for better; None where nobody but people can tell.
        revisions: how many times an answer is revised.
        samples: most pairs that are judged, drawn by (seed, index).
        most: the most ids of an answer.
        temperature: 0 for the likeliest answer.
        shown: answers that are listed.
        seed: of the choice of pairs, and of what is drawn.
    """

    rule: Rule | None = None
    revisions: int = 5
    samples: int = 128
    most: int = 64
    temperature: float = 0.0
    shown: int = 5
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if min(self.samples, self.most) < 1 or min(self.revisions, self.shown) < 0:
            raise ConfigError(
                f"samples and most must be at least 1, revisions and shown at least 0, not "
                f"{(self.samples, self.most, self.revisions, self.shown)!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(_length, revisions=2, samples=4, most=4)

    def example_trial(self) -> Trial:
        from withstand.methods.language.srpo import SRPO

        return Trial(SRPO.example(), Preferences.example(), SRPO.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method answers nothing, or that the data are no pairs of answers."""
        if not isinstance(subject, AnswersAndRevises):
            return f"{type(subject).__name__} answers no prompts"
        if not isinstance(as_structured(source[[0]].x), TextPairs):
            return f"pairs of answers are judged, not {source.kind}s"
        return ""

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "revised-answers".

        Args:
            subject: a method that `AnswersAndRevises`.
            source: pairs of answers.
            test: pairs that are judged in place of the source's.
            control: the method before it learnt.

        Raises:
            ConfigError: the subject answers nothing.
            DataError: the data are no pairs.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, AnswersAndRevises) else ConfigError)(lacking)
        rows = ranked(len(judged), self.seed, "revised answers")[: self.samples].sort().values
        ours, answers = self._run(subject, judged, rows)
        figures = _leads(ours, None)
        theirs = None
        if control is not None:
            theirs_scores, theirs = self._run(control, judged, rows)
            figures = _leads(ours, theirs_scores)
        prompts = answers.pop("prompt")
        names = list(answers)
        first, last = names[0], names[-1]
        tables = {"answers by revision": self._by_revision(answers, theirs, prompts)}
        if self.rule is not None:
            scores = {name: self._scores(prompts, some) for name, some in answers.items()}
            if last != first:
                before = (
                    None
                    if theirs is None
                    else WinRate.of(
                        preferred_by(self._scores(prompts, theirs[last]), self._scores(prompts, theirs[first]))
                    ).measure()
                )
                gain = WinRate.of(preferred_by(scores[last], scores[first])).measure()
                figures[GAIN] = replace(gain, control=None if before is None else replace(before, called=BEFORE))
            figures["score of answers"] = Measure(float(scores[first].mean()), _OWN, "higher")
            figures["score of the last revision"] = Measure(float(scores[last].mean()), _OWN, "higher")
        listed: list[tuple[Cell, ...]] = [
            (prompts[row], answers[first][row], answers[last][row]) for row in range(min(self.shown, len(rows)))
        ]
        if listed and last != first:
            tables["some answers"] = Table(("prompt", first, last), tuple(listed))
        return Finding(
            "revised-answers",
            figures,
            tables,
            self._checks(answers),
            {**_settings(self), "samples": len(rows)},
            headline=GAIN if GAIN in figures else ACCURACY,
        )

    def _run(self, subject: Any, judged: Source, rows: Tensor) -> tuple[Tensor, dict[str, Sequence[str]]]:
        """Return the log-probabilities of the pairs, and the answers by name."""
        device = device_of_network(subject)
        scores: list[Tensor] = []
        made: dict[str, list[str]] = {}
        with Victim(subject).held(), torch.no_grad():
            for at in range(0, len(rows), _AT_ONCE):
                batch = judged[rows[at : at + _AT_ONCE]].to(device)
                scores.append(subject.scores(TextPairs.of(as_structured(batch.x))).cpu())
                found = subject.answered(
                    batch, revisions=self.revisions, most=self.most, temperature=self.temperature, seed=self.seed
                )
                for name, output in found.items():
                    made.setdefault(name, []).extend(map(str, output.values))
        return torch.cat(scores), {name: tuple(words) for name, words in made.items()}

    def _scores(self, prompts: Sequence[str], some: Sequence[str]) -> Tensor:
        rule = self.rule
        if rule is None:
            raise ConfigError("there is no rule to score answers by")
        return torch.tensor([float(rule(prompt, answer)) for prompt, answer in zip(prompts, some, strict=True)])

    def _by_revision(
        self, answers: Mapping[str, Sequence[str]], theirs: Mapping[str, Sequence[str]] | None, prompts: Sequence[str]
    ) -> Table:
        """Return a row a revision."""
        names = list(answers)
        first = answers[names[0]]
        control = None if theirs is None else theirs["answer"]
        columns = ["revision", "characters", "changed"]
        sides = {"first answer": first} | ({} if control is None else {f"answer {BEFORE}": control})
        if self.rule is not None:
            columns.append("score")
            for side in sides:
                columns += [f"wins over {side}", f"wins over {side}{LOW}", f"wins over {side}{HIGH}",
                            f"wins over {side}, lengths equal"]  # fmt: skip
        rows: list[tuple[Cell, ...]] = []
        for number, name in enumerate(names):
            some = answers[name]
            before = answers[names[max(0, number - 1)]]
            changed = sum(one != two for one, two in zip(some, before, strict=True)) / len(some)
            cells: list[Cell] = [number, sum(map(len, some)) / len(some), changed]
            if self.rule is not None:
                scores = self._scores(prompts, some)
                cells.append(float(scores.mean()))
                for other in sides.values():
                    wins = preferred_by(scores, self._scores(prompts, other))
                    longer = torch.tensor([len(one) - len(two) for one, two in zip(some, other, strict=True)])
                    rate = WinRate.of(wins)
                    cells += [rate.value, *rate.interval, length_controlled(wins, longer)]
            rows.append(tuple(cells))
        units = {name: "share" for name in columns if name == "changed" or name.startswith("wins")}
        units |= {"characters": "count"} | ({"score": _OWN} if self.rule is not None else {})
        note = "Characters are a mean of all answers; changed is the share that the revision before did not write"
        return Table(tuple(columns), tuple(rows), x="revision", note=note, units=units)

    def _checks(self, answers: Mapping[str, Sequence[str]]) -> tuple[Check, ...]:
        names = list(answers)
        empty = sum(not answer for some in answers.values() for answer in some)
        checks = [Check("answers have words", empty == 0, f"{empty} of {sum(map(len, answers.values()))} are empty")]
        if len(names) > 1:
            one, two = (sum(map(len, answers[name])) / len(answers[name]) for name in (names[0], names[-1]))
            checks.append(
                Check(
                    "revisions do not win by length alone",
                    None if self.rule is None else two <= 1.5 * max(one, 1),
                    f"{one:.0f} characters at first, {two:.0f} at last",
                )
            )
        return tuple(checks)


def _leads(ours: Tensor, control: Tensor | None) -> dict[str, Measure]:
    """Return how often better answers are likelier, of the prompt and of a draft where drafts are known."""
    figures = {}
    for name, better, worse in ((ACCURACY, 0, 1), (IMPROVER, 2, 3)):
        if name == IMPROVER and not bool(ours[:, 2:].any()):
            continue
        share = Share.of(ours[:, better] > ours[:, worse])
        other = None if control is None else Share.of(control[:, better] > control[:, worse]).measure()
        beside = None if other is None else replace(other, called=BEFORE)
        figures[name] = Measure(share.value, "share", "higher", interval=share.interval, of=share.count, control=beside)
    return figures


def _settings(judge: RevisedAnswers) -> dict[str, Any]:
    tree: Any = describe(judge)
    return dict(tree["init_args"])


def _length(prompt: str, answer: str) -> float:
    """Return how long an answer is: the example's rule."""
    return float(len(answer))
