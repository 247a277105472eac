"""Sphinx: the site is made by `make docs`, and a page of the API for each folder of the package at the same time."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))

from api_pages import write_api_pages  # noqa: E402 - tools/ is no package

from withstand.core.version import __version__  # noqa: E402

# `make docs-check` (the tag `pages`) checks the written pages alone: the API's take nearly all of the time.
if tags.has("pages"):  # noqa: F821 - Sphinx gives it
    WITHOUT_API = ["api"]
else:
    write_api_pages(HERE / "api")
    WITHOUT_API = []

project = "withstand"
author = "the withstand developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "claims", "benchmarks", *WITHOUT_API]
# Docstrings are plain text, whatever docutils makes of them. Without the API's pages links to them lead nowhere.
suppress_warnings = ["toc.not_readable", "myst.xref_missing"] if WITHOUT_API else ["docutils"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are described once, in their class

html_theme = "furo"
html_title = "withstand"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False


def as_blocks(app, what, name, obj, options, lines):
    """Show a docstring's tables as they stand, and the `key: value` lines of a module's header as a list of fields."""
    found, inside = [], ""
    for line in lines:
        kind = "table" if line.lstrip().startswith("|") else ""
        if what == "module" and re.match(r"[a-z][a-z ]*: ", line):
            kind, line = "fields", f":{line}"
        elif inside == "fields" and line.startswith(" "):
            kind = "fields"
        if kind != inside:
            found += ["", "::", ""] if kind == "table" else [""]
            inside = kind
        found.append(f"    {line}" if kind == "table" else line)
    lines[:] = found


def setup(app):
    """Register what is done to docstrings."""
    app.connect("autodoc-process-docstring", as_blocks)
