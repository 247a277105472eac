"""What is installed with the library: its page says what the project file does, and every bound is a lower one."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from withstand.core.extras import NOT_FOR_USERS, USES, extras, installed, lacking, required

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in NOT_FOR_USERS}


def names(lines: list[str]) -> set[str]:
    return {Requirement(line).name for line in lines}


def test_every_package_has_a_lower_bound_and_no_other() -> None:
    for lines in (PROJECT["dependencies"], *EXTRAS.values()):
        for line in lines:
            assert [one.operator for one in Requirement(line).specifier] == [">="], line


def test_the_page_of_packages_says_what_the_project_file_does() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    direct = set(re.findall(r"^\| (\S+) \| [^|]+ \| [^|]+ \| withstand \|$", page, re.MULTILINE))
    assert direct == names(PROJECT["dependencies"]) - {"torch", "torchvision", "numpy", "jinja2", "pillow"}
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| \d+ \| (.*) \|$", page, re.MULTILINE))
    assert rows.keys() == EXTRAS.keys()
    for extra, lines in EXTRAS.items():  # networkx comes with torch, and is nothing more
        assert names(lines) - set(rows[extra].split(", ")) <= {"networkx"}, extra


def test_this_installation_declares_them() -> None:
    assert set(required()) == names(PROJECT["dependencies"])
    assert extras().keys() == USES.keys()


def test_what_an_extra_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("withstand.core.extras.installed", lambda name: None if name == "onnx" else "1")
    assert lacking("certify") == ["onnx"]
    assert lacking("timm") == []
    assert installed("no-such-package") is None
