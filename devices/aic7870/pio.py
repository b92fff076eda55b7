"""Bytes that go over the bus one at a time, because firmware or a driver says so (03h, 06h, 12h).

A byte goes with an access to SCSIDATL while SPIOEN is set, or with ACKO: with its rise the target sees
the byte, or the initiator has it, and with its fall the target goes on.

Sources:
    [AIC] Adaptec AIC-7870 data book: SCSISIGO, SCSIDATL, SCSIBUSL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.aic7870.bus import ScsiBus
from devices.aic7870.register_file import COUNT_BITS, RegisterFile
from devices.aic7870.registers import (
    DFCNTRL,
    IO_LINE,
    REQINIT,
    SCSI_DMA,
    SCSIBUSL,
    SCSIDATL,
    SHADDR_WORD,
    SPIOEN,
    SPIORDY,
    STCNT_WORD,
    SXFRCTL0,
)

if TYPE_CHECKING:
    from devices.aic7870.cell import ScsiCell


class SingleBytes:
    """The data latch, and the ACK line by hand."""

    def __init__(self, registers: RegisterFile, bus: ScsiBus, cell: ScsiCell) -> None:
        self._registers = registers
        self._plain = registers.plain
        self._words = registers.words
        self._bus = bus
        self._cell = cell
        self.data = 0
        self.latched = False  # a byte in SCSIDATL waits for REQ
        self.acknowledging = False  # ACKO by hand
        registers.readers[SCSIDATL] = self._read_data
        registers.readers[SCSIBUSL] = self._read_bus
        registers.writers[SCSIDATL] = self._write_data

    def reset(self) -> None:
        """CHIPRST."""
        self.data = 0
        self.let_go()

    def let_go(self) -> None:
        """No byte is on its way any more."""
        self.latched = self.acknowledging = False

    def acknowledge_by_hand(self, level: bool) -> None:
        """Drive ACK."""
        bus = self._bus
        if level and not self.acknowledging and bus.request and not self._plain[DFCNTRL] & SCSI_DMA:
            self.acknowledging = True
            bus.request = False
            self._cell.status1 &= ~REQINIT
        elif not level and self.acknowledging:
            self.acknowledging = False
            self._count()
            if bus.phase & IO_LINE:
                bus.acknowledge()
            else:
                bus.send(bytes((self.data,)))

    def send(self) -> None:
        """Hand the byte in SCSIDATL to a target that asks for one."""
        self.latched = False
        if self._bus.phase & IO_LINE:
            return
        self._cell.status0 &= ~SPIORDY
        self._count()
        self._bus.send(bytes((self.data,)))

    def _count(self) -> None:
        """A byte has gone."""
        words = self._words
        if words[STCNT_WORD] & COUNT_BITS:
            words[STCNT_WORD] -= 1
            words[SHADDR_WORD] = words[SHADDR_WORD] + 1 & 0xFFFF_FFFF

    def _read_data(self) -> int:
        bus, cell = self._bus, self._cell
        if not (bus.request and bus.phase & IO_LINE):
            return self.data
        value = bus.offered()
        if self._plain[SXFRCTL0] & SPIOEN:
            self.data = value
            cell.status0 &= ~SPIORDY
            self._registers.epoch += 1
            self._count()
            bus.acknowledge()
            cell.update()
        return value

    def _write_data(self, value: int) -> None:
        bus, cell = self._bus, self._cell
        self.data = value
        cell.status0 &= ~SPIORDY
        self._registers.epoch += 1
        self.latched = bus.nexus is not None and not bus.phase & IO_LINE
        if self.latched and bus.request and self._plain[SXFRCTL0] & SPIOEN:
            self.send()
        cell.update()

    def _read_bus(self) -> int:
        bus = self._bus
        return bus.offered() if bus.phase & IO_LINE else 0
