"""Useful answers as a source: what a language model shall go on to answer, and how it would refuse."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Source
from withstand.data.text.files import Rows, is_text_file, read_rows, unread_in
from withstand.data.text.source import Long, Preferences
from withstand.data.text.wording import Wording


class Answers(Preferences):
    """Prompts with one answer each, the chosen one; the rejected one is a refusal.

    Args:
        data: a file (JSON Lines, CSV, Parquet), or rows in memory.
        wording: how prompts and answers are put into words and ids.
        refusal: how the model would refuse, the same for all.
        columns: what the columns of prompts and answers are called.
        max_length: the most ids of a prompt with its answer.
        long: "refuse" data in which a prompt leaves no room for an answer; "drop" leaves such rows out and tells.

    Raises:
        DataError: as for `Preferences`.
        ConfigError: settings out of range, or a refusal without words.
    """

    kind = "answer"

    def __init__(
        self,
        data: str | Path | Rows,
        wording: Wording,
        *,
        refusal: str,
        columns: Sequence[str] = ("prompt", "completion"),
        max_length: int = 512,
        long: Long = "refuse",
    ) -> None:
        if len(columns) != 2:
            raise ConfigError(f"columns are two, of prompts and answers, not {len(columns)}")
        if not refusal.strip():
            raise ConfigError("refusal must have words: how a model refuses")
        rows = read_rows(Path(data).expanduser()) if isinstance(data, str | Path) else data
        where = repr(str(data)) if isinstance(data, str | Path) else "the data"
        held = {name for row in rows for name in row}
        for name in columns:
            if name not in held:
                raise DataError(f"{where} has no column {name!r}: {nearest(name, held)}")
        asked, answer = columns
        pairs = [{"prompt": row.get(asked), "chosen": row.get(answer), "rejected": refusal} for row in rows]
        super().__init__(pairs, wording, max_length=max_length, drafts=False, long=long)
        self._name(data, unread_in(rows, columns))

    @classmethod
    def example(cls) -> Self:
        rows = [{"prompt": f"{word} is", "completion": f" {word}."} for word in ("red", "a dog", "b")]
        return cls(rows, Wording.example(), refusal=" no", max_length=64)

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other answers read as these were; None where they hold no texts."""
        return type(self)(**{**self._init_args, "data": data}) if is_text_file(data) and split != "test" else None
