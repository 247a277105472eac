"""Options: a function's arguments by name, with those that several functions share in one dataclass."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

from withstand.core.errors import ConfigError, nearest

Made = TypeVar("Made")


class Record(Protocol):
    """What every dataclass is, to type checkers."""

    __dataclass_fields__: ClassVar[dict[str, "dataclasses.Field[Any]"]]


Kept = TypeVar("Kept", bound=Record)

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
"""Where networks run; auto is a GPU where there is one."""


Norm: TypeAlias = Literal["linf", "l2", "l1", "l0"]
"""How the size of a change is measured; l0, the count of entries that differ, is called a norm and is none."""

ConvexNorm: TypeAlias = Literal["linf", "l2", "l1"]
"""The norms proper, whose balls have directions, dual norms and proofs."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of frozen dataclasses that hold options which several functions share.

    A function takes one as an argument whose default is an instance; to a command line, and to
    `call`, its fields are options of the function like its other arguments. So are those of options within options.
    """


def with_fields(value: Kept, changes: Mapping[str, object]) -> Kept:
    """Return a dataclass's value with some fields changed whose names are known only when it runs.

    Fields of options that it holds are named like its own.
    """
    within = {name: names_within(held) & changes.keys() for name, held in _held(value).items()}
    own = {name: change for name, change in changes.items() if not any(name in names for names in within.values())}
    inner = {
        name: with_fields(held, {each: changes[each] for each in within[name]})
        for name, held in _held(value).items()
        if within[name]
    }
    return dataclasses.replace(value, **inner, **own)


def names_within(options: Record) -> set[str]:
    """Return the names of a dataclass's fields, and of those of the options that it holds in place of these."""
    held = _held(options)
    return {field.name for field in dataclasses.fields(options)} - held.keys() | {
        name for inner in held.values() for name in names_within(inner)
    }


def _held(value: Record) -> dict[str, Options]:
    """Return the options that a dataclass holds."""
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: inner for name, inner in found.items() if isinstance(inner, Options)}


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: the argument's.
        default: its value when nothing is said; `inspect.Parameter.empty` when something must be.
        hint: its annotation.
        text: what the docstring says of it.
        placed: whether it is given by its place alone, as an argument before `/` is, even where it has a default.
    """

    name: str
    default: object
    hint: object
    text: str | None
    placed: bool = False


def options_of(function: Callable[..., object]) -> list[Option]:
    """Return a function's options, the fields of its `Options` arguments in their place."""
    hints, texts = typing.get_type_hints(function), _texts(function)
    found: list[Option] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if isinstance(parameter.default, Options):
            # What the function itself says of a shared option is truer of it than what is said for all.
            found.extend(
                dataclasses.replace(item, text=texts.get(item.name, item.text)) for item in _fields(parameter.default)
            )
        else:
            placed = parameter.kind is parameter.POSITIONAL_ONLY
            found.append(Option(name, parameter.default, hints.get(name, str), texts.get(name), placed))
    return found


def call(function: Callable[..., Made], options: Mapping[str, object], *, name: str) -> Made:
    """Call a function with options by name; those not named keep their defaults.

    Args:
        function: what to call.
        options: values by name, a shared dataclass's fields among them.
        name: what the function is called in messages.

    Raises:
        ConfigError: an option that the function does not have, with the nearest.
    """
    known = [option.name for option in options_of(function)]
    for given in options:
        if given not in known:
            raise ConfigError(f"{name!r} has no option {given!r}: {nearest(given, known)}")
    arguments: dict[str, object] = {}
    placed: list[object] = []
    for place, parameter in inspect.signature(function).parameters.items():
        shared = parameter.default
        if isinstance(shared, Options):
            own = names_within(shared)
            changes = {key: value for key, value in options.items() if key in own}
            arguments[place] = with_fields(shared, changes)
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            placed.append(options.get(place, parameter.default))
        elif place in options:
            arguments[place] = options[place]
    return function(*placed, **arguments)


def _fields(shared: Options) -> list[Option]:
    kind = type(shared)
    hints, texts = typing.get_type_hints(kind), {}
    for base in reversed(kind.__mro__):
        texts.update(_texts(base))
    found: list[Option] = []
    for field in dataclasses.fields(shared):
        value = getattr(shared, field.name)
        if isinstance(value, Options):
            found.extend(_fields(value))
        else:
            found.append(Option(field.name, value, hints[field.name], texts.get(field.name)))
    return found


def _texts(documented: object) -> dict[str, str]:
    """Return what a docstring's Args section says of each argument."""
    section = re.search(r"\nArgs:\n(.*?)(?:\n\S|\Z)", inspect.getdoc(documented) or "", re.DOTALL)
    if section is None:
        return {}
    items = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}
