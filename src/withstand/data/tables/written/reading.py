"""What is said of a table's reading, and how a column turned out to be written."""

import codecs
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import Part

Decimal: TypeAlias = Literal[".", ","]
Dates: TypeAlias = Literal["dmy", "mdy", "ymd"]
"""The order of day, month and year."""


@dataclass(frozen=True)
class Written(Part):
    """How a column writes its numbers or dates.

    Args:
        decimal: the mark before decimals, "" for dates.
        date: the order of day, month and year; "" for numbers.
        sign: the currency or percent sign that stands with each number; "" for none.
    """

    decimal: str = ""
    date: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Reading:
    """How a table is to be read, where it is not to be found out.

    Attributes:
        delimiter: what separates fields of a text file.
        header: whether a text file's first line names the columns.
        decimal: the mark before decimals, "." or ",", where a number such as 1.234 leaves it open.
        encoding: of a text file, as Python names it.
        dates: the order of day, month and year where dates such as 01/02/2024 leave it open: "dmy", "mdy" or "ymd".
        known: names of columns that are expected.
        words: names of columns that are words as they stand, whatever they look like.
        learnt: how columns of these names were written before, which settles what is left open.
    """

    delimiter: str | None = None
    header: bool | None = None
    decimal: str | None = None
    encoding: str | None = None
    dates: str | None = None
    known: Sequence[str] = ()
    words: Container[str] = frozenset()
    learnt: Mapping[str, Written] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"decimal must be '.' or ',', not {self.decimal!r}")
        if self.dates is not None and self.dates not in _ORDERS:
            raise ConfigError(
                f"dates={self.dates!r} is no order of day, month and year: {nearest(self.dates, _ORDERS)}"
            )
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ConfigError(
                    f"encoding {self.encoding!r} is none that Python knows: say utf-8, cp1251, shift_jis or another"
                ) from None

    def refuse(self, what: str, *, texts: bool = False) -> None:
        """Refuse what was said of a text file where there is none.

        Args:
            what: the table is, in words.
            texts: it has columns of texts, whose marks and dates something may be said of.

        Raises:
            ConfigError: names what was said.
        """
        names = (
            ("delimiter", "header", "encoding") if texts else ("delimiter", "header", "encoding", "decimal", "dates")
        )
        said = [name for name in names if getattr(self, name) is not None]
        if said:
            verb = "says" if len(said) == 1 else "say"
            raise ConfigError(f"{' and '.join(said)} {verb} how a text file is to be read, and {what} is none")


_ORDERS = get_args(Dates)
