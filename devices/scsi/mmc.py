"""A CD-ROM drive as SCSI sees it: the multimedia command set over a disc image.

ATAPI and parallel SCSI share it: what INQUIRY says differs, and parallel drives have the short
commands of SCSI-2 as well. Not modelled: audio, multi-session discs, recording, EDC/ECC, MODE
SELECT.

Sources:
    [MMC-3] T10/1363D revision 10g, chapter 6.
    [SPC-2] T10/1236D revision 20, §7, and §5.6.5 unit attention.
    [SCSI-2] X3.131-1994, chapter 14 CD-ROM devices.
    [SFF-8020i] ATA Packet Interface for CD-ROMs, revision 2.6, §10.8 (READ TOC format in byte 9).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from devices.backplane import DeviceState
from devices.saved import fitting
from devices.scsi import commands as op
from devices.scsi import mmc_data as mmc
from devices.scsi import mode
from devices.scsi.commands import be
from devices.scsi.inquiry import CMDDT, DEVICE_CD, EVPD, FORMAT_ATAPI, REMOVABLE, InquiryIdentity, standard
from devices.scsi.mmc_data import BLOCK, RAW_BLOCK
from devices.scsi.sense import (
    ILLEGAL_MODE,
    INVALID_FIELD,
    MEDIUM_ABSENT,
    MEDIUM_CHANGED,
    OUT_OF_RANGE,
    REMOVAL_PREVENTED,
    WAS_RESET,
    Sense,
)
from devices.scsi.tasks import READ, REPLY, ReadTask
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
from disks.errors import DiskError
from disks.image import SECTOR_BYTES, BlockImage

SECTORS_PER_BLOCK: Final = BLOCK // SECTOR_BYTES
MOST_BLOCKS: Final = 0xFFFF_FFFF

LOEJ: Final = 0x02  # START STOP UNIT byte 4
START: Final = 0x01
READ_CD_USER_DATA: Final = 0x10  # READ CD byte 9
READ_CD_WHOLE: Final = 0xF8


class CdRomState(DeviceState, frozen=True, kw_only=True, tag="cd-rom"):
    """Everything a snapshot must hold of a drive but its open task; the image is wiring."""

    sense: Sense
    attention: Attention
    event: Annotated[int, msgspec.Meta(ge=mmc.EVENT_NONE, le=mmc.EVENT_REMOVAL)]
    tray_open: bool
    locked: bool


class CdRom(ScsiUnit):
    """One logical unit. `image` holds the disc as 512-byte sectors; None is an empty drive."""

    kinds = frozenset((REPLY, READ))

    def __init__(
        self, name: str, image: BlockImage | None = None, identity: InquiryIdentity | None = None
    ) -> None:
        super().__init__(name)
        self._image = image
        self._identity = identity or InquiryIdentity()
        self._tray_open = False
        self._event = mmc.EVENT_NONE
        self._locked = False
        self._is_atapi = self._identity.response_format == FORMAT_ATAPI
        self._commands |= self._table()
        if not self._is_atapi:
            self._commands |= BUS_COMMANDS | self._scsi_2_table()

    def _table(self) -> dict[int, tuple[Handler, int]]:
        ready, medium, always = 0, NEEDS_MEDIUM, IGNORES_ATTENTION
        return {
            op.TEST_UNIT_READY: (accept, medium),
            op.INQUIRY: (self._inquiry, always),
            op.MODE_SENSE_6: (self._mode_sense, ready),
            op.START_STOP_UNIT: (self._start_stop, ready),
            op.PREVENT_ALLOW_MEDIUM_REMOVAL: (self._prevent, ready),
            op.READ_CAPACITY: (self._read_capacity, medium),
            op.READ_10: (self._read, medium),
            op.SEEK_10: (self._seek, medium),
            op.READ_TOC: (self._read_toc, medium),
            op.GET_CONFIGURATION: (self._get_configuration, always),
            op.GET_EVENT_STATUS: (self._get_event_status, always),
            op.READ_DISC_INFORMATION: (self._read_disc_information, medium),
            op.READ_TRACK_INFORMATION: (self._read_track_information, medium),
            op.MODE_SENSE_10: (self._mode_sense, ready),
            op.READ_12: (self._read, medium),
            op.SET_CD_SPEED: (accept, ready),
            op.MECHANISM_STATUS: (self._mechanism_status, ready),
            op.READ_CD: (self._read_cd, medium),
        }

    def _scsi_2_table(self) -> dict[int, tuple[Handler, int]]:
        """Return what drives had before there was MMC, and ATAPI does not: [SCSI-2] table 230."""
        return {
            op.READ_6: (self._read, NEEDS_MEDIUM),
            op.SEEK_6: (self._seek, NEEDS_MEDIUM),
        }

    # --- host side ---------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the unit: the next command hears of it. The tray stays as it is."""
        super().reset()
        self._event = mmc.EVENT_NONE
        self._locked = False

    @property
    def present(self) -> bool:
        """Whether a disc can be read."""
        return self._image is not None and not self._tray_open

    @property
    def blocks(self) -> int:
        """Blocks of 2048 bytes on the disc, as many as 32 bits can tell."""
        return min(self._image.size_bytes // BLOCK, MOST_BLOCKS) if self._image is not None else 0

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
        return image

    def _medium_arrived(self) -> None:
        pending = [WAS_RESET] if WAS_RESET in self._attention else []
        self._attention = [*pending, MEDIUM_ABSENT, MEDIUM_CHANGED]
        self._event = mmc.EVENT_NEW_MEDIA

    def save(self) -> CdRomState:
        """Return the state."""
        return CdRomState(
            sense=self.sense,
            attention=tuple(self._attention),
            event=self._event,
            tray_open=self._tray_open,
            locked=self._locked,
        )

    def load(self, state: CdRomState) -> None:
        """Become `state`, or raise StateError; whatever disc is in stays in."""
        state = fitting(self.name, state)
        self.sense, self._attention = state.sense, list(state.attention)
        self._event, self._tray_open, self._locked = state.event, state.tray_open, state.locked

    # --- what tasks need ---------------------------------------------------------------------

    def _not_ready(self) -> Sense | None:
        return None if self.present else MEDIUM_ABSENT

    def block_bytes(self, cdb: bytes) -> int:
        """Return what is read of a block: all of it if READ CD says so, else the user data."""
        return RAW_BLOCK if _is_raw(cdb) else BLOCK

    def read_blocks(self, cdb: bytes, lba: int, blocks: int) -> bytes:
        """Return blocks of the disc."""
        if self._image is None or not self.present or lba + blocks > self.blocks:
            raise DiskError("no such block on the disc")
        data = self._image.read(lba * SECTORS_PER_BLOCK, blocks * SECTORS_PER_BLOCK)
        if not _is_raw(cdb):
            return data
        return b"".join(mmc.raw_block(lba + at, data[BLOCK * at : BLOCK * (at + 1)]) for at in range(blocks))

    def read_failure(self, lba: int) -> Sense:
        """Return that there is no disc, or that it is bad."""
        return self._not_ready() or super().read_failure(lba)

    # --- commands: return the data, or why there is none ------------------------------------

    def _inquiry(self, cdb: bytes) -> Answer:
        if cdb[1] & (EVPD | CMDDT) or cdb[2]:  # no vital product data
            return INVALID_FIELD
        return standard(DEVICE_CD, self._identity, REMOVABLE)[: be(cdb[3:5])]

    def _start_stop(self, cdb: bytes) -> Answer:
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

    def _prevent(self, cdb: bytes) -> Answer:
        self._locked = bool(cdb[4] & 1)
        return b""

    def _read_capacity(self, cdb: bytes) -> bytes:
        return mmc.capacity(self.blocks)

    def _read(self, cdb: bytes) -> Answer:
        lba, blocks = op.addressed(cdb)
        return OUT_OF_RANGE if lba + blocks > self.blocks else ReadTask(self, cdb, lba, blocks)

    def _read_cd(self, cdb: bytes) -> Answer:
        if cdb[1] >> 2 & 7 not in (0, 2):  # any type, or mode 1
            return ILLEGAL_MODE
        parts = cdb[9] & READ_CD_WHOLE
        if parts == 0:
            return b""
        if parts not in (READ_CD_USER_DATA, READ_CD_WHOLE) or cdb[10] & 7:
            return INVALID_FIELD
        return self._read(cdb)

    def _seek(self, cdb: bytes) -> Answer:
        return b"" if op.addressed(cdb)[0] < self.blocks else OUT_OF_RANGE

    def _read_toc(self, cdb: bytes) -> Answer:
        form = cdb[2] & 0x0F or cdb[9] >> 6
        use_msf = bool(cdb[1] & 2)
        replies = {
            0: mmc.toc(self.blocks, use_msf, cdb[6]),
            1: mmc.sessions(use_msf),
            2: mmc.full_toc(self.blocks),
        }
        data = replies.get(form)
        return INVALID_FIELD if data is None else data[: be(cdb[7:9])]

    def _get_configuration(self, cdb: bytes) -> Answer:
        request = cdb[1] & 3
        if request == 3:
            return INVALID_FIELD
        blocks = self.blocks if self.present else None
        interface = mmc.INTERFACE_ATAPI if self._is_atapi else mmc.INTERFACE_SCSI
        return mmc.configuration(blocks, interface, request, be(cdb[2:4]))[: be(cdb[7:9])]

    def _get_event_status(self, cdb: bytes) -> Answer:
        if not cdb[1] & 1:  # asynchronous notification
            return INVALID_FIELD
        data = mmc.event_status(cdb[4], self._event, self.present, self._tray_open)
        if cdb[4] & mmc.MEDIA_CLASS_MASK:
            self._event = mmc.EVENT_NONE
        return data[: be(cdb[7:9])]

    def _read_disc_information(self, cdb: bytes) -> bytes:
        return mmc.disc_information()[: be(cdb[7:9])]

    def _read_track_information(self, cdb: bytes) -> Answer:
        by, number = cdb[1] & 3, be(cdb[2:6])
        if number >= self.blocks if by == 0 else number != mmc.TRACK:
            return INVALID_FIELD
        return mmc.track_information(self.blocks)[: be(cdb[7:9])]

    def _mode_sense(self, cdb: bytes) -> Answer:
        pages = mode.pages_for(cdb, mmc.mode_pages(self._locked))
        if isinstance(pages, Sense):
            return pages
        kind = mmc.medium_type(self.present, self._tray_open)
        return mode.sense_reply(cdb, kind, 0, b"", pages)

    def _mechanism_status(self, cdb: bytes) -> bytes:
        return mmc.mechanism_status()[: be(cdb[8:10])]


def _is_raw(cdb: bytes) -> bool:
    return cdb[0] == op.READ_CD and cdb[9] & READ_CD_WHOLE == READ_CD_WHOLE
