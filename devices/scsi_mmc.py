"""A CD-ROM drive as SCSI sees it: the multimedia command set over a disc image.

It knows command packets in and data out, and no transport: ATAPI and parallel SCSI share it. Data
is fetched from the image as the transport asks for it. Not modelled: audio, multi-session discs,
recording, EDC/ECC, MODE SELECT.

Sources:
    [MMC-3] T10/1363D revision 10g, chapter 6.
    [SPC-2] T10/1236D revision 20, §7, and §5.6.5 unit attention.
    [SFF-8020i] ATA Packet Interface for CD-ROMs, revision 2.6, §10.8 (READ TOC format in byte 9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from devices import scsi_mmc_data as mmc
from devices.backplane import DeviceState
from devices.scsi_mmc_data import (
    BLOCK,
    ILLEGAL_MODE,
    INVALID_FIELD,
    INVALID_OPCODE,
    MEDIUM_ABSENT,
    MEDIUM_CHANGED,
    NO_SENSE,
    OUT_OF_RANGE,
    RAW_BLOCK,
    REMOVAL_PREVENTED,
    SAVING_UNSUPPORTED,
    UNRECOVERED_READ,
    WAS_RESET,
    InquiryIdentity,
    Sense,
)
from disks.errors import HOST_ERRORS
from disks.image import BlockImage

GOOD: Final = 0x00
CHECK_CONDITION: Final = 0x02

# Operation codes, [MMC-3] table 217
TEST_UNIT_READY: Final = 0x00
REQUEST_SENSE: Final = 0x03
INQUIRY: Final = 0x12
MODE_SENSE_6: Final = 0x1A
START_STOP_UNIT: Final = 0x1B
PREVENT_ALLOW_MEDIUM_REMOVAL: Final = 0x1E
READ_CAPACITY: Final = 0x25
READ_10: Final = 0x28
SEEK_10: Final = 0x2B
READ_TOC: Final = 0x43
GET_CONFIGURATION: Final = 0x46
GET_EVENT_STATUS: Final = 0x4A
READ_DISC_INFORMATION: Final = 0x51
READ_TRACK_INFORMATION: Final = 0x52
MODE_SENSE_10: Final = 0x5A
READ_12: Final = 0xA8
SET_CD_SPEED: Final = 0xBB
MECHANISM_STATUS: Final = 0xBD
READ_CD: Final = 0xBE

NAMES: Final = {
    value: name.replace("_", " ")
    for name, value in list(globals().items())
    if isinstance(value, int)
    and name.isupper()
    and name not in ("GOOD", "CHECK_CONDITION", "BLOCK", "RAW_BLOCK")
}

# Per command: does it need a medium, does it run in spite of a pending unit attention
NEEDS_MEDIUM: Final = 0x1
IGNORES_ATTENTION: Final = 0x2

SECTORS_PER_BLOCK: Final = BLOCK // 512
CDB_BYTES: Final = 12
COUNTS: Final = {READ_10: slice(7, 9), READ_12: slice(6, 10), READ_CD: slice(6, 9)}

LOEJ: Final = 0x02  # START STOP UNIT byte 4
START: Final = 0x01
READ_CD_USER_DATA: Final = 0x10  # READ CD byte 9
READ_CD_WHOLE: Final = 0xF8
PAGE_CONTROL_CHANGEABLE: Final = 1
PAGE_CONTROL_SAVED: Final = 3


class Reply(NamedTuple):
    """The end of a command's first half: a status, and how many bytes `next_data` will give."""

    status: int
    length: int


class CdRomState(DeviceState, frozen=True, kw_only=True):
    """Everything a snapshot must hold; the image is wiring."""

    sense: Sense
    attention: tuple[Sense, ...]
    event: int
    tray_open: bool
    locked: bool
    data: bytes
    next_lba: int
    blocks_left: int
    raw: bool


class CdRom:
    """One logical unit. `image` holds the disc as 512-byte sectors; None is an empty drive."""

    def __init__(
        self, name: str, image: BlockImage | None = None, identity: InquiryIdentity | None = None
    ) -> None:
        self.name = name
        self._image = image
        self._identity = identity or InquiryIdentity()
        ready, medium, always = 0, NEEDS_MEDIUM, IGNORES_ATTENTION
        self._commands: dict[int, tuple[Callable[[bytes], bytes | Sense], int]] = {
            TEST_UNIT_READY: (self._accept, medium),
            REQUEST_SENSE: (self._request_sense, always),
            INQUIRY: (self._inquiry, always),
            MODE_SENSE_6: (self._mode_sense_6, ready),
            START_STOP_UNIT: (self._start_stop, ready),
            PREVENT_ALLOW_MEDIUM_REMOVAL: (self._prevent, ready),
            READ_CAPACITY: (self._read_capacity, medium),
            READ_10: (self._read, medium),
            SEEK_10: (self._seek, medium),
            READ_TOC: (self._read_toc, medium),
            GET_CONFIGURATION: (self._get_configuration, always),
            GET_EVENT_STATUS: (self._get_event_status, always),
            READ_DISC_INFORMATION: (self._read_disc_information, medium),
            READ_TRACK_INFORMATION: (self._read_track_information, medium),
            MODE_SENSE_10: (self._mode_sense_10, ready),
            READ_12: (self._read, medium),
            SET_CD_SPEED: (self._accept, ready),
            MECHANISM_STATUS: (self._mechanism_status, ready),
            READ_CD: (self._read_cd, medium),
        }
        self._tray_open = False
        self.reset()

    # --- host side ---------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the unit: the next command hears of it. The tray stays as it is."""
        self.sense = NO_SENSE
        self._attention: list[Sense] = [WAS_RESET]
        self._event = mmc.EVENT_NONE
        self._locked = False
        self._forget_data()

    @property
    def present(self) -> bool:
        """Whether a disc can be read."""
        return self._image is not None and not self._tray_open

    @property
    def blocks(self) -> int:
        """Blocks of 2048 bytes on the disc."""
        return self._image.size_bytes // BLOCK if self._image is not None else 0

    def insert(self, image: BlockImage) -> None:
        """Put a disc in; the guest sees no medium once, then that it has changed."""
        self._image = image
        self._tray_open = False
        self._medium_arrived()

    def eject(self, force: bool = False) -> BlockImage | None:
        """Take the disc out and return it. A locked drive only tells its guest of the wish."""
        if self._locked and not force:
            self._event = mmc.EVENT_EJECT_REQUEST
            return None
        image, self._image = self._image, None
        self._tray_open = True
        self._attention = [WAS_RESET] if WAS_RESET in self._attention else []
        self._event = mmc.EVENT_REMOVAL
        self._forget_data()
        return image

    def _medium_arrived(self) -> None:
        pending = [WAS_RESET] if WAS_RESET in self._attention else []
        self._attention = [*pending, MEDIUM_ABSENT, MEDIUM_CHANGED]
        self._event = mmc.EVENT_NEW_MEDIA
        self._forget_data()

    # --- transport side ----------------------------------------------------------------------

    def execute(self, cdb: bytes) -> Reply:
        """Run one command packet. A CHECK CONDITION leaves `sense` set."""
        self._forget_data()
        cdb = cdb.ljust(CDB_BYTES, b"\0")
        opcode = cdb[0]
        if opcode != REQUEST_SENSE:
            self.sense = NO_SENSE
        handler, flags = self._commands.get(opcode, (self._unknown, IGNORES_ATTENTION))
        if self._attention and not flags & IGNORES_ATTENTION:
            return self._check(self._attention.pop(0))
        if flags & NEEDS_MEDIUM and not self.present:
            return self._check(MEDIUM_ABSENT)
        data = handler(cdb)
        if isinstance(data, Sense):
            return self._check(data)
        self._data = data
        block_bytes = RAW_BLOCK if self._raw else BLOCK
        return Reply(GOOD, len(data) + self._blocks_left * block_bytes)

    def next_data(self, limit: int) -> bytes:
        """Return the next `limit` bytes, fewer at the end or before a bad block.

        A bad block itself gives b"" and sets `sense`.
        """
        while len(self._data) < limit and self._blocks_left:
            block_bytes = RAW_BLOCK if self._raw else BLOCK
            blocks = min(self._blocks_left, -(-(limit - len(self._data)) // block_bytes))
            piece = self._read_blocks(self._next_lba, blocks) or self._read_blocks(self._next_lba, 1)
            if not piece and self._data:
                break  # the good blocks first, the error with the next call
            if not piece:
                self._forget_data()
                self.sense = UNRECOVERED_READ
                return b""
            self._data = self._data + piece if self._data else piece
            self._next_lba += len(piece) // block_bytes
            self._blocks_left -= len(piece) // block_bytes
        data, self._data = self._data[:limit], self._data[limit:]
        return data

    def addressed(self, cdb: bytes) -> tuple[int | None, int]:
        """Return the block and number of blocks a packet names, for traces."""
        count = COUNTS.get(cdb[0])
        return (None, 0) if count is None else (_be(cdb[2:6]), _be(cdb[count]))

    def save(self) -> CdRomState:
        """Return the state."""
        return CdRomState(
            sense=self.sense,
            attention=tuple(self._attention),
            event=self._event,
            tray_open=self._tray_open,
            locked=self._locked,
            data=self._data,
            next_lba=self._next_lba,
            blocks_left=self._blocks_left,
            raw=self._raw,
        )

    def load(self, state: CdRomState) -> None:
        """Become `state`; whatever disc is in stays in."""
        self.sense, self._attention = state.sense, list(state.attention)
        self._event, self._tray_open, self._locked = state.event, state.tray_open, state.locked
        self._data, self._raw = state.data, state.raw
        self._next_lba, self._blocks_left = state.next_lba, state.blocks_left

    def _forget_data(self) -> None:
        self._data = b""
        self._next_lba = self._blocks_left = 0
        self._raw = False

    def _check(self, sense: Sense) -> Reply:
        self.sense = sense
        return Reply(CHECK_CONDITION, 0)

    def _read_blocks(self, lba: int, blocks: int) -> bytes:
        """Return blocks of the disc, or b"" if one of them cannot be read."""
        if self._image is None or lba + blocks > self.blocks:
            return b""
        try:
            data = self._image.read(lba * SECTORS_PER_BLOCK, blocks * SECTORS_PER_BLOCK)
        except HOST_ERRORS:
            return b""
        if not self._raw:
            return data
        return b"".join(mmc.raw_block(lba + at, data[BLOCK * at : BLOCK * (at + 1)]) for at in range(blocks))

    # --- commands: return the data, or why there is none ------------------------------------

    def _unknown(self, cdb: bytes) -> Sense:
        return INVALID_OPCODE

    def _accept(self, cdb: bytes) -> bytes:
        return b""

    def _request_sense(self, cdb: bytes) -> bytes:
        sense, self.sense = self.sense, NO_SENSE
        if sense == NO_SENSE and self._attention:
            sense = self._attention.pop(0)
        return mmc.fixed_sense(sense)[: cdb[4]]

    def _inquiry(self, cdb: bytes) -> bytes | Sense:
        if cdb[1] & 1 or cdb[2]:  # no vital product data
            return INVALID_FIELD
        return mmc.inquiry(self._identity)[: _be(cdb[3:5])]

    def _start_stop(self, cdb: bytes) -> bytes | Sense:
        if cdb[4] & LOEJ:
            if cdb[4] & START:
                if self._tray_open:
                    self._tray_open = False
                    if self._image is not None:
                        self._medium_arrived()
            elif self._locked:
                return REMOVAL_PREVENTED
            else:
                self._tray_open = True
                self._event = mmc.EVENT_REMOVAL
        return b""

    def _prevent(self, cdb: bytes) -> bytes:
        self._locked = bool(cdb[4] & 1)
        return b""

    def _read_capacity(self, cdb: bytes) -> bytes:
        return mmc.capacity(self.blocks)

    def _read(self, cdb: bytes) -> bytes | Sense:
        lba, blocks = _be(cdb[2:6]), _be(cdb[COUNTS[cdb[0]]])
        if lba + blocks > self.blocks:
            return OUT_OF_RANGE
        self._next_lba, self._blocks_left = lba, blocks
        return b""

    def _read_cd(self, cdb: bytes) -> bytes | Sense:
        if cdb[1] >> 2 & 7 not in (0, 2):  # any type, or mode 1
            return ILLEGAL_MODE
        parts = cdb[9] & READ_CD_WHOLE
        if parts == 0:
            return b""
        if parts not in (READ_CD_USER_DATA, READ_CD_WHOLE) or cdb[10] & 7:
            return INVALID_FIELD
        self._raw = parts == READ_CD_WHOLE
        return self._read(cdb)

    def _seek(self, cdb: bytes) -> bytes | Sense:
        return b"" if _be(cdb[2:6]) < self.blocks else OUT_OF_RANGE

    def _read_toc(self, cdb: bytes) -> bytes | Sense:
        form = cdb[2] & 0x0F or cdb[9] >> 6
        use_msf = bool(cdb[1] & 2)
        replies = {
            0: mmc.toc(self.blocks, use_msf, cdb[6]),
            1: mmc.sessions(use_msf),
            2: mmc.full_toc(self.blocks),
        }
        data = replies.get(form)
        return INVALID_FIELD if data is None else data[: _be(cdb[7:9])]

    def _get_configuration(self, cdb: bytes) -> bytes | Sense:
        request = cdb[1] & 3
        if request == 3:
            return INVALID_FIELD
        blocks = self.blocks if self.present else None
        return mmc.configuration(blocks, request, _be(cdb[2:4]))[: _be(cdb[7:9])]

    def _get_event_status(self, cdb: bytes) -> bytes | Sense:
        if not cdb[1] & 1:  # asynchronous notification
            return INVALID_FIELD
        data = mmc.event_status(cdb[4], self._event, self.present, self._tray_open)
        if cdb[4] & mmc.MEDIA_CLASS_MASK:
            self._event = mmc.EVENT_NONE
        return data[: _be(cdb[7:9])]

    def _read_disc_information(self, cdb: bytes) -> bytes:
        return mmc.disc_information()[: _be(cdb[7:9])]

    def _read_track_information(self, cdb: bytes) -> bytes | Sense:
        by, number = cdb[1] & 3, _be(cdb[2:6])
        if number >= self.blocks if by == 0 else number != mmc.TRACK:
            return INVALID_FIELD
        return mmc.track_information(self.blocks)[: _be(cdb[7:9])]

    def _mode_sense_6(self, cdb: bytes) -> bytes | Sense:
        pages = self._mode_pages(cdb)
        if isinstance(pages, Sense):
            return pages
        kind = mmc.medium_type(self.present, self._tray_open)
        return (bytes([len(pages) + 3, kind, 0, 0]) + pages)[: cdb[4]]

    def _mode_sense_10(self, cdb: bytes) -> bytes | Sense:
        pages = self._mode_pages(cdb)
        if isinstance(pages, Sense):
            return pages
        kind = mmc.medium_type(self.present, self._tray_open)
        header = (len(pages) + 6).to_bytes(2, "big") + bytes([kind, 0, 0, 0, 0, 0])
        return (header + pages)[: _be(cdb[7:9])]

    def _mode_pages(self, cdb: bytes) -> bytes | Sense:
        control, page = cdb[2] >> 6, cdb[2] & 0x3F
        if control == PAGE_CONTROL_SAVED:
            return SAVING_UNSUPPORTED
        pages = mmc.mode_pages(page, self._locked, control == PAGE_CONTROL_CHANGEABLE)
        return INVALID_FIELD if pages is None else pages

    def _mechanism_status(self, cdb: bytes) -> bytes:
        return mmc.mechanism_status()[: _be(cdb[8:10])]


def _be(data: bytes) -> int:
    return int.from_bytes(data, "big")
