"""Properties and answers in the verification competition's form, for other tools to read."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.verification.exchange.specification import Case, Polytope, Specification

Answer = Literal["sat", "unsat", "timeout", "unknown"]


def margin_specification(low: Tensor, high: Tensor, label: int, classes: int, *, margin: float = 0.0) -> Specification:
    """Return the property that class `label` wins by more than `margin` everywhere in a box.

    Args:
        low: smallest inputs, any shape.
        high: largest inputs, of the same shape.
        label: the class.
        classes: K.
        margin: a counterexample has `y_label - y_j <= margin` for another class j.
    """
    if low.shape != high.shape or bool((low > high).any()):
        raise DataError(f"a box needs low at most high of one shape, not {tuple(low.shape)} and {tuple(high.shape)}")
    if not 0 <= label < classes or classes < 2:
        raise ConfigError(f"label must be one of the {classes} classes, 0 to {classes - 1}, not {label}")
    polytopes = []
    for rival in range(classes):
        if rival != label:
            weight = torch.zeros(1, classes, dtype=torch.float64)
            weight[0, label], weight[0, rival] = 1, -1
            polytopes.append(Polytope(weight, torch.tensor([margin], dtype=torch.float64)))
    flat_low, flat_high = low.detach().cpu().double().flatten(), high.detach().cpu().double().flatten()
    return Specification(len(flat_low), classes, (Case(flat_low, flat_high, tuple(polytopes)),))


def write_vnnlib(specification: Specification, comment: str = "") -> str:
    """Return a property as the text of a VNN-LIB file; numbers are written so that they read back exactly."""
    lines = [f"; {line}" for line in comment.splitlines()]
    lines += [f"(declare-const X_{place} Real)" for place in range(specification.inputs)]
    lines += [f"(declare-const Y_{place} Real)" for place in range(specification.outputs)]
    lines.append("")
    if len(specification.cases) == 1:
        (case,) = specification.cases
        lines += [f"(assert {bound})" for bound in _box(case)]
        lines += ["", "(assert (or", *(f"    {_polytope(one)}" for one in case.unsafe), "))"]
    else:
        if not specification.cases:
            raise DataError("a property without cases has no counterexample to describe")
        lines.append("(assert (or")
        for case in specification.cases:
            box = " ".join(_box(case))
            lines += [f"    (and {box} (or {' '.join(_polytope(one) for one in case.unsafe)}))"]
        lines.append("))")
    return "\n".join(lines) + "\n"


def answer(verdict: Answer, x: Tensor | None = None, y: Tensor | None = None) -> str:
    """Return a result file's text: the answer, and below `sat` the counterexample's inputs and outputs.

    Args:
        verdict: "sat" for a counterexample, "unsat" for a proof.
        x: the counterexample, flat in the network's order.
        y: what the real model gives for it.
    """
    if (verdict == "sat") != (x is not None and y is not None):
        raise ConfigError("sat, and nothing else, comes with a counterexample x and its output y")
    if x is None or y is None:
        return f"{verdict}\n"
    pairs = [f"(X_{i} {value!r})" for i, value in enumerate(_numbers(x))]
    pairs += [f"(Y_{i} {value!r})" for i, value in enumerate(_numbers(y))]
    return f"{verdict}\n({chr(10).join(pairs)})\n"


def _numbers(values: Tensor) -> list[float]:
    found: list[float] = values.detach().cpu().double().flatten().tolist()
    return found


def _box(case: Case) -> list[str]:
    bounds = []
    for place, (low, high) in enumerate(zip(_numbers(case.low), _numbers(case.high), strict=True)):
        bounds += [f"(<= X_{place} {_number(high)})", f"(>= X_{place} {_number(low)})"]
    return bounds


def _polytope(polytope: Polytope) -> str:
    rows = zip(polytope.weight.tolist(), polytope.bound.tolist(), strict=True)
    return f"(and {' '.join(_row(weights, bound) for weights, bound in rows)})"


def _row(weights: Sequence[float], bound: float) -> str:
    used = [(place, weight) for place, weight in enumerate(weights) if weight]
    if bound == 0 and sorted(weight for _, weight in used) == [-1, 1]:
        (small,), (large,) = ([place for place, weight in used if weight == sign] for sign in (1, -1))
        return f"(<= Y_{small} Y_{large})"
    terms = [f"Y_{place}" if weight == 1 else f"(* {_number(weight)} Y_{place})" for place, weight in used]
    left = terms[0] if len(terms) == 1 else f"(+ {' '.join(terms)})"
    return f"(<= {left} {_number(bound)})"


def _number(value: float) -> str:
    return repr(value)
