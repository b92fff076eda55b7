"""Interrupts and the pause of an AIC-7870: HCNTRL, INTSTAT, CLRINT, ERROR.

Interrupts other than CMDCMPLT stop the sequencer, PAUSEDIS or not, until the host clears PAUSE:
clearing the interrupt does not let it go on.

Sources:
    [AIC] Adaptec AIC-7870 data book: HCNTRL, INTSTAT, CLRINT, ERROR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.register_file import RegisterFile
from devices.backplane import IrqLine
from devices.saved import Byte

HCNTRL_AT_RESET: Final = r.PAUSE | r.CHIPRST


class InterruptState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is not in the register file; INTSTAT is."""

    hcntrl: Byte
    stopped: bool
    scsi: bool
    error: Byte


class Interrupts:
    """The registers, the IRQ line and the answer to "is the sequencer paused".

    `pause_refused` tells of PAUSEDIS; `chip_reset` is called for CHIPRST.
    """

    def __init__(
        self,
        registers: RegisterFile,
        irq: IrqLine,
        pause_refused: Callable[[], bool],
        chip_reset: Callable[[], None],
    ) -> None:
        self._registers = registers
        self._plain = registers.plain
        self._irq = irq
        self._pause_refused = pause_refused
        self._chip_reset = chip_reset
        self.hcntrl = HCNTRL_AT_RESET
        self.stopped = False  # by an interrupt or a step, which PAUSEDIS cannot refuse
        self.error = 0
        self.scsi = False
        registers.readers[r.HCNTRL] = self._read_hcntrl
        registers.writers[r.HCNTRL] = self._write_hcntrl
        registers.writers[r.INTSTAT] = self._write_intstat
        registers.readers[r.ERROR] = self._read_error
        registers.writers[r.CLRINT] = self._write_clrint

    def reset(self) -> None:
        """CHIPRST: paused, nothing pending."""
        self.hcntrl = HCNTRL_AT_RESET
        self.stopped = self.scsi = False
        self.error = 0
        self._plain[r.INTSTAT] = 0
        self.drive()

    def drive(self) -> None:
        """Drive the line to what the registers say."""
        hcntrl = self.hcntrl
        pending = self._plain[r.INTSTAT] & r.INTERRUPTS or hcntrl & r.SWINT
        self._irq.set_level(bool(pending and hcntrl & r.INTEN and not hcntrl & r.POWRDN))

    # --- the sequencer's control ---------------------------------------------------------------

    def paused(self) -> bool:
        """Tell whether the sequencer has to stand still."""
        return bool(self.hcntrl & r.PAUSE) and (self.stopped or not self._pause_refused())

    def step_done(self) -> None:
        """Pause after a single step."""
        self._registers.epoch += 1
        self._registers.attention = True
        self.hcntrl |= r.PAUSE
        self.stopped = True

    def breakpoint(self) -> None:
        """Pause and interrupt."""
        self._raise(r.BRKADRINT)

    def illegal_opcode(self) -> None:
        """Pause and interrupt, with the reason in ERROR."""
        self.error |= r.ILLOPCODE
        self._raise(r.BRKADRINT)

    def _raise(self, interrupt: int) -> None:
        self._plain[r.INTSTAT] |= interrupt
        self.step_done()
        self.drive()

    def set_scsi(self, level: bool) -> None:
        """Follow the cell, which has changed: SCSIINT is its level, and its rise stops the sequencer."""
        self.scsi = level
        if level:
            self._raise(r.SCSIINT)
        else:
            self._registers.epoch += 1
            self._plain[r.INTSTAT] &= ~r.SCSIINT & 0xFF
            self.drive()

    # --- registers -----------------------------------------------------------------------------

    def _read_hcntrl(self) -> int:
        return self.hcntrl & ~r.PAUSE | (r.PAUSE if self.paused() else 0)

    def _write_hcntrl(self, value: int) -> None:
        self._registers.epoch += 1
        self._registers.attention = True
        if value & r.CHIPRST:
            self._chip_reset()
            return
        self.hcntrl = value & r.HCNTRL_BITS
        if not value & r.PAUSE:
            self.stopped = False
        self.drive()

    def _write_intstat(self, value: int) -> None:
        """Raise interrupts; the code in the upper half counts only with SEQINT."""
        self._registers.epoch += 1
        old = self._plain[r.INTSTAT]
        if value & r.SEQINT:
            self._plain[r.INTSTAT] = old & r.INTERRUPTS | value
        else:
            self._plain[r.INTSTAT] = old | value & r.INTERRUPTS
        if value & (r.SEQINT | r.BRKADRINT):
            self.step_done()
        self.drive()

    def _read_error(self) -> int:
        return self.error

    def _write_clrint(self, value: int) -> None:
        self._registers.epoch += 1
        self._plain[r.INTSTAT] &= ~(value & r.INTERRUPTS)
        if value & (r.CLRPARERR | r.BRKADRINT):
            self.error = 0
        if value & r.SCSIINT and self.scsi:
            self._raise(r.SCSIINT)  # its cause is still there
        self.drive()

    def save(self) -> InterruptState:
        """Return what is not in the register file."""
        return InterruptState(hcntrl=self.hcntrl, stopped=self.stopped, scsi=self.scsi, error=self.error)

    def load(self, state: InterruptState) -> None:
        """Become `state`; the register file has been loaded before."""
        self.hcntrl, self.stopped = state.hcntrl, state.stopped
        self.scsi, self.error = state.scsi, state.error
        self.drive()
