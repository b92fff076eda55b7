"""An ATA disk on a block image: addressing, the read, write and control commands.

A command whose range leaves the disk fails as a whole with IDNF. Reads are fetched ahead in large
pieces; a host error is then located sector by sector and shown as UNC, a failed write as a device
fault. Not modelled: SMART (not announced; its commands abort), security, host protected
area, power states (the disk is always active), seek times.

Sources:
    [ATA-6] T13/1410D revision 3b, chapters 6 and 8.
    [ATA-3] X3T10/2008D revision 7b, §5.5 CHS translation, §7 RECALIBRATE, SEEK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from devices.ide import commands as ata
from devices.ide.addressing import address_of, count_of, show_address
from devices.ide.drive import DMA_IN, DMA_OUT, IdeDrive, TransferState
from devices.ide.events import AtaCommand
from devices.ide.identify import (
    MAX_MULTIPLE,
    DiskSettings,
    DriveIdentity,
    Geometry,
    TransferModes,
    default_geometry,
    identify_device,
)
from devices.ide.registers import (
    COUNT,
    DEV_HEAD,
    DEVICE,
    ER_ABRT,
    ER_IDNF,
    ER_UNC,
    FEATURES,
    LBA28_SECTORS,
    SECTOR,
    SR_DF,
)
from disks.errors import HOST_ERRORS
from disks.image import BlockImage

PIO_AHEAD: Final = 128  # sectors fetched at once; a multiple of every DRQ block
DMA_AHEAD: Final = 8192
MAX_CYLINDER_NUMBER: Final = 0xFFFF
MULTIPLES: Final = frozenset({0, 1, 2, 4, 8, MAX_MULTIPLE})


class AtaDiskState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ata-disk"):
    """Everything a snapshot must hold to resume a disk; the image is wiring."""

    transfer: TransferState
    translation: Geometry
    multiple: int
    write_cache: bool
    lba: int
    left: int
    block: int
    last: int | None
    sector_buffer: bytes


class AtaDisk(IdeDrive):
    """A disk. `geometry` is the translation it starts with and reports as its default."""

    def __init__(
        self,
        name: str,
        image: BlockImage,
        identity: DriveIdentity | None = None,
        geometry: Geometry | None = None,
    ) -> None:
        super().__init__(name)
        self._image = image
        self._identity = identity or DriveIdentity()
        self.sectors = image.size_bytes // SECTOR
        self._geometry = geometry or default_geometry(self.sectors)
        self._install()
        self.power_on()

    def _install(self) -> None:
        table: tuple[tuple[Callable[[], None], Iterable[int]], ...] = (
            (self._read_sectors, (ata.READ_SECTORS, ata.READ_SECTORS_NO_RETRY, ata.READ_SECTORS_EXT)),
            (self._read_multiple, (ata.READ_MULTIPLE, ata.READ_MULTIPLE_EXT)),
            (self._read_dma, (ata.READ_DMA, ata.READ_DMA_NO_RETRY, ata.READ_DMA_EXT)),
            (self._write_sectors, (ata.WRITE_SECTORS, ata.WRITE_SECTORS_NO_RETRY, ata.WRITE_SECTORS_EXT)),
            (self._write_multiple, (ata.WRITE_MULTIPLE, ata.WRITE_MULTIPLE_EXT)),
            (self._write_dma, (ata.WRITE_DMA, ata.WRITE_DMA_NO_RETRY, ata.WRITE_DMA_EXT)),
            (self._verify, ata.VERIFIES),
            (self._read_native_max, (ata.READ_NATIVE_MAX_ADDRESS,)),
            (self._read_native_max_ext, (ata.READ_NATIVE_MAX_ADDRESS_EXT,)),
            (self._initialize_parameters, (ata.INITIALIZE_DEVICE_PARAMETERS,)),
            (self._set_multiple, (ata.SET_MULTIPLE_MODE,)),
            (self._complete, (ata.IDLE, ata.IDLE_IMMEDIATE)),
            (self._flush, (ata.FLUSH_CACHE, ata.FLUSH_CACHE_EXT)),
            (self._flush, (ata.STANDBY, ata.STANDBY_IMMEDIATE, ata.SLEEP)),
            (self._check_power_mode, (ata.CHECK_POWER_MODE,)),
            (self._read_buffer, (ata.READ_BUFFER,)),
            (self._write_buffer, (ata.WRITE_BUFFER,)),
            (self._identify, (ata.IDENTIFY_DEVICE,)),
            (self._set_features, (ata.SET_FEATURES,)),
            (self._complete, range(ata.RECALIBRATE, ata.RECALIBRATE + 16)),
            (self._seek, range(ata.SEEK, ata.SEEK + 16)),
        )
        for handler, opcodes in table:
            for opcode in opcodes:
                self._commands[opcode] = handler

    def power_on(self) -> None:
        """Become the disk after a hardware reset."""
        self._translation = self._geometry
        self._multiple = MAX_MULTIPLE
        self._modes = TransferModes()
        self._write_cache = True
        self._lba = self._left = 0
        self._block = 1
        self._last: int | None = None  # last sector of the command, None if it addresses none
        self._sector_buffer = bytes(SECTOR)
        self.registers.write(DEVICE, 0)
        self.end_reset()

    def save(self) -> AtaDiskState:
        """Return the state."""
        return AtaDiskState(
            transfer=self._save_transfer(),
            translation=self._translation,
            multiple=self._multiple,
            write_cache=self._write_cache,
            lba=self._lba,
            left=self._left,
            block=self._block,
            last=self._last,
            sector_buffer=self._sector_buffer,
        )

    def load(self, state: AtaDiskState) -> None:
        """Become `state`; the channel drives the interrupt."""
        self._load_transfer(state.transfer)
        self._translation, self._multiple = state.translation, state.multiple
        self._write_cache = state.write_cache
        self._lba, self._left, self._block = state.lba, state.left, state.block
        self._last, self._sector_buffer = state.last, state.sector_buffer

    def _trace(self) -> None:
        if self.tracer is not None:
            opcode = self._opcode
            lba, count = None, self.registers.current[COUNT]
            if opcode in ata.TRANSFERS:
                lba, count = self._address(), count_of(self.registers, self._opcode)
            self.tracer.emit(AtaCommand(self.channel, self.index, opcode, ata.NAMES[opcode], lba, count))

    # --- addressing --------------------------------------------------------------------------

    def _address(self) -> int | None:
        return address_of(self.registers, self._opcode, self._translation)

    def _begin(self, block: int) -> bool:
        """Take address and count for DRQ blocks of `block` sectors; fail with IDNF off the disk."""
        lba, count = self._address(), count_of(self.registers, self._opcode)
        if lba is None or lba + count > self.sectors:
            self._fail(ER_IDNF)
            return False
        self._lba, self._left, self._block = lba, count, block
        self._last = lba + count - 1
        return True

    def _show_address(self, lba: int, remaining: int) -> None:
        show_address(self.registers, self._opcode, self._translation, lba, remaining)

    def _finish(self, interrupt: bool = True) -> None:
        """End a data command well; the registers name the last sector, the count is 0."""
        if self._last is not None:
            self._show_address(self._last, 0)
        self._stop_transfer()
        self.status = self.READY
        if interrupt:
            self._raise_interrupt()

    def _fail_at(self, lba: int, error: int, extra_status: int = 0) -> None:
        """End a data command badly; the registers name the sector at fault."""
        if self._last is not None:
            self._show_address(lba, self._last + 1 - lba)
        self._fail(error, extra_status)

    # --- reading -----------------------------------------------------------------------------

    def _read_sectors(self) -> None:
        if self._begin(1) and self._fetch(PIO_AHEAD):
            self._offer_block()

    def _read_multiple(self) -> None:
        if not self._multiple:
            self._abort()
        elif self._begin(self._multiple) and self._fetch(PIO_AHEAD):
            self._offer_block()

    def _read_dma(self) -> None:
        if self._begin(1) and self._fetch(DMA_AHEAD):
            self._start_dma(DMA_IN)

    def _fetch(self, ahead: int) -> bool:
        """Fill the buffer with the next sectors, or fail the command at the first bad one."""
        sectors = min(self._left, ahead)
        try:
            data = self._image.read(self._lba, sectors)
        except HOST_ERRORS:
            sectors = min(self._left, self._block)
            singly = self._read_singly(sectors)
            if singly is None:
                return False
            data = singly
        self._lba += sectors
        self._left -= sectors
        self._buffer, self._position = data, 0
        return True

    def _read_singly(self, sectors: int) -> bytes | None:
        pieces = []
        for lba in range(self._lba, self._lba + sectors):
            try:
                pieces.append(self._image.read(lba, 1))
            except HOST_ERRORS:
                self._fail_at(lba, ER_UNC)
                return None
        return b"".join(pieces)

    def _offer_block(self) -> None:
        self._offer(min(self._position + self._block * SECTOR, len(self._buffer)))

    def _block_read(self) -> None:
        if self._position < len(self._buffer):
            self._offer_block()
        elif self._left:
            if self._fetch(PIO_AHEAD):
                self._offer_block()
        else:
            self._finish(interrupt=False)  # the last block has had its interrupt

    def _dma_read(self) -> None:
        if not self._left:
            self._finish()
        elif self._fetch(DMA_AHEAD):
            self.phase = DMA_IN

    def _verify(self) -> None:
        if not self._begin(1):
            return
        while self._left:
            if not self._fetch(DMA_AHEAD):
                return
        self._finish()

    def _offer_data(self, data: bytes) -> None:
        """Send one sector that has no address."""
        self._last, self._left, self._block = None, 0, 1
        self._buffer, self._position = data, 0
        self._offer_block()

    # --- writing -----------------------------------------------------------------------------

    def _write_sectors(self) -> None:
        self._start_write(1)

    def _write_multiple(self) -> None:
        self._start_write(self._multiple)

    def _start_write(self, block: int) -> None:
        if self._image.read_only or not block:
            self._abort()
        elif self._begin(block):
            self._request_block()  # no interrupt before the first block

    def _write_dma(self) -> None:
        if self._image.read_only:
            self._abort()
        elif self._begin(1):
            self._buffer = bytearray()
            self._end = self._left * SECTOR
            self._start_dma(DMA_OUT)

    def _request_block(self) -> None:
        self._request(min(self._block, self._left) * SECTOR)

    def _store(self) -> bool:
        """Put the buffer on the image, or fail the command with a device fault."""
        try:
            self._image.write(self._lba, self._buffer)
            if not self._write_cache:
                self._image.flush()
        except HOST_ERRORS:
            self._fail_at(self._lba, ER_ABRT, SR_DF)
            return False
        sectors = len(self._buffer) // SECTOR
        self._lba += sectors
        self._left -= sectors
        return True

    def _block_written(self) -> None:
        if self._opcode == ata.WRITE_BUFFER:
            self._sector_buffer = bytes(self._buffer)
            self._finish()
        elif self._store():
            if self._left:
                self._request_block()
                self._raise_interrupt()
            else:
                self._finish()

    def _dma_written(self) -> None:
        if self._store():
            self._finish()

    def _flush(self) -> None:
        try:
            self._image.flush()
        except HOST_ERRORS:
            self._fail(ER_ABRT, SR_DF)
        else:
            self._complete()

    # --- control -----------------------------------------------------------------------------

    def _identify(self) -> None:
        settings = DiskSettings(self._translation, self._multiple, self._modes, self._write_cache)
        self._offer_data(identify_device(self._identity, self.sectors, self._geometry, settings))

    def _read_buffer(self) -> None:
        self._offer_data(self._sector_buffer)

    def _write_buffer(self) -> None:
        self._last = None
        self._request(SECTOR)

    def _seek(self) -> None:
        lba = self._address()
        if lba is None or lba >= self.sectors:
            self._fail(ER_IDNF)
        else:
            self._complete()

    def _initialize_parameters(self) -> None:
        heads = (self.registers.current[DEVICE] & DEV_HEAD) + 1
        per_track = self.registers.current[COUNT]
        cylinders = self.sectors // (heads * per_track) if per_track else 0
        if not cylinders:
            self._abort()
            return
        self._translation = Geometry(min(cylinders, MAX_CYLINDER_NUMBER), heads, per_track)
        self._complete()

    def _set_multiple(self) -> None:
        count = self.registers.current[COUNT]
        self._multiple = count if count in MULTIPLES else 0
        if count in MULTIPLES:
            self._complete()
        else:
            self._abort()  # and READ/WRITE MULTIPLE are disabled, [ATA-6] §8.51.6

    def _read_native_max(self) -> None:
        last = min(self.sectors, LBA28_SECTORS) - 1
        self._show_address(max(last, 0), self.registers.current[COUNT])
        self._complete()

    def _read_native_max_ext(self) -> None:
        self.registers.set_lba48(max(self.sectors - 1, 0))
        self._complete()

    def _set_features(self) -> None:
        feature = self.registers.current[FEATURES]
        if feature == ata.FEATURE_TRANSFER_MODE:
            self._set_transfer_mode()
        elif feature in (ata.FEATURE_WRITE_CACHE_ON, ata.FEATURE_WRITE_CACHE_OFF):
            self._write_cache = feature == ata.FEATURE_WRITE_CACHE_ON
            self._flush()
        elif feature in (
            ata.FEATURE_LOOK_AHEAD_ON,
            ata.FEATURE_LOOK_AHEAD_OFF,
            ata.FEATURE_KEEP_SETTINGS,
            ata.FEATURE_REVERT_SETTINGS,
        ):
            self._complete()
        else:
            self._abort()
