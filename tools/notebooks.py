"""Write notebooks from examples: python tools/notebooks.py.

A notebook is the script in cells: its docstring in words, its imports, its functions, and the body of `main` as
statements, so that what each gives can be looked at.
"""

import ast
import json
from pathlib import Path

HERE = Path(__file__).parent.parent
OUT = HERE / "examples" / "notebooks"
SHOWN = {
    "photos": "Photos without labels",
    "table": "A table without labels",
    "audit_a_classifier": "Audit a classifier",
}
"""Examples that become notebooks, and what these are called."""


def notebook(name: str) -> str:
    """Return an example as a notebook in JSON, format 4.5.

    Raises:
        ValueError: its `main` returns before its last line, which cells cannot.
    """
    source = (HERE / "examples" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines = source.splitlines()
    about = (ast.get_docstring(tree) or "").rpartition("\n\n")[0]
    code = [node for node in tree.body[1:] if not isinstance(node, ast.If)]
    imports = [node for node in code if isinstance(node, ast.Import | ast.ImportFrom)]
    parts = [node for node in code if node not in imports and not _is_main(node)]
    (main,) = filter(_is_main, code)
    assert isinstance(main, ast.FunctionDef)
    body = [_text(lines, node) for node in parts]
    steps = [_settings(source, main), *_steps(lines, main, name)]
    used = {node.id for text in (*body, *steps) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    cells = [_words(f"# {SHOWN[name]}\n\n{about}"), _words(f"Made from `examples/{name}.py` by `tools/notebooks.py`.")]
    cells += [_code(_imports(lines, imports, used))]
    cells += [_code(text) for text in (*body, *steps)]
    for place, cell in enumerate(cells):
        cell["id"] = f"{name.replace('_', '-')}-{place}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "main"


def _binds(node: ast.stmt) -> set[str]:
    """Return the names that an import gives."""
    assert isinstance(node, ast.Import | ast.ImportFrom)
    return {(name.asname or name.name).partition(".")[0] for name in node.names}


def _text(lines: list[str], node: ast.stmt) -> str:
    """Return a statement's lines, decorators and the comments right above it with them."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    indent = len(lines[first - 1]) - len(lines[first - 1].lstrip())
    return "\n".join(line[indent:] for line in lines[first - 1 : node.end_lineno])


def _imports(lines: list[str], imports: list[ast.stmt], used: set[str]) -> str:
    """Return the imports of what is used, in their groups."""
    left_out = [range(node.lineno, (node.end_lineno or 0) + 1) for node in imports if not _binds(node) & used]
    rows = range(imports[0].lineno, (imports[-1].end_lineno or 0) + 1)
    kept = [lines[row - 1] for row in rows if not any(row in one for one in left_out)]
    return "\n".join(kept).strip()


def _settings(source: str, main: ast.FunctionDef) -> str:
    """Return `main`'s arguments as assignments."""
    given = zip(main.args.args, main.args.defaults, strict=True)
    return "\n".join(f"{one.arg} = {ast.get_source_segment(source, value)}" for one, value in given)


def _steps(lines: list[str], main: ast.FunctionDef, name: str) -> list[str]:
    """Return the body as cells, each up to what prints; what `main` returns is the last one's value."""
    *statements, last = main.body[1:]
    if any(isinstance(node, ast.Return) for one in statements for node in ast.walk(one)):
        raise ValueError(f"main of {name} returns before its last line")
    cells: list[list[str]] = [[]]
    for node in statements:
        cells[-1].append(_text(lines, node))
        if any(isinstance(inner, ast.Name) and inner.id == "print" for inner in ast.walk(node)):
            cells.append([])
    cells[-1].append(ast.unparse(last.value) if isinstance(last, ast.Return) and last.value else _text(lines, last))
    return ["\n".join(cell) for cell in cells]


def _words(text: str) -> dict[str, object]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, object]:
    source = text.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def main() -> None:
    """Write them all."""
    OUT.mkdir(exist_ok=True)
    for name in SHOWN:
        (OUT / f"{name}.ipynb").write_text(notebook(name), encoding="utf-8")


if __name__ == "__main__":
    main()
