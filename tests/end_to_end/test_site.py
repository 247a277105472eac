"""The pages lead where they say, and the commands on them are commands."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from withstand.cli.main import VERBS
from withstand.cli.options import parse
from withstand.cli.verbs.training import _own_options
from withstand.recipes.catalogue import entries, entry

HERE = Path(__file__).parents[2]
DOCS = HERE / "docs"
PAGES = [
    *(HERE / name for name in ("README.md", "CONTRIBUTING.md")),
    *(path for path in sorted(DOCS.rglob("*.md")) if not {"api", "_build"} & set(path.relative_to(DOCS).parts)),
]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each withstand command in a page's blocks of code."""
    for block in re.findall(r"```\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("withstand "):
                yield shlex.split(line, comments=True)[1:]


def check(words: list[str]) -> None:
    """Parse a command line as its verb would; an error of its parser is raised."""
    verb, *rest = words
    function = getattr(import_module(f"withstand.cli.verbs.{VERBS[verb][0]}"), f"run_{verb}")
    if verb == "train":
        parse([_own_options, entry(rest[0]).module().experiment], rest[1:], name=verb, about="")
    else:
        parse([function], rest, name=verb, about="")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HERE)))
def test_commands_are_commands(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        check(words)


@pytest.mark.parametrize("item", [item for item in entries() if "command" in item.facts], ids=lambda item: item.slug)
def test_headers_commands_are_commands(item: object) -> None:
    words = shlex.split(item.facts["command"], comments=True)
    assert words[0] == "withstand"
    check(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HERE)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / path).resolve()
        if found.parent.name == "api":  # these are made with the site
            continue
        assert found.exists(), f"{page.name} links to {target}"
        if anchor and found.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name} links to {target}"


def test_every_page_is_reached() -> None:
    listed = re.findall(
        r"^(?:guides/)?[\w-]+$|^api/index$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if page.is_relative_to(DOCS)}
    lone = {name for name in pages if not name.startswith("methods/")} - set(listed) - {"index"}
    assert lone == set()
    table = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in table for name in pages if name.startswith("methods/"))


@pytest.mark.slow
def test_the_site_is_made(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    assert (tmp_path / "guides" / "photos.html").is_file()
