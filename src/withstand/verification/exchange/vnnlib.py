"""VNN-LIB: the verification competition's language for a region of inputs and what may not come out of it.

A file asserts what a counterexample looks like: inputs in a box (or in one of several), outputs in a union of
polytopes. `unsat` means that there is none, so that the network is safe; `sat` comes with one.

Read: `declare-const`, and `assert` of `and`, `or`, `<=`, `>=` over sums of variables and numbers. Inputs are bounded
one by one; outputs may be combined linearly. Sizes: `D` inputs, `K` outputs, flat in the network's own order.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.exchange.specification import Case, Polytope, Specification

Tree: TypeAlias = "str | list[Tree]"
_MOST_CASES = 10_000
"""How many cases a property may fall apart into."""
_TOKEN = re.compile(r"[()]|[^\s()]+")
_VARIABLE = re.compile(r"([XY])_(\d+)$")


def read_vnnlib(path: Path | str) -> Specification:
    """Read a file.

    Raises:
        DataError: it is missing, or not of this language, with the reason on one line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a VNN-LIB file ({error})") from error
    try:
        return parse_vnnlib(text)
    except DataError as error:
        raise DataError(f"{path} is not a VNN-LIB file that can be read: {error}") from None


def parse_vnnlib(text: str) -> Specification:
    """Return the property that a text asserts; see `read_vnnlib`."""
    sizes = {"X": 0, "Y": 0}
    asserted: list[Tree] = []
    for command in _expressions(text):
        match command:
            case ["declare-const" | "declare-fun", str(name), *_]:
                kind, place = _variable(name)
                sizes[kind] = max(sizes[kind], place + 1)
            case ["assert", formula]:
                asserted.append(formula)
            case _:
                raise DataError(f"{_shown(command)} is neither a declaration nor an assertion of one formula")
    if not sizes["X"] or not sizes["Y"]:
        raise DataError("it declares no inputs X_0, X_1, ... or no outputs Y_0, Y_1, ...")
    return _cases([_normal(formula, sizes) for formula in asserted], sizes)


@dataclass(frozen=True)
class _Atom:
    """`sum of factors * variables <= bound`, over inputs or over outputs."""

    kind: str
    terms: tuple[tuple[int, float], ...]
    bound: float


_Clause: TypeAlias = tuple[_Atom, ...]


def _expressions(text: str) -> Iterator[Tree]:
    tokens = _TOKEN.findall(re.sub(r";[^\n]*", "", text))
    stack: list[list[Tree]] = []
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            if not stack:
                raise DataError("it closes a bracket that it did not open")
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield done
        elif stack:
            stack[-1].append(token)
        else:
            raise DataError(f"{token!r} stands outside of brackets")
    if stack:
        raise DataError("it leaves a bracket open: the file may be cut off")


def _normal(formula: Tree, sizes: dict[str, int]) -> list[_Clause]:
    """Return a formula as a union of clauses."""
    match formula:
        case ["and", *parts]:
            return _both([_normal(part, sizes) for part in parts])
        case ["or", *parts]:
            return [clause for part in parts for clause in _normal(part, sizes)]
        case ["<=" | ">=" as relation, left, right]:
            return [(_atom(relation, left, right, sizes),)]
    raise DataError(f"{_shown(formula)} is none of and, or, <=, >=")


def _both(parts: Sequence[list[_Clause]]) -> list[_Clause]:
    """Return the clauses of a conjunction: one of each part, in every combination."""
    fixed = tuple(atom for part in parts if len(part) == 1 for atom in part[0])
    several = [part for part in parts if len(part) != 1]
    count = 1
    for part in several:
        count *= len(part)
        if count > _MOST_CASES:
            raise DataError(f"it falls apart into more than {_MOST_CASES:,} cases")
    return [fixed + tuple(atom for clause in chosen for atom in clause) for chosen in product(*several)]


def _atom(relation: str, left: Tree, right: Tree, sizes: dict[str, int]) -> _Atom:
    found: dict[tuple[str, int], float] = {}
    constant = 0.0
    for side, sign in ((left, 1.0), (right, -1.0)):
        terms, number = _linear(side)
        constant += sign * number
        for variable, factor in terms.items():
            found[variable] = found.get(variable, 0.0) + sign * factor
    turn = 1.0 if relation == "<=" else -1.0
    used = {variable: turn * factor for variable, factor in found.items() if factor != 0}
    kinds = {kind for kind, _ in used}
    if len(kinds) != 1:
        what = "names no variable" if not kinds else "mixes inputs and outputs"
        raise DataError(f"{_shown([relation, left, right])} {what}")
    kind = kinds.pop()
    for _, place in used:
        if place >= sizes[kind]:
            raise DataError(f"{kind}_{place} is used but not declared before")
    if kind == "X" and len(used) > 1:
        raise DataError(f"{_shown([relation, left, right])} bounds several inputs at once: only boxes can be read")
    return _Atom(kind, tuple((place, factor) for (_, place), factor in used.items()), -turn * constant)


def _linear(tree: Tree) -> tuple[dict[tuple[str, int], float], float]:
    """Return a sum as factors by variable, and a constant."""
    match tree:
        case str(word):
            if word[:1] in "XY":
                return {_variable(word): 1.0}, 0.0
            return {}, _number(word)
        case ["-", part]:
            return _scaled(_linear(part), -1.0)
        case ["+" | "-" as sign, first, *rest] if rest:
            terms, constant = _linear(first)
            terms = dict(terms)
            for part in rest:
                more, number = _scaled(_linear(part), 1.0 if sign == "+" else -1.0)
                constant += number
                for variable, factor in more.items():
                    terms[variable] = terms.get(variable, 0.0) + factor
            return terms, constant
        case ["*", first, second]:
            left, right = _linear(first), _linear(second)
            if left[0] and right[0]:
                raise DataError(f"{_shown(tree)} is a product of variables")
            return _scaled(right, left[1]) if not left[0] else _scaled(left, right[1])
    raise DataError(f"{_shown(tree)} is not a sum of variables and numbers")


def _scaled(
    part: tuple[dict[tuple[str, int], float], float], factor: float
) -> tuple[dict[tuple[str, int], float], float]:
    terms, constant = part
    return {variable: factor * value for variable, value in terms.items()}, factor * constant


def _variable(name: str) -> tuple[str, int]:
    match = _VARIABLE.match(name)
    if match is None:
        raise DataError(f"{name!r} is not a variable X_0, X_1, ... or Y_0, Y_1, ...")
    return match[1], int(match[2])


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise DataError(f"{word!r} is neither a variable nor a number") from None
    if not math.isfinite(value):
        raise DataError(f"{word!r} is not a finite number")
    return value


def _cases(asserted: Sequence[list[_Clause]], sizes: dict[str, int]) -> Specification:
    """Return the conjunction of all assertions, cases with one box put together."""
    boxes: dict[tuple[bytes, bytes], tuple[Tensor, Tensor, list[Polytope]]] = {}
    for clause in _both(asserted):
        least, most = [-math.inf] * sizes["X"], [math.inf] * sizes["X"]
        rows = []
        for atom in clause:
            if atom.kind == "Y":
                rows.append(atom)
                continue
            ((place, factor),) = atom.terms
            value = atom.bound / factor
            if factor > 0:
                most[place] = min(most[place], value)
            else:
                least[place] = max(least[place], value)
        low, high = torch.tensor(least, dtype=torch.float64), torch.tensor(most, dtype=torch.float64)
        free = ~(torch.isfinite(low) & torch.isfinite(high))
        if bool(free.any()):
            raise DataError(f"X_{int(free.nonzero()[0])} is not bounded from both sides")
        if bool((low > high).any()):
            continue  # no input satisfies this case
        weight = torch.zeros(len(rows), sizes["Y"], dtype=torch.float64)
        for row, atom in enumerate(rows):
            for place, factor in atom.terms:
                weight[row, place] = factor
        if not rows:
            raise DataError("it says nothing of the outputs Y")
        polytope = Polytope(weight, torch.tensor([atom.bound for atom in rows], dtype=torch.float64))
        key = (low.numpy().tobytes(), high.numpy().tobytes())
        boxes.setdefault(key, (low, high, []))[2].append(polytope)
    return Specification(
        sizes["X"], sizes["Y"], tuple(Case(low, high, tuple(found)) for low, high, found in boxes.values())
    )


def _shown(tree: Tree) -> str:
    text = tree if isinstance(tree, str) else f"({' '.join(_shown(part) for part in tree)})"
    return text if len(text) <= 60 else f"{text[:57]}..."
