"""Write a page of the API for each folder of the package, each module's public names in it.

docs/conf.py calls it whenever the site is made; the pages are not kept.
"""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "withstand"
ROOMS = {
    "api": "The front door",
    "core": "Parts, batches, roles, findings",
    "losses": "Losses",
    "views": "Views",
    "models": "Models",
    "data": "Data",
    "attacks": "Attacks",
    "methods": "Methods",
    "defenses": "Defenses",
    "evaluation": "Evaluation",
    "verification": "Verification",
    "engine": "Engine",
}


def write_api_pages(folder: Path) -> None:
    """Write `index.md` and a page a room; files that would not change are left, so that Sphinx passes over them."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{room}.md": _page(room, title) for room, title in ROOMS.items()}
    listed = "\n".join(ROOMS)
    pages["index.md"] = f"# API reference\n\n```{{toctree}}\n:maxdepth: 2\n\n{listed}\n```\n"
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def modules(room: str) -> list[str]:
    """Return the dotted names of a room's modules that say something in public."""
    found = sorted((PACKAGE / room).rglob("*.py"))
    paths = [path for path in found if path.name != "__init__.py" and not path.name.startswith("_")]
    return [".".join(("withstand", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in paths]


def _page(room: str, title: str) -> str:
    parts = [f"# {title}\n"]
    for name in modules(room):
        shown = name.removeprefix("withstand.")
        parts.append(f"## {shown}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n")
    return "\n".join(parts)
