"""What hangs on an AIC-7870's board pins: the serial EEPROM, the cable sense logic, the bus width strap.

There are no cables to sense and a BIOS EEPROM is said to be there, so drivers terminate the bus.
BRDCTL's bank select, which is in the byte written last, changes nothing of that.

Sources:
    [AIC] Adaptec AIC-7870 data book: BRDCTL, SEECTL, SBLKCTL.
"""

from __future__ import annotations

from typing import Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.register_file import RegisterFile
from devices.aic7870.seeprom import Seeprom, SeepromState, default_words
from devices.saved import Byte

NO_CABLES: Final = 0xC0  # both banks: cable sense lines high, BIOS present
SEECTL_WRITABLE: Final = r.EXTARBREQ | r.SEEMS | r.SEECS | r.SEECK | r.SEEDO


class StrapsState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """BRDCTL and the EEPROM; SEECTL and SBLKCTL lie in the register file."""

    board: Byte
    seeprom: SeepromState


class Straps:
    """BRDCTL, SEECTL and SBLKCTL."""

    def __init__(self, registers: RegisterFile, wide: bool) -> None:
        self._registers = registers
        self._strap = r.SELWIDE if wide else 0
        self._board = 0
        self.seeprom = Seeprom(default_words(wide))
        registers.readers[r.BRDCTL] = self._read_board
        registers.writers[r.BRDCTL] = self._write_board
        registers.readers[r.SEECTL] = self._read_seeprom
        registers.writers[r.SEECTL] = self._write_seeprom
        registers.writers[r.SBLKCTL] = self._write_sblkctl

    def reset(self) -> None:
        """CHIPRST: the pins fall, the EEPROM keeps its words."""
        self._board = 0
        self._registers.plain[r.SBLKCTL] = r.DIAG_LED | self._strap
        self._registers.plain[r.SEECTL] = 0
        self.seeprom.set_pins(select=False, clock=False, data=0)

    def _read_board(self) -> int:
        if self._board & (r.BRDCS | r.BRDRW) == r.BRDCS | r.BRDRW:
            return self._board & ~r.BRDDAT | NO_CABLES
        return self._board

    def _write_board(self, value: int) -> None:
        self._registers.epoch += 1
        self._board = value

    def _read_seeprom(self) -> int:
        value = self._registers.plain[r.SEECTL]
        if value & r.EXTARBREQ:
            value |= r.EXTARBACK
        if value & r.SEEMS:
            value |= r.SEERDY
        return value | (r.SEEDI if self.seeprom.output else 0)

    def _write_seeprom(self, value: int) -> None:
        self._registers.epoch += 1
        self._registers.plain[r.SEECTL] = value & SEECTL_WRITABLE
        self.seeprom.set_pins(bool(value & r.SEECS), bool(value & r.SEECK), int(bool(value & r.SEEDO)))

    def _write_sblkctl(self, value: int) -> None:
        self._registers.epoch += 1
        self._registers.plain[r.SBLKCTL] = value & r.SBLKCTL_WRITABLE | self._strap

    def save(self) -> StrapsState:
        """Return what is not in the register file."""
        return StrapsState(board=self._board, seeprom=self.seeprom.save())

    def load(self, state: StrapsState) -> None:
        """Become `state`."""
        self._board = state.board
        self.seeprom.load(state.seeprom)
