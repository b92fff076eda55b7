"""What every device on an ATA channel has: task file, status, a data phase and an interrupt.

A command leaves the device idle, or in a data phase that moves `_buffer` through the data port or
by DMA; the subclass hears when a block is through. Commands take no guest time: BSY is seen only
while SRST is held. Not modelled: overlapped commands, queued commands, DMADIR.

Sources:
    [ATA-6] T13/1410D revision 3b, §7 registers, §9 protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import OPEN_BUS, Tracer
from devices.ide.identify import TransferModes
from devices.ide.registers import (
    COUNT,
    DIAGNOSTIC_PASSED,
    ER_ABRT,
    SR_BSY,
    SR_DRQ,
    SR_ERR,
    SR_READY,
    TaskFile,
)

# Data phases
IDLE: Final = 0
DATA_IN: Final = 1  # the host reads `_buffer[_position:_end]` from the data port
DATA_OUT: Final = 2  # the host fills `_buffer` up to `_end` through the data port
DMA_IN: Final = 3  # the bus master takes `_buffer[_position:]`
DMA_OUT: Final = 4  # the bus master appends to `_buffer` until it holds `_end` bytes

# Transfer mode in the sector count of SET FEATURES 03h, [ATA-6] table 44
MODE_KIND: Final = 0xF8
MODE_NUMBER: Final = 0x07
MODE_PIO_DEFAULT: Final = 0x00
MODE_PIO: Final = 0x08
MODE_MULTIWORD: Final = 0x20
MODE_ULTRA: Final = 0x40
LAST_PIO, LAST_MULTIWORD, LAST_ULTRA = 4, 2, 5

ACTIVE: Final = 0xFF  # CHECK POWER MODE: active or idle, [ATA-6] §8.6.5


class TransferState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The saved state that disks and packet devices share."""

    status: int
    error: int
    interrupt: bool
    opcode: int
    current: bytes
    previous: bytes
    phase: int
    buffer: bytes
    position: int
    end: int
    multiword: int
    ultra: int


class IdeDrive:
    """The common half of a device. Subclasses fill `_commands` and answer `_block_read` and the like."""

    SIGNATURE: tuple[int, int] = (0x00, 0x00)  # LBA Mid and High after a reset
    READY: int = SR_READY  # Status when idle
    RESET_STATUS: int = SR_READY  # Status after a reset
    is_packet = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.registers = TaskFile()
        self.status = self.error = 0
        self.interrupt = False  # INTRQ pending, before nIEN and device selection
        self.phase = IDLE
        self.tracer: Tracer | None = None
        self.channel, self.index = name, 0
        self._opcode = 0
        self._buffer: bytes | bytearray = b""
        self._position = self._end = 0
        self._modes = TransferModes()
        self._commands: list[Callable[[], None]] = [self._abort] * 256
        self._on_interrupt: Callable[[], None] = _nothing
        self._on_dma: Callable[[], None] = _nothing

    def connect(
        self,
        channel: str,
        index: int,
        tracer: Tracer | None,
        on_interrupt: Callable[[], None],
        on_dma: Callable[[], None],
    ) -> None:
        """Sit on a channel, which hears changes of `interrupt` and when DMA is wanted."""
        self.channel, self.index, self.tracer = channel, index, tracer
        self._on_interrupt, self._on_dma = on_interrupt, on_dma

    # --- registers ---------------------------------------------------------------------------

    def read_status(self, size: int) -> int:
        """Return Status; reading it acknowledges the interrupt, [ATA-6] §7.15.4."""
        if self.interrupt:
            self.interrupt = False
            self._on_interrupt()
        return self.status

    def command(self, opcode: int) -> None:
        """Execute a command; writing it drops a pending interrupt and any data phase."""
        self.interrupt = False
        self._on_interrupt()
        self._stop_transfer()
        self.error = 0
        self._opcode = opcode
        self._trace()
        self._commands[opcode]()

    def begin_reset(self) -> None:
        """SRST has been set: busy until it is cleared."""
        self._stop_transfer()
        self.interrupt = False
        self.status = SR_BSY

    def end_reset(self) -> None:
        """Show signature and diagnostic result, as after SRST or diagnostics, [ATA-6] §9.2, §9.10."""
        self._stop_transfer()
        self.interrupt = False
        self.registers.sign(*self.SIGNATURE)
        self.error = DIAGNOSTIC_PASSED
        self.status = self.RESET_STATUS

    def soft_reset(self) -> None:
        """SRST has been cleared."""
        self.end_reset()

    # --- data port ---------------------------------------------------------------------------

    def read_data(self, size: int) -> int:
        """Take a word from the data port; 32 bits are two words, 8 bits the low half of one."""
        if self.phase != DATA_IN:
            return OPEN_BUS[size]
        if size == 4:
            low = self.read_data(2)
            return low | self.read_data(2) << 16
        position = self._position
        word = self._buffer[position] | self._buffer[position + 1] << 8
        self._position = position + 2
        if position + 2 >= self._end:
            self._block_read()
        return word if size == 2 else word & 0xFF

    def write_data(self, size: int, value: int) -> None:
        """Put a word into the data port; 32 bits are two words, 8 bits a word with a zero high half."""
        if self.phase != DATA_OUT:
            return
        if size == 4:
            self.write_data(2, value & 0xFFFF)
            self.write_data(2, value >> 16)
            return
        position = self._position
        assert isinstance(self._buffer, bytearray)
        self._buffer[position] = value & 0xFF
        self._buffer[position + 1] = value >> 8
        self._position = position + 2
        if position + 2 >= self._end:
            self._block_written()

    def read_block(self, size: int, count: int) -> bytes:
        """Take up to `count` whole elements of the current DRQ block."""
        position = self._position
        if self.phase != DATA_IN or size == 1:
            return b""
        length = min(count, (self._end - position) // size) * size
        data = bytes(self._buffer[position : position + length])
        self._position = position + length
        if length and self._position >= self._end:
            self._block_read()
        return data

    def write_block(self, size: int, data: bytes) -> int:
        """Put up to as many whole elements as the current DRQ block lacks; return how many."""
        position = self._position
        if self.phase != DATA_OUT or size == 1:
            return 0
        taken = min(len(data), self._end - position) // size
        length = taken * size
        assert isinstance(self._buffer, bytearray)
        self._buffer[position : position + length] = data[:length]
        self._position = position + length
        if length and self._position >= self._end:
            self._block_written()
        return taken

    # --- DMA ---------------------------------------------------------------------------------

    def dma_peek(self, limit: int) -> memoryview:
        """Return up to `limit` bytes for memory; `dma_advance` confirms them. Only in DMA_IN."""
        return memoryview(self._buffer)[self._position : self._position + limit]

    def dma_advance(self, length: int) -> None:
        """Say that `length` bytes of what `dma_peek` showed are in memory."""
        self._position += length
        if self._position >= len(self._buffer):
            self._dma_read()

    def dma_wanted(self) -> int:
        """Return how many bytes from memory the command still lacks. Only in DMA_OUT."""
        return self._end - len(self._buffer)

    def dma_give(self, data: bytes) -> None:
        """Take bytes from memory, no more than `dma_wanted`."""
        assert isinstance(self._buffer, bytearray)
        self._buffer += data
        if len(self._buffer) >= self._end:
            self._dma_written()

    # --- for subclasses ----------------------------------------------------------------------

    def _trace(self) -> None:
        """Emit the event of a command just written."""

    def _block_read(self) -> None:
        """The host has read up to `_end`."""
        raise NotImplementedError

    def _block_written(self) -> None:
        """The host has written up to `_end`."""
        raise NotImplementedError

    def _dma_read(self) -> None:
        """Memory has all of `_buffer`."""
        raise NotImplementedError

    def _dma_written(self) -> None:
        """Memory gave all `_end` bytes."""
        raise NotImplementedError

    def _raise_interrupt(self) -> None:
        self.interrupt = True
        self._on_interrupt()

    def _stop_transfer(self) -> None:
        self.phase = IDLE
        self._buffer = b""
        self._position = self._end = 0

    def _complete(self) -> None:
        """End the command well, with an interrupt."""
        self._stop_transfer()
        self.status = self.READY
        self._raise_interrupt()

    def _fail(self, error: int, extra_status: int = 0) -> None:
        """End the command with `error`, with an interrupt."""
        self._stop_transfer()
        self.error = error
        self.status = self.READY | SR_ERR | extra_status
        self._raise_interrupt()

    def _abort(self) -> None:
        """Refuse the command, [ATA-6] §7.9.5."""
        self._fail(ER_ABRT)

    def _offer(self, end: int, interrupt: bool = True) -> None:
        """Ask the host to read the data port up to `end`."""
        self.phase = DATA_IN
        self._end = end
        self.status = self.READY | SR_DRQ
        if interrupt:
            self._raise_interrupt()

    def _request(self, length: int) -> None:
        """Ask the host to write `length` bytes to the data port; the interrupt is the caller's."""
        self.phase = DATA_OUT
        self._buffer = bytearray(length)
        self._position, self._end = 0, length
        self.status = self.READY | SR_DRQ

    def _start_dma(self, phase: int) -> None:
        """Ask the bus master to move data."""
        self.phase = phase
        self.status = self.READY | SR_DRQ
        self._on_dma()

    def _set_transfer_mode(self) -> None:
        """SET FEATURES 03h: select one mode; PIO modes deselect DMA."""
        mode = self.registers.current[COUNT]
        kind, number = mode & MODE_KIND, mode & MODE_NUMBER
        if kind == MODE_ULTRA and number <= LAST_ULTRA:
            self._modes = TransferModes(0, 1 << number)
        elif kind == MODE_MULTIWORD and number <= LAST_MULTIWORD:
            self._modes = TransferModes(1 << number, 0)
        elif (kind == MODE_PIO_DEFAULT and number <= 1) or (kind == MODE_PIO and number <= LAST_PIO):
            self._modes = TransferModes()
        else:
            self._abort()
            return
        self._complete()

    def _check_power_mode(self) -> None:
        self.registers.current[COUNT] = ACTIVE
        self._complete()

    def _save_transfer(self) -> TransferState:
        return TransferState(
            status=self.status,
            error=self.error,
            interrupt=self.interrupt,
            opcode=self._opcode,
            current=bytes(self.registers.current),
            previous=bytes(self.registers.previous),
            phase=self.phase,
            buffer=bytes(self._buffer),
            position=self._position,
            end=self._end,
            multiword=self._modes.multiword,
            ultra=self._modes.ultra,
        )

    def _load_transfer(self, state: TransferState) -> None:
        self.status, self.error, self.interrupt = state.status, state.error, state.interrupt
        self._opcode, self.phase = state.opcode, state.phase
        self.registers.current[:] = state.current
        self.registers.previous[:] = state.previous
        writing = state.phase in (DATA_OUT, DMA_OUT)
        self._buffer = bytearray(state.buffer) if writing else state.buffer
        self._position, self._end = state.position, state.end
        self._modes = TransferModes(state.multiword, state.ultra)


def _nothing() -> None:
    return None
