"""A fixed division of a source in two that keeps samples of one origin together: a file's flows, a user's windows."""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import permutation
from withstand.core.roles import Source
from withstand.data.derived.subset import _Chosen, answered, held_out


class Separate(_Chosen):
    """One side of a division that cuts through no group.

    Samples of one group are alike for reasons that have nothing to do with their class; divided between training and
    test they make a judge too kind. Whole groups go to the test side, in random order, where they bring a class that it
    lacks or more samples that it still needs than others, and while no class has more there than there are to learn
    from. Where all samples are of one group, samples are divided instead, and `origin` says so.

    Args:
        source: the whole.
        part: `train` or `test`.
        attribute: what tells groups apart, one of `source.attributes`.
        fraction: the share of `test`, above 0 and below 1, as near as groups allow.
        seed: chooses the division.

    Raises:
        ConfigError: an unknown part or attribute, or a fraction out of range.
        DataError: a source of one sample.
    """

    def __init__(self, source: Source, part: str, attribute: str, *, fraction: float = 0.2, seed: int = 0) -> None:
        if part not in ("train", "test"):
            raise ConfigError(f"unknown part {part!r}: 'train' or 'test'")
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction={fraction} must lie between 0 and 1: it is the share that is held out")
        if attribute not in source.attributes:
            raise ConfigError(f"{source.name} has no attribute {attribute!r}: {nearest(attribute, source.attributes)}")
        if len(source) < 2:
            raise DataError("a source of one sample cannot be divided in two")
        groups = source.attributes[attribute]
        test = apart(groups, source.labels, fraction, seed)
        how = f"divided by {attribute}"
        if test is None:
            test = held_out(len(source), source.labels, fraction, seed, answered(source))
            how = f"divided within its only {attribute}"
        self._choose(source, (test if part == "test" else ~test).nonzero()[:, 0])
        self.origin = f"{source.origin}; {how}"


def apart(groups: Tensor, labels: Tensor | None, fraction: float, seed: int) -> Tensor | None:
    """Return which samples are held out, bool `(N,)`, whole groups of them; None where there is one group.

    Args:
        groups: of each sample, int64 `(N,)`.
        labels: -1 where there is none, or None.
        fraction: the share that is held out.
        seed: chooses the order in which groups are tried.
    """
    names, member = torch.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    classes = torch.zeros_like(member) if labels is None else labels + 1
    width = int(classes.max()) + 1
    counts = torch.bincount(member * width + classes, minlength=len(names) * width).view(len(names), width)
    whole = counts.sum(0)
    wanted, taken = whole * fraction, torch.zeros(width, dtype=torch.int64)
    chosen: list[int] = []
    for group in permutation(len(names), seed, "apart").tolist():
        own = counts[group]
        left = (wanted - taken).clamp_min(0)
        helps = torch.minimum(own.to(left.dtype), left).sum()
        lacking = bool((taken[own > 0] == 0).any())
        keeps = bool((2 * (taken + own) <= whole)[own > 0].all())
        if keeps and (lacking or 2 * float(helps) > float(own.sum())):
            chosen.append(group)
            taken += own
    if not chosen:  # every group is too large: the smallest that takes no class away, else the smallest
        sizes = counts.sum(1)
        safe = [group for group in range(len(names)) if bool(((whole - counts[group])[counts[group] > 0] > 0).all())]
        chosen = [min(safe or range(len(names)), key=lambda group: (int(sizes[group]), group))]
    return torch.isin(member, torch.tensor(chosen))
