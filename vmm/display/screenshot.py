"""Pictures of the screen, dot for dot as the VGA draws it: its font, its colours, its cursor.

NOT modelled: blinking (what blinks is shown).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from devices.vga.adapter import Vga
from devices.vga.dispi import LinearScreen
from devices.vga.text import TextLook, TextScreen
from vmm.display.graphics import render_graphics, render_linear
from vmm.display.png import encode_png

_GLYPH_LINES: Final = 32
_DARK_SHAPE: Final = (400, 720, 3)  # what a dark screen is drawn as
_BOX_FIRST: Final = 0xC0
_BOX_LAST: Final = 0xDF


Pixels = NDArray[np.uint8]


def render_png(vga: Vga, path: Path) -> None:
    """Write what the screen shows now to `path`."""
    path.write_bytes(encode_png(draw(vga)))


def draw(vga: Vga) -> NDArray[np.uint8]:
    """Return what the screen shows now as height x width x 3 bytes: red, green, blue."""
    screen = vga.graphics_screen()
    if screen is None:
        return render_text(vga.text_screen(), vga.text_look())
    return render_linear(screen) if isinstance(screen, LinearScreen) else render_graphics(screen)


def render_text(screen: TextScreen, look: TextLook) -> NDArray[np.uint8]:
    """Return the screen as height x width x 3 bytes."""
    if screen.columns == 0 or screen.rows == 0:
        return np.zeros(_DARK_SHAPE, dtype=np.uint8)
    shape = (screen.rows, screen.columns)
    characters = np.frombuffer(screen.characters, dtype=np.uint8).reshape(shape)
    attributes = np.frombuffer(screen.attributes, dtype=np.uint8).reshape(shape)
    dots = _dots(characters, attributes, screen.cell_lines, look)
    if screen.cursor is not None:
        cursor = screen.cursor
        dots[cursor.row, cursor.column, cursor.first_line : cursor.last_line + 1, :] = 1
    background = attributes >> 4 & (0x07 if screen.blinking else 0x0F)
    palette = np.array(look.colours, dtype=np.uint8)
    colours = np.stack((palette[background], palette[attributes & 0x0F]), axis=2)
    rows, columns = np.indices(shape)
    picture = colours[rows[:, :, None, None], columns[:, :, None, None], dots]
    lines, width = dots.shape[2:]
    return np.ascontiguousarray(picture.transpose(0, 2, 1, 3, 4)).reshape(
        screen.rows * lines, screen.columns * width, 3
    )


def _dots(
    characters: NDArray[np.uint8], attributes: NDArray[np.uint8], cell_lines: int, look: TextLook
) -> NDArray[np.uint8]:
    """Return rows x columns x lines x dots of 0 (background) and 1."""
    fonts = np.frombuffer(look.fonts[0] + look.fonts[1], dtype=np.uint8)
    glyphs = fonts.reshape(2, 256, _GLYPH_LINES)[:, :, :cell_lines]
    lines = glyphs[attributes >> 3 & 1, characters]
    dots = np.unpackbits(lines[..., None], axis=-1)
    if not look.nine_dots:
        return dots
    ninth = np.zeros((*dots.shape[:-1], 1), dtype=np.uint8)
    if look.line_graphics:
        box = (characters >= _BOX_FIRST) & (characters <= _BOX_LAST)
        ninth[box] = dots[box][..., 7:]
    return np.concatenate((dots, ninth), axis=-1)
