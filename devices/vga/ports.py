"""The VGA's registers behind their ports: index and data pairs, and the attribute flip-flop.

NOT modelled: sequencer reset, the enable bit of 3C3h (kept, without effect), light pen, interrupt on
retrace, the rule that palette registers can be written only while the screen is off.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, S42G-2193, 1992.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import Clock, PortBank
from devices.isa import FLOATING, byte_bank, floating, ignored
from devices.vga import registers as r
from devices.vga.dac import Dac
from devices.vga.timing import Timing

_STATUS0_SENSE: Final = 0x10  # a colour monitor is there, [VGA] "Input Status Register 0"
_FEATURE_WRITABLE: Final = 0x03
_ATTRIBUTE_INDEX: Final = 0x3F
_ATTRIBUTE_REGISTER: Final = 0x1F
_SEQUENCER_INDEX: Final = 0x07
_GRAPHICS_INDEX: Final = 0x0F
_CRTC_INDEX: Final = 0x3F
_COMMON_PORTS: Final = 16
_MONO_PORTS: Final = 12
_COLOUR_PORTS: Final = 16


class RegisterState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every register but the DAC's."""

    misc: int
    feature: int
    enable: int
    sequencer_index: int
    sequencer: bytes
    graphics_index: int
    graphics: bytes
    crtc_index: int
    crtc: bytes
    attribute_index: int
    attribute_data_next: bool
    attributes: bytes


class RegisterFile:
    """Registers and the banks that show them. `on_change` hears what changes the memory's ways."""

    def __init__(self, clock: Clock, dac: Dac, name: str, on_change: Callable[[], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._timing: Timing | None = None
        self.sequencer = bytearray(len(r.SEQ_WRITABLE))
        self.graphics = bytearray(len(r.GC_WRITABLE))
        self.crtc = bytearray(r.CRTC_REGISTERS)
        self.attributes = bytearray(len(r.ATTR_WRITABLE))
        self.common = self._build_common(dac, f"{name} 3C0h")
        self.mono = self._build_crtc(f"{name} 3B0h", _MONO_PORTS, 0)
        self.colour = self._build_crtc(f"{name} 3D0h", _COLOUR_PORTS, r.MISC_COLOUR)
        self._clear()

    def reset(self) -> None:
        """All registers zero, as no firmware has run yet."""
        self._clear()
        self._changed()

    def replace(self, values: RegisterState) -> None:
        """Become `values`."""
        self.misc, self.feature, self.enable = values.misc, values.feature, values.enable
        self.sequencer_index, self.graphics_index = values.sequencer_index, values.graphics_index
        self.crtc_index, self.attribute_index = values.crtc_index, values.attribute_index
        self._attribute_data_next = values.attribute_data_next
        self.sequencer[:] = values.sequencer
        self.graphics[:] = values.graphics
        self.crtc[:] = values.crtc
        self.attributes[:] = values.attributes
        self._changed()

    def save(self) -> RegisterState:
        """Return all values."""
        return RegisterState(
            misc=self.misc,
            feature=self.feature,
            enable=self.enable,
            sequencer_index=self.sequencer_index,
            sequencer=bytes(self.sequencer),
            graphics_index=self.graphics_index,
            graphics=bytes(self.graphics),
            crtc_index=self.crtc_index,
            crtc=bytes(self.crtc),
            attribute_index=self.attribute_index,
            attribute_data_next=self._attribute_data_next,
            attributes=bytes(self.attributes),
        )

    def _clear(self) -> None:
        self.misc = 0
        self.feature = 0
        self.enable = 1
        self.sequencer_index = self.graphics_index = self.crtc_index = self.attribute_index = 0
        self._attribute_data_next = False
        for registers in (self.sequencer, self.graphics, self.crtc, self.attributes):
            registers[:] = bytes(len(registers))

    def _changed(self) -> None:
        self._timing = None
        self._on_change()

    # Banks

    def _build_common(self, dac: Dac, name: str) -> PortBank:
        reads: list[Callable[[], int]] = [floating] * _COMMON_PORTS
        writes: list[Callable[[int], None]] = [ignored] * _COMMON_PORTS
        reads[0x0], writes[0x0] = lambda: self.attribute_index, self._write_attribute
        reads[0x1] = self._read_attribute
        reads[0x2], writes[0x2] = lambda: _STATUS0_SENSE, self._write_misc
        reads[0x3], writes[0x3] = lambda: self.enable, self._write_enable
        reads[0x4], writes[0x4] = lambda: self.sequencer_index, self._write_sequencer_index
        reads[0x5], writes[0x5] = self._read_sequencer, self._write_sequencer
        reads[0x6], writes[0x6] = dac.read_mask, dac.write_mask
        reads[0x7], writes[0x7] = dac.read_state, dac.write_read_index
        reads[0x8], writes[0x8] = dac.read_index, dac.write_write_index
        reads[0x9], writes[0x9] = dac.read_data, dac.write_data
        reads[0xA] = lambda: self.feature
        reads[0xC] = lambda: self.misc
        reads[0xE], writes[0xE] = lambda: self.graphics_index, self._write_graphics_index
        reads[0xF], writes[0xF] = self._read_graphics, self._write_graphics
        return byte_bank(name, reads, writes)

    def _build_crtc(self, name: str, ports: int, wanted: int) -> PortBank:
        """Build one of the two places of the CRTC; it answers while MISC selects it."""
        reads: list[Callable[[], int]] = [floating] * ports
        writes: list[Callable[[int], None]] = [ignored] * ports
        reads[0x4], writes[0x4] = lambda: self.crtc_index, self._write_crtc_index
        reads[0x5], writes[0x5] = self._read_crtc, self._write_crtc
        reads[0xA], writes[0xA] = self._read_status1, self._write_feature
        bank = byte_bank(name, reads, writes)

        def read(offset: int, size: int) -> int:
            if self.misc & r.MISC_COLOUR == wanted:
                return bank.read(offset, size)
            return (1 << 8 * size) - 1

        def write(offset: int, size: int, value: int) -> None:
            if self.misc & r.MISC_COLOUR == wanted:
                bank.write(offset, size, value)

        return PortBank(name, read, write)

    # General registers

    def _write_misc(self, value: int) -> None:
        self.misc = value
        self._changed()

    def _write_enable(self, value: int) -> None:
        self.enable = value & 1

    def _write_feature(self, value: int) -> None:
        self.feature = value & _FEATURE_WRITABLE

    def _read_status1(self) -> int:
        self._attribute_data_next = False  # [VGA] "Address Register" of the attribute controller
        if self._timing is None:
            self._timing = Timing(self.crtc, self.sequencer, self.misc)
        return self._timing.status(self._clock.now_ns())

    # Sequencer

    def _write_sequencer_index(self, value: int) -> None:
        self.sequencer_index = value & _SEQUENCER_INDEX

    def _read_sequencer(self) -> int:
        return _get(self.sequencer, self.sequencer_index)

    def _write_sequencer(self, value: int) -> None:
        if self.sequencer_index < len(self.sequencer):
            self.sequencer[self.sequencer_index] = value & r.SEQ_WRITABLE[self.sequencer_index]
            self._changed()

    # Graphics controller

    def _write_graphics_index(self, value: int) -> None:
        self.graphics_index = value & _GRAPHICS_INDEX

    def _read_graphics(self) -> int:
        return _get(self.graphics, self.graphics_index)

    def _write_graphics(self, value: int) -> None:
        if self.graphics_index < len(self.graphics):
            self.graphics[self.graphics_index] = value & r.GC_WRITABLE[self.graphics_index]
            self._on_change()

    # CRT controller

    def _write_crtc_index(self, value: int) -> None:
        self.crtc_index = value & _CRTC_INDEX

    def _read_crtc(self) -> int:
        return _get(self.crtc, self.crtc_index)

    def _write_crtc(self, value: int) -> None:
        index = self.crtc_index
        if index >= len(self.crtc):
            return
        if index < r.CRTC_PROTECTED and self.crtc[r.CRTC_RETRACE_END] & r.RETRACE_END_PROTECT:
            if index == r.CRTC_OVERFLOW:
                kept = self.crtc[index] & ~r.OVERFLOW_LINE_COMPARE
                self.crtc[index] = kept | value & r.OVERFLOW_LINE_COMPARE
            return
        self.crtc[index] = value
        self._timing = None

    # Attribute controller: one port takes index and data in turn

    def _write_attribute(self, value: int) -> None:
        data_next, self._attribute_data_next = self._attribute_data_next, not self._attribute_data_next
        if not data_next:
            self.attribute_index = value & _ATTRIBUTE_INDEX
            return
        register = self.attribute_index & _ATTRIBUTE_REGISTER
        if register < len(self.attributes):
            self.attributes[register] = value & r.ATTR_WRITABLE[register]

    def _read_attribute(self) -> int:
        return _get(self.attributes, self.attribute_index & _ATTRIBUTE_REGISTER)


def _get(registers: bytearray, index: int) -> int:
    """Return a register; beyond the last one nothing drives the bus."""
    return registers[index] if index < len(registers) else FLOATING
