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

from devices.aic7870.bus import ScsiBus
from devices.aic7870.interrupts import Interrupts
from devices.aic7870.nexus import DATA_IN, DATA_OUT
from devices.aic7870.pio import SingleBytes
from devices.aic7870.register_file import COUNT_BITS, Keeping, RegisterFile
from devices.aic7870.registers import (  # fmt: skip
    ACK_LINE,
    ATN_LINE,
    BITBUCKET,
    BSY_LINE,
    BUSFREE,
    CLRATNO,
    CLRCHN,
    CLRSINT0,
    CLRSINT0_BITS,
    CLRSINT1,
    CLRSINT1_BITS,
    CLRSTCNT,
    DFCNTRL,
    DMADONE,
    ENAUTOATNO,
    ENGINES,
    ENRSELI,
    ENSELO,
    ENSTIMER,
    FAST20,
    HCNT_WORD,
    PHASE_BITS,
    PHASECHG,
    PHASEMIS,
    REQ_LINE,
    REQINIT,
    SCSI_DMA,
    SCSIID,
    SCSIRSTI,
    SCSIRSTO,
    SCSISEQ,
    SCSISIGI,
    SCSISIGO,
    SDMAEN,
    SDONE,
    SEL_LINE,
    SELDI,
    SELDO,
    SELID,
    SELINGO,
    SELTO,
    SHADDR_WORD,
    SIMODE0,
    SIMODE1,
    SPIOEN,
    SPIORDY,
    SSTAT0,
    SSTAT1,
    STCNT_WORD,
    SWRAPEN,
    SXFRCTL0,
    SXFRCTL1,
)
from devices.saved import Byte

OWN_ID: Final = 0x0F  # of SCSIID
TARGET_SHIFT: Final = 4
NARROW_IDS: Final = 8
SXFRCTL0_KEPT: Final = 0xFF & ~(CLRSTCNT | CLRCHN | FAST20)
SCSIID_AT_RESET: Final = 0x07
BSY_REQ: Final = BSY_LINE | REQ_LINE
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
        self.status0 = self.status1 = 0  # latched bits
        self._pio = SingleBytes(registers, bus, self)
        bus.initiator = self
        self._install()

    def _install(self) -> None:
        readers, writers = self._registers.readers, self._registers.writers
        readers[SSTAT0] = self._read_sstat0
        for address, writer in (
            (SCSISEQ, self._write_scsiseq),
            (SXFRCTL0, self._write_sxfrctl0),
            (SXFRCTL1, self._write_sxfrctl1),
            (SCSISIGO, self._write_scsisigo),
            (CLRSINT0, self._write_clrsint0),
            (CLRSINT1, self._write_clrsint1),
        ):
            writers[address] = writer
        for address in (SIMODE0, SIMODE1):
            self._registers.keep(address, Keeping(then=self._interrupt))

    def reset(self) -> None:
        """CHIPRST: the cell lets go of the bus. The target it was connected to gives up."""
        self.expected = self.status0 = self.status1 = 0
        self._pio.reset()
        self._plain[SCSIID] = SCSIID_AT_RESET
        if self._bus.nexus is not None:
            self._bus.release()
            self.status1 = 0
        self.update()

    def update(self) -> None:
        """Show what has changed, and interrupt for it.

        Whoever lets something happen on the bus calls it once, when everything has happened.
        """
        plain, bus = self._plain, self._bus
        status1, lines = self.status1, bus.phase
        if status1 & REQINIT and self.expected != lines:
            status1 |= PHASEMIS
        if bus.request:
            lines |= BSY_REQ
        elif bus.nexus is not None:
            lines |= BSY_LINE | ACK_LINE if self._pio.acknowledging else BSY_LINE
        elif self.status0 & SELINGO and not status1 & SELTO:
            lines |= SEL_LINE
        if bus.attention:
            lines |= ATN_LINE
        plain[SSTAT1], plain[SCSISIGI] = status1, lines
        if plain[SIMODE0] or (status1 & plain[SIMODE1] != 0) is not self._interrupts.scsi:
            self._interrupt()

    def _interrupt(self) -> None:
        """Have SCSIINT follow what is shown and unmasked."""
        plain = self._plain
        asserted = plain[SSTAT1] & plain[SIMODE1]
        if plain[SIMODE0]:
            asserted |= self._read_sstat0() & plain[SIMODE0]
        if (asserted != 0) is not self._interrupts.scsi:
            self._interrupts.set_scsi(asserted != 0)

    # --- what the bus tells --------------------------------------------------------------------

    def requested(self) -> None:
        """REQ rose."""
        self.status1 |= REQINIT if self._bus.phase == self.expected else REQINIT | PHASECHG
        self._registers.epoch += 1
        engines = self._plain[DFCNTRL] & ENGINES
        if not engines & SCSI_DMA and self._plain[SXFRCTL0] & SPIOEN:
            self.status0 |= SPIORDY
            if self._pio.latched:
                self._pio.send()
                return
        if engines:
            self.on_request()

    def released(self) -> None:
        """REQ fell for good."""
        self.status1 &= ~REQINIT
        self._registers.epoch += 1

    def freed(self) -> None:
        """The bus is free: BUSFREE stays until a connection or the driver clears it."""
        self.expected = 0
        self._pio.let_go()
        self.status0 &= ~(SELDO | SELDI | SPIORDY)
        self.status1 = self.status1 & ~REQINIT | BUSFREE
        self._registers.epoch += 1

    def reselected(self, number: int) -> None:
        """A target has connected to us."""
        self._plain[SELID] = number << TARGET_SHIFT
        self.status0 |= SELDI
        self.status1 &= ~BUSFREE
        self._registers.epoch += 1

    def wants_bus(self) -> bool:
        """Tell whether a selection waits for the bus."""
        return bool(self._plain[SCSISEQ] & ENSELO) and not self._selecting()

    def accepts_reselection(self) -> bool:
        """Tell whether ENRSELI is set and we do not select ourselves."""
        return bool(self._plain[SCSISEQ] & ENRSELI) and not self._selecting()

    def arbitrate(self) -> None:
        """Select the target in SCSIID; the bus is free."""
        scsiid, scsiseq = self._plain[SCSIID], self._plain[SCSISEQ]
        target = scsiid >> TARGET_SHIFT
        self._registers.epoch += 1
        possible = target < self._ids and target != scsiid & OWN_ID
        if possible and self._bus.select(target, bool(scsiseq & ENAUTOATNO)):
            self.status0 = self.status0 & ~SELINGO | SELDO
            self.status1 &= ~BUSFREE
            self._bus.go_on()
        else:
            self.status0 |= SELINGO
            self._time_out()
        self.update()

    def _selecting(self) -> bool:
        return bool(self.status0 & SELINGO)

    def _time_out(self) -> None:
        if self._plain[SXFRCTL1] & ENSTIMER and self._selecting():
            self.status1 |= SELTO

    def _dma(self) -> int:
        return self._plain[DFCNTRL] & SCSI_DMA

    # --- registers -----------------------------------------------------------------------------

    def _write_scsiseq(self, value: int) -> None:
        plain = self._plain
        old = plain[SCSISEQ]
        plain[SCSISEQ] = value
        given_up = self.status0 & SELINGO and not value & ENSELO
        if given_up:
            self.status0 &= ~SELINGO
            self._registers.epoch += 1
        risen = value & ~old
        if risen & SCSIRSTO:
            self._reset_bus()
        elif risen & ENSELO and self._bus.nexus is None and not value & SCSIRSTO:
            self.arbitrate()
            return
        elif value & ENRSELI and (given_up or risen & ENRSELI):
            self._bus.arbitrate_later()
        if given_up or risen & SCSIRSTO:
            self.update()

    def _reset_bus(self) -> None:
        self._plain[SCSISEQ] = SCSIRSTO
        self._bus.reset()
        self.expected = 0
        self._pio.let_go()
        self.status0 &= ~(SELDO | SELDI | SELINGO | SPIORDY)
        self.status1 = self.status1 & ~REQINIT | SCSIRSTI
        self._registers.epoch += 1

    def _write_sxfrctl0(self, value: int) -> None:
        plain = self._plain
        plain[SXFRCTL0] = value & SXFRCTL0_KEPT
        if value & CLRSTCNT:
            words = self._words
            words[STCNT_WORD] &= ~COUNT_BITS
            words[SHADDR_WORD] = 0
        if value & CLRCHN:
            self._pio.latched = False
        if not value & SPIOEN:
            self.status0 &= ~SPIORDY
        elif self._bus.request and not self._dma() and not self._pio.acknowledging:
            self.status0 |= SPIORDY
            if self._pio.latched:
                self._pio.send()
                self.update()
        if plain[SIMODE0]:
            self.update()

    def _write_sxfrctl1(self, value: int) -> None:
        self._plain[SXFRCTL1] = value
        self._time_out()
        self.discard()
        self.update()

    def discard(self) -> None:
        """BITBUCKET: take data and throw it away, give zeros."""
        bus = self._bus
        for _ in range(DISCARD_AT_ONCE):
            if not self._plain[SXFRCTL1] & BITBUCKET or not bus.request or bus.phase != self.expected:
                return
            if bus.phase == DATA_IN:
                bus.give(DISCARD_BYTES)
            elif bus.phase == DATA_OUT:
                bus.send(bytes(min(bus.wanted(), DISCARD_BYTES)))
            else:
                return
            if bus.request:
                self.status1 |= REQINIT

    def _write_scsisigo(self, value: int) -> None:
        bus, plain = self._bus, self._plain
        if value & ATN_LINE and bus.nexus is not None:
            bus.attention = True
        if self.expected != value & PHASE_BITS:
            self.expected = value & PHASE_BITS
            self._registers.epoch += 1
        if value & ACK_LINE or self._pio.acknowledging:
            self._pio.acknowledge_by_hand(bool(value & ACK_LINE))
        if plain[DFCNTRL] & ENGINES and bus.request:
            self.on_request()
        if plain[SXFRCTL1] & BITBUCKET:
            self.discard()
        self.update()

    def _read_sstat0(self) -> int:
        """Return SSTAT0: SDONE and DMADONE follow from the counters."""
        plain = self._plain
        value = self.status0
        done = value & SPIORDY
        if plain[DFCNTRL] & SDMAEN or plain[SXFRCTL0] & SPIOEN:
            done = done or not (self._words[STCNT_WORD] & COUNT_BITS or plain[SXFRCTL1] & SWRAPEN)
        if done:
            value |= SDONE if self._words[HCNT_WORD] & COUNT_BITS else SDONE | DMADONE
        return value

    def _write_clrsint0(self, value: int) -> None:
        if self.status0 & value & CLRSINT0_BITS:
            self.status0 &= ~(value & CLRSINT0_BITS)
            self._registers.epoch += 1
            if value & SELINGO or self._plain[SIMODE0]:
                self.update()

    def _write_clrsint1(self, value: int) -> None:
        if value & (self.status1 & CLRSINT1_BITS | CLRATNO):
            self.status1 &= ~(value & CLRSINT1_BITS)
            if value & CLRATNO:
                self._bus.attention = False
            self.update()

    def save(self) -> CellState:
        """Return what is not in the register file."""
        return CellState(
            status0=self.status0,
            status1=self.status1,
            expected=self.expected,
            data=self._pio.data,
            latched=self._pio.latched,
            acknowledging=self._pio.acknowledging,
        )

    def load(self, state: CellState) -> None:
        """Become `state`."""
        self.status0, self.status1, self.expected = state.status0, state.status1, state.expected
        self._pio.data, self._pio.latched = state.data, state.latched
        self._pio.acknowledging = state.acknowledging
