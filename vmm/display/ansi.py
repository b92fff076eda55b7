"""Text screens as escape sequences of a terminal.

Sources:
    [ECMA-48] Control Functions for Coded Character Sets, 5th edition, 1991.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from devices.vga.text import UNICODE, TextScreen

RESET: Final = "\x1b[0m"
_TERMINAL_COLOUR: Final = (0, 4, 2, 6, 1, 5, 3, 7)  # the PC counts blue, green, red; terminals the other way
_BLINK: Final = ";5"


def style(attribute: int, blinking: bool) -> str:
    """Return the sequence that selects the colours of `attribute`."""
    foreground = 90 if attribute & 0x08 else 30
    bright = attribute & 0x80 and not blinking
    background = 100 if bright else 40
    blink = _BLINK if attribute & 0x80 and blinking else ""
    return (
        f"\x1b[0;{foreground + _TERMINAL_COLOUR[attribute & 7]}"
        f";{background + _TERMINAL_COLOUR[attribute >> 4 & 7]}{blink}m"
    )


def move(column: int, row: int) -> str:
    """Return the sequence that moves to a cell, counted from 0."""
    return f"\x1b[{row + 1};{column + 1}H"


def changes(old: TextScreen, new: TextScreen, *, colour: bool, columns: int, rows: int) -> Iterator[str]:
    """Yield what turns a terminal that shows `old` into one that shows `new`.

    Only what lies in the first `columns` and `rows`, the terminal's own size, is drawn. Screens of
    different shape have nothing in common.
    """
    same_shape = (old.columns, old.rows, old.blinking) == (new.columns, new.rows, new.blinking)
    if not same_shape:
        yield RESET + "\x1b[2J"
    current = -1
    for row in range(min(rows, new.rows)):
        first = row * new.columns
        last = first + min(columns, new.columns)
        if same_shape and _row(old, first, last) == _row(new, first, last):
            continue
        at = -1
        for cell in range(first, last):
            if same_shape and _cell(old, cell) == _cell(new, cell):
                continue
            if cell != at:
                yield move(cell - first, row)
            if colour and new.attributes[cell] != current:
                current = new.attributes[cell]
                yield style(current, new.blinking)
            yield UNICODE[new.characters[cell]]
            at = cell + 1
    if current >= 0:
        yield RESET


def _row(screen: TextScreen, first: int, last: int) -> tuple[bytes, bytes]:
    return screen.characters[first:last], screen.attributes[first:last]


def _cell(screen: TextScreen, cell: int) -> tuple[int, int]:
    return screen.characters[cell], screen.attributes[cell]
