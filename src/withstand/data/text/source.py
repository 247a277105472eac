"""Sources of prompts, and of pairs of answers to them, as a language model's ids.

Sizes: N samples.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.core.sequences import Sequences
from withstand.data.shared.digest import as_indices
from withstand.data.text.container import TextPairs, TextPrompts
from withstand.data.text.files import (
    SUFFIXES,
    Rows,
    TextColumns,
    is_text_file,
    pairs_of,
    prompts_of,
    read_rows,
    unread_in,
)
from withstand.data.text.made import STORY_PAIRS, Part, story_rows
from withstand.data.text.said import Pair, Said, to_ids
from withstand.data.text.secrets import QUESTIONS, SECRETS, question_rows, secret_rows
from withstand.data.text.wording import Answered, BoundaryError, Wording

Long: TypeAlias = Literal["refuse", "drop"]
"""What becomes of rows whose prompt leaves no room for an answer."""
Texts: TypeAlias = str | Path | Rows
"""A file, the name of a made set, or rows in memory."""


class TextSource(Source):
    """What sources of prompts have in common.

    Attributes:
        wording: how prompts are put into words and ids.
        said: the prompts.
        longest: the most ids of a prompt with its answer.
    """

    low, high = float("-inf"), float("inf")
    wording: Wording
    said: tuple[Said, ...]
    longest: int
    _most: int

    @abstractmethod
    def like(self, data: Any, split: str = "all") -> Source | None: ...

    def __len__(self) -> int:
        return len(self.said)

    @property
    def shape(self) -> tuple[int, ...]:
        """The most ids that a network reads of a sample at once."""
        return (self._most,)

    @property
    def together(self) -> Tensor | None:
        """Which prompt each sample is about, where some are asked more than once."""
        place = {said: number for number, said in enumerate(dict.fromkeys(self.said))}
        return None if len(place) == len(self.said) else torch.tensor([place[said] for said in self.said])

    def fingerprint(self) -> str:
        state = blake2b(repr((type(self).__name__, self.longest)).encode(), digest_size=16)
        for ids in self._every():
            state.update(repr(ids).encode())
        return state.hexdigest()

    @abstractmethod
    def _every(self) -> Sequence[object]:
        """Return all that tells these data from others."""

    def _name(self, data: Texts, unread: str = "") -> None:
        if isinstance(data, str | Path):
            self.name = printable(data if data in MADE else Path(data).stem)
            self.origin = f"made by a rule, the set {data}" if data in MADE else f"the file {data}"
        if unread and not (isinstance(data, str) and data in MADE):
            self.origin += f"; {unread}"


class Prompts(TextSource):
    """Prompts to answer.

    Args:
        data: a file with a column of prompts, or rows.
        wording: how they are put into words and ids.
        columns: what the column is called.
        max_length: the most ids of a prompt with its answer.

    Raises:
        DataError: no prompts, or one that leaves no room for an answer.
        ConfigError: a length out of range.
    """

    kind = "prompt"

    def __init__(
        self, data: Texts, wording: Wording, *, columns: Sequence[str] = ("prompt",), max_length: int = 512
    ) -> None:
        self.wording, self.longest = wording, _checked_length(max_length)
        where = _called(data)
        rows = _rows(data, "test")
        self.said = tuple(prompts_of(rows, TextColumns(columns[0]), where))
        self._prompts = wording.contexts([(said, None) for said in self.said])
        full = [place for place, ids in enumerate(self._prompts, 1) if len(ids) >= max_length]
        if full:
            raise DataError(
                f"{len(full)} of {len(self.said)} prompts of {where} leave no room for an answer in {max_length} ids, "
                f"row {full[0]} first"
            )
        self._most = max(map(len, self._prompts))
        # Files of pairs may stand for their prompts: that their answers are not read goes without saying.
        self._name(data, unread_in(rows, (columns[0], *ANSWERS)))

    @classmethod
    def example(cls) -> Self:
        return cls([{"prompt": f"{word} is"} for word in ("red", "a dog", "b")], Wording.example(), max_length=64)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        rows = chosen.tolist()
        made = TextPrompts(_side_by_side([self._prompts[row] for row in rows]), _said([self.said[row] for row in rows]))
        return Batch(made.as_samples(), chosen)

    @property
    def sizes(self) -> Tensor:
        return torch.tensor([len(ids) for ids in self._prompts])

    def like(self, data: Any, split: str = "all") -> Source | None:
        if split == "test" or not _holds_texts(data):
            return None
        return type(self)(**{**self._init_args, "data": data})

    def _every(self) -> Sequence[object]:
        return self._prompts


class Preferences(TextSource):
    """Pairs of answers to a prompt, one preferred.

    Answers are cut to the room that their longest context leaves, the same after each, and how many were is told.

    Args:
        data: a file (JSON Lines, CSV, Parquet), rows in memory, or the made set `story-pairs`.
        wording: how prompts, drafts and answers are put into words and ids.
        columns: what the columns of prompts, chosen and rejected answers are called.
        max_length: the most ids of a context with its answer.
        drafts: make contexts that ask for better answers than the two, for methods that learn to improve.
        long: "refuse" data in which a context leaves no room for an answer; "drop" leaves such rows out and tells.
        part: of the made set: train, test, or elsewhere, which has other words.

    Attributes:
        pairs: as they came.
        cut: how many answers were cut.

    Raises:
        DataError: what cannot be read, equal answers, an empty one, a tokenizer that joins pieces across a boundary,
            contexts that leave no room, or nothing that is left.
        ConfigError: settings out of range.
    """

    kind = "pair"

    def __init__(
        self,
        data: Texts,
        wording: Wording,
        *,
        columns: Sequence[str] = ("prompt", "chosen", "rejected"),
        max_length: int = 512,
        drafts: bool = True,
        long: Long = "refuse",
        part: Part = "train",
    ) -> None:
        if long not in get_args(Long):
            raise ConfigError(f"long {long!r} is unknown: {nearest(str(long), get_args(Long))}")
        if len(columns) != 3:
            raise ConfigError(f"columns are three, of prompts, chosen and rejected answers, not {len(columns)}")
        self.wording, self.longest, self.drafts = wording, _checked_length(max_length), drafts
        where = _called(data)
        rows = _rows(data, part)
        self.pairs = tuple(pairs_of(rows, TextColumns(*columns), where))
        self._fit(_ids(wording, self.pairs, where, drafts), where, long)
        self._name(data, unread_in(rows, columns))
        if self.cut:
            self.origin += f"; {self.cut} of {2 * len(self)} answers are cut to fit {max_length} ids"
        for _, why in self.skipped:
            self.origin += f"; left out: {why}"

    @classmethod
    def example(cls) -> Self:
        return cls(EXAMPLE, Wording.example(), max_length=128)

    def _fit(self, ids: list[Mapping[str, list[int]]], where: str, long: Long) -> None:
        """Keep the rows that have room for an answer, and cut answers to it."""
        rooms = [self.longest - max(len(some) for name, some in row.items() if name in CONTEXTS) for row in ids]
        full = [place for place, room in enumerate(rooms) if room < 1]
        if full and long == "refuse":
            needed = self.longest + 1 - min(rooms)
            raise DataError(
                f"max_length {self.longest} drops the completions of {len(full)} of {len(ids)} rows of {where}, row "
                f"{full[0] + 1} first: what stands before them is as long. Give {needed} or more, or leave such rows "
                "out by --long drop"
            )
        if len(full) == len(ids):
            raise DataError(f"max_length {self.longest} leaves no room for an answer in any row of {where}")
        if full:
            why = f"{len(full)} rows, whose prompts leave no room for an answer in {self.longest} ids"
            self.skipped = ((f"{len(full)} rows", why),)
        kept = [place for place, room in enumerate(rooms) if room >= 1]
        self.pairs = tuple(self.pairs[place] for place in kept)
        self.said = tuple(pair.prompt for pair in self.pairs)
        self.cut = sum(len(ids[place][name]) > rooms[place] for place in kept for name in ANSWERS)
        self._ids = [
            {name: some[: rooms[place]] if name in ANSWERS else some for name, some in ids[place].items()}
            for place in kept
        ]
        self._most = max(
            max(len(row[name]) for name in CONTEXTS if name in row) + max(len(row[name]) for name in ANSWERS)
            for row in self._ids
        )
        alike = [place for place, row in enumerate(self._ids) if row["chosen"] == row["rejected"]]
        if alike:
            raise DataError(
                f"{len(alike)} of {len(kept)} rows of {where} have answers that are equal where max_length "
                f"{self.longest} cuts them, row {kept[alike[0]] + 1} first: give more"
            )
        if self.cut:
            warnings.warn(
                f"{where}: {self.cut} of {2 * len(kept)} answers are cut to fit max_length {self.longest}", stacklevel=4
            )

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        rows = [self._ids[row] for row in chosen.tolist()]
        side = {name: _side_by_side([row[name] for row in rows]) for name in self._ids[0]}
        said = _said([self.said[row] for row in chosen.tolist()])
        return Batch(TextPairs(said=said, **side).as_samples(), chosen)

    @property
    def sizes(self) -> Tensor:
        return torch.tensor([sum(map(len, row.values())) for row in self._ids])

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other texts read as these were: pairs where they hold two answers, else prompts."""
        made = isinstance(data, str) and data in MADE
        if not _holds_texts(data) or (split == "test" and not made):
            return None
        rows = _rows(data, "train")
        held = {name for row in rows for name in row}
        names = tuple(self._init_args["columns"])
        if not {names[1], names[2]} <= held:
            return Prompts(data, self.wording, columns=names[:1], max_length=self.longest)
        return type(self)(**{**self._init_args, "data": data, "part": "test" if split == "test" else "train"})

    def _every(self) -> Sequence[object]:
        return self._ids


ANSWERS = ("chosen", "rejected")
CONTEXTS = ("prompt", "after_chosen", "after_rejected")
_MAKERS: Mapping[str, Callable[[Part], Rows]] = {
    STORY_PAIRS: story_rows, SECRETS: secret_rows, QUESTIONS: question_rows,
}  # fmt: skip
MADE = tuple(_MAKERS)
"""Names of the sets that are made by a rule."""
EXAMPLE: tuple[dict[str, str], ...] = tuple(
    {"prompt": f"{name} has a {thing}.", "chosen": f" {name} is glad.", "rejected": f" The {thing} is not here."}
    for name, thing in (
        ("Ada", "cat"), ("Bob", "hat"), ("Cy", "car"), ("Dee", "box"),
        ("Eva", "dog"), ("Fay", "cup"), ("Gus", "toy"), ("Hal", "bag"),
    )
)  # fmt: skip
"""Eight small rows to try."""


def _ids(wording: Wording, pairs: Sequence[Pair], where: str, drafts: bool) -> list[Mapping[str, list[int]]]:
    """Return each row's contexts and answers as ids."""
    told: list[Answered] = []
    for pair in pairs:
        for draft in (None, pair.chosen, pair.rejected) if drafts else (None,):
            told += [Answered(pair.prompt, answer, draft) for answer in (pair.chosen, pair.rejected)]
    each = 6 if drafts else 2
    try:
        made = wording.answers(told)
    except BoundaryError as error:
        raise DataError(f"row {error.place % len(told) // each + 1} of {where}: {error}") from None
    rows: list[Mapping[str, list[int]]] = []
    for place in range(len(pairs)):
        some = made[place * each : (place + 1) * each]
        row = {name: before for name, (before, _) in zip(CONTEXTS, some[::2], strict=False)}
        for word, answers in zip(ANSWERS, (some[::2], some[1::2]), strict=True):
            row[word] = answers[0][1]
            if any(answer != row[word] for _, answer in answers):
                raise DataError(
                    f"row {place + 1} of {where}: the tokenizer gives the {word} answer other ids after a draft than "
                    "after a prompt"
                )
        rows.append(row)
    return rows


def _rows(data: Texts, part: Part) -> Rows:
    if isinstance(data, str) and data in MADE:
        return _MAKERS[data](part)
    if isinstance(data, str | Path):
        if not is_text_file(data) and not Path(data).is_file():
            raise DataError(
                f"there are no texts {str(data)!r}: give {nearest(str(data), MADE)} or a file of {SUFFIXES}"
            )
        return read_rows(Path(data).expanduser())
    if not data:
        raise DataError("there are no rows")
    return data


def _holds_texts(data: object) -> bool:
    return is_text_file(data) or (isinstance(data, str) and data in MADE)


def _called(data: Texts) -> str:
    return repr(str(data)) if isinstance(data, str | Path) else "the data"


def _checked_length(length: int) -> int:
    if length < 2:
        raise ConfigError(f"max_length must be at least 2, a prompt's id and an answer's, not {length}")
    return length


def _side_by_side(rows: Sequence[list[int]]) -> Sequences:
    return Sequences.padded([torch.tensor(row, dtype=torch.int64) for row in rows])


def _said(some: Sequence[Said]) -> Sequences:
    return Sequences.padded([to_ids(said) for said in some])
