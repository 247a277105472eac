"""What separates the fields of a text file.

Nothing here takes fields apart: Arrow's own parser is tried with each separator, and what comes out decides.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from withstand.core.errors import DataError
from withstand.data.tables.frame import MISSING, NUMBER

NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "whitespace"}
"""Separators that are found, by what they are called."""
COMMA_NUMBER = NUMBER.replace(r"\.", ",")
"""A number with a decimal comma."""
SAMPLE = 1 << 18
"""Characters of a file by which its separator is found."""
GROUP = 2000
"""Columns that are read at a time: one that is being read takes kilobytes, whatever it holds."""
_SPACE = re.compile(r'("(?:[^"\n]|"")*+")|[ \t\v\f]+')
_ENDS = re.compile(r"(?m)^ | $")
# The look-behind keeps long runs of spaces linear.
_COMMENT = re.compile(r"(?m)^[ \t]*[#%][^\n]*\n?|(?<![ \t])[ \t]+#[^\n]*")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        encoding: Python's name of its encoding.
        delimiter: what separates fields; " " is any run of whitespace where `loose`.
        skipped: lines before the rows: 1 where the first says `sep=`.
        loose: lines that begin with # or % are comments, as in edge lists.
    """

    encoding: str
    delimiter: str
    skipped: int = 0
    loose: bool = False

    def __str__(self) -> str:
        coded = {"utf-8-sig": "", "utf-8": "", "cp1252": ", no UTF-8, so read as Windows-1252"}
        name = NAMES.get(self.delimiter, repr(self.delimiter))
        return f"{name}-separated{coded.get(self.encoding, f', {self.encoding}')}"


@dataclass(frozen=True)
class Cut:
    """What a separator makes of the beginning of a file.

    Attributes:
        width: fields of the first row; 0 where there is none.
        alike: the share of rows with so many.
    """

    width: int
    alike: float


@dataclass(frozen=True)
class Sample:
    """The beginning of a file, whole lines of it.

    Attributes:
        text: the lines, without comments where the dialect has some.
        whole: they are all.
        declared: the separator that a first line such as `sep=;` declares, as Excel writes and reads it.
    """

    text: str
    whole: bool
    declared: str | None

    @classmethod
    def of(cls, path: Path, dialect: Dialect) -> "Sample":
        """Read the beginning of a file."""
        with path.open(encoding=dialect.encoding) as file:
            text = file.read(SAMPLE)
            whole = len(text) < SAMPLE
            if "\n" not in text:
                text += file.readline()
            elif not whole:
                text = text[: text.rindex("\n") + 1]
        first, _, rest = text.partition("\n")
        said = re.fullmatch(r'"?sep=(.)"?', first, re.IGNORECASE)
        text = text if said is None else rest
        return cls(cleaned(text, dialect), whole, None if said is None else said[1])

    def cut(self, delimiter: str) -> Cut:
        """Return how a separator cuts the lines: Arrow's parser counts, and converts nothing."""
        counts: list[int] = []

        def count(row: Any) -> str:
            counts.append(row.actual_columns)
            return "skip"

        # Rows of one field fit the one column that is asked for, and all others are counted.
        table = self._parsed(delimiter, ["one"], count)
        counts = counts if self.whole or not counts else counts[: max(1, len(counts) - 1)]  # the last may be cut
        ones = 0 if table is None else table.num_rows
        if not counts:
            return Cut(min(1, ones), 1.0)
        return Cut(counts[0], counts.count(counts[0]) / (len(counts) + ones))

    def fit(self, delimiter: str, width: int, others: Sequence[str]) -> tuple[bool, float]:
        """Return whether no other separator is left over, and the share of columns that hold numbers.

        A separator that cuts the lines evenly is left over where it stands in a field that is no number: under the true
        separator, commas stand in decimal numbers at most. Both are judged from the second row on, for the first may
        name the columns; a missing value may stand for a number.
        """
        from pyarrow import array, compute

        table = self._parsed(delimiter, [f"f{place}" for place in range(min(width, GROUP))], lambda row: "skip")
        if table is None or not table.num_columns:
            return False, 0.0
        rows = table.slice(1) if table.num_rows > 1 else table
        pattern = rf"^\s*({NUMBER}|{COMMA_NUMBER})\s*$" if delimiter != "," else rf"^\s*({NUMBER})\s*$"
        left = f"[{re.escape(''.join(others))}]"
        alone, numbers = True, 0
        for column in rows.columns:
            words = column.filter(compute.invert(compute.match_substring_regex(column, pattern)))
            words = words.filter(compute.invert(compute.is_in(compute.utf8_trim_whitespace(words), array(MISSING))))
            numbers += not len(words)
            alone = alone and not compute.any(compute.match_substring_regex(words, left), min_count=0).as_py()
        return alone, numbers / len(rows.columns)

    def _parsed(self, delimiter: str, names: list[str], handler: Callable[[Any], str]) -> Any:
        import pyarrow
        from pyarrow import csv

        text = squeezed(self.text) if delimiter == " " else self.text
        content = (text if text.endswith("\n") else f"{text}\n").encode()
        try:
            return csv.read_csv(
                io.BytesIO(content),
                read_options=csv.ReadOptions(use_threads=False, column_names=names, block_size=len(content) + 64),
                parse_options=csv.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=handler
                ),
                convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string())),
            )
        except pyarrow.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return None
            raise


def find_dialect(path: Path, sample: Sample, base: Dialect) -> Dialect:
    """Return the dialect whose separator cuts the beginning of the file into rows of one length.

    Where several do, the one that leaves no other of them in its fields (a comma may be a decimal one); then the one
    under which the largest share of columns holds numbers; then a tab, which hardly stands in text; then a semicolon,
    for commas stand in its fields more often than the other way. Where none does, the one that cuts most rows alike.
    """
    order = ["\t", ";", "|", ","] if path.suffix.lower() != ".csv" else [";", "\t", "|", ","]
    cuts = {delimiter: sample.cut(delimiter) for delimiter in ([*order, " "] if base.loose else order)}
    cuts = {delimiter: cut for delimiter, cut in cuts.items() if cut.width > 1}
    if not cuts:
        return replace(base, delimiter=" " if base.loose else ",")
    even = [delimiter for delimiter, cut in cuts.items() if cut.alike == 1]
    if not even:
        return replace(base, delimiter=max(cuts, key=lambda delimiter: cuts[delimiter].alike))
    if path.suffix.lower() == ".tsv" and "\t" in even:
        return replace(base, delimiter="\t")
    even = [delimiter for delimiter in even if delimiter != " "] or even
    if len(even) > 1:
        fits = {one: sample.fit(one, cuts[one].width, [other for other in even if other != one]) for one in even}
        even.sort(key=lambda delimiter: fits[delimiter], reverse=True)  # ties stay in order
    return replace(base, delimiter=even[0])


def cleaned(text: str, dialect: Dialect) -> str:
    """Return lines without comments, where the dialect has some."""
    return _COMMENT.sub("", text) if dialect.loose and ("#" in text or "%" in text) else text


def squeezed(text: str) -> str:
    """Return lines with one space for any run of whitespace, and none around them."""
    spaced = _SPACE.sub(lambda found: found[1] or " ", text) if '"' in text else re.sub(r"[ \t\v\f]+", " ", text)
    return _ENDS.sub("", spaced)


def usable(delimiter: str) -> str:
    """Return the character that a separator's name stands for.

    Raises:
        DataError: more than one character, a quote or the end of a line.
    """
    named = {name: sign for sign, name in NAMES.items()} | {"\\t": "\t"}
    sign = named.get(delimiter, delimiter)
    if len(sign) != 1 or sign in '"\r\n' or not sign.isascii():
        raise DataError(f"delimiter {delimiter!r} must be one character, or {', '.join(NAMES.values())}")
    return sign
