"""The SCSI cell of an AIC-7870: what drives the bus, and the status it shows of it (00h-1Ch).

SSTAT1, SCSISIGI and SELID are kept in the register file, so that reading them costs nothing; the
cell stores them anew whenever something changes. SCSIINT is a level: some bit of SSTAT0 and SIMODE0,
or of SSTAT1 and SIMODE1.

Not modelled: target mode, parity, the odd byte of 16-bit transfers (SWRAPEN, WIDEODD), SCAM.

Sources:
    [AIC] Adaptec AIC-7870 data book: SCSISEQ to SELID.
    [SCSI-2] ANSI X3.131-1994, §6.1 bus phases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.bus import ScsiBus
from devices.aic7870.interrupts import Interrupts
from devices.aic7870.nexus import DATA_IN, DATA_OUT
from devices.aic7870.register_file import COUNT_BITS, Keeping, RegisterFile
from devices.saved import Byte

OWN_ID: Final = 0x0F  # of SCSIID
TARGET_SHIFT: Final = 4
NARROW_IDS: Final = 8
SCSI_DMA: Final = r.SCSIEN | r.SDMAEN
SXFRCTL0_KEPT: Final = 0xFF & ~(r.CLRSTCNT | r.CLRCHN | r.FAST20)
SCSIID_AT_RESET: Final = 0x07
STCNT: Final = r.STCNT // 4  # double words of the register file
SHADDR: Final = r.SHADDR // 4
HCNT: Final = r.HCNT // 4
DISCARD_BYTES: Final = 0x1_0000  # in one piece
DISCARD_AT_ONCE: Final = 256  # pieces; the rest at the next access of the chip


class CellState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is not in the register file."""

    status0: Byte
    status1: Byte
    expected: Byte
    data: Byte
    latched: bool
    acknowledging: bool


class ScsiCell:
    """The initiator of the bus. `on_request` lets the DMA engine look when a target asks for bytes."""

    def __init__(self, registers: RegisterFile, bus: ScsiBus, interrupts: Interrupts, wide: bool) -> None:
        self._registers = registers
        self._plain = registers.plain
        self._words = registers.words
        self._bus = bus
        self._interrupts = interrupts
        self._ids = 2 * NARROW_IDS if wide else NARROW_IDS
        self.on_request: Callable[[], None] = lambda: None
        self.expected = 0  # phase bits of SCSISIGO
        self._status0 = self._status1 = 0  # latched bits
        self._data = 0
        self._latched = False  # a byte in SCSIDATL waits for REQ
        self._acknowledging = False  # ACKO by hand
        bus.initiator = self
        self._install()

    def _install(self) -> None:
        readers, writers = self._registers.readers, self._registers.writers
        readers[r.SSTAT0] = self._read_sstat0
        readers[r.SCSIDATL] = self._read_data
        readers[r.SCSIBUSL] = self._read_bus
        for address, writer in (
            (r.SCSISEQ, self._write_scsiseq),
            (r.SXFRCTL0, self._write_sxfrctl0),
            (r.SXFRCTL1, self._write_sxfrctl1),
            (r.SCSISIGO, self._write_scsisigo),
            (r.SCSIDATL, self._write_data),
            (r.CLRSINT0, self._write_clrsint0),
            (r.CLRSINT1, self._write_clrsint1),
        ):
            writers[address] = writer
        for address in (r.SIMODE0, r.SIMODE1):
            self._registers.keep(address, Keeping(then=self.update))

    def reset(self) -> None:
        """CHIPRST: the cell lets go of the bus. The target it was connected to gives up."""
        self.expected = self._status0 = self._status1 = self._data = 0
        self._latched = self._acknowledging = False
        self._plain[r.SCSIID] = SCSIID_AT_RESET
        if self._bus.nexus is not None:
            self._bus.release()
            self._status1 = 0
        self.update()

    def update(self) -> None:
        """Show what has changed, and interrupt for it."""
        plain, bus = self._plain, self._bus
        status1, lines = self._status1, bus.phase
        if status1 & r.REQINIT and self.expected != lines:
            status1 |= r.PHASEMIS
        if bus.nexus is not None:
            lines |= r.BSY_LINE | r.REQ_LINE if bus.request else r.BSY_LINE
            if self._acknowledging:
                lines |= r.ACK_LINE
        elif self._status0 & r.SELINGO and not status1 & r.SELTO:
            lines |= r.SEL_LINE
        if bus.attention:
            lines |= r.ATN_LINE
        if plain[r.SSTAT1] != status1 or plain[r.SCSISIGI] != lines:
            plain[r.SSTAT1], plain[r.SCSISIGI] = status1, lines
            self._registers.epoch += 1
        asserted = status1 & plain[r.SIMODE1]
        if plain[r.SIMODE0]:
            asserted |= self._read_sstat0() & plain[r.SIMODE0]
        if (asserted != 0) is not self._interrupts.scsi:
            self._interrupts.set_scsi(asserted != 0)

    # --- what the bus tells --------------------------------------------------------------------

    def requested(self) -> None:
        """REQ rose."""
        self._status1 |= r.REQINIT
        if self._bus.phase != self.expected:
            self._status1 |= r.PHASECHG
        if self._plain[r.SXFRCTL0] & r.SPIOEN and not self._plain[r.DFCNTRL] & SCSI_DMA:
            self._status0 |= r.SPIORDY
            if self._latched:
                self._send()
                return
        self._registers.epoch += 1
        self.on_request()

    def released(self) -> None:
        """REQ fell for good."""
        self._registers.epoch += 1

    def freed(self) -> None:
        """The bus is free: BUSFREE stays until a connection or the driver clears it."""
        self.expected = 0
        self._latched = self._acknowledging = False
        self._status0 &= ~(r.SELDO | r.SELDI | r.SPIORDY)
        self._status1 = self._status1 & ~r.REQINIT | r.BUSFREE
        self._registers.epoch += 1
        self.update()

    def reselected(self, number: int) -> None:
        """A target has connected to us."""
        self._plain[r.SELID] = number << TARGET_SHIFT
        self._status0 |= r.SELDI
        self._status1 &= ~r.BUSFREE
        self._registers.epoch += 1
        self.update()

    def wants_bus(self) -> bool:
        """Tell whether a selection waits for the bus."""
        return bool(self._plain[r.SCSISEQ] & r.ENSELO) and not self._selecting()

    def accepts_reselection(self) -> bool:
        """Tell whether ENRSELI is set and we do not select ourselves."""
        return bool(self._plain[r.SCSISEQ] & r.ENRSELI) and not self._selecting()

    def arbitrate(self) -> None:
        """Select the target in SCSIID; the bus is free."""
        scsiid, scsiseq = self._plain[r.SCSIID], self._plain[r.SCSISEQ]
        target = scsiid >> TARGET_SHIFT
        self._registers.epoch += 1
        possible = target < self._ids and target != scsiid & OWN_ID
        if possible and self._bus.select(target, bool(scsiseq & r.ENAUTOATNO)):
            self._status0 = self._status0 & ~r.SELINGO | r.SELDO
            self._status1 &= ~r.BUSFREE
            self.update()
            self._bus.go_on()
        else:
            self._status0 |= r.SELINGO
            self._time_out()
        self.update()

    def _selecting(self) -> bool:
        return bool(self._status0 & r.SELINGO)

    def _time_out(self) -> None:
        if self._plain[r.SXFRCTL1] & r.ENSTIMER and self._selecting():
            self._status1 |= r.SELTO

    def _dma(self) -> int:
        return self._plain[r.DFCNTRL] & SCSI_DMA

    def leave_pio(self) -> None:
        """SCSI DMA has been switched on: bytes are not the driver's to take."""
        self._status0 &= ~r.SPIORDY

    def request_taken(self) -> None:
        """REQ was answered with ACK."""
        self._status1 &= ~r.REQINIT

    # --- registers -----------------------------------------------------------------------------

    def _write_scsiseq(self, value: int) -> None:
        plain = self._plain
        old = plain[r.SCSISEQ]
        plain[r.SCSISEQ] = value
        if value != old:
            self._registers.epoch += 1
        given_up = self._selecting() and not value & r.ENSELO
        if given_up:
            self._status0 &= ~r.SELINGO
        if value & ~old & r.SCSIRSTO:
            self._reset_bus()
        elif value & ~old & r.ENSELO and self._bus.nexus is None and not value & r.SCSIRSTO:
            self.arbitrate()
            return
        elif value & r.ENRSELI and (given_up or not old & r.ENRSELI):
            self._bus.arbitrate_later()
        self.update()

    def _reset_bus(self) -> None:
        self._plain[r.SCSISEQ] = r.SCSIRSTO
        self._bus.reset()
        self.expected = 0
        self._latched = self._acknowledging = False
        self._status0 &= ~(r.SELDO | r.SELDI | r.SELINGO | r.SPIORDY)
        self._status1 = self._status1 & ~r.REQINIT | r.SCSIRSTI
        self._registers.epoch += 1

    def _write_sxfrctl0(self, value: int) -> None:
        plain = self._plain
        if plain[r.SXFRCTL0] != value & SXFRCTL0_KEPT:
            plain[r.SXFRCTL0] = value & SXFRCTL0_KEPT
            self._registers.epoch += 1
        words = self._words
        if value & r.CLRSTCNT and (words[STCNT] & COUNT_BITS or words[SHADDR]):
            words[STCNT] &= ~COUNT_BITS
            words[SHADDR] = 0
            self._registers.epoch += 1
        if value & r.CLRCHN:
            self._latched = False
        if not value & r.SPIOEN:
            self._status0 &= ~r.SPIORDY
        elif self._bus.request and not self._dma() and not self._acknowledging:
            self._status0 |= r.SPIORDY
            if self._latched:
                self._send()
                self.update()
        if plain[r.SIMODE0]:
            self.update()

    def _write_sxfrctl1(self, value: int) -> None:
        if self._plain[r.SXFRCTL1] != value:
            self._plain[r.SXFRCTL1] = value
            self._registers.epoch += 1
        self._time_out()
        self.discard()
        self.update()

    def discard(self) -> None:
        """BITBUCKET: take data and throw it away, give zeros."""
        bus = self._bus
        for _ in range(DISCARD_AT_ONCE):
            if not self._plain[r.SXFRCTL1] & r.BITBUCKET or not bus.request or bus.phase != self.expected:
                return
            if bus.phase == DATA_IN:
                self.request_taken()
                bus.give(DISCARD_BYTES)
            elif bus.phase == DATA_OUT:
                self.request_taken()
                bus.send(bytes(min(bus.wanted(), DISCARD_BYTES)))
            else:
                return

    def _write_scsisigo(self, value: int) -> None:
        bus = self._bus
        if bus.nexus is not None and value & r.ATN_LINE:
            bus.attention = True
        if self.expected != value & r.PHASE_BITS:
            self.expected = value & r.PHASE_BITS
            self._registers.epoch += 1
        if self._acknowledging or value & r.ACK_LINE:
            self._acknowledge_by_hand(bool(value & r.ACK_LINE))
        if bus.request:
            self.on_request()
        if self._plain[r.SXFRCTL1] & r.BITBUCKET:
            self.discard()
        self.update()

    def _acknowledge_by_hand(self, level: bool) -> None:
        """ACKO: the byte goes with its rise, the target goes on with its fall."""
        bus = self._bus
        if level and not self._acknowledging and bus.request and not self._dma():
            self._acknowledging = True
            bus.request = False
            self.request_taken()
        elif not level and self._acknowledging:
            self._acknowledging = False
            self._count()
            if bus.phase & r.IO_LINE:
                bus.acknowledge()
            else:
                bus.send(bytes((self._data,)))

    def _count(self) -> None:
        """A byte has gone by PIO."""
        words = self._words
        if words[STCNT] & COUNT_BITS:
            words[STCNT] -= 1
            words[SHADDR] = words[SHADDR] + 1 & 0xFFFF_FFFF

    def _read_data(self) -> int:
        bus = self._bus
        if not (bus.request and bus.phase & r.IO_LINE):
            return self._data
        value = bus.offered()
        if self._plain[r.SXFRCTL0] & r.SPIOEN:
            self._data = value
            self._status0 &= ~r.SPIORDY
            self.request_taken()
            self._registers.epoch += 1
            self._count()
            bus.acknowledge()
            self.update()
        return value

    def _write_data(self, value: int) -> None:
        bus = self._bus
        self._data = value
        self._status0 &= ~r.SPIORDY
        self._registers.epoch += 1
        self._latched = bus.nexus is not None and not bus.phase & r.IO_LINE
        if self._latched and bus.request and self._plain[r.SXFRCTL0] & r.SPIOEN:
            self._send()
        self.update()

    def _send(self) -> None:
        """Hand the byte in SCSIDATL to a target that asks for one."""
        self._latched = False
        if self._bus.phase & r.IO_LINE:
            return
        self._status0 &= ~r.SPIORDY
        self.request_taken()
        self._count()
        self._bus.send(bytes((self._data,)))

    def _read_bus(self) -> int:
        return self._bus.offered() if self._bus.phase & r.IO_LINE else 0

    def _read_sstat0(self) -> int:
        """Return SSTAT0: SDONE and DMADONE follow from the counters."""
        plain, words = self._plain, self._words
        value = self._status0
        done = value & r.SPIORDY
        if not (words[STCNT] & COUNT_BITS or plain[r.SXFRCTL1] & r.SWRAPEN):
            done |= plain[r.DFCNTRL] & r.SDMAEN | plain[r.SXFRCTL0] & r.SPIOEN
        if done:
            value |= r.SDONE if words[HCNT] & COUNT_BITS else r.SDONE | r.DMADONE
        return value

    def _write_clrsint0(self, value: int) -> None:
        if self._status0 & value & r.CLRSINT0_BITS:
            self._status0 &= ~(value & r.CLRSINT0_BITS)
            self._registers.epoch += 1
            self.update()

    def _write_clrsint1(self, value: int) -> None:
        if value & (self._status1 & r.CLRSINT1_BITS | r.CLRATNO):
            self._status1 &= ~(value & r.CLRSINT1_BITS)
            if value & r.CLRATNO:
                self._bus.attention = False
            self.update()

    def save(self) -> CellState:
        """Return what is not in the register file."""
        return CellState(
            status0=self._status0,
            status1=self._status1,
            expected=self.expected,
            data=self._data,
            latched=self._latched,
            acknowledging=self._acknowledging,
        )

    def load(self, state: CellState) -> None:
        """Become `state`."""
        self._status0, self._status1, self.expected = state.status0, state.status1, state.expected
        self._data, self._latched = state.data, state.latched
        self._acknowledging = state.acknowledging
