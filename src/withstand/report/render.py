"""Write `report.html`: one file with everything inside it, which opens offline and asks the network for nothing."""

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from withstand.core.files import replacing
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.folder import StoredRun
from withstand.report.page import page


def render(folder: Path) -> Path:
    """Write the report of a run folder into it, whole or not at all, and return its path.

    The same folder gives the same bytes: nothing in the page depends on when or where it was written.

    Raises:
        RunError: `folder` is not a run folder.
        DataError: one of its files is damaged.
    """
    path = folder / "report.html"
    html = to_html(StoredRun.read(folder))
    with replacing(path) as aside:
        aside.write_text(html, encoding="utf-8", errors="backslashreplace")  # a path's bytes may be no UTF-8
    return path


def to_html(run: StoredRun) -> str:
    """Return the page."""
    return template("page.html", page=page(run))


def template(name: str, *, page: object) -> str:
    """Return a template filled with what it reads, style, scripts and plotly inside."""
    packed, plotly_hash = _plotly()
    script = _asset("charts.js")
    environment = Environment(
        loader=PackageLoader("withstand.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = _json
    environment.globals["wording"] = wording
    return environment.get_template(name).render(
        page=page,
        style=Markup(_asset("style.css")),
        script=Markup(script),
        plotly=packed,
        # The browser itself holds the page to it: no requests, and no scripts but these two.
        policy="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src '{_hash(script)}' '{plotly_hash}'",
    )


def _json(value: Tree) -> Markup:
    """Return JSON that is safe inside a script element, whatever strings it holds."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _asset(name: str) -> str:
    return files("withstand.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return a script's name in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


@cache
def _plotly() -> tuple[str, str]:
    """Return plotly.js, gzipped (4.8 MB become 2) as base64, and its hash."""
    from plotly.offline import get_plotlyjs  # here, for it takes half a second

    source: str = get_plotlyjs()
    packed = gzip.compress(source.encode(), mtime=0)
    return base64.b64encode(packed).decode("ascii"), _hash(source)
