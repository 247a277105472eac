"""Exact search by SMT: z3 decides linear real arithmetic over the exact rational values of the network's weights.

A `safe` holds in exact arithmetic for the captured float64 network. z3 runs in a process of its own, which is ended
when its time is up. Networks of linear operations, ReLUs and maxima; a few dozen units, not thousands.
"""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, MissingExtra
from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.exact.question import Question
from withstand.verification.network.activation import MaxPool2d, ReLU
from withstand.verification.network.network import Network, Node
from withstand.verification.network.operation import Constant, Input, LinearOperation
from withstand.verification.specification.verdict import Verdict

_BEYOND = 1e-6
_GRACE = 2.0
"""Seconds beyond its time after which z3's process is ended."""


class Z3:
    """A process that answers one question after the other; `z3_process` opens and closes it."""

    def __init__(self) -> None:
        if find_spec("z3") is None:
            raise MissingExtra('method "smt"', "z3-solver", "certify")
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def ask(self, text: str, inputs: list[str], seconds: float) -> tuple[str, list[Fraction], str]:
        """Return ("sat", values of `inputs`, ""), ("unsat", [], "") or ("unknown", [], the reason)."""
        process = self._started()
        assert process.stdin is not None
        record = {"text": text, "inputs": inputs, "milliseconds": max(1, int(1000 * seconds))}
        process.stdin.write(json.dumps(record) + "\n")
        process.stdin.flush()
        try:
            line = self._lines.get(timeout=seconds + _GRACE)
        except queue.Empty:
            self.close()
            return "unknown", [], f"out of time after {seconds:g} s"
        if not line:
            self.close()
            return "unknown", [], "z3 ended without an answer"
        reply = json.loads(line)
        reason = str(reply["reason"])
        if reason in ("timeout", "canceled"):
            reason = f"out of time after {seconds:g} s"
        return str(reply["status"]), [Fraction(value) for value in reply["values"]], reason

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            worker = Path(__file__).with_name("smt_worker.py")
            self._lines = queue.Queue()
            self._process = subprocess.Popen(
                [sys.executable, str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(line)
    except ValueError:
        pass  # closed while it was read
    lines.put("")


@contextmanager
def z3_process() -> Iterator[Z3]:
    """Open a process for many questions.

    Raises:
        MissingExtra: z3-solver is not installed.
    """
    process = Z3()
    try:
        yield process
    finally:
        process.close()


def solve_smt(question: Question, *, timeout: float = 60.0, process: Z3 | None = None) -> Verdict:
    """Answer a question exactly.

    Args:
        question: of a network of linear operations, ReLUs and maxima.
        timeout: seconds.
        process: one to be used again; None for one of its own.

    Raises:
        ConfigError: a time-out that is not positive, or an operation without an exact encoding.
        MissingExtra: z3-solver is not installed.
    """
    if not timeout > 0:
        raise ConfigError(f"timeout must be positive seconds, not {timeout}")
    start = time.monotonic()
    if process is None:
        with z3_process() as own:
            verdict = _solve(question, timeout, own)
    else:
        verdict = _solve(question, timeout, process)
    return replace(verdict, method="smt", seconds=time.monotonic() - start)


def _solve(question: Question, timeout: float, process: Z3) -> Verdict:
    start = time.monotonic()
    names = [f"n0_{place}" for place in range(question.low.numel())]
    reason = ""
    # What the real network's precision may not tell from a tie is no proof. A first counterexample often lies on the
    # very edge, where rounding decides: then one beyond is asked for.
    for beyond in (-question.needed, max(_BEYOND, question.needed)):
        left = timeout - (time.monotonic() - start)
        if left <= 0:
            break
        status, values, why = process.ask(smt_text(question, beyond=beyond), names, left)
        if status == "unsat" and beyond <= 0:
            return Verdict("safe", margin=question.needed)
        if status != "sat":
            return Verdict("unknown", reason=reason or why or "z3 gave no answer")
        shown, miss = question.replayed(torch.tensor([float(value) for value in values], dtype=torch.float64))
        if miss <= 0:
            return Verdict("unsafe", counterexample=shown)
        reason = "z3's counterexample is none when the real network is shown it: rounding decides"
    return Verdict("unknown", reason=reason or f"out of time after {timeout:g} s")


def smt_text(question: Question, *, beyond: float = 0.0) -> str:
    """Return the question as an SMT-LIB text that is satisfiable exactly when there is a counterexample.

    Args:
        question: what is asked.
        beyond: how far inside a polytope of bad outputs a counterexample has to lie; below 0, how far outside it may.
    """
    lines: list[str] = []
    names: list[list[str]] = []
    for place, node in enumerate(question.network.nodes):
        names.append(_node(lines, question.network, names, place, node))
    low, high = question.low.flatten().tolist(), question.high.flatten().tolist()
    for name, least, most in zip(names[0], low, high, strict=True):
        lines.append(f"(assert (and (>= {name} {_rational(least)}) (<= {name} {_rational(most)})))")
    cases = []
    for polytope in question.unsafe:
        rows = [
            f"(<= {_sum(zip(weights, names[-1], strict=True), 0.0)} {_rational(bound - beyond)})"
            for weights, bound in zip(polytope.weight.tolist(), polytope.bound.tolist(), strict=True)
        ]
        cases.append(f"(and {' '.join(rows)})")
    lines.append(f"(assert (or {' '.join(cases)}))")
    return "\n".join(lines)


def _node(lines: list[str], network: Network, names: list[list[str]], place: int, node: Node) -> list[str]:
    """Append a node's definitions, and return the names of its entries."""
    operation, size = node.operation, int(torch.Size(node.shape).numel())
    own = [f"n{place}_{entry}" for entry in range(size)]
    if isinstance(operation, Input):
        lines += [f"(declare-const {name} Real)" for name in own]
    elif isinstance(operation, Constant):
        values = operation.value.expand(node.shape).flatten().tolist()
        lines += [_define(name, _rational(value)) for name, value in zip(own, values, strict=True)]
    elif isinstance(operation, LinearOperation):
        weights, shifts = _matrix(network, node, operation)
        sources = [name for source in node.inputs for name in names[source]]
        for name, row, shift in zip(own, weights.tolist(), shifts.tolist(), strict=True):
            lines.append(_define(name, _sum(zip(row, sources, strict=True), shift)))
    elif isinstance(operation, ReLU):
        for name, before in zip(own, names[node.inputs[0]], strict=True):
            other = f"(* {_rational(operation.slope)} {before})" if operation.slope else "0.0"
            lines.append(_define(name, f"(ite (>= {before} 0.0) {before} {other})"))
    elif isinstance(operation, MaxPool2d):
        inside = names[node.inputs[0]]
        windows = operation.windows(network.nodes[node.inputs[0]].shape).tolist()
        for name, window in zip(own, windows, strict=True):
            entries = [inside[entry] for entry in window if entry >= 0]
            lines.append(f"(declare-const {name} Real)")
            lines += [f"(assert (>= {name} {entry}))" for entry in entries]
            lines.append(f"(assert (or {' '.join(f'(= {name} {entry})' for entry in entries)}))")
    else:
        raise ConfigError(f"{type(operation).__name__} ({node.name}) has no exact encoding: use bounds")
    return own


def _matrix(network: Network, node: Node, operation: LinearOperation) -> tuple[Tensor, Tensor]:
    """Return a linear node's matrix `(outputs, all inputs)` and constant `(outputs,)`."""
    shapes = [network.nodes[source].shape for source in node.inputs]
    sizes = [int(torch.Size(shape).numel()) for shape in shapes]
    columns, first = [], 0
    units = torch.eye(sum(sizes), dtype=torch.float64)
    for shape, size in zip(shapes, sizes, strict=True):
        columns.append(units[:, first : first + size].reshape(-1, *shape))
        first += size
    zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
    weight = rows_of(operation.apply(*columns).expand(sum(sizes), *node.shape)).T
    return weight, operation.forward(*zeros).expand(1, *node.shape).flatten()


def _define(name: str, value: str) -> str:
    # A variable with an equation, not a macro: z3 would write macros out at every use.
    return f"(declare-const {name} Real)\n(assert (= {name} {value}))"


def _sum(terms: Iterable[tuple[float, str]], shift: float) -> str:
    parts = [f"(* {_rational(weight)} {name})" if weight != 1 else name for weight, name in terms if weight]
    if shift or not parts:
        parts.append(_rational(shift))
    return parts[0] if len(parts) == 1 else f"(+ {' '.join(parts)})"


def _rational(value: float) -> str:
    """Return the exact value of a float: `(/ 1.0 4.0)`, with `(- ...)` round negative ones."""
    fraction = Fraction(value)
    size = abs(fraction)
    text = f"{size.numerator}.0" if size.denominator == 1 else f"(/ {size.numerator}.0 {size.denominator}.0)"
    return f"(- {text})" if fraction < 0 else text
