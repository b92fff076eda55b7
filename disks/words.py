"""What an image says, fit to be told: images are downloaded, and terminals obey what they are sent."""

from __future__ import annotations

import shlex
from pathlib import Path


def printable(text: object) -> str:
    r"""Return the text with a `?` for everything that does not print: escape sequences, line ends.

    Bytes of a name that are no UTF-8, which Python keeps as lone surrogates, show as `\udcff`.
    """
    return "".join(map(_letter, str(text)))


def _letter(letter: str) -> str:
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if "\ud800" <= letter <= "\udfff" else "?"


def how_to_allow(file: Path) -> str:
    """Return what admits a file outside the allowed directories, to be pasted into a shell."""
    return f"If you trust the image, allow it: --allow-root {shlex.quote(printable(file.parent))}"
