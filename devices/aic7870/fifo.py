"""The data path of an AIC-7870: a FIFO of 256 bytes between the SCSI cell and host DMA (88h-99h).

A transfer runs the moment both of its sides are ready. Data between memory and a target moves in
slices that pass the FIFO by; what is pushed and popped through DFDAT, and what one side alone moves,
lies in it. Enables clear at once. A command that firmware pushes byte by byte goes out by eight
bytes, as the FIFO is organized, or when STCNT bytes are there, or with FIFOFLUSH.

Sources:
    [AIC] Adaptec AIC-7870 data book: DFCNTRL, DFSTATUS, DSPCISTATUS, HADDR, HCNT, SHADDR, STCNT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.bus import ScsiBus
from devices.aic7870.cell import ScsiCell
from devices.aic7870.nexus import DATA_IN
from devices.aic7870.register_file import RegisterFile
from devices.backplane import GuestMemory

FIFO_BYTES: Final = 256
QUADWORD: Final = 8
THRESHOLDS: Final = (8, 128, 192, 256)  # by DFTHRSH
SLICE_BYTES: Final = 0x1_0000
SLICES_AT_ONCE: Final = 0x2000
"""All that STCNT counts in blocks of a CD. Messages by DMA are slices of a byte, and ATN brings ever more."""

DFCNTRL_KEPT: Final = 0x7C
SCSI_DMA: Final = r.SCSIEN | r.SDMAEN
ADDRESS_MASK: Final = 0xFFFF_FFFF


class DataPathState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is not in the register file."""

    fifo: bytes
    flushing: bool
    master: bool


class DataPath:
    """The FIFO and the engines on both of its sides."""

    def __init__(self, registers: RegisterFile, memory: GuestMemory, bus: ScsiBus, cell: ScsiCell) -> None:
        self._registers = registers
        self._plain = registers.plain
        self._memory = memory
        self._bus = bus
        self._cell = cell
        self._fifo = bytearray()
        self._first = 0  # of the FIFO's bytes that has not been popped
        self._flushing = False
        self._moving = False
        self._master = False
        cell.on_request = self.request
        registers.writers[r.DFCNTRL] = self._write_dfcntrl
        registers.readers[r.DFSTATUS] = self._read_dfstatus
        registers.readers[r.DFDAT] = self._pop_byte
        registers.writers[r.DFDAT] = self._push_byte
        for at in range(4):
            registers.writers[r.HADDR + at] = self._address_writer(at)
        for address in (*range(r.STCNT, r.STCNT + 3), *range(r.HCNT, r.HCNT + 3)):
            registers.writers[address] = self._count_writer(address)

    def reset(self) -> None:
        """CHIPRST: nothing enabled, FIFO empty."""
        self._empty()

    def set_master(self, enabled: bool) -> None:
        """Follow the bus master enable of COMMAND; a transfer held back by it goes on."""
        self._master = enabled
        self.request()

    def _empty(self) -> None:
        if len(self._fifo) > self._first or self._flushing:
            self._registers.epoch += 1
        self._fifo.clear()
        self._first = 0
        self._flushing = False

    # --- registers -----------------------------------------------------------------------------

    def _write_dfcntrl(self, value: int) -> None:
        kept = value & DFCNTRL_KEPT
        if self._plain[r.DFCNTRL] != kept:
            self._plain[r.DFCNTRL] = kept
            self._registers.epoch += 1
        if value & SCSI_DMA:
            self._cell.leave_pio()
        if value & r.FIFORESET:
            self._empty()
        if value & r.FIFOFLUSH and not value & r.DIRECTION and len(self._fifo) > self._first:
            self._flushing = True
        if kept:
            self.request()
        elif self._plain[r.SIMODE0]:
            self._cell.update()

    def _read_dfstatus(self) -> int:
        plain = self._plain
        level = len(self._fifo) - self._first
        value = r.FIFOEMP if level == 0 else 0
        if level < QUADWORD:
            value |= r.FIFOQWDEMP
        if level >= FIFO_BYTES:
            value |= r.FIFOFULL
        if self._reached(level):
            value |= r.DFTHRESH
        if not (plain[r.HCNT] or plain[r.HCNT + 1] or plain[r.HCNT + 2]):
            value |= r.HDONE
        return value

    def _reached(self, level: int) -> bool:
        """Tell whether the threshold is: of bytes on the way to the host, or of room for those from it."""
        threshold = THRESHOLDS[self._plain[r.DSPCISTATUS] >> 6]
        if self._plain[r.DFCNTRL] & r.DIRECTION:
            return FIFO_BYTES - level >= threshold
        return level >= threshold

    def _pop_byte(self) -> int:
        if len(self._fifo) == self._first:
            return 0
        value = self._fifo[self._first]
        self._first += 1
        self._registers.epoch += 1
        plain = self._plain
        if plain[r.DFCNTRL] & r.SCSIEN or plain[r.HCNT] or plain[r.HCNT + 1] or plain[r.HCNT + 2]:
            self.request()
        return value

    def _push_byte(self, value: int) -> None:
        level = len(self._fifo) - self._first
        if level >= FIFO_BYTES:
            return
        self._fifo.append(value)
        self._registers.epoch += 1
        if self._plain[r.DFCNTRL] & (r.SCSIEN | r.HDMAEN):
            level += 1
            if not level % QUADWORD or level >= self._get(r.STCNT, 3):
                self.request()

    def _address_writer(self, at: int) -> Callable[[int], None]:
        plain, registers = self._plain, self._registers

        def write(value: int) -> None:
            if plain[r.HADDR + at] != value or plain[r.SHADDR + at] != value:
                plain[r.HADDR + at] = plain[r.SHADDR + at] = value
                registers.epoch += 1

        return write

    def _count_writer(self, address: int) -> Callable[[int], None]:
        plain, registers = self._plain, self._registers

        def write(value: int) -> None:
            if plain[address] != value:
                plain[address] = value
                registers.epoch += 1
                if plain[r.DFCNTRL] or plain[r.SIMODE0]:
                    self.request()

        return write

    # --- movement ------------------------------------------------------------------------------

    def request(self) -> None:
        """Something has changed: move what can be moved, and let the cell show what came of it.

        Of the counters it shows only SDONE and DMADONE, which nobody sees before reading SSTAT0,
        unless SIMODE0 makes an interrupt of them.
        """
        plain = self._plain
        if self._moving:
            return
        if (plain[r.DFCNTRL] and self._move()) or plain[r.SIMODE0]:
            self._cell.update()

    def _move(self) -> bool:
        """Run the engines that are enabled until one side has enough; tell whether the bus moved."""
        self._moving = True
        control = self._plain[r.DFCNTRL]
        moved = False
        if control & SCSI_DMA == SCSI_DMA:
            moved = self._move_scsi(control)
        elif control & r.HDMAEN and not control & r.SCSIEN:
            self._move_host(control)
        self._moving = False
        return moved

    def _move_scsi(self, control: int) -> bool:
        bus, cell = self._bus, self._cell
        host = bool(control & r.HDMAEN) and self._master
        outward = bool(control & r.DIRECTION)
        if host and not outward:
            self._to_memory()
        for slices in range(SLICES_AT_ONCE):
            if not bus.request or bus.phase != cell.expected or outward == bool(bus.phase & r.IO_LINE):
                return slices > 0
            left = self._get(r.STCNT, 3)
            if not left or not (self._send(left, host) if outward else self._receive(left, host)):
                return slices > 0
        return True

    def _receive(self, left: int, host: bool) -> bool:
        """Take a slice from the target to memory or to the FIFO; False if there is no room."""
        room = self._get(r.HCNT, 3) if host else 0
        to_memory = room > 0
        if not to_memory:
            room = FIFO_BYTES - (len(self._fifo) - self._first)
        limit = min(left, room, SLICE_BYTES)
        if not limit:
            return False
        self._cell.request_taken()
        bus = self._bus
        if bus.phase == DATA_IN:
            data = bus.give(limit)
        else:
            data = bytes((bus.offered(),))
            bus.acknowledge()
        if to_memory:
            self._memory.write(self._take_address(len(data)), data)
        else:
            self._append(data)
        self._moved(len(data))
        if not data:
            self._cell.update()
        return len(data) > 0

    def _send(self, left: int, host: bool) -> bool:
        """Hand a slice of the FIFO or of memory to the target; False if there is nothing."""
        bus = self._bus
        limit = min(left, bus.wanted(), SLICE_BYTES)
        level = len(self._fifo) - self._first
        if level:
            data = bytes(self._fifo[self._first : self._first + min(limit, level)])
            self._first += len(data)
        elif host:
            limit = min(limit, self._get(r.HCNT, 3))
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
        if not control & r.DIRECTION:
            self._to_memory()
            return
        room = FIFO_BYTES - (len(self._fifo) - self._first)
        length = min(room, self._get(r.HCNT, 3))
        if length:
            self._append(self._memory.read(self._take_address(length), length))

    def _to_memory(self) -> None:
        level = len(self._fifo) - self._first
        length = min(level, self._get(r.HCNT, 3))
        if length and (self._flushing or self._reached(level)):
            data = bytes(self._fifo[self._first : self._first + length])
            self._first += length
            self._memory.write(self._take_address(length), data)
        if self._first == len(self._fifo):
            self._flushing = False

    def _append(self, data: bytes) -> None:
        if self._first:
            del self._fifo[: self._first]
            self._first = 0
        self._fifo += data
        self._registers.epoch += 1

    # --- counters ------------------------------------------------------------------------------

    def _get(self, address: int, length: int) -> int:
        return int.from_bytes(self._plain[address : address + length], "little")

    def _put(self, address: int, length: int, value: int) -> None:
        self._plain[address : address + length] = value.to_bytes(length, "little")
        self._registers.epoch += 1

    def _take_address(self, length: int) -> int:
        """Return HADDR and move it and HCNT on by `length`."""
        address = self._get(r.HADDR, 4)
        self._put(r.HADDR, 4, address + length & ADDRESS_MASK)
        self._put(r.HCNT, 3, self._get(r.HCNT, 3) - length)
        return address

    def _moved(self, length: int) -> None:
        """Count bytes that have passed the SCSI cell."""
        self._put(r.STCNT, 3, max(0, self._get(r.STCNT, 3) - length))
        self._put(r.SHADDR, 4, self._get(r.SHADDR, 4) + length & ADDRESS_MASK)

    def save(self) -> DataPathState:
        """Return FIFO and enables."""
        return DataPathState(
            fifo=bytes(self._fifo[self._first :]), flushing=self._flushing, master=self._master
        )

    def load(self, state: DataPathState) -> None:
        """Become `state`; nothing moves until the guest or a target does something."""
        self._fifo[:] = state.fifo[:FIFO_BYTES]
        self._first = 0
        self._flushing, self._master = state.flushing, state.master
