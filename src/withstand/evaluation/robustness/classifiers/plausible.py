"""Is a clean accuracy plausible, or is the network fed what it was not made for, or the labels other ones?

What is audited stays as it is: other ways to feed the network are tried only to name the likely remedy. Sizes: `N`
samples, `C` classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from torch import Tensor

from withstand.attacks.objectives import pick
from withstand.core.errors import DataError
from withstand.core.findings.finding import Check
from withstand.core.victims.victim import Victim
from withstand.evaluation.statistics.intervals import Share

NAME = "clean accuracy is plausible"

_LEVEL = 0.01
"""Answers that chance alone explains with more than this probability are no better than chance."""

_DOUBT = 0.1
"""With a probability between the two, one sample more or less would turn the verdict round: it is left open."""

_SURE, _MUCH = 0.001, 0.1
"""A remedy is named where it is ahead by more than chance explains, and by a tenth of the samples."""

_TRIED = 256
"""Samples on which remedies are tried, at most."""

_PICTURES = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, which most pretrained networks of pictures expect."""


_MISFED = "the input range or the normalisation may be wrong, or the weights not loaded"


@dataclass(frozen=True)
class _Remedy:
    """Another way to feed the network.

    Attributes:
        words: what it would be.
        normalize: mean and standard deviation by channel, in units of the victim's inputs; None for the bare inputs.
        flip: whether the channels are turned round.
    """

    words: str
    normalize: tuple[tuple[float, ...], tuple[float, ...]] | None
    flip: bool = False


def plausible(victim: Victim, x: Tensor, y: Tensor, classes: Sequence[str] = (), *, batch: int = 64) -> Check:
    """Check that the victim's clean answers have to do with the labels, and would not with another range or order.

    Args:
        victim: gives logits `(N, C)`.
        x: clean inputs in the victim's range, `(N, ...)`.
        y: labels `(N,)`.
        classes: their names; may be empty.
        batch: samples in one forward pass.
    """
    with victim.held(), torch.no_grad():
        outputs = torch.cat([pick(victim(part.clone()), "logits") for part in torch.split(x, batch)])
        told, open_ = _skill(outputs, y, classes)
        few = slice(_TRIED)
        better = _better_fed(victim, x[few], y[few], outputs[few].argmax(1) == y[few], batch)
    better = better or _other_order(outputs.argmax(1), y, classes)
    if not better or (told.passed is None and not open_):
        return told
    return Check(NAME, False, f"{Share.of(outputs.argmax(1) == y)} of {len(y)} samples are right when clean, {better}")


def skilled(outputs: Tensor, y: Tensor, classes: Sequence[str] = (), *, why: str = _MISFED) -> Check:
    """Check that answers go with the labels beyond chance; what they always say, and labels that never change, cannot.

    Args:
        outputs: logits `(N, C)` of clean samples.
        y: labels `(N,)`.
        classes: their names; may be empty.
        why: what may have gone wrong where all get one answer.
    """
    return _skill(outputs, y, classes, why)[0]


def _skill(outputs: Tensor, y: Tensor, classes: Sequence[str], ask: str = _MISFED) -> tuple[Check, bool]:
    """Return the check of `skilled`, and whether another way to feed the network may still decide it."""
    answers, count = outputs.argmax(1), len(y)
    share = Share.of(answers == y)
    found = f"{share} of {count} samples are right when clean"
    size = int(max(answers.max(), y.max())) + 1
    said, labels = (values.bincount(minlength=size).double() / count for values in (answers, y))
    if int((labels > 0).sum()) == 1:
        only = _called(classes, int(y[0]))
        return Check(NAME, None, f"{found}, but all have the label {only}: that says nothing"), False
    if float(labels.square().sum()) ** count > _LEVEL:
        return Check(NAME, None, f"{found}: too few samples to tell skill from chance"), False
    chance = float((said * labels).sum())
    by_chance = float(binomtest(share.hits, count, chance, alternative="greater").pvalue)
    if by_chance < _LEVEL:
        return Check(NAME, True, f"{found}, {chance:.1%} would be by chance"), True
    if by_chance < _DOUBT:
        return Check(NAME, None, f"{found}, {chance:.1%} would be by chance: too few samples to tell"), True
    if float((outputs - outputs[0]).abs().max()) == 0:
        return Check(NAME, False, f"{found}: the outputs are the same for every sample; {ask}"), True
    if int((said > 0).sum()) == 1:
        return Check(
            NAME, False, f"{found}: the answer is {_called(classes, int(answers[0]))} for every sample; {ask}"
        ), True
    detail = (
        f"{found}, no more than by chance ({chance:.1%}): the labels may not belong to these samples or to this "
        f"network's classes; if they do, {ask}"
    )
    return Check(NAME, False, detail), True


def refuse_other_order(victim: Victim, x: Tensor, y: Tensor, classes: Sequence[str] = (), *, batch: int = 64) -> None:
    """Refuse a surrogate that numbers classes otherwise: attacks on it would flee from another class than the sample's.

    Arguments as for `plausible`.

    Raises:
        DataError: its answers fit the labels clearly better in another order.
    """
    few = slice(_TRIED)
    with victim.held(), torch.no_grad():
        answers = torch.cat([pick(victim(part.clone()), "logits").argmax(1) for part in torch.split(x[few], batch)])
    if better := _other_order(answers, y[few], classes):
        right = Share.of(answers == y[few])
        raise DataError(
            f"the surrogate numbers classes otherwise than the labels do: {right} of {len(answers)} clean samples are "
            f"right, {better}; put its outputs in the labels' order"
        )


def _better_fed(victim: Victim, x: Tensor, y: Tensor, right: Tensor, batch: int) -> str:
    """Return the remedy under which clearly more samples are right, in words; "" where there is none."""
    found: dict[str, int] = {}
    for remedy in _remedies(victim, x):
        fed = victim.fed(remedy.normalize)
        inputs = x.flip(1) if remedy.flip else x
        try:
            outputs = torch.cat([pick(fed(part.clone()), "logits") for part in torch.split(inputs, batch)])
        except Exception:
            continue
        now = outputs.argmax(1) == y
        if _ahead(now, right):
            found[remedy.words] = int(now.sum())
    if not found:
        return ""
    most = max(found.values())
    return f"but {most / len(x):.1%} with {' or '.join(words for words, hits in found.items() if hits == most)}"


def _remedies(victim: Victim, x: Tensor) -> list[_Remedy]:
    """Return the obvious other ways to feed inputs `(N, ...)`."""
    low, span = victim.low, victim.high - victim.low
    channels = x.shape[1] if x.dim() > 1 else 1
    axes = [axis for axis in range(x.dim()) if axis != 1]

    def even(mean: float, std: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (mean,) * channels, (std,) * channels

    own = tuple(x.float().mean(axes).tolist()), tuple(x.float().std(axes, correction=0).clamp_min(1e-6).tolist())
    if math.isinf(span):
        return [_Remedy("inputs normalised by their own mean and spread: give Victim(normalize=(mean, std))", own)]
    found = [
        _Remedy("inputs from 0 to 255: low=0, high=255", even(low, span / 255)),
        _Remedy("inputs from -1 to 1: normalize by the middle and half the range", even(low + span / 2, span / 2)),
        _Remedy("inputs normalised by their own mean and spread: give Victim(normalize=(mean, std))", own),
    ]
    if (low, span) != (0.0, 1.0):
        found.append(_Remedy("inputs from 0 to 1: low=0, high=1", even(low, span)))
    if victim.normalize is not None:
        found.append(_Remedy("inputs that are not normalised: the model may do so by itself", None))
    kept = None if victim.normalize is None else (tuple(victim.normalize[0]), tuple(victim.normalize[1]))
    if x.dim() == 4 and channels == 3:
        mean, std = [low + span * value for value in _PICTURES[0]], [span * value for value in _PICTURES[1]]
        words = "ImageNet's normalisation: normalize=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))"
        found.append(_Remedy(words, (tuple(mean), tuple(std))))
        found.append(_Remedy("the channels in reverse order, BGR", kept, flip=True))
    return found


def _other_order(answers: Tensor, y: Tensor, classes: Sequence[str]) -> str:
    """Return in words that the classes are numbered in another order, "" where they are not.

    The order that fits one half of the samples best is judged on the other.
    """
    fits = torch.zeros_like(y, dtype=torch.bool)
    order: dict[int, int] = {}
    for half in range(2):
        fit, judged = (torch.arange(len(y), device=y.device) % 2 == side for side in (half, 1 - half))
        order = _best_order(answers[fit], y[fit])
        said = [order.get(answer, -1) for answer in answers[judged].tolist()]
        fits[judged] = torch.tensor(said, device=y.device) == y[judged]
    if not _ahead(fits, answers == y):
        return ""
    moved = [f"its class {answer} is {_called(classes, label)}" for answer, label in order.items() if answer != label]
    return f"but {fits.double().mean().item():.1%} if its classes are numbered in another order: {', '.join(moved[:3])}"


def _best_order(answers: Tensor, y: Tensor) -> dict[int, int]:
    size = int(max(answers.max(), y.max())) + 1 if len(y) else 1
    pairs = torch.zeros(size, size, dtype=torch.int64)
    pairs.index_put_((answers.cpu(), y.cpu()), torch.ones(len(y), dtype=torch.int64), accumulate=True)
    rows, columns = linear_sum_assignment(pairs.numpy(), maximize=True)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def _ahead(now: Tensor, before: Tensor) -> bool:
    """Return whether clearly more samples are right now: beyond chance, and by a tenth of all."""
    gained, lost = int((now & ~before).sum()), int((before & ~now).sum())
    if gained - lost < _MUCH * len(now):
        return False
    return float(binomtest(gained, gained + lost, alternative="greater").pvalue) < _SURE


def _called(classes: Sequence[str], label: int) -> str:
    return repr(classes[label]) if 0 <= label < len(classes) else str(label)
