"""What an image says, fit to be told: images are downloaded, and terminals obey what they are sent."""

from __future__ import annotations

import shlex
from pathlib import Path


def printable(text: object) -> str:
    """Return the text with a `?` for everything that does not print: escape sequences, line ends."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def how_to_allow(file: Path) -> str:
    """Return what admits a file outside the allowed directories, to be pasted into a shell."""
    return f"If you trust the image, allow it: --allow-root {shlex.quote(printable(file.parent))}"
