"""The data path of an AIC-7870: a FIFO of 256 bytes between the SCSI cell and host DMA (88h-99h).

A transfer runs the moment both of its sides are ready. Data between memory and a target moves in
slices that pass the FIFO by; what is pushed and popped through DFDAT, and what one side alone moves,
lies in it. Enables clear at once. A command that firmware pushes byte by byte goes out by eight
bytes, as the FIFO is organized, or when STCNT bytes are there, or with FIFOFLUSH.

Sources:
    [AIC] Adaptec AIC-7870 data book: DFCNTRL, DFSTATUS, DSPCISTATUS, HADDR, HCNT, SHADDR, STCNT.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.bus import ScsiBus
from devices.aic7870.cell import HCNT, SCSI_DMA, SHADDR, STCNT, ScsiCell
from devices.aic7870.nexus import DATA_IN
from devices.aic7870.register_file import COUNT_BITS, Keeping, RegisterFile
from devices.aic7870.registers import (
    DFCNTRL,
    DFDAT,
    DFSTATUS,
    DFTHRESH,
    DIRECTION,
    DSPCISTATUS,
    FIFOEMP,
    FIFOFLUSH,
    FIFOFULL,
    FIFOQWDEMP,
    FIFORESET,
    HDMAEN,
    HDONE,
    IO_LINE,
    SCSIEN,
    SIMODE0,
)
from devices.backplane import GuestMemory

FIFO_BYTES: Final = 256
QUADWORD: Final = 8
THRESHOLDS: Final = (8, 128, 192, 256)  # by DFTHRSH
SLICE_BYTES: Final = 0x1_0000
SLICES_AT_ONCE: Final = 0x2000
"""All that STCNT counts in blocks of a CD. Messages by DMA are slices of a byte, and ATN brings ever more."""

DFCNTRL_KEPT: Final = 0x7C
ENGINES: Final = SCSI_DMA | HDMAEN
ADDRESS_MASK: Final = 0xFFFF_FFFF

HADDR: Final = r.HADDR // 4  # double word of the register file


class DataPathState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is not in the register file."""

    fifo: Annotated[bytes, msgspec.Meta(max_length=FIFO_BYTES)]
    flushing: bool
    master: bool


class DataPath:
    """The FIFO and the engines on both of its sides."""

    def __init__(self, registers: RegisterFile, memory: GuestMemory, bus: ScsiBus, cell: ScsiCell) -> None:
        self._registers = registers
        self._plain = registers.plain
        self._words = registers.words
        self._memory = memory
        self._bus = bus
        self._cell = cell
        self._fifo: deque[int] = deque()
        self._flushing = False
        self._moving = False
        self._master = False
        cell.on_request = self.request
        registers.writers[DFCNTRL] = self._write_dfcntrl
        registers.readers[DFSTATUS] = self._read_dfstatus
        registers.readers[DFDAT] = self._pop_byte
        registers.writers[DFDAT] = self._push_byte
        for at in range(4):
            registers.keep(r.HADDR + at, Keeping(also=r.SHADDR + at))
        moving = Keeping(when=((DFCNTRL, ENGINES), (SIMODE0, 0xFF)), then=self.request)
        for address in (*range(r.STCNT, r.STCNT + 3), *range(r.HCNT, r.HCNT + 3)):
            registers.keep(address, moving)

    def reset(self) -> None:
        """CHIPRST: nothing enabled, FIFO empty."""
        self._empty()

    def set_master(self, enabled: bool) -> None:
        """Follow the bus master enable of COMMAND; a transfer held back by it goes on."""
        self._master = enabled
        self.request()

    def _empty(self) -> None:
        if self._fifo or self._flushing:
            self._registers.epoch += 1
            self._fifo.clear()
            self._flushing = False

    # --- registers -----------------------------------------------------------------------------

    def _write_dfcntrl(self, value: int) -> None:
        plain = self._plain
        kept = value & DFCNTRL_KEPT
        if plain[DFCNTRL] != kept:
            plain[DFCNTRL] = kept
            self._registers.epoch += 1
        if value & FIFORESET:
            self._empty()
        if value & FIFOFLUSH and not value & DIRECTION and self._fifo:
            self._flushing = True
        if value & ENGINES:
            if value & SCSI_DMA:
                self._cell.leave_pio()
            self.request()
        elif plain[SIMODE0]:
            self._cell.update()

    def _read_dfstatus(self) -> int:
        level = len(self._fifo)
        value = 0 if self._words[HCNT] & COUNT_BITS else HDONE
        if not level:
            value |= FIFOEMP
        if level < QUADWORD:
            value |= FIFOQWDEMP
        elif level >= FIFO_BYTES:
            value |= FIFOFULL
        return value | DFTHRESH if self._reached(level) else value

    def _reached(self, level: int) -> bool:
        """Tell whether the threshold is: of bytes on the way to the host, or of room for those from it."""
        threshold = THRESHOLDS[self._plain[DSPCISTATUS] >> 6]
        if self._plain[DFCNTRL] & DIRECTION:
            return FIFO_BYTES - level >= threshold
        return level >= threshold

    def _pop_byte(self) -> int:
        fifo = self._fifo
        if not fifo:
            return 0
        self._registers.epoch += 1
        value = fifo.popleft()
        if self._plain[DFCNTRL] & ENGINES:
            self.request()
        return value

    def _push_byte(self, value: int) -> None:
        level = len(self._fifo)
        if level >= FIFO_BYTES:
            return
        self._fifo.append(value)
        self._registers.epoch += 1
        if self._plain[DFCNTRL] & (SCSIEN | HDMAEN):
            level += 1
            if not level % QUADWORD or level >= self._words[STCNT] & COUNT_BITS:
                self.request()

    # --- movement ------------------------------------------------------------------------------

    def request(self) -> None:
        """Something has changed: move what can be moved, and let the cell show what came of it.

        Of the counters it shows only SDONE and DMADONE, which nobody sees before reading SSTAT0,
        unless SIMODE0 makes an interrupt of them.
        """
        if self._moving:
            return
        control = self._plain[DFCNTRL]
        moved = False
        if control & ENGINES:
            self._moving = True
            if control & SCSI_DMA == SCSI_DMA:
                moved = self._move_scsi(control)
            elif control & HDMAEN and not control & SCSIEN:
                self._move_host(control)
            self._moving = False
        if moved or self._plain[SIMODE0]:
            self._cell.update()

    def _move_scsi(self, control: int) -> bool:
        """Run both engines until one side has enough; tell whether the bus moved."""
        bus, cell = self._bus, self._cell
        host = control & HDMAEN != 0 and self._master
        outward = control & DIRECTION
        if host and not outward:
            self._to_memory()
        for slices in range(SLICES_AT_ONCE):
            phase = bus.phase
            if not bus.request or phase != cell.expected or (not outward) is not (phase & IO_LINE != 0):
                return slices > 0
            left = self._words[STCNT] & COUNT_BITS
            if not left or not (self._send(left, host) if outward else self._receive(left, host)):
                return slices > 0
        return True

    def _receive(self, left: int, host: bool) -> bool:
        """Take a slice from the target to memory or to the FIFO; False if there is no room."""
        bus = self._bus
        room = self._words[HCNT] & COUNT_BITS if host else 0
        to_memory = room > 0
        if not to_memory:
            room = FIFO_BYTES - len(self._fifo)
        limit = min(left, room, SLICE_BYTES)
        if not limit:
            return False
        self._cell.request_taken()
        if bus.phase == DATA_IN:
            data = bus.give(limit)
        else:
            data = bytes((bus.offered(),))
            bus.acknowledge()
        self._moved(len(data))
        if to_memory:
            self._memory.write(self._take_address(len(data)), data)
        else:
            self._fifo.extend(data)
        if not data:
            self._cell.update()
        return len(data) > 0

    def _send(self, left: int, host: bool) -> bool:
        """Hand a slice of the FIFO or of memory to the target; False if there is nothing."""
        bus = self._bus
        limit = min(left, bus.wanted(), SLICE_BYTES)
        if self._fifo:
            data = self._take(limit)
        elif host:
            limit = min(limit, self._words[HCNT] & COUNT_BITS)
            data = self._memory.read(self._take_address(limit), limit) if limit else b""
        else:
            data = b""
        if not data:
            return False
        self._cell.request_taken()
        self._moved(len(data))
        bus.send(data)
        return True

    def _move_host(self, control: int) -> None:
        """Fill the FIFO from memory, or empty it there."""
        if not self._master:
            return
        if not control & DIRECTION:
            self._to_memory()
            return
        length = min(FIFO_BYTES - len(self._fifo), self._words[HCNT] & COUNT_BITS)
        if length:
            self._fifo.extend(self._memory.read(self._take_address(length), length))

    def _to_memory(self) -> None:
        level = len(self._fifo)
        length = min(level, self._words[HCNT] & COUNT_BITS)
        if length and (self._flushing or self._reached(level)):
            self._memory.write(self._take_address(length), self._take(length))
        if not self._fifo:
            self._flushing = False

    def _take(self, limit: int) -> bytes:
        """Return the FIFO's next bytes."""
        fifo = self._fifo
        self._registers.epoch += 1
        if len(fifo) > limit:
            return bytes([fifo.popleft() for _ in range(limit)])
        data = bytes(fifo)
        fifo.clear()
        return data

    # --- counters ------------------------------------------------------------------------------

    def _take_address(self, length: int) -> int:
        """Return HADDR and move it and HCNT on by `length`."""
        words = self._words
        address = words[HADDR]
        words[HADDR] = address + length & ADDRESS_MASK
        words[HCNT] -= length
        self._registers.epoch += 1
        return address

    def _moved(self, length: int) -> None:
        """Count bytes that have passed the SCSI cell."""
        words = self._words
        words[STCNT] -= length
        words[SHADDR] = words[SHADDR] + length & ADDRESS_MASK
        self._registers.epoch += 1

    def save(self) -> DataPathState:
        """Return FIFO and enables."""
        return DataPathState(fifo=bytes(self._fifo), flushing=self._flushing, master=self._master)

    def load(self, state: DataPathState) -> None:
        """Become `state`; nothing moves until the guest or a target does something."""
        self._fifo = deque(state.fifo)
        self._flushing, self._master = state.flushing, state.master
