"""How the house is built: folders that show what is in them, and files that are read in one sitting."""

import ast
from pathlib import Path

import pytest

import withstand

HOUSE = Path(withstand.__file__).parent
FOLDERS = sorted({path.parent for path in HOUSE.rglob("*.py")})
MOST = 16
"""Entries of a folder; the rooms are told in CONTRIBUTING.md."""
BY_DESIGN = {"", "recipes", "claims", "methods", "data"}
"""Folders of rooms, families or modalities: these may be more, and hold few files of their own."""


def shown(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_folder_is_taken_in_at_a_glance(folder: Path) -> None:
    entries = shown(folder)
    if folder.relative_to(HOUSE).as_posix().strip(".") in BY_DESIGN:
        entries = [path for path in entries if path.is_file()]
    assert len(entries) <= MOST, f"group what belongs together: {sorted(path.name for path in entries)}"
    assert (folder / "__init__.py").is_file(), "a folder says in its docstring what it holds"


def test_no_name_says_nothing() -> None:
    empty = {"utils", "util", "misc", "common", "helpers", "stuff"}
    assert not [path for folder in FOLDERS for path in shown(folder) if path.stem in empty]


def test_a_long_file_says_why() -> None:
    for folder in FOLDERS:
        for path in folder.glob("*.py"):
            text = path.read_text(encoding="utf-8")
            said = ast.get_docstring(ast.parse(text)) if text.count("\n") > 400 else "longer than others"
            assert "longer than others" in (said or ""), f"{path} has {text.count(chr(10))} lines"


def test_no_two_files_of_tests_share_a_name() -> None:
    """Folders of tests are no packages: of two files of one name only the first would be run."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
