"""Interactions as sources: the catalogue's items, the pairs of user and item, and users to recommend to.

Sizes: I items, U users, M interactions, k fields of an item, S their slots.
"""

import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import permutation
from withstand.core.roles import Indices, Source
from withstand.data.interactions.fields import Field, code_fields, learn_fields, slots_of
from withstand.data.interactions.table import (
    USERS,
    Interactions,
    ids_of,
    is_interactions,
    names_of,
    read_interactions,
    read_named,
)
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.digest import as_indices, digest
from withstand.data.tables.frame import Frame, missing

RATINGS = {
    "movielens-small": ("recsys/ml_latest_small_ratings.parquet", "recsys/ml_latest_small_movies.parquet"),
}
"""Sets of ratings that are known by name: files of interactions and of items under $WITHSTAND_DATA."""
Part = Literal["train", "test"]


class Catalogue(Source):
    """All items of a table of interactions and of a table of items: each sample is one item's fields, whole numbers.

    Interactions are divided user by user: the last share of each one's time is the test part; without times a random
    share, which `origin` says. Users of one interaction are learnt from alone. `x` holds the places of an item's
    values, field by field in `fields`, -1 where there is none.

    Args:
        data: a set's name, a table of interactions (CSV, Parquet, Feather), a data frame.
        items: the table of items, its first column the item's name as the interactions have it, or one of the same
            name as theirs; None where nothing is known of them but who took them. A named set has its own.
        user: the column of users; found by its name if None, as the others.
        item: the column of items.
        time: the column of times.
        least: the least rating that counts as an interaction; None for all.
        fraction: share of each user's interactions in the test part.
        cold: share of the items whose interactions are all in the test part, so that nothing but their fields is known.
        seed: chooses those, and the random share where there are no times.
        identity: whether an item's own name is a field, as published.

    Attributes:
        users: their names.
        ids: the items' names.
        pairs: interactions by part, int64 `(M, 2)`: user and item.
        counts: of training interactions of each item, int64 `(I,)`.
        slots: of each field.
        columns: what each field is.

    Raises:
        DataError: columns that cannot be told, items that the catalogue lacks, items named twice.
        ConfigError: shares out of range.
    """

    kind = "item"
    low, high = float("-inf"), float("inf")

    def __init__(
        self,
        data: Any,
        items: Any = None,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        least: float | None = None,
        fraction: float = 0.2,
        cold: float = 0.0,
        seed: int = 0,
        identity: bool = True,
    ) -> None:
        if not 0 < fraction < 1 or not 0 <= cold < 1:
            raise ConfigError(f"fraction must lie in (0, 1) and cold in [0, 1), not {fraction!r} and {cold!r}")
        table, stored = _place(data)
        found, columns = read_interactions(table, user=user, item=item, time=time, least=least)
        self._column = columns.item
        items = stored if items is None else items
        frame, self.ids = _catalogue(items, columns.item, found)
        fields, left_out = learn_fields(frame, (columns.item,)) if frame is not None else ((), ())
        self.columns: tuple[Field, ...] = fields
        self.slots, many = ({}, []) if frame is None else slots_of(frame, fields)
        coded = np.empty((len(self.ids), 0), np.int64) if frame is None else code_fields(frame, fields, self.slots)
        if identity:
            own = f"{columns.item} itself"
            self.columns = (Field(own, self.ids), *fields)
            self.slots = {own: 1, **self.slots}
            coded = np.concatenate([np.arange(len(self.ids))[:, None], coded], 1)
        if not self.columns:
            raise DataError("nothing is known of the items: give a table of them, or identity=True")
        self._x = torch.from_numpy(coded)
        self.users = found.users
        place = {name: number for number, name in enumerate(self.ids)}
        moved = np.array([place[name] for name in found.items], dtype=np.int64)
        self.pairs, said = _divide(found, moved, len(self.ids), fraction, cold, seed)
        self.counts = torch.bincount(self.pairs["train"][:, 1], minlength=len(self.ids))
        self.names = _titles(frame, self.ids)
        self.name = str(data) if isinstance(data, str) and data in RATINGS else _stem(data)
        table = data if self.name in RATINGS else table
        notes = [f"{len(found):,} interactions of {len(found.users):,} users", *found.notes, *said, *many]
        self.origin = "; ".join([f"the table {table}" if isinstance(table, str | Path) else self.origin, *notes])
        self.skipped = left_out
        self._seen: tuple[Tensor, ...] | None = None

    @classmethod
    def example(cls) -> Self:
        draws = np.random.default_rng(0)
        kind = np.arange(10) % 2
        pairs = [
            (user, item) for user in range(8) for item in range(10) if kind[item] == user % 2 or (user + item) % 5 == 0
        ]
        ratings = {
            "user": [f"u{user}" for user, _ in pairs],
            "item": [f"i{item}" for _, item in pairs],
            "time": draws.permutation(len(pairs)).tolist(),
        }
        items = {
            "item": [f"i{item}" for item in range(10)],
            "title": [f"{('red', 'blue')[kind[item]]} thing {item}" for item in range(10)],
            "tags": [("warm|old", "cold|new")[kind[item]] for item in range(10)],
            "maker": [("ada", "bob", "cy")[item % 3] for item in range(10)],
        }
        return cls(ratings, items)

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._x[chosen], chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._x.shape[1],)

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {"training interactions": self.counts}

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        found, first = {}, 0
        for name, width in self.slots.items():
            found[name] = tuple(range(first, first + width))
            first += width
        return found

    @property
    def codes(self) -> Tensor:
        """Every item's fields, int64 `(I, S)`."""
        return self._x

    @property
    def sizes_of_fields(self) -> tuple[int, ...]:
        """How many values each field has."""
        return tuple(len(field.values) for field in self.columns)

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return users of another table, to recommend to: those that its interactions, or its only column, name.

        Raises:
            DataError: users without interactions here, or data that name none.
        """
        if split != "all":
            raise DataError("items are judged by the interactions of their own run: name no other data")
        if isinstance(data, Source):
            return data
        column = self._init_args["user"]
        frame = read_named(data, [] if column is None else [column], USERS)
        if column is None:
            told = [
                name for name in frame.columns if name.lower().startswith(("user", "customer", "visitor", "member"))
            ]
            column = told[0] if told else next(iter(frame.columns)) if len(frame.columns) == 1 else None
        if column is None or column not in frame.columns:
            raise DataError(f"no column names users among {list(frame.columns)[:8]}: call it user")
        names, codes = ids_of(read_named(data, [column]).columns[column])
        found = Users(self, tuple(dict.fromkeys(names[code] for code in codes.tolist() if code >= 0)))
        if lacking := int((codes < 0).sum()):
            found.origin += f"; {lacking:,} rows of those to recommend to name no user"
        return found

    def seen_by(self, users: Tensor) -> list[Tensor]:
        """Return the items that each of some users has in the training part, int64 each; `users` are their places."""
        if self._seen is None:
            train = self.pairs["train"]
            counts = torch.bincount(train[:, 0], minlength=len(self.users)).tolist()
            self._seen = torch.split(train[train[:, 0].argsort(stable=True), 1], counts)
        return [self._seen[user] for user in users.tolist()]

    def fingerprint(self) -> str:
        pairs = b"".join(part.numpy().tobytes() for part in self.pairs.values())
        return digest(self, blake2b(pairs, digest_size=16).hexdigest(), *self.users, *self.ids)


class Pairs(Source):
    """A catalogue's interactions: a user's place and the item's fields, side by side, `(M, 1 + S)`.

    `extras` hold the places of "user" and "item".

    Args:
        catalogue: of the items.
        part: "train" or "test".

    Raises:
        DataError: there are none.
    """

    kind = "interaction"
    low, high = float("-inf"), float("inf")

    def __init__(self, catalogue: Catalogue, part: Part = "train") -> None:
        if part not in catalogue.pairs:
            raise ConfigError(f"unknown part {part!r}: 'train' or 'test'")
        self.catalogue, self._pairs = catalogue, catalogue.pairs[part]
        if not len(self._pairs):
            raise DataError(f"there are no {part} interactions")
        self.name, self.origin = catalogue.name, catalogue.origin

    @classmethod
    def example(cls) -> Self:
        return cls(Catalogue.example())

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        user, item = self._pairs[chosen].unbind(1)
        x = torch.cat([user[:, None], self.catalogue.codes[item]], 1)
        return Batch(x, chosen, extras={"user": user.clone(), "item": item.clone()})

    @property
    def shape(self) -> tuple[int, ...]:
        return (1 + self.catalogue.shape[0],)

    def fingerprint(self) -> str:
        return digest(self, self.catalogue.fingerprint())


class Users(Source):
    """Users to recommend to: the place of each, `(U, 1)`; `extras` hold it as "user" too.

    Args:
        catalogue: whose users they are.
        chosen: their names; all where none are named.

    Raises:
        DataError: users that have no interactions there.
    """

    kind = "user"
    low, high = float("-inf"), float("inf")

    def __init__(self, catalogue: Catalogue, chosen: Sequence[str] = ()) -> None:
        place = {name: number for number, name in enumerate(catalogue.users)}
        unknown = [name for name in chosen if name not in place]
        if unknown:
            shown = ", ".join(map(repr, unknown[:3]))
            raise DataError(f"{len(unknown)} users have no interactions to learn from, the first {shown}")
        self.catalogue = catalogue
        self._rows = torch.tensor([place[name] for name in chosen] or list(range(len(catalogue.users))))
        self.names = tuple(catalogue.users[row] for row in self._rows.tolist())
        self.name, self.origin = catalogue.name, catalogue.origin

    @classmethod
    def example(cls) -> Self:
        return cls(Catalogue.example(), ("u1", "u4", "u2"))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        return Batch(self._rows[chosen, None], chosen, extras={"user": self._rows[chosen]})

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def fingerprint(self) -> str:
        return digest(self, self.catalogue.fingerprint())


def is_ratings(data: object) -> bool:
    """Say whether these are interactions: a set's name, a table that is certainly one, or a source of items."""
    return isinstance(data, Catalogue) or (isinstance(data, str) and data in RATINGS) or is_interactions(data)


def _place(data: Any) -> tuple[Any, Any]:
    """Return the table of interactions, and the set's own table of items; None without."""
    if not (isinstance(data, str) and data in RATINGS):
        return data, None
    base, files = Path(os.environ.get(VARIABLE, "")), RATINGS[data]
    if not all((base / file).is_file() for file in files):
        raise DataError(f"the set {data!r} is not on this machine: {VARIABLE} names no folder with {', '.join(files)}")
    return base / files[0], base / files[1]


def _catalogue(items: Any, column: str, found: Interactions) -> tuple[Frame | None, tuple[str, ...]]:
    """Return the table of items in its own order, and the items' names."""
    if items is None:
        return None, found.items
    frame = read_named(items, [column])
    name = column if column in frame.columns else next(iter(frame.columns))
    if name != column:
        frame = read_named(items, [name])
    if missing(frame.columns[name]).any():
        raise DataError(f"column {name!r} of the table of items lacks names: every item needs one")
    held, codes = ids_of(frame.columns[name])
    ids = tuple(held[code] for code in codes.tolist())
    if len(set(ids)) < len(ids):
        raise DataError(f"{len(ids) - len(set(ids))} items stand twice in the table of items, by column {name!r}")
    lacking = sorted(set(found.items) - set(ids))
    if lacking:
        shown = ", ".join(map(repr, lacking[:3]))
        raise DataError(f"the table of items lacks {len(lacking)} of {len(found.items)} items, the first {shown}")
    return frame if name == column else Frame({column: frame.columns[name], **frame.without(name).columns}), ids


def _divide(
    found: Interactions, place: Any, items: int, fraction: float, cold: float, seed: int
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the pairs of each part, and what was decided."""
    user, item = torch.from_numpy(found.user), torch.from_numpy(place[found.item])
    shuffled = permutation(len(user), seed, "interactions")
    keys = torch.empty(len(user), dtype=torch.float64)
    keys[shuffled] = torch.arange(len(user), dtype=torch.float64)
    said = []
    order = shuffled
    if found.time is None:
        said.append(f"no times: a random {fraction:.0%} of each user's interactions are held out")
    else:
        order = shuffled[torch.from_numpy(found.time)[shuffled].argsort(stable=True)]
    order = order[user[order].argsort(stable=True)]
    counts = torch.bincount(user)
    places = torch.arange(len(user)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    held = (counts.double() * fraction).round().long().clamp_max(counts - 1)
    tested = torch.zeros(len(user), dtype=torch.bool)
    tested[order] = places >= (counts - held).repeat_interleave(counts)
    if cold:
        some = permutation(items, seed, "cold items")[: round(items * cold)]
        never = torch.zeros(items, dtype=torch.bool)
        never[some] = True
        tested |= never[item]
        said.append(f"{len(some):,} items are never learnt from by an interaction")
    pairs = torch.stack([user, item], 1)
    if bool(tested.all()):
        raise DataError("every interaction is held out: none is left to learn from")
    return {"train": pairs[~tested], "test": pairs[tested]}, said


def _titles(frame: Frame | None, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return what items are called: their title where every one has its own, else that with the name behind it."""
    if frame is None:
        return ids
    column = next((name for name in frame.columns if name.strip().lower() in ("title", "name")), None)
    if column is None:
        return ids
    held, codes = names_of(frame.columns[column])
    titles = [ids[row] if code < 0 else held[code] for row, code in enumerate(codes.tolist())]
    often: dict[str, int] = {}
    for title in titles:
        often[title] = often.get(title, 0) + 1
    return tuple(title if often[title] == 1 else f"{title} [{ids[row]}]" for row, title in enumerate(titles))


def _stem(data: Any) -> str:
    return Path(data).stem if isinstance(data, str | Path) else "ratings"
