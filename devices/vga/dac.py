"""The colour look-up table and digital-to-analogue converter: 256 colours of 3 x 6 bits, or 3 x 8.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "Video DAC".
"""

from __future__ import annotations

from typing import Final

import msgspec

COLOURS: Final = 256
_STATE_WRITING: Final = 0
_STATE_READING: Final = 3
_SIX_BITS: Final = 0x3F


class DacState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Palette and registers."""

    palette: bytes
    mask: int
    index: int
    component: int
    state: int
    written: bytes


class Dac:
    """Registers 3C6h-3C9h. A colour goes in or out as three bytes: red, green, blue."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """All black; the next access is a write to colour 0."""
        self.palette = bytearray(COLOURS * 3)
        self.mask = 0xFF
        self.index = 0
        self.component = 0
        self.state = _STATE_WRITING
        self.written = b""
        self.eight_bits = False  # the display interface sets it

    def save(self) -> DacState:
        """Return all values."""
        return DacState(
            palette=bytes(self.palette),
            mask=self.mask,
            index=self.index,
            component=self.component,
            state=self.state,
            written=self.written,
        )

    def load(self, values: DacState) -> None:
        """Become `values`."""
        self.palette[:] = values.palette
        self.mask, self.index = values.mask, values.index
        self.component, self.state = values.component, values.state
        self.written = values.written

    def read_mask(self) -> int:
        """Read 3C6h."""
        return self.mask

    def write_mask(self, value: int) -> None:
        """Write 3C6h."""
        self.mask = value

    def read_state(self) -> int:
        """Read 3C7h: 3 after an index to read from, 0 after one to write to."""
        return self.state

    def write_read_index(self, value: int) -> None:
        """Write 3C7h: the colour to read next."""
        self.index, self.component, self.state = value, 0, _STATE_READING

    def read_index(self) -> int:
        """Read 3C8h."""
        return self.index

    def write_write_index(self, value: int) -> None:
        """Write 3C8h: the colour to write next."""
        self.index, self.component, self.state, self.written = value, 0, _STATE_WRITING, b""

    def read_data(self) -> int:
        """Read the next component at 3C9h."""
        value = self.palette[self.index * 3 + self.component]
        self._advance()
        return value

    def write_data(self, value: int) -> None:
        """Write the next component at 3C9h; the third stores the colour, [VGA] "Video DAC"."""
        self.written += bytes((value if self.eight_bits else value & _SIX_BITS,))
        if len(self.written) == 3:
            self.palette[self.index * 3 : self.index * 3 + 3] = self.written
            self.written = b""
            self.component = 2
        self._advance()

    def colour(self, index: int) -> tuple[int, int, int]:
        """Return a colour as 8-bit red, green, blue."""
        red, green, blue = self.palette[index * 3 : index * 3 + 3]
        if self.eight_bits:
            return (red, green, blue)
        return (_widen(red), _widen(green), _widen(blue))

    def _advance(self) -> None:
        self.component += 1
        if self.component == 3:
            self.component = 0
            self.index = (self.index + 1) % COLOURS


def _widen(value: int) -> int:
    """Return 6 bits as 8, full scale to full scale."""
    return (value << 2 | value >> 4) & 0xFF
