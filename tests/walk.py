"""What the package holds, found by walking it: contract tests hold every part to its role by its mere existence."""

import importlib
import inspect
import pkgutil
from functools import cache

import withstand
from withstand.core.part import Part


@cache
def parts() -> tuple[type[Part], ...]:
    """Every concrete part that a module of the package defines; modules whose extra is missing are left out."""
    found = {}
    for entry in pkgutil.walk_packages(withstand.__path__, "withstand."):
        if entry.name.rpartition(".")[2] == "__main__":
            continue
        try:
            module = importlib.import_module(entry.name)
        except ImportError as error:
            if (error.name or "withstand").partition(".")[0] == "withstand":
                raise
            continue
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Part) and value.__module__ == entry.name:
                found[f"{entry.name}.{value.__qualname__}"] = value
    return tuple(value for _, value in sorted(found.items()) if not inspect.isabstract(value))


def of_role(role: type[Part]) -> tuple[type[Part], ...]:
    """The public parts that play a role."""
    return tuple(part for part in parts() if issubclass(part, role) and not part.__name__.startswith("_"))


def default_made(part: type[Part]) -> bool:
    """Say whether a part needs no argument."""
    return all(p.default is not p.empty for p in inspect.signature(part).parameters.values())
