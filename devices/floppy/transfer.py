"""The data commands of the 82077AA, a sector at a time, whoever moves the bytes.

A `Transfer` walks over the sectors a command names. Each step gives or wants 512 bytes; the
controller moves them by DMA or through its FIFO and says when the terminal count came.

Source: [82077AA] Intel 82077AA, 290166, §5 "Data transfer commands", §6 "Status register encoding".
"""

from __future__ import annotations

from typing import Final

import msgspec

from devices.dma8237 import DmaChannel
from devices.floppy.drive import FloppyDrive
from devices.floppy.registers import FORMAT_TRACK, READ_DELETED, READ_TRACK, VERIFY, WRITES
from disks.image import SECTOR_BYTES

MULTI_TRACK: Final = 0x80
ENABLE_COUNT: Final = 0x80  # of VERIFY's first parameter

# Status registers, [82077AA] §6
ST0_ABNORMAL: Final = 0x40
ST1_MISSING_ADDRESS: Final = 0x01
ST1_NOT_WRITABLE: Final = 0x02
ST1_NO_DATA: Final = 0x04
ST1_OVERRUN: Final = 0x10
ST1_DATA_ERROR: Final = 0x20
ST1_END_OF_CYLINDER: Final = 0x80
ST2_MISSING_DATA_MARK: Final = 0x01
ST2_WRONG_CYLINDER: Final = 0x10
ST2_DATA_ERROR: Final = 0x20
ST2_CONTROL_MARK: Final = 0x40

SIZE_512: Final = 2  # N
ID_BYTES: Final = 4


class TransferState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A command under way."""

    operation: int
    multi_track: bool
    drive: int
    cylinder: int
    head: int
    sector: int
    size: int
    last: int
    filler: int
    left: int
    st1: int
    st2: int


class Transfer:
    """One data command. `st1` and `st2` collect what went wrong; either not 0 ends the command."""

    def __init__(self, state: TransferState, drive: FloppyDrive, rate: int) -> None:
        self.operation, self.multi_track, self.number = state.operation, state.multi_track, state.drive
        self.cylinder, self.head, self.sector, self.size = (
            state.cylinder,
            state.head,
            state.sector,
            state.size,
        )
        self.last, self.filler, self.left = state.last, state.filler, state.left
        self.st1, self.st2 = state.st1, state.st2
        self.drive = drive
        self._rate = rate

    @classmethod
    def begin(cls, command: bytes, drive: FloppyDrive, rate: int) -> Transfer:
        """Read a command with its parameters."""
        operation = command[0] & 0x1F
        multi = bool(command[0] & MULTI_TRACK)
        number, head = command[1] & 3, command[1] >> 2 & 1
        left = -1
        if operation == FORMAT_TRACK:
            fields = (drive.cylinder, head, 1, command[2], command[3], command[5])
            left, multi = command[3], False
        else:
            first = 1 if operation == READ_TRACK else command[4]
            fields = (command[2], command[3] & 1, first, command[5], command[6], 0)
            if operation == VERIFY and command[1] & ENABLE_COUNT:
                left = command[8]
            multi = multi and operation != READ_TRACK
        names = ("cylinder", "head", "sector", "size", "last", "filler")
        chosen = dict(zip(names, fields, strict=True))
        state = TransferState(
            operation=operation, multi_track=multi, drive=number, left=left, st1=0, st2=0, **chosen
        )
        transfer = cls(state, drive, rate)
        if operation in WRITES and drive.write_protected:
            transfer.st1 |= ST1_NOT_WRITABLE
        elif operation != FORMAT_TRACK and head != command[3] & 1:
            transfer.st1 |= ST1_NO_DATA  # no ID field on this side names the other
        return transfer

    @property
    def failed(self) -> bool:
        """Whether the command ends abnormally."""
        return bool(self.st1 or self.st2 & ~ST2_CONTROL_MARK)

    @property
    def wants(self) -> int:
        """Bytes the next step takes from the processor: a sector, or the four of an ID; 0 gives or checks."""
        if self.operation == FORMAT_TRACK:
            return ID_BYTES
        return SECTOR_BYTES if self.operation in WRITES else 0

    def readable(self) -> bool:
        """Whether the track has address marks at this data rate; else note that none was found."""
        disk = self.drive.format
        if disk is None or self._rate not in disk.rates or self.drive.cylinder >= disk.cylinders:
            self.st1 |= ST1_MISSING_ADDRESS
            return False
        return True

    def find(self) -> bool:
        """Look for the sector the command is at; note what is missing."""
        if self.failed or not self.readable():
            return False
        if self.cylinder != self.drive.cylinder:
            self.st1 |= ST1_NO_DATA
            self.st2 |= ST2_WRONG_CYLINDER
        elif self.size != SIZE_512 or not self.drive.has_sector(self.head, self.sector):
            self.st1 |= ST1_NO_DATA
        return not self.failed

    def begin_step(self) -> bool:
        """Be where the next bytes belong; False where the command cannot go on."""
        if self.operation == FORMAT_TRACK:
            return not self.failed and self.readable()
        return self.find()

    def read(self) -> bytes:
        """Return the sector found, b"" if the host cannot read it."""
        data = self.drive.read(self.head, self.sector)
        if data is None:
            self.st1 |= ST1_DATA_ERROR
            self.st2 |= ST2_DATA_ERROR
            return b""
        if self.operation == READ_DELETED:  # the sectors of an image all have the normal mark
            self.st2 |= ST2_CONTROL_MARK
        return data

    def store(self, data: bytes) -> None:
        """Take what `wants` asked for: a sector, or an ID to format one with."""
        if self.operation == FORMAT_TRACK:
            self._format(data.ljust(ID_BYTES, b"\0"))
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        """Store the sector found; what the terminal count cut off is zeros, [82077AA] "Write data"."""
        if not self.drive.write(self.head, self.sector, data.ljust(SECTOR_BYTES, b"\0")):
            self.st1 |= ST1_DATA_ERROR

    def _format(self, identity: bytes) -> None:
        """Write the sector that an ID (C, H, R, N) names with the filler; others leave no trace."""
        _, _, sector, size = identity
        if size == SIZE_512 and self.drive.has_sector(self.head, sector):
            filler = bytes([self.filler]) * SECTOR_BYTES
            if not self.drive.write(self.head, sector, filler):
                self.st1 |= ST1_DATA_ERROR

    def advance(self) -> bool:
        """Go to the next sector; return whether that was the last, [82077AA] table 5-7."""
        self.left -= self.left > 0
        if self.operation == FORMAT_TRACK:
            return self.left == 0
        if self.sector != self.last:
            self.sector = self.sector + 1 & 0xFF
            return self.left == 0
        self.sector = 1
        if self.multi_track:
            self.head ^= 1
            if self.head:
                return self.left == 0
        self.cylinder = self.cylinder + 1 & 0xFF
        return True

    def result(self, *, short: bool) -> bytes:
        """Return the seven bytes of the result; `short`: the end came before the terminal count."""
        if short and not self.failed and self.left < 0:
            self.st1 |= ST1_END_OF_CYLINDER
        st0 = (ST0_ABNORMAL if self.failed else 0) | self.head << 2 | self.number
        return bytes([st0, self.st1, self.st2, self.cylinder, self.head, self.sector, self.size])

    def save(self) -> TransferState:
        """Return the command's state."""
        return TransferState(
            operation=self.operation, multi_track=self.multi_track, drive=self.number,
            cylinder=self.cylinder, head=self.head, sector=self.sector, size=self.size,
            last=self.last, filler=self.filler, left=self.left, st1=self.st1, st2=self.st2,
        )  # fmt: skip


def move_by_dma(transfer: Transfer, dma: DmaChannel) -> bool:
    """Move sectors until the terminal count, the last sector or an error; return whether the first."""
    while transfer.begin_step():
        if transfer.wants:
            data, reached = dma.take(transfer.wants)
            moved = len(data)
            if data:
                transfer.store(data)
        else:
            data = transfer.read()
            moved, reached = dma.give(data)
        if transfer.failed:
            return False
        if moved < (transfer.wants or len(data)) and not reached:
            transfer.st1 |= ST1_OVERRUN
            return False
        ended = transfer.advance()
        if reached or ended or transfer.failed:
            return reached or transfer.operation == FORMAT_TRACK
    return False
