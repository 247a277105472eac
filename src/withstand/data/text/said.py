"""What a row of a file of texts holds: a prompt, and the answers to it, as words or as turns of a conversation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from withstand.core.errors import DataError

Turns: TypeAlias = tuple[tuple[str, str], ...]
"""A conversation: (role, words) of each turn."""
Said: TypeAlias = str | Turns
"""A prompt: words, or a conversation up to the answer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and two answers to it.

    Attributes:
        prompt: what is answered.
        chosen: the words of the preferred answer.
        rejected: of the other one.
    """

    prompt: Said
    chosen: str
    rejected: str


def as_said(value: Any, where: str) -> Said:
    """Return a cell as a prompt.

    Args:
        value: words, or a list of tables with `role` and `content`.
        where: the row and the column, for messages.

    Raises:
        DataError: it is neither, or holds half of a letter.
    """
    if isinstance(value, str):
        return _letters(value, where)
    if isinstance(value, Sequence) and value and all(isinstance(turn, Mapping) for turn in value):
        turns = []
        for turn in value:
            role, content = turn.get("role"), turn.get("content")
            if not isinstance(role, str) or not isinstance(content, str):
                raise DataError(f"{where}: every turn of a conversation has a role and a content in words")
            turns.append((_letters(role, where), _letters(content, where)))
        return tuple(turns)
    kind = "missing" if value is None else f"a {type(value).__name__}"
    raise DataError(f"{where} is {kind}: words are needed, or turns of a conversation with role and content")


def _letters(text: str, where: str) -> str:
    """Return a text that UTF-8 can write; a JSON file may escape halves of letters, such as an emoji cut in two."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise DataError(f"{where} holds half of a letter, {half!a}: it was cut inside one") from None
    return text


def as_answer(value: Any, where: str) -> str:
    """Return a cell as an answer: words, or a conversation of the assistant's one turn.

    Raises:
        DataError: it is neither, or empty.
    """
    said = as_said(value, where)
    if not isinstance(said, str):
        if len(said) != 1 or said[0][0] != "assistant":
            roles = ", ".join(role for role, _ in said)
            raise DataError(f"{where} must be one turn of the assistant, not turns of {roles}")
        said = said[0][1]
    if not said.strip():
        raise DataError(f"{where} is empty: an answer has words")
    return said


def with_words(said: Said, before: str = "", after: str = "") -> Said:
    """Return a prompt with words before and after what its user wrote last, as they stand.

    >>> with_words("Who is it?", "Tell me. "), with_words((("user", "Who?"), ("system", "Be brief.")), after=" Say!")
    ('Tell me. Who is it?', (('user', 'Who? Say!'), ('system', 'Be brief.')))

    Raises:
        DataError: a conversation in which no user says anything.
    """
    if isinstance(said, str):
        return before + said + after
    places = [place for place, (role, _) in enumerate(said) if role == "user"]
    if not places:
        roles = ", ".join(role for role, _ in said)
        raise DataError(f"no user says anything in a conversation of {roles}: there is no place for further words")
    role, words = said[places[-1]]
    return (*said[: places[-1]], (role, before + words + after), *said[places[-1] + 1 :])


def to_ids(said: Said) -> Tensor:
    """Return a prompt as the bytes of its JSON, int64 `(L,)`: how a batch carries what a tokenizer cannot give back."""
    return torch.tensor(list(json.dumps(said, ensure_ascii=False).encode("utf-8")), dtype=torch.int64)


def from_ids(ids: Tensor) -> Said:
    """Return the prompt that `to_ids` made numbers of."""
    found = json.loads(bytes(ids.tolist()).decode("utf-8"))
    return found if isinstance(found, str) else tuple((role, words) for role, words in found)
