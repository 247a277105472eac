"""Break the code on purpose, one small change at a time, and see which changes no test notices.

    python -m benchmarks.tuning.mutants src/withstand/losses --tests tests/unit/losses [--most 300] [--seed 0]

Works on a copy. Each mutant meets the tests that import its module first, then the others, in a forked process. What
survives is printed with its line: a test is missing there, or the change makes no difference.
"""

import argparse
import ast
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {
    "max": "min", "amax": "amin", "argmax": "argmin", "maximum": "minimum", "clamp_min": "clamp_max", "any": "all",
    "sum": "mean", "mean": "sum", "exp": "log", "softmax": "log_softmax", "logsumexp": "mean", "detach": "clone",
    "ones_like": "zeros_like", "zeros_like": "ones_like", "topk": "sort",
}  # fmt: skip
SWAPS = NAMES | {
    new: old for old, new in NAMES.items() if new not in NAMES and old not in ("exp", "softmax", "detach", "topk")
}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what was changed, changed source)."""
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for hint in _hints(node) for inner in ast.walk(hint)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if id(node) in skipped:
            continue
        if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
            yield line, *_with(tree, node, "op", OPERATORS[type(node.op)]())
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
            yield line, *_with(tree, node, "ops", [OPERATORS[type(node.ops[0])]()])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield line, *_with(tree, node, "op", ast.UAdd())
        elif isinstance(node, ast.Attribute) and node.attr in SWAPS:
            yield line, *_with(tree, node, "attr", SWAPS[node.attr])
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield line, *_with(tree, node, "value", not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield line, *_with(tree, node, "value", node.value + 1)


def _hints(node: ast.AST) -> list[ast.AST]:
    """Return what says types or messages, which no test needs to notice."""
    hints = [getattr(node, name, None) for name in ("annotation", "returns")]
    if isinstance(node, ast.Raise | ast.JoinedStr):
        hints.append(node)
    return [hint for hint in hints if isinstance(hint, ast.AST)]


def _with(tree: ast.Module, node: ast.AST, field: str, new: object) -> tuple[str, str]:
    old = getattr(node, field)
    before = ast.unparse(node)
    setattr(node, field, new)
    changed, after = ast.unparse(tree), ast.unparse(node)
    setattr(node, field, old)
    return f"{before}  ->  {after}", changed


def survives(path: Path, source: str, rounds: list[list[str]], patience: float) -> bool:
    """Say whether a changed file passes all tests; its own text is put back."""
    kept = path.read_text(encoding="utf-8")
    path.write_text(source, encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            _in_child(rounds)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False
    finally:
        path.write_text(kept, encoding="utf-8")


def _in_child(rounds: list[list[str]]) -> None:
    import pytest

    os.setpgrp()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    code = 0
    for tests in rounds:
        code = code or int(tests != [] and pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]) not in (0, 5))
    os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--tests", nargs="+", type=Path, required=True)
    parser.add_argument("--most", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds after which a mutant counts as killed")
    arguments = parser.parse_args()
    root = Path.cwd()
    work = Path(tempfile.mkdtemp(prefix="withstand-mutants-"))
    for name in ("src", "tests"):
        shutil.copytree(root / name, work / name)
    shutil.copy(root / "pyproject.toml", work)
    os.chdir(work)
    sys.path[:0] = [str(work / "src"), str(work / "tests")]
    import torch

    torch.set_num_threads(1)
    files = [
        path
        for given in arguments.sources
        for path in (sorted(given.rglob("*.py")) if given.is_dir() else [given])
        if path.name != "__init__.py"
    ]
    tests = sorted(
        {path for given in arguments.tests for path in (given.rglob("test_*.py") if given.is_dir() else [given])}
    )
    todo = [(path, *mutant) for path in files for mutant in mutants(path.read_text(encoding="utf-8"))]
    print(f"{len(todo)} mutants of {len(files)} files", flush=True)
    random.Random(arguments.seed).shuffle(todo)
    killed, survived, began = 0, 0, time.monotonic()
    for path, line, change, source in todo[: arguments.most]:
        if time.monotonic() - began > arguments.seconds:
            break
        module = ".".join(path.with_suffix("").parts[1:])
        near = [str(test) for test in tests if module in test.read_text(encoding="utf-8")]
        rest = [str(test) for test in tests if str(test) not in near]
        if survives(path, source, [near, rest], arguments.patience):
            survived += 1
            print(f"survived: {path}:{line}: {change}", flush=True)
        else:
            killed += 1
    print(f"{killed + survived} tried, {killed} killed, {survived} survived, {time.monotonic() - began:.0f} s")
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
