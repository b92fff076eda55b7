"""The data path of an AIC-7870: a FIFO of 256 bytes between the SCSI cell and host DMA (88h-99h).

A transfer runs the moment both of its sides are ready. Data between memory and a target moves in
slices that pass the FIFO by; what is pushed and popped through DFDAT, and what one side alone moves,
lies in it. Enables clear at once. A command that firmware pushes byte by byte goes out by eight
bytes, as the FIFO is organized, or when STCNT bytes are there, or with FIFOFLUSH.

Sources:
    [AIC] Adaptec AIC-7870 data book: DFCNTRL, DFSTATUS, DSPCISTATUS, HADDR, HCNT, SHADDR, STCNT.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.bus import ScsiBus
from devices.aic7870.cell import ScsiCell
from devices.aic7870.nexus import DATA_IN
from devices.aic7870.register_file import COUNT_BITS, Keeping, Queue, RegisterFile
from devices.aic7870.registers import (
    DFCNTRL,
    DFDAT,
    DFSTATUS,
    DFTHRESH,
    DIRECTION,
    DSPCISTATUS,
    ENGINES,
    FIFOEMP,
    FIFOFLUSH,
    FIFOFULL,
    FIFOQWDEMP,
    FIFORESET,
    HADDR_WORD,
    HCNT_WORD,
    HDMAEN,
    HDONE,
    IO_LINE,
    REQINIT,
    SCSI_DMA,
    SCSIEN,
    SHADDR_WORD,
    SIMODE0,
    SPIORDY,
    STCNT_WORD,
)
from devices.backplane import GuestMemory

FIFO_BYTES: Final = 256
QUADWORD: Final = 8
THRESHOLDS: Final = (8, 128, 192, 256)  # by DFTHRSH
SLICE_BYTES: Final = 0x1_0000
SLICES_AT_ONCE: Final = 0x2000
"""All that STCNT counts in blocks of a CD. Messages by DMA are slices of a byte, and ATN brings ever more."""

DFCNTRL_KEPT: Final = 0x7C
FIFO_ORDERS: Final = FIFORESET | FIFOFLUSH
OUTWARD: Final = SCSI_DMA | DIRECTION  # with STCNT at 0 nothing comes of it
ADDRESS_MASK: Final = 0xFFFF_FFFF


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
        self._fifo = bytearray()
        self._flushing = False
        self._moving = False
        self._master = False
        cell.on_request = self.request
        told = Keeping(DFCNTRL_KEPT, when=((SIMODE0, 0xFF),), then=cell.update, acts=ENGINES | FIFO_ORDERS)
        registers.keep(DFCNTRL, told, self._write_dfcntrl)
        registers.readers[DFSTATUS] = self._read_dfstatus
        registers.readers[DFDAT] = self._pop_byte
        registers.writers[DFDAT] = self._push_byte
        registers.queues[DFDAT] = Queue(self._take_several, self._put)
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
        self._registers.epoch += 1
        self._fifo.clear()
        self._flushing = False

    # --- registers -----------------------------------------------------------------------------

    def _write_dfcntrl(self, value: int) -> None:
        plain = self._plain
        plain[DFCNTRL] = value & DFCNTRL_KEPT
        if value & FIFO_ORDERS:
            if value & FIFORESET and (self._fifo or self._flushing):
                self._empty()
            if value & FIFOFLUSH and not value & DIRECTION and self._fifo:
                self._flushing = True
        if value & ENGINES:
            if value & SCSI_DMA:
                self._cell.status0 &= ~SPIORDY  # bytes are not the driver's to take any more
            self.request()
        elif plain[SIMODE0]:
            self._cell.update()

    def _read_dfstatus(self) -> int:
        level = len(self._fifo)
        value = DFTHRESH if self._reached(level) else 0
        if level < QUADWORD:
            value |= FIFOQWDEMP if level else FIFOQWDEMP | FIFOEMP
        elif level >= FIFO_BYTES:
            value |= FIFOFULL
        return value if self._words[HCNT_WORD] & COUNT_BITS else value | HDONE

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
        value = fifo.pop(0)
        if self._plain[DFCNTRL] & ENGINES:
            self.request()
        return value

    def _take_several(self, count: int) -> bytearray | None:
        """Pop `count` bytes, unless they are not there or an engine would bring more."""
        fifo = self._fifo
        if len(fifo) < count or self._plain[DFCNTRL] & ENGINES:
            return None
        data = fifo[:count]
        del fifo[:count]
        self._registers.epoch += count
        return data

    def _push_byte(self, value: int) -> None:
        """Push a byte, or lose it. An engine that is on looks where 8 are full, or STCNT are there."""
        fifo, control = self._fifo, self._plain[DFCNTRL]
        if len(fifo) >= FIFO_BYTES:
            return
        fifo.append(value)
        self._registers.epoch += 1
        if control & (SCSIEN | HDMAEN):
            level, wanted = len(fifo), self._words[STCNT_WORD] & COUNT_BITS
            if not level % QUADWORD or (level >= wanted and (wanted or control & OUTWARD != OUTWARD)):
                self.request()

    def _put(self, data: bytes | bytearray) -> int:
        """Push bytes, up to one by which the sequencer may have been stopped; return how many."""
        fifo, registers, length = self._fifo, self._registers, len(data)
        level = len(fifo)
        silent = level + length <= FIFO_BYTES
        if silent and self._plain[DFCNTRL] & (SCSIEN | HDMAEN):
            wanted = self._words[STCNT_WORD] & COUNT_BITS
            silent = level % QUADWORD + length < QUADWORD and level + length < wanted
        if silent:
            fifo += data
            registers.epoch += length
            return length
        for count, value in enumerate(data, 1):
            self._push_byte(value)
            if registers.attention:
                return count
        return length

    # --- movement ------------------------------------------------------------------------------

    def request(self) -> None:
        """Something has changed: move what can be moved, and let the cell show what came of it.

        Of the counters it shows only SDONE and DMADONE, which nobody sees before reading SSTAT0,
        unless SIMODE0 makes an interrupt of them.
        """
        if self._moving:
            return
        control = self._plain[DFCNTRL]
        if control & SCSI_DMA == SCSI_DMA:
            self._moving = True
            changed = self._move_scsi(control)
            self._moving = False
            if changed or self._plain[SIMODE0]:
                self._cell.update()
            return
        if control & (SCSIEN | HDMAEN) == HDMAEN and self._master:
            self._move_host(control)
        if self._plain[SIMODE0]:
            self._cell.update()

    def _move_scsi(self, control: int) -> bool:
        """Run both engines until one side has enough; tell whether the cell shows something else then."""
        bus, words, cell = self._bus, self._words, self._cell
        expected, status, phase, request = cell.expected, cell.status1, bus.phase, bus.request
        host = control & HDMAEN != 0 and self._master
        if control & DIRECTION:
            if expected & IO_LINE:
                return False
            move = self._send
        else:
            if self._fifo and host:
                self._to_memory()
            if not expected & IO_LINE:
                return False
            move = self._receive
        slices, left = 0, words[STCNT_WORD] & COUNT_BITS
        while left and bus.request and bus.phase == expected and move(left, host):
            slices += 1
            if slices == SLICES_AT_ONCE:
                break
            left = words[STCNT_WORD] & COUNT_BITS
        if slices and bus.request:
            cell.status1 |= REQINIT
        return cell.status1 != status or bus.phase != phase or bus.request is not request

    def _receive(self, left: int, host: bool) -> bool:
        """Take a slice from the target to memory or to the FIFO; False if there is no room, or no more."""
        bus, words = self._bus, self._words
        room = words[HCNT_WORD] & COUNT_BITS if host else 0
        limit = min(left, room or FIFO_BYTES - len(self._fifo), SLICE_BYTES)
        if not limit:
            return False
        if bus.phase == DATA_IN:
            data = bus.give(limit)
        else:
            data = bytes((bus.offered(),))
            bus.acknowledge()
        length = len(data)
        words[STCNT_WORD] -= length
        words[SHADDR_WORD] = words[SHADDR_WORD] + length & ADDRESS_MASK
        if not room:
            self._fifo += data
            self._registers.epoch += 1
        elif length:
            self._memory.write(self._take_address(length), data)
        return length > 0

    def _send(self, left: int, host: bool) -> bool:
        """Hand a slice of the FIFO or of memory to the target; False if there is nothing."""
        bus = self._bus
        limit = min(left, bus.wanted(), SLICE_BYTES)
        if self._fifo:
            data = self._take(limit)
        elif host:
            limit = min(limit, self._words[HCNT_WORD] & COUNT_BITS)
            data = self._memory.read(self._take_address(limit), limit) if limit else b""
        else:
            data = b""
        if not data:
            return False
        words = self._words
        words[STCNT_WORD] -= len(data)
        words[SHADDR_WORD] = words[SHADDR_WORD] + len(data) & ADDRESS_MASK
        bus.send(data)
        return True

    def _move_host(self, control: int) -> None:
        """Fill the FIFO from memory, or empty it there."""
        if not control & DIRECTION:
            self._to_memory()
            return
        length = min(FIFO_BYTES - len(self._fifo), self._words[HCNT_WORD] & COUNT_BITS)
        if length:
            self._fifo += self._memory.read(self._take_address(length), length)
            self._registers.epoch += 1

    def _to_memory(self) -> None:
        level = len(self._fifo)
        length = min(level, self._words[HCNT_WORD] & COUNT_BITS)
        if length and (self._flushing or self._reached(level)):
            self._memory.write(self._take_address(length), self._take(length))
        if not self._fifo:
            self._flushing = False

    def _take(self, limit: int) -> bytes:
        """Return the FIFO's next bytes."""
        fifo = self._fifo
        self._registers.epoch += 1
        data = bytes(fifo[:limit])
        del fifo[:limit]
        return data

    # --- counters ------------------------------------------------------------------------------

    def _take_address(self, length: int) -> int:
        """Return HADDR and move it and HCNT on by `length`."""
        words = self._words
        address = words[HADDR_WORD]
        words[HADDR_WORD] = address + length & ADDRESS_MASK
        words[HCNT_WORD] -= length
        return address

    def save(self) -> DataPathState:
        """Return FIFO and enables."""
        return DataPathState(fifo=bytes(self._fifo), flushing=self._flushing, master=self._master)

    def load(self, state: DataPathState) -> None:
        """Become `state`; nothing moves until the guest or a target does something."""
        self._fifo = bytearray(state.fifo)
        self._flushing, self._master = state.flushing, state.master
