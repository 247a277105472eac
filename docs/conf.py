"""Sphinx: the site is made by `make docs`, and a page of the API for each folder of the package at the same time."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))

from api_pages import write_api_pages  # noqa: E402 - tools/ is no package

from withstand.core.version import __version__  # noqa: E402

write_api_pages(HERE / "api")

project = "withstand"
author = "the withstand developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "claims", "benchmarks"]
suppress_warnings = ["myst.xref_missing"]  # links to files beside docs/; tests/end_to_end/test_site.py follows them all
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "withstand"
html_copy_source = False
html_show_sphinx = False
