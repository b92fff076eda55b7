"""Sphinx configuration. Tables of facts are made from the code by `tables.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from tables import expand  # noqa: E402 - found by the line above

from vmm import __version__  # noqa: E402

project = "Trapline"
author = "the Trapline authors"
release = version = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Trapline {release}"
html_copy_source = False


def fill_in_tables(app: Sphinx, document: str, source: list[str]) -> None:
    """Replace the place holders of a page by tables made from the code."""
    del app, document
    source[0] = expand(source[0])


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.connect("source-read", fill_in_tables)
