"""Errors a user can act on: what came, what is allowed, the nearest valid name.

Every error here is a `WithstandError`; the command line prints its message as one line and exits with
code 2. Anything else that escapes is a bug and keeps its traceback.
"""

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from difflib import get_close_matches


class WithstandError(Exception):
    """Base of every error that a user caused and can mend: its text is one line, whatever names in it hold."""

    def __str__(self) -> str:
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in super().__str__())


class ConfigError(WithstandError):
    """A name, option or setting that does not exist or is not allowed."""


class DataError(WithstandError):
    """Data that cannot be read, or has the wrong shape, type or range."""


class RunError(WithstandError):
    """A run folder that belongs to something else, or that cannot be continued."""


class CheckpointError(RunError):
    """A checkpoint that is damaged, missing or of a refused format."""


class LeftOut(UserWarning):
    """Parts of data that are left out: said when data are first opened, and not again when a run opens them."""


class NonFiniteLoss(WithstandError):
    """Training stopped because a term of the loss was not finite."""


class Preempted(KeyboardInterrupt):
    """A signal asked a run to stop, and it has saved; like an interruption, no handler of errors may swallow it.

    Attributes:
        signal: its number.
    """

    def __init__(self, signal: int, said: str = "") -> None:
        super().__init__(said)
        self.signal = signal


class MissingExtra(WithstandError, ImportError):
    """A feature whose optional packages are not installed.

    Attributes:
        extra: what brings them.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs {package}: pip install 'withstand[{extra}]'")
        self.extra = extra


def require_at_least(least: float, **settings: float | None) -> None:
    """Refuse settings below `least`; those that are None are not said.

    Raises:
        ConfigError: names the first of them.
    """
    for name, value in settings.items():
        if value is not None and not value >= least:
            raise ConfigError(f"{name} must be at least {least:g}, not {value!r}")


def above(least: float, digits: int = 3) -> str:
    """Return a number to advise where at least `least` is needed: rounded up, so that what is advised works.

    >>> above(1 / 6), above(25)
    ('0.167', '25')
    """
    return _rounded(least, digits, ROUND_CEILING)


def below(most: float, digits: int = 3) -> str:
    """Return a number to advise where at most `most` is allowed: rounded down.

    >>> below(1 / 6)
    '0.166'
    """
    return _rounded(most, digits, ROUND_FLOOR)


def _rounded(value: float, digits: int, rounding: str) -> str:
    rounded = Context(prec=digits, rounding=rounding).create_decimal(Decimal(value))
    return f"{float(rounded):.{digits}g}"


def nearest(name: str, allowed: Iterable[str], *, most: int = 3) -> str:
    """Return a hint for an unknown `name`: the closest of the `allowed` names, or all when they are few.

    >>> nearest("simcrl", ["simclr", "dcl", "barlow-twins"])
    "did you mean 'simclr'?"
    """
    names = sorted(set(allowed))
    close = get_close_matches(name, names, n=most, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(found) for found in close) + "?"
    if len(names) <= 12:
        return "allowed: " + ", ".join(names)
    return f"{len(names)} names are allowed, none of them close"
