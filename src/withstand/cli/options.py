"""Command lines from signatures: a function's typed arguments and docstring are its options and help.

Arguments without a default are positional. What the same option means is said once, in `SHARED`; arguments that
recipes share come by `core.options`.
"""

import argparse
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from withstand.cli.reply import Reply
from withstand.core.errors import ConfigError, nearest
from withstand.core.options import Option, call, options_of

SHARED = {
    "allow": "a module outside withstand that a configuration may name",
    "config": "take the experiment from this run.json",
    "data": "a set's name, a folder of pictures, a .npy or .npz file",
    "device": "where networks run: a GPU where there is one, or cpu, cuda, mps",
    "epochs": "passes over the data",
    "first": "begin with what this run learnt, of recipes on pictures: its weights, its kind of network, its size",
    "fresh": "start over in a folder that holds a run",
    "out": "where to write",
    "processes": "how many train together",
    "run": "a run folder",
    "seed": "of everything that is drawn",
    "set": "change any setting, say method.temperature=0.2",
}


Verb = TypeVar("Verb", bound=Callable[..., Reply])
_SEVERAL = (tuple, list, Sequence)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are this package's."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def answer(verb: Callable[..., Reply], arguments: Sequence[str], name: str) -> tuple[Reply, bool]:
    """Return a verb's reply to a command line, and whether it shall be printed as JSON."""
    about = (inspect.getdoc(verb) or "").partition("\n\nArgs:")[0]
    values = parse([verb], arguments, name=name, about=" ".join(about.split()))
    alone = getattr(verb, _ALONE, None)
    if isinstance(alone, _Alone):
        alone.check(arguments)
    as_json = bool(values.pop("json"))
    return call(verb, values, name=f"withstand {name}"), as_json


_ALONE = "_goes_alone"


@dataclass(frozen=True)
class _Alone:
    option: str
    beside: tuple[str, ...]
    why: str

    def check(self, arguments: Sequence[str]) -> None:
        said = [word.partition("=")[0] for word in arguments if word.startswith("--")]
        idle = [word for word in said if word not in (self.option, *self.beside, "--json")]
        if self.option in said and idle:
            raise ConfigError(f"{self.option} {self.why}: {', '.join(idle)} would change nothing of it")


def goes_alone(option: str, *, beside: tuple[str, ...], why: str) -> Callable[[Verb], Verb]:
    """Mark a verb's option with which few others go, said or not as they would be without.

    Args:
        option: as it is typed.
        beside: the options that go with it, as they are typed.
        why: what the option does, for the refusal of any other.
    """

    def mark(verb: Verb) -> Verb:
        setattr(verb, _ALONE, _Alone(option, beside, why))
        return verb

    return mark


def parse(
    functions: Sequence[Callable[..., object]],
    arguments: Sequence[str],
    *,
    name: str,
    about: str,
) -> dict[str, object]:
    """Return the values that a command line gives to the functions' arguments, and to `--json`.

    An option that several functions have is given once. Values are checked against the annotations.

    Args:
        functions: whose arguments are the options.
        arguments: the words of the command line.
        name: the command, as typed.
        about: what it does.

    Raises:
        ConfigError: an unknown option (with the nearest), or a value of the wrong type.
    """
    parser = Parser(prog=f"withstand {name}", description=about, allow_abbrev=False)
    known: dict[str, object] = {}
    every = [option for function in functions for option in options_of(function)]
    said = {option.name: option.text for option in reversed(every) if option.text}
    for option in every:
        if option.name not in known:
            known[option.name] = option.default
            _add(parser, replace(option, text=said.get(option.name)))
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = [text for action in parser._actions for text in action.option_strings]
    values, left = parser.parse_known_args(arguments)
    if left:
        word = left[0].partition("=")[0]
        if word.startswith("-"):
            raise ConfigError(f"withstand {name} has no option {word}: {nearest(word, options)}")
        raise ConfigError(f"withstand {name} does not know what to do with {left[0]!r}")
    return {name: known[name] if value is None and name in known else value for name, value in vars(values).items()}


def _add(parser: Parser, option: Option) -> None:
    help_text = (option.text or SHARED.get(option.name, "")).replace("%", "%%")
    needed = option.default is inspect.Parameter.empty
    if not needed and option.default not in (None, False, ()):
        help_text = f"{help_text} (default: {option.default})".strip()
    kind, many = _kind(option.hint)
    choices = get_args(kind) if get_origin(kind) is Literal else None
    convert = type(choices[0]) if choices else kind
    if option.placed and not needed:
        parser.add_argument(option.name, type=convert, nargs="*" if many else "?", help=help_text)
        return
    if needed:
        nargs = "+" if many else None
        parser.add_argument(option.name, type=convert, nargs=nargs, help=help_text)
        return
    flag = "--" + option.name.replace("_", "-")
    if convert is bool:
        negatable = "store_true" if option.default is False else argparse.BooleanOptionalAction
        parser.add_argument(flag, action=negatable, default=option.default, help=help_text)
    elif many:
        # argparse would extend the default; `parse` puts it in where nothing was said.
        parser.add_argument(flag, type=convert, nargs="+", action="extend", default=None, help=help_text)
    else:
        parser.add_argument(flag, type=convert, choices=choices, default=option.default, help=help_text)


def _kind(hint: Any) -> tuple[Any, bool]:
    """Return the type of one value of an annotation, and whether it takes several."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [item for item in get_args(hint) if item is not type(None)]
        several = next((item for item in inner if get_origin(item) in _SEVERAL), None)
        if several is not None:
            return _kind(get_args(several)[0])[0], True
        hint = inner[0] if len(inner) == 1 else next((item for item in (str, Path) if item in inner), inner[0])
    if get_origin(hint) in _SEVERAL:
        return get_args(hint)[0], True
    return hint, False
