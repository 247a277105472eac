"""VNN-LIB: the verification competition's language for a region of inputs and what may not come out of it.

A file asserts what a counterexample looks like: inputs in a box (or in one of several), outputs in a union of
polytopes. `unsat` means that there is none, so that the network is safe; `sat` comes with one.

Read: `declare-const`, and `assert` of `and`, `or`, `<=`, `>=` over sums of variables and numbers. Inputs are bounded
one by one; outputs may be combined linearly. Sizes: `D` inputs, `K` outputs, flat in the network's own order.
"""

import math
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.exchange.packed import read_bytes
from withstand.verification.exchange.specification import Case, Polytope, Specification

Tree: TypeAlias = "str | list[Tree]"
_MOST_CASES = 10_000
"""How many cases a property may fall apart into."""
_MOST_NUMBERS = 4_000_000
"""How many bounds on inputs all cases together may hold: a short file can ask for more than memory has."""
_DEEPEST = 64
"""How many brackets may be open at a time."""
_TOKEN = re.compile(r";[^\n]*|[()]|[^\s();]+")
_VARIABLE = re.compile(r"([XY])_([0-9]{1,9})$")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")


def read_vnnlib(path: Path | str) -> Specification:
    """Read a file, or one that gzip packed.

    Raises:
        DataError: it is missing, or not of this language, with the reason on one line.
    """
    path = Path(path)
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as a VNN-LIB file ({error})") from error
    try:
        return parse_vnnlib(text)
    except DataError as error:
        raise DataError(f"{path} is not a VNN-LIB file that can be read: {error}") from None


def parse_vnnlib(text: str) -> Specification:
    """Return the property that a text asserts; see `read_vnnlib`."""
    declared: dict[str, set[int]] = {"X": set(), "Y": set()}
    plain: list[_Atom] = []  # what holds in every case
    unions: list[list[_Clause]] = []
    for command in _expressions(text):
        match command:
            case ["declare-const", str(name), "Real"] | ["declare-fun", str(name), [], "Real"]:
                kind, place = _variable(name)
                declared[kind].add(place)
            case ["assert", formula]:
                clauses = _normal(formula, declared)
                if len(clauses) == 1:
                    plain.extend(clauses[0])
                else:
                    unions.append(clauses)
                    _check_count(unions)
            case ["vnnlib-version", *_]:
                raise DataError("it is of VNN-LIB 2.0, and only files of version 1 can be read")
            case _:
                raise DataError(f"{_shown(command)} is neither a declaration of a Real nor an assertion of one formula")
    if not declared["X"] or not declared["Y"]:
        raise DataError("it declares no inputs X_0, X_1, ... or no outputs Y_0, Y_1, ...")
    for kind, places in declared.items():
        if max(places) >= len(places):
            absent = min(set(range(len(places))) - places)
            raise DataError(f"it declares {kind}_{max(places)}, but no {kind}_{absent}")
    return _cases(plain, unions, len(declared["X"]), len(declared["Y"]))


class _Atom(NamedTuple):
    """`sum of factors * variables <= bound`, over inputs or over outputs."""

    kind: str
    terms: tuple[tuple[int, float], ...]
    bound: float


_Clause: TypeAlias = tuple[_Atom, ...]


def _expressions(text: str) -> Iterator[Tree]:
    stack: list[list[Tree]] = []
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token[0] == ";":
            continue
        if token == "(":
            if len(stack) == _DEEPEST:
                raise DataError(f"it opens more than {_DEEPEST} brackets at a time")
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
            # Names and relations come again and again, numbers seldom do.
            stack[-1].append(token if _NUMBER.match(token) else sys.intern(token))
        else:
            raise DataError(f"{_shown(token)} stands outside of brackets")
    if stack:
        raise DataError("it leaves a bracket open: the file may be cut off")


def _normal(formula: Tree, declared: dict[str, set[int]]) -> list[_Clause]:
    """Return a formula as a union of clauses."""
    match formula:
        case ["and", *parts]:
            clauses = [_normal(part, declared) for part in parts]
            fixed = tuple(atom for part in clauses if len(part) == 1 for atom in part[0])
            several = [part for part in clauses if len(part) != 1]
            _check_count(several)
            return [fixed + tuple(atom for clause in chosen for atom in clause) for chosen in product(*several)]
        case ["or", *parts]:
            found: list[_Clause] = []
            for part in parts:
                found += _normal(part, declared)
                _check_count([found])
            return found
        case ["<=" | ">=" as relation, left, right]:
            return [(_atom(relation, left, right, declared),)]
    raise DataError(f"{_shown(formula)} is none of and, or, <=, >=")


def _check_count(unions: Sequence[list[_Clause]], numbers: int = 1) -> None:
    """Refuse more combinations of one clause of each union than can be looked at, `numbers` in each."""
    count = math.prod(len(clauses) for clauses in unions)
    if count > (most := min(_MOST_CASES, _MOST_NUMBERS // numbers)):
        raise DataError(f"it falls apart into more than {most:,} cases")


def _atom(relation: str, left: Tree, right: Tree, declared: dict[str, set[int]]) -> _Atom:
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
        if place not in declared[kind]:
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
        raise DataError(f"{_shown(name)!r} is not a variable X_0, X_1, ... or Y_0, Y_1, ...")
    return match[1], int(match[2])


def _number(word: str) -> float:
    if not _NUMBER.match(word):
        raise DataError(f"{_shown(word)!r} is neither a variable nor a number")
    value = float(word)
    if not math.isfinite(value):
        raise DataError(f"{_shown(word)!r} is not a finite number")
    return value


def _cases(plain: Sequence[_Atom], unions: Sequence[list[_Clause]], inputs: int, outputs: int) -> Specification:
    """Return the conjunction of all assertions, cases with one box put together."""
    moved = any(atom.kind == "X" for clauses in unions for clause in clauses for atom in clause)
    _check_count(unions, outputs + (inputs if moved else 0))
    low = np.full(inputs, -np.inf)
    high = np.full(inputs, np.inf)
    _narrow(low, high, plain)
    cases: dict[tuple[tuple[int, float, float], ...], tuple[Tensor, Tensor, list[Polytope]]] = {}
    for chosen in product(*unions):
        atoms = [atom for clause in chosen for atom in clause]
        least, most = (low.copy(), high.copy()) if moved else (low, high)
        _narrow(least, most, atoms)
        free = ~(np.isfinite(least) & np.isfinite(most))
        if free.any():
            raise DataError(f"X_{int(free.argmax())} is not bounded from both sides")
        rows = [atom for atom in (*plain, *atoms) if atom.kind == "Y"]
        if not rows:
            raise DataError("it says nothing of the outputs Y")
        if (least > most).any():
            continue  # no input satisfies this case
        places = sorted({place for atom in atoms if atom.kind == "X" for place, _ in atom.terms})
        key = tuple((place, float(least[place]), float(most[place])) for place in places)
        box = cases.setdefault(key, (torch.from_numpy(least), torch.from_numpy(most), []))
        box[2].append(_polytope(rows, outputs))
    return Specification(inputs, outputs, tuple(Case(*box[:2], tuple(box[2])) for box in cases.values()))


def _narrow(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], atoms: Sequence[_Atom]) -> None:
    """Cut a box, in place, to what the atoms over inputs allow."""
    for atom in atoms:
        if atom.kind == "X":
            ((place, factor),) = atom.terms
            value = atom.bound / factor + 0.0  # never -0
            if factor > 0:
                # A quotient is rounded: outward, so that no input is lost.
                high[place] = min(high[place], value if factor == 1 else math.nextafter(value, math.inf))
            else:
                low[place] = max(low[place], value if factor == -1 else math.nextafter(value, -math.inf))


def _polytope(rows: Sequence[_Atom], outputs: int) -> Polytope:
    weight = torch.zeros(len(rows), outputs, dtype=torch.float64)
    for row, atom in enumerate(rows):
        for place, factor in atom.terms:
            weight[row, place] = factor
    return Polytope(weight, torch.tensor([atom.bound for atom in rows], dtype=torch.float64))


def _shown(tree: Tree) -> str:
    """Return the beginning of an expression."""
    parts: list[str] = []
    waiting: list[Tree] = [tree]
    while waiting and len(parts) < 30:
        match waiting.pop():
            case str(word):
                parts.append(word)
            case branch:
                waiting += [")", *reversed(branch), "("]
    text = re.sub(r"\( | (?=\))", lambda found: found[0].strip(), " ".join(part[:60] for part in parts))
    return text if len(text) <= 60 and not waiting else f"{text[:57]}..."
