"""The bus master of a PIIX IDE function: two channels, sixteen I/O ports, scatter/gather DMA.

A transfer runs to its end, or to the end of its table, the moment both sides are ready: START set
and the device asking for DMA, in either order. A device that goes against the direction bit waits.
Not modelled: 64 KiB boundaries inside a region (the address simply counts on), bus latency.

Sources:
    [BMI-1] Programming Interface for Bus Master IDE Controller, revision 1.0, 5/16/94.
    [PIIX3] Intel 82371FB (PIIX) and 82371SB (PIIX3) data sheet (290550-002), §2.6, §3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from devices.backplane import DeviceState, GuestMemory, PortBank
from devices.ide.channel import IdeChannel
from devices.ide.drive import DMA_IN, DMA_OUT

# Registers of one channel, [BMI-1] §2.0
BMIC: Final = 0
BMIS: Final = 2
BMIDTP: Final = 4
CHANNEL_PORTS: Final = 8

BMIC_START: Final = 0x01
BMIC_TO_MEMORY: Final = 0x08
BMIC_WRITABLE: Final = BMIC_START | BMIC_TO_MEMORY

BMIS_ACTIVE: Final = 0x01
BMIS_ERROR: Final = 0x02
BMIS_INTERRUPT: Final = 0x04
BMIS_CLEARABLE: Final = BMIS_ERROR | BMIS_INTERRUPT
BMIS_WRITABLE: Final = 0x60  # drive 0 and 1 DMA capable: set by software for software

BMIDTP_WRITABLE: Final = 0xFFFF_FFFC

# Physical region descriptor, [BMI-1] §1.2
PRD_BYTES: Final = 8
PRD_LAST: Final = 0x8000_0000
PRD_ADDRESS: Final = 0xFFFF_FFFE
PRD_COUNT: Final = 0x0000_FFFE
PRD_COUNT_OF_ZERO: Final = 0x1_0000
TABLE_BOUNDARY: Final = 0x1_0000  # a table must not cross it, and the walk ends there


class BusMasterChannelState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One channel: its registers and how far the table has been walked."""

    command: int
    status: int
    table: int
    next_prd: int
    table_end: int
    region: int
    region_left: int
    last: bool


class BusMasterState(DeviceState, frozen=True, kw_only=True):
    """Both channels."""

    enabled: bool
    channels: tuple[BusMasterChannelState, ...]


class _Channel:
    """The engine of one channel."""

    def __init__(self, memory: GuestMemory, channel: IdeChannel) -> None:
        self._memory = memory
        self._channel = channel
        self.enabled = False
        self.reset()
        channel.on_interrupt = self._interrupt
        channel.on_dma = self.run

    def reset(self) -> None:
        self.command = self.status = self.table = 0
        self._next_prd = self._table_end = 0
        self._region = self._region_left = 0
        self._last = False

    def read(self, register: int) -> int:
        if register == BMIC:
            return self.command
        if register == BMIS:
            return self.status
        if register >= BMIDTP:
            return self.table >> 8 * (register - BMIDTP) & 0xFF
        return 0

    def write(self, register: int, value: int) -> None:
        if register == BMIC:
            self._write_command(value)
        elif register == BMIS:
            old = self.status
            kept = old & ~value & BMIS_CLEARABLE
            self.status = value & BMIS_WRITABLE | old & BMIS_ACTIVE | kept
        elif register >= BMIDTP:
            shift = 8 * (register - BMIDTP)
            self.table = (self.table & ~(0xFF << shift) | value << shift) & BMIDTP_WRITABLE

    def _write_command(self, value: int) -> None:
        started = value & ~self.command & BMIC_START
        stopped = self.command & ~value & BMIC_START
        self.command = value & BMIC_WRITABLE
        if started:
            self.status |= BMIS_ACTIVE
            self._next_prd = self.table
            self._table_end = (self.table | TABLE_BOUNDARY - 1) + 1
            self._region_left = 0
            self._last = False
            self.run()
        elif stopped:
            self.status &= ~BMIS_ACTIVE

    def _interrupt(self) -> None:
        self.status |= BMIS_INTERRUPT

    def run(self) -> None:
        """Move data while the engine is active and the selected device has or wants some."""
        drive = self._channel.selected
        if not self.enabled or drive is None:
            return
        wanted = DMA_IN if self.command & BMIC_TO_MEMORY else DMA_OUT
        while self.status & BMIS_ACTIVE and drive.phase == wanted and self._region_ready():
            if wanted == DMA_IN:
                piece = drive.dma_peek(self._region_left)
                length = len(piece)
                self._memory.write(self._region, piece)
            else:
                length = min(self._region_left, drive.dma_wanted())
                data = self._memory.read(self._region, length)
            self._region += length
            self._region_left -= length
            if self._last and not self._region_left:
                self.status &= ~BMIS_ACTIVE  # before the device's interrupt
            if wanted == DMA_IN:
                drive.dma_advance(length)
            else:
                drive.dma_give(data)

    def _region_ready(self) -> bool:
        """Have a region with room, fetching the next descriptor if need be."""
        if self._region_left:
            return True
        if self._last:
            self.status &= ~BMIS_ACTIVE
            return False
        if self._next_prd + PRD_BYTES > self._table_end:
            self.status = self.status & ~BMIS_ACTIVE | BMIS_ERROR
            return False
        descriptor = self._memory.read(self._next_prd, PRD_BYTES)
        address = int.from_bytes(descriptor[:4], "little")
        control = int.from_bytes(descriptor[4:], "little")
        self._next_prd += PRD_BYTES
        self._region = address & PRD_ADDRESS
        self._region_left = control & PRD_COUNT or PRD_COUNT_OF_ZERO
        self._last = bool(control & PRD_LAST)
        return True

    def save(self) -> BusMasterChannelState:
        return BusMasterChannelState(
            command=self.command,
            status=self.status,
            table=self.table,
            next_prd=self._next_prd,
            table_end=self._table_end,
            region=self._region,
            region_left=self._region_left,
            last=self._last,
        )

    def load(self, state: BusMasterChannelState) -> None:
        self.command, self.status, self.table = state.command, state.status, state.table
        self._next_prd, self._table_end, self._last = state.next_prd, state.table_end, state.last
        self._region, self._region_left = state.region, state.region_left


class BusMasterIde:
    """Sixteen ports for two channels; `bank` goes where BAR4 says."""

    def __init__(self, name: str, memory: GuestMemory, channels: Sequence[IdeChannel]) -> None:
        self.name = name
        self._channels = [_Channel(memory, channel) for channel in channels]
        self._ports = CHANNEL_PORTS * len(self._channels)
        self.bank = PortBank(name, self.read, self.write)

    def reset(self) -> None:
        """Stop both engines and clear their registers."""
        for channel in self._channels:
            channel.reset()

    def set_master(self, enabled: bool) -> None:
        """Follow the bus master enable of COMMAND; a transfer held back by it goes on."""
        for channel in self._channels:
            channel.enabled = enabled
            channel.run()

    def read(self, offset: int, size: int) -> int:
        """Guest IN of any width: registers are bytes side by side, [PIIX3] §2.6."""
        value = 0
        for at in range(offset, offset + size):
            byte = self._channels[at >> 3].read(at & 7) if at < self._ports else 0xFF
            value |= byte << 8 * (at - offset)
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest OUT of any width."""
        for at in range(offset, min(offset + size, self._ports)):
            self._channels[at >> 3].write(at & 7, value & 0xFF)
            value >>= 8

    def save(self) -> BusMasterState:
        """Return both channels."""
        return BusMasterState(
            enabled=self._channels[0].enabled,
            channels=tuple(channel.save() for channel in self._channels),
        )

    def load(self, state: BusMasterState) -> None:
        """Become `state`; nothing moves until the guest or a device asks."""
        for channel, saved in zip(self._channels, state.channels, strict=True):
            channel.enabled = state.enabled
            channel.load(saved)
