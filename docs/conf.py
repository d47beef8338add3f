"""Sphinx builds the manual from the same files that GitHub renders: `make docs`."""

import re
from typing import Any

from repro import __version__

project = "repro"
author = "The repro authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "README.md"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
html_theme = "furo"
html_title = f"repro {__version__}"


def name_files_of_the_repository(_app: Any, _page: str, source: list[str]) -> None:
    """Links out of docs/ work on GitHub; the web pages name the file instead."""
    source[0] = re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./([^)]*)\)", r"\1 (`\2`)", source[0])


def setup(app: Any) -> None:
    app.connect("source-read", name_files_of_the_repository)
