"""Rankings of whole catalogues: recall, NDCG and hit rate of what people took later, by how popular it was.

Sizes: U users, I items, M test interactions, K places.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import HIGH, LOW, Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.interactions.source import Catalogue
from withstand.evaluation.structured.mutual_information import mutual_information

SLICES = ("head", "tail", "cold")


@runtime_checkable
class Recommender(Protocol):
    """What can be asked for every item's score for some users."""

    catalogue: Catalogue

    def scores(self, users: Tensor) -> Tensor:
        """Return `(U, I)` from users' places `(U,)`."""
        ...


@dataclass(frozen=True)
class Ranked:
    """What a ranking puts first.

    Attributes:
        users: those that have test interactions, `(U,)`.
        top: the best items of each, `(U, K)`; training items are never among them.
        hits: which of these were taken later, bool `(U, K)`.
    """

    users: Tensor
    top: Tensor
    hits: Tensor


def ranked(scores: Any, catalogue: Catalogue, k: int, *, among: Tensor | None = None, at_once: int = 256) -> Ranked:
    """Return the first K of the whole catalogue for every user with test interactions.

    Items of one score stand in a drawn order, not in the catalogue's, which may be that of their success.

    Args:
        scores: gives `(U, I)` for users' places `(U,)`.
        catalogue: of the items, whose training interactions are left out.
        k: places.
        among: the items that may be named, bool `(I,)`; None for all.
        at_once: users whose scores are held together.

    Raises:
        DataError: there are no test interactions, or fewer than k items.
    """
    test, train, count = catalogue.pairs["test"], catalogue.pairs["train"], len(catalogue)
    if among is not None:
        test = test[among[test[:, 1]]]
    if not len(test):
        raise DataError("there are no test interactions to rank")
    if k > (count if among is None else int(among.sum())):
        raise DataError(f"k={k} places are more than there are items")
    users = torch.unique(test[:, 0])
    row_of = torch.full((len(catalogue.users),), -1)
    row_of[users] = torch.arange(len(users))
    seen = train[row_of[train[:, 0]] >= 0]
    seen = seen[row_of[seen[:, 0]].argsort(stable=True)]
    rows = row_of[seen[:, 0]]
    drawn = permutation(count, 0, "items of one score")
    tops = []
    for first in range(0, len(users), at_once):
        some = users[first : first + at_once]
        values = scores(some).float().cpu()
        low, high = torch.searchsorted(rows, torch.tensor([first, first + len(some)]))
        values[rows[low:high] - first, seen[low:high, 1]] = -torch.inf
        if among is not None:
            values[:, ~among] = -torch.inf
        tops.append(drawn[_first(values[:, drawn], k)])
    top = torch.cat(tops)
    keys = (test[:, 0] * count + test[:, 1]).sort().values
    return Ranked(users, top, _among(users[:, None] * count + top, keys))


def _first(values: Tensor, k: int) -> Tensor:
    """Return the places of the k largest of each row `(U, I)`, the first of those that are equal, `(U, K)`."""
    largest = values.topk(min(k + 1, values.shape[1]))
    found = largest.indices[:, :k].clone()
    tied = (largest.values[:, 1:] == largest.values[:, :-1]).any(1)
    found[tied] = values[tied].argsort(dim=1, descending=True, stable=True)[:, :k]
    return found


def per_user(found: Ranked, catalogue: Catalogue, wanted: Tensor | None = None) -> dict[str, Tensor]:
    """Return recall, NDCG and hit rate of each user, `(U,)` each; NaN for users that took none of the items wanted.

    Args:
        found: the first K.
        catalogue: of the items.
        wanted: the items that count, bool `(I,)`; None for all.
    """
    test = catalogue.pairs["test"]
    test = test if wanted is None else test[wanted[test[:, 1]]]
    hits = found.hits if wanted is None else found.hits & wanted[found.top]
    taken = torch.bincount(test[:, 0], minlength=len(catalogue.users))[found.users].double()
    k = hits.shape[1]
    gains = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
    ideal = torch.cat([gains.new_zeros(1), gains.cumsum(0)])[taken.clamp_max(k).long()]
    nothing = torch.where(taken > 0, 0.0, torch.nan)
    return {
        "recall": hits.sum(1) / taken.clamp_min(1) + nothing,
        "NDCG": (hits * gains).sum(1) / ideal.clamp_min(1e-9) + nothing,
        "hit rate": hits.any(1).double() + nothing,
    }


def slices(catalogue: Catalogue, few: int = 20) -> dict[str, Tensor]:
    """Return which items are head, tail (fewer than `few` training interactions) and cold (none), bool `(I,)` each."""
    counts = catalogue.counts
    return {"head": counts >= few, "tail": (counts > 0) & (counts < few), "cold": counts == 0}


def popularity(catalogue: Catalogue) -> Any:
    """Return scores that name the most taken items to everybody."""
    counts = catalogue.counts.float()
    return lambda users: counts.expand(len(users), -1).clone()


@dataclass(frozen=True)
class Ranking(Evaluator):
    """How much of what users took later stands among the first places, whole catalogue ranked, training items left out.

    Args:
        k: places.
        few: training interactions below which an item is of the tail.
    """

    k: int = 20
    few: int = 20

    product = "method"

    def __post_init__(self) -> None:
        if self.k < 1 or self.few < 1:
            raise ConfigError(f"k and few must be at least 1, not {self.k!r} and {self.few!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(2)

    def example_trial(self) -> Trial:
        from withstand.methods.items.item_ssl import ItemSSL

        method = ItemSSL.example()
        return Trial(method, method.catalogue, ItemSSL.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method scores no items for users."""
        return "" if isinstance(subject, Recommender) else f"{type(subject).__name__} scores no items for users"

    def evaluate(
        self, subject: Recommender, source: Source, *, test: Source | None = None, control: Recommender | None = None
    ) -> Finding:
        """Return the finding "ranking".

        Args:
            subject: a method with a catalogue.
            source: not used: the catalogue knows its interactions.
            test: not used.
            control: the same method untrained.

        Raises:
            ConfigError: a method that scores no items.
            DataError: no test interactions.
        """
        if lacking := self.lacks(subject, source):
            raise ConfigError(lacking)
        catalogue = subject.catalogue
        k = min(self.k, len(catalogue))
        scorers = {"trained": _scorer(subject), "most popular": popularity(catalogue)}
        if control is not None:
            scorers["untrained"] = _scorer(control)
        others = [name for name in scorers if name != "trained"]
        tops = {name: ranked(scorer, catalogue, k) for name, scorer in scorers.items()}
        parts = {"all": torch.ones(len(catalogue), dtype=torch.bool), **slices(catalogue, self.few)}
        figures: dict[str, Measure] = {}
        rows: list[tuple[Cell, ...]] = []
        for part, wanted in parts.items():
            values = {name: per_user(top, catalogue, wanted) for name, top in tops.items()}
            counted = int((~values["trained"]["recall"].isnan()).sum())
            if not counted:
                continue
            for measure in ("recall", "NDCG", "hit rate"):
                means = {name: _mean(value[measure]) for name, value in values.items()}
                value, low, high = means["trained"]
                rows.append(
                    (
                        part,
                        measure,
                        value,
                        low,
                        high,
                        *(mean[0] for name, mean in means.items() if name != "trained"),
                        counted,
                    )
                )
                if part == "all" or measure == "recall":
                    name = f"{measure} at {k}" + ("" if part == "all" else f", {part} items")
                    beside = means.get("untrained")
                    figures[name] = Measure(
                        value, "share", "higher", interval=(low, high), of=counted,
                        control=None if beside is None else Measure(beside[0], "share", "higher", of=counted),
                    )  # fmt: skip
        names = ("items", "measure", "trained", f"trained{LOW}", f"trained{HIGH}", *others, "users")
        columns = tuple(catalogue.slots)
        information = mutual_information(catalogue.codes.numpy(), catalogue.fields)
        return Finding(
            name="ranking",
            figures=figures,
            tables={
                "by popularity": Table(
                    names, tuple(rows), units=dict.fromkeys(names[2:-1], "share"),
                    note=f"head: {self.few} training interactions or more; cold: none",
                ),
                "mutual information of fields, nats": Table(
                    ("field", *columns),
                    tuple((name, *map(float, row)) for name, row in zip(columns, information, strict=True)),
                    note="the diagonal holds each field's entropy",
                    units=dict.fromkeys(columns, "nats"),
                ),
            },
            protocol={
                "judge": describe(self),
                "places": k,
                "items": len(catalogue),
                "users": len(tops["trained"].users),
                "test interactions": len(catalogue.pairs["test"]),
                "ranked": "the whole catalogue, less each user's training items",
                "mean": "over users that took such an item later",
            },
            headline=f"recall at {k}",
        )  # fmt: skip


def _scorer(subject: Recommender) -> Any:
    def scores(users: Tensor) -> Tensor:
        module: Any = subject
        with Victim(module).held(), torch.no_grad():
            return subject.scores(users.to(device_of_network(module)))

    return scores


def _mean(values: Tensor) -> tuple[float, float, float]:
    """Return the mean over users that have a value, and its 95 % interval by the normal law."""
    known = values[~values.isnan()]
    mean = float(known.mean())
    half = 1.96 * float(known.std()) / len(known) ** 0.5 if len(known) > 1 else 1.0
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _among(keys: Tensor, known: Tensor) -> Tensor:
    """Return which keys are among the sorted known ones."""
    places = torch.searchsorted(known, keys).clamp_max(len(known) - 1)
    return known[places] == keys
