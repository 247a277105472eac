"""Options: shared dataclasses are flattened, and calls by name fill them."""

import inspect
from dataclasses import dataclass

import pytest

from withstand.core.errors import ConfigError
from withstand.core.options import Option, Options, call, names_within, options_of, with_fields


@dataclass(frozen=True, kw_only=True)
class Base(Options):
    """Shared.

    Args:
        size: how large,
            in pixels.
        seed: of draws.
    """

    size: int = 3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class More(Base):
    """Shared by some.

    Args:
        rate: a speed.
    """

    size: int = 4
    rate: float = 0.5


def make(name: str, setup: More = More(seed=7), *, flag: bool = False) -> tuple[str, More, bool]:
    """Make.

    Args:
        name: a name.
        setup: what is shared.
        seed: of these draws.
        flag: a flag.
    """
    return name, setup, flag


def test_options_are_flattened_with_their_own_defaults_and_texts() -> None:
    assert options_of(make) == [
        Option("name", inspect.Parameter.empty, str, "a name."),
        Option("size", 4, int, "how large, in pixels."),
        Option("seed", 7, int, "of these draws."),
        Option("rate", 0.5, float, "a speed."),
        Option("flag", False, bool, "a flag."),
    ]


def test_a_call_by_name_fills_the_shared_dataclass() -> None:
    assert call(make, {"name": "x", "size": 9, "flag": True}, name="make") == ("x", More(size=9, seed=7), True)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'make' has no option 'sede': did you mean 'seed'"):
        call(make, {"name": "x", "sede": 9}, name="make")


@dataclass(frozen=True)
class Held(Options):
    """Options that hold others.

    Args:
        count: how many.
        more: what else is said.
    """

    count: int = 1
    more: More = More(rate=2.0)


def take(setup: Held = Held(), *, flag: bool = False) -> Held:
    return setup


def test_options_within_options_are_options_like_others() -> None:
    assert [(option.name, option.default) for option in options_of(take)] == [
        ("count", 1), ("size", 4), ("seed", 0), ("rate", 2.0), ("flag", False),
    ]  # fmt: skip
    assert call(take, {"seed": 3, "count": 2}, name="take") == Held(2, More(seed=3, rate=2.0))
    assert with_fields(Held(), {"more": More(), "count": 5}) == Held(5, More())
    assert names_within(Held()) == {"count", "size", "seed", "rate"}
    with pytest.raises(ConfigError, match="'take' has no option 'more'"):
        call(take, {"more": More()}, name="take")
