"""Whether what is said of forgetting can be believed: it was known, it is told no longer, and the rest still is."""

from collections.abc import Mapping

import torch
from scipy.stats import binomtest
from torch import Tensor

from withstand.core.findings.finding import Check
from withstand.evaluation.statistics.intervals import Share, paired_difference

KEPT, GONE, TEST, TEST_GONE = "remaining", "forgotten", "test", "test, forgotten classes"
BEFORE, AFTER, RETRAINED = "before", "after", "retrained"

Right = Mapping[str, Mapping[str, Tensor]]
"""By classifier and by part, which samples are named rightly, bool `(N,)`."""

_LEVEL, _DOUBT = 0.01, 0.1
"""Less probable by chance is more than chance; more probable is not; between the two nobody knows."""


def beyond(right: Tensor, chance: float) -> bool | None:
    """Return whether more is right than by chance; None where so few samples cannot tell.

    >>> beyond(torch.tensor([True] * 19 + [False]), 0.5), beyond(torch.tensor([True, False] * 20), 0.5)
    (True, False)
    >>> beyond(torch.tensor([True, True]), 0.5) is None
    True
    """
    if chance ** len(right) > _LEVEL:
        return None
    found = float(binomtest(int(right.sum()), len(right), min(chance, 1.0), alternative="greater").pvalue)
    return True if found < _LEVEL else None if found < _DOUBT else False


def was_known(right: Right, answers: Mapping[str, Tensor], gone: Tensor) -> Check:
    """Check that the classifier knew what it was to forget: what was never learnt cannot be forgotten.

    Args:
        right: as the type says.
        answers: what the classifier said before, by part, int64 `(N,)`.
        gone: labels of what was to be forgotten, int64 `(N,)`.
    """
    every = torch.cat([answers[KEPT], answers[GONE]])
    size = int(max(every.max(), gone.max())) + 1
    chance = float((every.bincount(minlength=size).double() / len(every))[gone].mean())
    before = right[BEFORE][GONE]
    detail = f"before forgetting {Share.of(before)} of {len(before)} are right, {chance:.1%} would be by chance"
    return Check("what was to be forgotten was known", beyond(before, chance), detail)


def is_forgotten(right: Right, lost: Tensor, steps: Mapping[str, int]) -> Check:
    """Check that what was to be forgotten is told as the goal says, and no longer as before.

    The goal is what the retrained classifier tells of it; without one, nothing of classes of which nothing remains,
    and of others as much as was told of new samples before.

    Args:
        right: as the type says.
        lost: of which samples to be forgotten nothing of the class remains, bool `(N,)`.
        steps: until each classifier relearns them.
    """
    before, after = right[BEFORE][GONE], right[AFTER][GONE]
    if RETRAINED in right:
        goal = Share.of(right[RETRAINED][GONE]).value
        apart = paired_difference(before, right[RETRAINED][GONE])[1] > 0
        whose = "the retrained classifier's"
    else:
        goal = Share.of(right[BEFORE][TEST]).value * float((~lost).double().mean())
        apart = float(binomtest(int(before.sum()), len(before), goal, alternative="greater").pvalue) < _LEVEL
        whose = "the goal, as nothing of their classes remains" if bool(lost.all()) else "the goal, as of new samples"
    was, now = Share.of(before), Share.of(after)
    name = "what was to be forgotten is told no longer as before"
    detail = f"{now} of {len(after)} are right, before {was.value:.1%}; {goal:.1%} is {whose}"
    again = ", ".join(f"{count} {name}" for name, count in steps.items() if name != BEFORE)
    if not apart:
        return Check(name, None, f"{detail}: too near to what it was to tell")
    if abs(now.value - goal) > abs(was.value - goal) / 2:
        why = "fewer than should be, so that they stand out" if now.value < goal else "most of it is still known"
        return Check(name, False, f"{detail}: {why}")
    moved = paired_difference(before, after)[1] > 0
    return Check(name, True if moved else None, f"{detail}; steps to relearn: {again}")


def is_kept(right: Right, labels: Tensor) -> Check:
    """Check that new samples of the classes that remain are still told: beyond the largest class, and as before.

    Args:
        right: as the type says.
        labels: of the test samples, int64 `(N,)`.
    """
    largest, before, after = _largest(labels), right[BEFORE][TEST], right[AFTER][TEST]
    was, now = Share.of(before), Share.of(after)
    name = "what remains is still told"
    detail = f"{now} of {len(after)} test samples are right, before {was.value:.1%}, the largest class is {largest:.1%}"
    if beyond(before, largest) is not True:
        return Check(name, None, f"{detail}: too little was known before to tell")
    told = beyond(after, largest)
    if told is False or now.value - largest < (was.value - largest) / 2:
        return Check(name, False, f"{detail}: most of what was known of the rest is gone too")
    return Check(name, told, detail)


def is_a_goal(right: Right, labels: Tensor) -> Check:
    """Check that the retrained classifier learnt something: what learnt nothing is near to all that forgot all."""
    largest, theirs = _largest(labels), right[RETRAINED][TEST]
    detail = f"it tells {Share.of(theirs)} of {len(theirs)} test samples, the largest class is {largest:.1%}"
    return Check("the retrained classifier is one to go by", beyond(theirs, largest), detail)


def is_no_member(hits: Mapping[str, Tensor]) -> Check:
    """Check that the membership attack finds forgotten samples no longer, where it found them before.

    Args:
        hits: by classifier, which of the attack's answers are right, bool `(N,)`.
    """
    name = "the membership attack no longer finds what was forgotten"
    was, now = Share.of(hits[BEFORE]), Share.of(hits[AFTER])
    detail = f"it is right on {now} of {now.count}, before forgetting on {was.value:.1%}"
    if beyond(hits[BEFORE], 0.5) is not True:
        return Check(name, None, f"{detail}: it cannot tell members, so that a half proves nothing")
    still = beyond(hits[AFTER], 0.5)
    if RETRAINED in hits:
        detail += f", of the retrained classifier on {Share.of(hits[RETRAINED]).value:.1%}"
        still = still is True and paired_difference(hits[AFTER], hits[RETRAINED])[1] > 0
    return Check(name, None if still is None else not still, detail)


def _largest(labels: Tensor) -> float:
    return int(labels.bincount().max()) / len(labels)
