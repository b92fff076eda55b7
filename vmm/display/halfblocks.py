"""Pictures in a terminal: two dots a character, the upper half block's colour and the background's.

Sources:
    [XTERM] XTerm Control Sequences, "Character Attributes (SGR)": 38;2 and 38;5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vmm.display.ansi import RESET, move

Pixels = NDArray[np.uint8]
UPPER_HALF: Final = "▀"
CUBE_FIRST: Final = 16  # the 6 x 6 x 6 colours of a 256-colour terminal: 0, 95, 135, 175, 215, 255
SHADES: Final = (" ", "▄", "▀", "█")  # by lower and upper dot, without colours
BRIGHT: Final = 96


def scaled(picture: Pixels, columns: int, rows: int) -> Pixels:
    """Return the picture in cells (rows x columns x upper and lower dot x 3), as large as fits, centred."""
    height, width, _ = picture.shape
    wide = min(columns, max(1, width * rows * 2 // height))
    high = min(rows * 2, max(1, height * columns // width))
    cells = np.zeros((rows * 2, columns, 3), dtype=np.uint8)
    top, left = (rows * 2 - high) // 2, (columns - wide) // 2
    cells[top : top + high, left : left + wide] = _resized(_resized(picture, high, 0), wide, 1)
    return cells.reshape(rows, 2, columns, 3).transpose(0, 2, 1, 3)


def _resized(picture: Pixels, size: int, axis: int) -> Pixels:
    """Return the picture with `size` dots along an axis: averages when smaller, repeats when larger."""
    starts = np.arange(size) * picture.shape[axis] // size
    if size >= picture.shape[axis]:
        repeated: Pixels = np.take(picture, starts, axis=axis)
        return repeated
    sums = np.add.reduceat(picture.astype(np.uint32), starts, axis=axis)
    lengths = np.diff(np.append(starts, picture.shape[axis]))
    averages: Pixels = (sums // np.expand_dims(lengths, tuple(set(range(3)) - {axis}))).astype(np.uint8)
    return averages


def cell_changes(old: Pixels | None, new: Pixels, mode: str) -> Iterator[str]:
    """Yield what turns a terminal that shows `old` into one that shows `new`.

    `mode` is `true` (24-bit colours), `cube` (256 colours) or `none`.
    """
    rows, columns = new.shape[:2]
    changed = np.ones((rows, columns), bool) if old is None else (old != new).any(axis=(2, 3))
    style = ""
    for row in np.flatnonzero(changed.any(axis=1)).tolist():
        at = -1
        values = new[row].tolist()
        for column in np.flatnonzero(changed[row]).tolist():
            if column != at:
                yield move(column, row)
            at = column + 1
            upper, lower = values[column]
            if mode == "none":
                yield SHADES[2 * (sum(upper) >= 3 * BRIGHT) + (sum(lower) >= 3 * BRIGHT)]
                continue
            wanted = f"\x1b[38;{_colour(upper, mode)};48;{_colour(lower, mode)}m"
            if wanted != style:
                style = wanted
                yield style
            yield UPPER_HALF
    if style:
        yield RESET


def _colour(dot: list[int], mode: str) -> str:
    if mode == "true":
        return f"2;{dot[0]};{dot[1]};{dot[2]}"
    red, green, blue = map(_level, dot)
    return f"5;{CUBE_FIRST + 36 * red + 6 * green + blue}"


def _level(value: int) -> int:
    """Return the nearest of the cube's six steps."""
    return 0 if value < 48 else 1 if value < 115 else (value - 35) // 40
