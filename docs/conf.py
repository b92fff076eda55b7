"""Sphinx configuration. Tables of facts are made from the code, so that they cannot disagree with it."""

from __future__ import annotations

from sphinx.application import Sphinx

from vmm import __version__
from vmm.cli.status import MEANINGS
from vmm.trace.reasons import CATALOGUE

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


def _exit_reasons() -> str:
    rows = ["| reason | what it is | VT-x exit reason | AMD-V exit code | why |", "|---|---|---|---|---|"]
    for reason in CATALOGUE.values():
        vtx = "" if reason.vtx is None else str(reason.vtx)
        amd_v = "" if reason.amd_v is None else f"{reason.amd_v:X}h"
        rows.append(f"| `{reason.key}` | {reason.title} | {vtx} | {amd_v} | {reason.why} |")
    return "\n".join(rows)


def _exit_statuses() -> str:
    rows = ["| status | meaning |", "|---|---|"]
    rows += [f"| {status} | {meaning} |" for status, meaning in MEANINGS.items()]
    return "\n".join(rows)


_TABLES = {"@EXIT_REASONS@": _exit_reasons, "@EXIT_STATUSES@": _exit_statuses}


def fill_in_tables(app: Sphinx, document: str, source: list[str]) -> None:
    """Replace the place holders of a page by tables made from the code."""
    del app, document
    for name, build in _TABLES.items():
        source[0] = source[0].replace(name, build())


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.connect("source-read", fill_in_tables)
