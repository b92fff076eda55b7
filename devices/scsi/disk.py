"""A disk as SCSI sees it: a direct-access unit on any image.

The bytes are on the image when a write ends; they are durable after SYNCHRONIZE CACHE, a write
with FUA, or any write while the write cache is off. Every command is carried out in the order it
was started in; of one under way the state lies in its task, so any number may be open. Not
modelled: formatting, defects, UNMAP and WRITE SAME (an image cannot forget blocks), power
conditions, protection information, reservations that exclude somebody.

Sources:
    [SBC-2] T10/1417D revision 16, §5 commands, §6.
    [SPC-2] T10/1236D revision 20, §7 commands of all devices.
    [SBC-3] T10/1799-D revision 25, §6.5.3 (a transfer longer than block limits say is refused).
"""

from __future__ import annotations

from typing import Final

from devices.backplane import DeviceState
from devices.saved import fitting, require
from devices.scsi import commands as op
from devices.scsi import disk_mode, mode
from devices.scsi.commands import be
from devices.scsi.inquiry import CMDDT, DEVICE_DISK, EVPD, InquiryIdentity, disk_identity, standard, vital
from devices.scsi.sense import (
    INVALID_FIELD,
    INVALID_PARAMETER,
    NOT_STARTED,
    OUT_OF_RANGE,
    WRITE_ERROR,
    WRITE_PROTECTED,
    Sense,
)
from devices.scsi.task import TaskState
from devices.scsi.tasks import (
    COMPARE,
    MOST_BYTES,
    PARAMETERS,
    READ,
    REPLY,
    WRITE,
    CompareTask,
    Data,
    ParameterTask,
    ReadTask,
    WriteTask,
)
from devices.scsi.unit import (
    BUS_COMMANDS,
    IGNORES_ATTENTION,
    NEEDS_MEDIUM,
    Answer,
    Attention,
    Handler,
    ScsiUnit,
    accept,
)
from disks.errors import HOST_ERRORS
from disks.image import SECTOR_BYTES, BlockImage, DirectImage

BLOCK: Final = SECTOR_BYTES
MOST_BLOCKS: Final = 0xFFFF  # of one command; as many as READ(10) can name

FUA: Final = 0x08  # byte 1 of READ and WRITE but for the short ones
RELADR: Final = 0x01  # byte 1 of 10 and 12 byte CDBs, only for linked commands
BYTCHK: Final = 0x02  # VERIFY byte 1
BLKVFY: Final = 0x04
PMI: Final = 0x01  # READ CAPACITY, byte 8 or 14
START: Final = 0x01  # START STOP UNIT byte 4
LOEJ: Final = 0x02
POWER_CONDITION: Final = 0xF0
DEFECT_LIST: Final = 0x1F  # READ DEFECT DATA: which lists, in which format


class ScsiDiskState(DeviceState, frozen=True, kw_only=True, tag="scsi-disk"):
    """Everything a snapshot must hold of a disk but its open tasks; the image is wiring."""

    sense: Sense
    attention: Attention
    write_cache: bool
    stopped: bool


class ScsiDisk(ScsiUnit):
    """One logical unit with blocks of 512 bytes."""

    kinds = frozenset((REPLY, READ, WRITE, COMPARE, PARAMETERS))

    def __init__(self, name: str, image: BlockImage, identity: InquiryIdentity | None = None) -> None:
        super().__init__(name)
        self._image = image
        self._direct = image if isinstance(image, DirectImage) else None
        self._identity = identity or disk_identity(name)
        self.blocks = image.size_bytes // BLOCK
        self._write_cache = True
        self._stopped = False
        self._commands |= BUS_COMMANDS | self._table()

    def _table(self) -> dict[int, tuple[Handler, int]]:
        ready, medium = 0, NEEDS_MEDIUM
        return {
            op.TEST_UNIT_READY: (accept, medium),
            op.INQUIRY: (self._inquiry, IGNORES_ATTENTION),
            op.MODE_SENSE_6: (self._mode_sense, ready),
            op.MODE_SENSE_10: (self._mode_sense, ready),
            op.MODE_SELECT_6: (self._mode_select, ready),
            op.MODE_SELECT_10: (self._mode_select, ready),
            op.START_STOP_UNIT: (self._start_stop, ready),
            op.PREVENT_ALLOW_MEDIUM_REMOVAL: (accept, ready),
            op.READ_CAPACITY: (self._read_capacity, medium),
            op.SERVICE_ACTION_IN_16: (self._read_capacity_16, medium),
            op.READ_DEFECT_DATA_10: (_read_defects_10, medium),
            op.READ_DEFECT_DATA_12: (_read_defects_12, medium),
            op.SYNCHRONIZE_CACHE_10: (self._synchronize, ready),
            op.SYNCHRONIZE_CACHE_16: (self._synchronize, ready),
            **dict.fromkeys((op.SEEK_6, op.SEEK_10), (self._seek, medium)),
            **dict.fromkeys((op.READ_6, op.READ_10, op.READ_12, op.READ_16), (self._read, medium)),
            **dict.fromkeys((op.WRITE_6, op.WRITE_10, op.WRITE_12, op.WRITE_16), (self._write, medium)),
            **dict.fromkeys((op.VERIFY_10, op.VERIFY_12, op.VERIFY_16), (self._verify, medium)),
        }

    def reset(self) -> None:
        """Reset the unit: mode pages have their defaults again. A stopped disk stays stopped."""
        super().reset()
        self._write_cache = True

    def save(self) -> ScsiDiskState:
        """Return the state."""
        return ScsiDiskState(
            sense=self.sense,
            attention=tuple(self._attention),
            write_cache=self._write_cache,
            stopped=self._stopped,
        )

    def load(self, state: ScsiDiskState) -> None:
        """Become `state`, or raise StateError."""
        state = fitting(self.name, state)
        self.sense, self._attention = state.sense, list(state.attention)
        self._write_cache, self._stopped = state.write_cache, state.stopped

    def check(self, state: TaskState) -> None:
        """Raise StateError unless `resume` can take up the command: its blocks are there and may be used."""
        super().check(state)
        require(
            state.lba + state.blocks <= self.blocks, self.name, "a command names blocks that are not there"
        )
        require(
            state.kind != WRITE or not self._image.read_only,
            self.name,
            "a write under way, and the disk is read-only",
        )

    # --- what tasks need ---------------------------------------------------------------------

    def _not_ready(self) -> Sense | None:
        return NOT_STARTED if self._stopped else None

    def block_bytes(self, cdb: bytes) -> int:
        """Return 512."""
        return BLOCK

    def read_blocks(self, cdb: bytes, lba: int, blocks: int) -> bytes:
        """Return blocks of the image."""
        return self._image.read(lba, blocks)

    def read_into(self, cdb: bytes, lba: int, views: list[memoryview]) -> bool:
        """Have an image that can fill the views itself, without a copy."""
        if self._direct is None:
            return False
        self._direct.read_into(lba, views)
        return True

    def write_blocks(self, lba: int, data: Data) -> None:
        """Store blocks on the image."""
        self._image.write(lba, data)

    def settle(self, cdb: bytes) -> None:
        """Flush the image, if the cache is off or the command says FUA."""
        if not self._write_cache or (cdb[0] != op.WRITE_6 and cdb[1] & FUA):
            self._image.flush()

    def take_parameters(self, cdb: bytes, data: bytes) -> Sense | None:
        """Take the list of MODE SELECT: all of it or nothing."""
        selected = mode.take_apart(cdb, data)
        if isinstance(selected, Sense):
            return selected
        if selected.medium or not self._fits(selected.descriptor):
            return INVALID_PARAMETER
        if mode.unchangeable(selected.pages, self._pages()):
            return INVALID_PARAMETER
        caching = selected.pages.get(disk_mode.CACHING)
        if caching is not None:
            enabled = bool(caching[0] & disk_mode.WCE)
            if self._write_cache and not enabled and not self._flushed():
                return WRITE_ERROR
            self._write_cache = enabled
        return None

    # --- commands on blocks ------------------------------------------------------------------

    def _trouble(self, cdb: bytes, lba: int, blocks: int) -> Sense | None:
        """Return what is wrong with a command on `blocks` from `lba` on."""
        relative = op.length_of(cdb[0]) in (10, 12) and cdb[1] & RELADR
        if relative or blocks > MOST_BLOCKS:
            return INVALID_FIELD
        return OUT_OF_RANGE if lba + blocks > self.blocks or lba >= max(self.blocks, 1) else None

    def _read(self, cdb: bytes) -> Answer:
        lba, blocks = op.addressed(cdb)
        return self._trouble(cdb, lba, blocks) or ReadTask(self, cdb, lba, blocks)

    def _write(self, cdb: bytes) -> Answer:
        if self._image.read_only:
            return WRITE_PROTECTED
        lba, blocks = op.addressed(cdb)
        return self._trouble(cdb, lba, blocks) or WriteTask(self, cdb, lba, blocks)

    def _verify(self, cdb: bytes) -> Answer:
        if cdb[1] & BLKVFY:
            return INVALID_FIELD
        lba, blocks = op.addressed(cdb)
        trouble = self._trouble(cdb, lba, blocks)
        if trouble is not None:
            return trouble
        if cdb[1] & BYTCHK:
            return CompareTask(self, cdb, lba, blocks)
        task = ReadTask(self, cdb, lba, blocks)
        while task.data_in:
            task.give(MOST_BYTES)
        return task

    def _seek(self, cdb: bytes) -> Answer:
        return b"" if op.addressed(cdb)[0] < self.blocks else OUT_OF_RANGE

    def _synchronize(self, cdb: bytes) -> Answer:
        lba, blocks = op.addressed(cdb)
        if lba + blocks > self.blocks:
            return OUT_OF_RANGE
        return b"" if self._flushed() else WRITE_ERROR

    def _flushed(self) -> bool:
        try:
            self._image.flush()
        except HOST_ERRORS:
            return False
        return True

    # --- about the disk ----------------------------------------------------------------------

    def _inquiry(self, cdb: bytes) -> Answer:
        if cdb[1] & CMDDT:
            return INVALID_FIELD
        if cdb[1] & EVPD:
            data = vital(cdb[2], DEVICE_DISK, self._identity, MOST_BLOCKS)
        else:
            data = None if cdb[2] else standard(DEVICE_DISK, self._identity)
        return INVALID_FIELD if data is None else data[: be(cdb[3:5])]

    def _read_capacity(self, cdb: bytes) -> Answer:
        if not cdb[8] & PMI and be(cdb[2:6]):
            return INVALID_FIELD
        last = max(self.blocks, 1) - 1
        return min(last, 0xFFFF_FFFF).to_bytes(4, "big") + BLOCK.to_bytes(4, "big")

    def _read_capacity_16(self, cdb: bytes) -> Answer:
        if cdb[1] & 0x1F != op.READ_CAPACITY_16 or (not cdb[14] & PMI and be(cdb[2:10])):
            return INVALID_FIELD
        last = max(self.blocks, 1) - 1
        return (last.to_bytes(8, "big") + BLOCK.to_bytes(4, "big") + bytes(20))[: be(cdb[10:14])]

    def _start_stop(self, cdb: bytes) -> Answer:
        if cdb[4] & (POWER_CONDITION | LOEJ):  # no power conditions, and nothing comes out
            return INVALID_FIELD
        stop = not cdb[4] & START
        if stop and not self._flushed():
            return WRITE_ERROR
        self._stopped = stop
        return b""

    def _pages(self) -> mode.Pages:
        return disk_mode.pages(self.blocks, BLOCK, self._write_cache)

    def _mode_sense(self, cdb: bytes) -> Answer:
        pages = mode.pages_for(cdb, self._pages())
        if isinstance(pages, Sense):
            return pages
        protection = disk_mode.WRITE_PROTECTED if self._image.read_only else 0
        descriptor = disk_mode.descriptor(self.blocks, BLOCK)
        return mode.sense_reply(cdb, 0, protection | disk_mode.DPOFUA, descriptor, pages)

    def _mode_select(self, cdb: bytes) -> Answer:
        if cdb[1] & mode.SAVE_PAGES:
            return INVALID_FIELD
        length = mode.list_length(cdb)
        return ParameterTask(self, cdb, length, self.take_parameters) if length else b""

    def _fits(self, descriptor: bytes) -> bool:
        """Return whether a block descriptor leaves the disk as it is, [SPC-2] §8.3.4."""
        if not descriptor:
            return True
        if len(descriptor) != mode.DESCRIPTOR_BYTES:
            return False
        blocks = be(descriptor[:4])
        told = be(disk_mode.descriptor(self.blocks, BLOCK)[:4])
        return be(descriptor[5:8]) == BLOCK and blocks in (0, told)


def _read_defects_10(cdb: bytes) -> Answer:
    return bytes([0, cdb[2] & DEFECT_LIST, 0, 0])[: be(cdb[7:9])]


def _read_defects_12(cdb: bytes) -> Answer:
    return bytes([0, cdb[1] & DEFECT_LIST, 0, 0, 0, 0, 0, 0])[: be(cdb[6:10])]
