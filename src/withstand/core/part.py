"""Part: an object whose constructor signature is its whole configuration.

`describe(part)` gives a JSON tree of `class_path` and `init_args` (the convention of jsonargparse and
LightningCLI), `build(tree)` gives the part back. There are no registries: a name is a module path.

The constructor's arguments are recorded by the metaclass's `__call__`, not in `__new__`, so that
`copy.deepcopy` and unpickling, which do not call the constructor, keep the record they carry.
"""

import importlib
import inspect
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from withstand.core.errors import ConfigError, nearest
from withstand.core.moved import current_path, retired_arguments

Tree: TypeAlias = "None | bool | int | float | str | list[Tree] | dict[str, Tree]"
"""What JSON can hold."""

P = TypeVar("P")


class PartMeta(ABCMeta):
    """Records the arguments, defaults included, with which each part was constructed."""

    if not TYPE_CHECKING:  # type checkers shall see the constructor, not this call

        def __call__(cls, *args: object, **kwargs: object) -> object:
            part = super().__call__(*args, **kwargs)
            signature = cls.__signature__
            bound = signature.bind(*args, **kwargs)
            unset = signature.parameters.keys() - bound.arguments.keys()
            items = fields(cls) if is_dataclass(cls) else ()
            made = {item.name for item in items if item.default_factory is not MISSING} & unset
            bound.apply_defaults()
            # A default factory's value, in place of dataclasses' marker.
            bound.arguments.update({name: getattr(part, name) for name in made})
            # Not setattr: frozen dataclasses forbid it and nn.Module would register modules twice.
            object.__setattr__(part, "_init_args", part._as_described(dict(bound.arguments)))
            return part

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's signature, so that help() and jsonargparse do not see `__call__`'s."""
        owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
        if not isinstance(owner, PartMeta):
            return inspect.Signature()  # object's or nn.Module's: nothing to configure
        parameters = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"{owner.__qualname__}.__init__ takes {parameter}: a part names its arguments")
        return inspect.Signature(parameters)


class Part(metaclass=PartMeta):
    """Base of everything configurable; see the module's docstring."""

    _init_args: dict[str, Any]

    def _as_described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments as they are to be described: here a part puts in plain values what it was
        given as an array, so that its description builds it again.
        """
        return arguments

    @classmethod
    def example(cls) -> Self:
        """Return a small one: what the contract's tests try, and a start for trying it.

        It is made of defaults; a part that needs more, or whose defaults are dear, says what.
        """
        return cls()


def class_path(value: type | FunctionType) -> str:
    """Return the dotted path by which `value` is found again."""
    return f"{value.__module__}.{value.__qualname__}"


def describe(part: object) -> Tree:
    """Return the JSON tree that `build` turns back into an equal part.

    Parts become `{"class_path", "init_args"}`, module-level functions `{"reference"}`. Objects that are
    neither parts nor JSON (arrays, a user's own network) are recorded as `{"external"}` with what can be
    said of them, and must be handed to `build` again.
    """
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Path):
        return str(part)
    if isinstance(part, Part):
        arguments: dict[str, Tree] = {name: describe(value) for name, value in part._init_args.items()}
        return {"class_path": class_path(type(part)), "init_args": arguments}
    if isinstance(part, list | tuple):
        return [describe(item) for item in part]
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, FunctionType) and part.__qualname__.isidentifier():
        return {"reference": class_path(part)}
    return {"external": class_path(type(part)), **_facts(part)}


def _facts(value: object) -> dict[str, Tree]:
    """Return what identifies an array-like value: its shape and type."""
    facts: dict[str, Tree] = {}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        facts = {"shape": [int(side) for side in value.shape], "dtype": str(value.dtype)}
    return facts


def again(part: P) -> P:
    """Return a new part of the same configuration, and of the same for every part inside: networks draw new weights."""
    return cast(P, _again(part))


def _again(value: object) -> object:
    if isinstance(value, Part):
        return type(value)(**{name: _again(inner) for name, inner in value._init_args.items()})
    if isinstance(value, list | tuple):
        return tuple(map(_again, value))
    if isinstance(value, Mapping):
        return {name: _again(inner) for name, inner in value.items()}
    return value


def externals(part: object, path: str = "") -> dict[str, object]:
    """Return the objects below `part` that `describe` can only mention, by their dotted path."""
    found: dict[str, object] = {}
    for name, value in _children(part):
        inner = f"{path}.{name}" if path else name
        tree = describe(value)
        if isinstance(tree, dict) and "external" in tree:
            found[inner] = value
        else:
            found |= externals(value, inner)
    return found


def _children(part: object) -> Iterator[tuple[str, object]]:
    if isinstance(part, Part):
        yield from part._init_args.items()
    elif isinstance(part, list | tuple):
        yield from ((str(place), item) for place, item in enumerate(part))
    elif isinstance(part, Mapping):
        yield from ((str(key), value) for key, value in part.items())


def build(tree: Tree, *, allow: Sequence[str] = (), supply: Mapping[str, object] | None = None, path: str = "") -> Any:
    """Construct what `describe` described. JSON lists come back as tuples.

    Args:
        tree: a tree from `describe`, or written by hand.
        allow: top-level modules besides `withstand` that the tree may name. A tree is data: it cannot run
            code that neither this package nor the caller vouches for.
        supply: the external objects, by dotted path, as from `externals`.
        path: where in a larger tree this one stands, for messages and `supply`.

    Raises:
        ConfigError: an unknown class or argument (with the nearest name), a module that is not allowed,
            or an external object that was not supplied.
    """
    supply = supply or {}
    if isinstance(tree, list):
        return tuple(build(item, allow=allow, supply=supply, path=_join(path, str(i))) for i, item in enumerate(tree))
    if not isinstance(tree, dict):
        return tree
    where = f" at {path}" if path else ""
    if "external" in tree:
        if path not in supply:
            raise ConfigError(f"{tree['external']}{where} is not part of the description: supply it again")
        return supply[path]
    if "reference" in tree:
        return _locate(str(tree["reference"]), allow, where, function=True)
    if "class_path" not in tree:
        return {key: build(item, allow=allow, supply=supply, path=_join(path, key)) for key, item in tree.items()}
    cls = _locate(str(tree["class_path"]), allow, where, function=False)
    arguments = tree.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise ConfigError(f"init_args{where} must be a table of arguments, not {type(arguments).__name__}")
    if inspect.isabstract(cls):
        raise ConfigError(f"{cls.__qualname__}{where} is only a role: name a class that plays it")
    known = inspect.signature(cls).parameters
    gone = retired_arguments(current_path(str(tree["class_path"]))) - known.keys()
    arguments = {name: item for name, item in arguments.items() if name not in gone}
    for name in arguments:
        if name not in known:
            raise ConfigError(f"{cls.__qualname__} has no argument {name!r}{where}: {nearest(name, known)}")
    values = {name: build(item, allow=allow, supply=supply, path=_join(path, name)) for name, item in arguments.items()}
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in values]
    if missing:
        raise ConfigError(f"{cls.__qualname__}{where} needs {', '.join(map(repr, missing))}")
    check_types(vars(cls).get("__init__", cls.__init__), values, f"{cls.__qualname__}{where}")
    try:
        return cls(**values)
    except TypeError as error:  # a value of the wrong type; the constructor's own words say which
        raise ConfigError(f"{cls.__qualname__}{where} cannot be made of these values: {error}") from error


def as_of_now(tree: Tree, *, allow: Sequence[str] = ()) -> Tree:
    """Return a tree that was saved earlier as it would be saved now.

    Classes stand under today's paths, arguments that are gone are left out, and those that came since have their
    defaults. What cannot be found is left as it is.
    """
    if isinstance(tree, list):
        return [as_of_now(item, allow=allow) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "class_path" not in tree:
        return {key: as_of_now(item, allow=allow) for key, item in tree.items()}
    path, arguments = current_path(str(tree["class_path"])), tree.get("init_args") or {}
    inner: dict[str, Tree] = {}
    if isinstance(arguments, dict):
        inner = {name: as_of_now(item, allow=allow) for name, item in arguments.items()}
    try:
        cls = _locate(path, allow, "", function=False)
    except ConfigError:
        return {"class_path": path, "init_args": inner}
    known = inspect.signature(cls).parameters
    gone = retired_arguments(path) - known.keys()
    fresh = {name: describe(p.default) for name, p in known.items() if name not in inner and _has_plain_default(p)}
    return {"class_path": path, "init_args": {name: v for name, v in inner.items() if name not in gone} | fresh}


def _has_plain_default(parameter: inspect.Parameter) -> bool:
    tree = describe(parameter.default)
    return parameter.default is not parameter.empty and not (isinstance(tree, dict) and "external" in tree)


def check_types(function: Callable[..., Any], values: Mapping[str, Any], whose: str) -> None:
    """Refuse plain values whose type is none of those that a function's annotation names.

    Args:
        function: whose arguments they are.
        values: by name.
        whose: what the function is called in messages.

    Raises:
        ConfigError: a value of another type, with those that are allowed.
    """
    hints = get_type_hints(function)
    for name, value in values.items():
        hint = hints.get(name)
        allowed = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if not isinstance(value, str | int | float) or not set(allowed) <= {bool, int, float, str, NoneType}:
            continue
        if type(value) not in allowed and not (type(value) is int and float in allowed):
            named = " or ".join("None" if kind is NoneType else kind.__name__ for kind in allowed)
            raise ConfigError(f"{name} of {whose} must be {named}, not {value!r}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _locate(name: str, allow: Sequence[str], where: str, *, function: bool) -> Callable[..., Any]:
    """Import the part class, or the module-level function, that `name` says."""
    name = current_path(name)
    module_name, _, attribute = name.rpartition(".")
    top = name.partition(".")[0]
    if not module_name:
        raise ConfigError(f"{name!r}{where} names no module: give the dotted path, MODULE.NAME")
    if top != "withstand" and top not in {entry.partition(".")[0] for entry in allow}:
        raise ConfigError(f"{name!r}{where} is code outside withstand: refused unless you allow module {top!r}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists; something that it imports does not
        raise ConfigError(f"there is no module {module_name!r}{where}") from None
    found = getattr(module, attribute, None)
    kind = FunctionType if function else PartMeta
    if not isinstance(found, kind):
        names = [key for key, value in vars(module).items() if isinstance(value, kind)]
        raise ConfigError(f"{module_name!r} has no {attribute!r}{where}: {nearest(attribute, names)}")
    if str(found.__module__).partition(".")[0] != top:
        raise ConfigError(f"{name!r}{where} is only re-exported there: name it where it is defined")
    return found


def override(tree: Tree, dotted: str, value: Tree) -> None:
    """Set `dotted` (say `method.temperature`) in a described tree, in place.

    Steps through `init_args` by itself; list items are numbers. An unknown step is answered with the
    nearest known one.
    """
    *steps, last = dotted.split(".")
    node = tree
    for step in steps:
        node = _names(node, step, dotted)[step]
    names = _names(node, last, dotted)
    if isinstance(node, list):
        node[int(last)] = value
    else:
        names[last] = value


def _names(node: Tree, step: str, dotted: str) -> dict[str, Tree]:
    inner = node.get("init_args", node) if isinstance(node, dict) else node
    if isinstance(inner, list):
        inner = {str(place): item for place, item in enumerate(inner)}
    if not isinstance(inner, dict):
        raise ConfigError(f"{dotted!r} goes deeper than the setting it names: {step!r} is inside a plain value")
    if step not in inner:
        raise ConfigError(f"{dotted!r}: there is no {step!r} here: {nearest(step, inner)}")
    return inner
