"""What one changed field does to recommendations: how many users an item reaches when its worst field is rewritten.

Sizes: U users, I items, C candidates.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.interactions.source import Catalogue
from withstand.losses.precision import unit_rows

_VALUES = 200
"""Most values of a field that are tried, the first in its order."""

ROUNDING = 1e-6
"""By how much a cosine may differ when it is computed in other company."""


@runtime_checkable
class ItemModel(Protocol):
    """Two towers over a catalogue."""

    catalogue: Catalogue
    encoder: Any
    query: Any

    def item_embeddings(self) -> Tensor:
        """Return every item's unit vector `(I, D)`."""
        ...


@dataclass(frozen=True)
class FieldAudit(Evaluator):
    """An item's seller rewrites one field, to any value that the catalogue knows, so that more users are shown it.

    An item's own name cannot be changed. Every value of every field is tried, so that nothing stronger of this kind
    exists but for fields of more than 200 values.

    Args:
        samples: items that are tried.
        k: places of a user's list.
        seed: chooses the items.
    """

    samples: int = 100
    k: int = 20
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.k < 1:
            raise ConfigError(f"samples and k must be at least 1, not {self.samples!r} and {self.k!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(10, 2)

    def example_trial(self) -> Trial:
        from withstand.methods.items.item_ssl import ItemSSL

        method = ItemSSL.example()
        return Trial(method, method.catalogue)

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that there is no catalogue of items."""
        return "" if isinstance(subject, ItemModel) else f"{type(subject).__name__} has no catalogue of items"

    def evaluate(
        self, subject: ItemModel, source: Source, *, test: Source | None = None, control: Any = None
    ) -> Finding:
        """Return the finding "audit".

        Args:
            subject: a method with two towers.
            source: not used: items are taken from the method's catalogue.
            test: not used.
            control: not used.

        Raises:
            ConfigError: a method without a catalogue, or no field that can be changed.
        """
        if lacking := self.lacks(subject, source):
            raise ConfigError(lacking)
        catalogue, module = subject.catalogue, subject
        known = dict(zip(catalogue.slots, catalogue.columns, strict=True))
        fields = [name for name, field in known.items() if field.values != catalogue.ids]
        whole = all(len(known[name].values) <= _VALUES for name in fields)
        if not fields:
            raise ConfigError("items have no field but their name, which nobody can change")
        k = min(self.k, len(catalogue) - 1)
        chosen = permutation(len(catalogue), self.seed, "audited items")[: self.samples]
        rows: list[tuple[Cell, ...]] = []
        with Victim(module).held(), torch.no_grad():  # type: ignore[arg-type]  # its protocol does not say that it is a module
            users, bars, open_to = self._bars(subject, k)
            before, after, worst, tried = [], [], [], 0
            for item in chosen.tolist():
                candidates, names = _candidates(catalogue, item, fields)
                tried += len(candidates)
                changed = torch.cat([catalogue.codes[[item]], candidates])
                codes = unit_rows(subject.encoder(changed.to(users.device)))
                shown = ((users @ codes.T >= bars[:, None]) & open_to[:, [item]]).float().mean(0)
                best = int(shown[1:].argmax()) if len(candidates) else -1
                gain = float(shown[1 + best]) if best >= 0 else 0.0
                before.append(float(shown[0]))
                after.append(max(gain, before[-1]))
                worst.append(names[best] if best >= 0 and gain > before[-1] else "none")
        for field in (*fields, "none"):
            share = sum(one == field for one in worst) / len(worst)
            rows.append((field, share))
        reach, rewritten = sum(before) / len(before), sum(after) / len(after)
        return Finding(
            name="audit",
            figures={
                "users who are shown an item": Measure(reach, "share", None, of=len(chosen)),
                "users who are shown it, one field rewritten": Measure(rewritten, "share", "lower", of=len(chosen)),
            },
            tables={"worst field": Table(("field", "share of items"), tuple(rows), units={"share of items": "share"})},
            checks=(
                Check(
                    "nothing of the kind is stronger",
                    whole or None,
                    f"{tried:,} rewritten items were tried, up to {_VALUES} values of each field",
                ),
            ),
            protocol={
                "audit": describe(self),
                "samples": len(chosen),
                "samples given": len(catalogue),
                "places": k,
                "attack": "one field of an item rewritten to any value, its name never",
            },
            headline="users who are shown it, one field rewritten",
        )

    def _bars(self, subject: Any, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return users' unit vectors, the cosine from which an item stands among the first k, and who lacks which."""
        catalogue = subject.catalogue
        every = torch.arange(len(catalogue.users), device=device_of_network(subject))
        users = unit_rows(subject.query(every[:, None]))
        scores = users @ subject.item_embeddings().T
        train = catalogue.pairs["train"]
        open_to = torch.ones_like(scores, dtype=torch.bool)
        open_to[train[:, 0], train[:, 1]] = False
        bars = scores.masked_fill(~open_to, -torch.inf).topk(k).values[:, -1]
        return users, bars - ROUNDING, open_to


def _candidates(catalogue: Catalogue, item: int, fields: list[str]) -> tuple[Tensor, list[str]]:
    """Return the item with each field set to each single value, `(C, S)`, and which field that was."""
    own, pieces, names = catalogue.codes[item], [], []
    for name, field in zip(catalogue.slots, catalogue.columns, strict=True):
        if name not in fields:
            continue
        count = min(_VALUES, len(field.values))
        changed = own.repeat(count, 1)
        changed[:, list(catalogue.fields[name])] = -1
        changed[:, catalogue.fields[name][0]] = torch.arange(count)
        pieces.append(changed)
        names += [name] * count
    return torch.cat(pieces), names
