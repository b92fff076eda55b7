"""One line on a terminal that says what is going on, rewritten; nothing elsewhere."""

from __future__ import annotations

import sys
from typing import Final

CLEAR_LINE: Final = "\r\x1b[K"


class Progress:
    """The line, on stderr."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def tell(self, text: str) -> None:
        """Show what is going on."""
        if self._shown:
            print(f"{CLEAR_LINE}trapline: {text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
