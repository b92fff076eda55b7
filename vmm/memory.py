"""Guest-physical memory: RAM, ROM and the holes between, as the processor and bus masters see it.

Layout of a PC: conventional memory below A0000h, the video window, sixteen-KiB *shadow* segments
from C0000h to FFFFFh that the host bridge can write-protect, RAM above 1 MiB, ROM below 4 GiB.
RAM is one anonymous mapping whose offset is the physical address.
"""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from devices.backplane import PortDevice
from vmm.errors import BusConflictError, ConfigError

KIB: Final = 1024
MIB: Final = 1024 * KIB
CONVENTIONAL_END: Final = 0xA0000
SHADOW_FIRST: Final = 0xC0000
SHADOW_END: Final = 0x100000
SHADOW_SEGMENT: Final = 0x4000
BIOS_SEGMENT: Final = 0xF0000  # one 64-KiB segment, [440FX] PAM0
_MASKS: Final = {1: 0xFF, 4: 0xFFFF_FFFF}
MONITOR_BASE: Final = 1 << 39  # the monitor's own pages: beyond 32 bits, within what QEMU's page walk takes
TOP_OF_RAM_MAX: Final = 0xE000_0000  # PCI devices and ROM live above


class Block(NamedTuple):
    """A run of host memory that the engine maps: RAM or ROM."""

    address: int
    length: int
    host_address: int
    writable: bool


class Window(NamedTuple):
    """A run of addresses that a device answers."""

    address: int
    length: int
    device: PortDevice


class Aperture:
    """Host memory of a device, such as a frame buffer, that is mapped at `address` while `shown`.

    While it is not, a window answers there as anywhere else. `show` may be called from a guest's
    access: the engine follows when it next starts to run.
    """

    def __init__(self, address: int, length: int) -> None:
        self.address, self.length = address, length
        self.buffer = mmap.mmap(-1, length)
        self.shown = False
        self.on_show: Callable[[], None] = lambda: None

    def show(self, shown: bool) -> None:
        """Map the memory, or have the window answer again."""
        if shown != self.shown:
            self.shown = shown
            self.on_show()

    @property
    def block(self) -> Block:
        """The host's memory, as the engine maps it."""
        return Block(self.address, self.length, _host_address(self.buffer), True)


def _host_address(buffer: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _words(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Split an access to a device into aligned dwords with bytes around them: (place, size)."""
    head = min(-offset % 4, length)
    end = head + (length - head) // 4 * 4
    for i in range(head):
        yield i, 1
    for i in range(head, end, 4):
        yield i, 4
    for i in range(end, length):
        yield i, 1


def no_engine(address: int, length: int) -> None:
    """Nobody has translated code from memory: there is no engine yet, or no more."""


class Memory:
    """Physical memory of one machine. Reads of what is not there give FFh; writes are dropped."""

    def __init__(self, ram_bytes: int) -> None:
        if not MIB <= ram_bytes <= TOP_OF_RAM_MAX or ram_bytes % 4096:
            raise ConfigError(
                f"memory of {ram_bytes} bytes: allowed are 1M to {TOP_OF_RAM_MAX // MIB}M, in 4K steps"
            )
        self.ram_bytes = ram_bytes
        self.mapping = mmap.mmap(-1, ram_bytes)
        self.ram = memoryview(self.mapping)
        self._host = _host_address(self.mapping)
        self._roms: list[tuple[int, mmap.mmap]] = []
        self.monitor: mmap.mmap | None = None
        self.windows: list[Window] = []
        self.apertures: list[Aperture] = []
        self._shadow_writable = [True] * ((SHADOW_END - SHADOW_FIRST) // SHADOW_SEGMENT)
        self.on_write: Callable[[int, int], None] = no_engine
        self.on_protect: Callable[[int, int, bool], None] = lambda address, length, writable: None

    # -- building

    def add_rom(self, address: int, data: bytes) -> None:
        """Put `data` at `address`; a multiple of 4 KiB."""
        rom = mmap.mmap(-1, len(data))
        rom[:] = data
        self._roms.append((address, rom))

    def add_monitor(self, length: int) -> None:
        """Map pages of the monitor's own at MONITOR_BASE, which `read` and `write` never reach."""
        self.monitor = mmap.mmap(-1, length)

    def add_window(self, address: int, length: int, device: PortDevice) -> None:
        """Let `device` answer accesses to `length` bytes at `address`."""
        for window in self.windows:
            if address < window.address + window.length and window.address < address + length:
                raise BusConflictError(window.device.name, device.name, address, address + length - 1)
        self.windows.append(Window(address, length, device))

    def add_aperture(self, address: int, length: int, behind: PortDevice) -> Aperture:
        """Make room for a device's memory; while it is not shown, `behind` answers."""
        self.add_window(address, length, behind)
        aperture = Aperture(address, length)
        self.apertures.append(aperture)
        return aperture

    def blocks(self) -> list[Block]:
        """Return the runs of host memory; shadow segments separately, so that protection never splits one."""
        runs = [(0, CONVENTIONAL_END)]
        runs += [(a, SHADOW_SEGMENT) for a in range(SHADOW_FIRST, BIOS_SEGMENT, SHADOW_SEGMENT)]
        runs.append((BIOS_SEGMENT, SHADOW_END - BIOS_SEGMENT))
        if self.ram_bytes > SHADOW_END:
            runs.append((SHADOW_END, self.ram_bytes - SHADOW_END))
        blocks = [Block(address, length, self._host + address, True) for address, length in runs]
        if self.monitor is not None:
            blocks.append(Block(MONITOR_BASE, len(self.monitor), _host_address(self.monitor), True))
        return blocks + [Block(a, len(rom), _host_address(rom), False) for a, rom in self._roms]

    # -- the host bridge's PAM registers

    def protect_shadow(self, address: int, length: int, *, writable: bool) -> None:
        """Make the shadow segments of `address`..`address + length` RAM or ROM to the guest."""
        first = (address - SHADOW_FIRST) // SHADOW_SEGMENT
        for index in range(first, first + length // SHADOW_SEGMENT):
            self._shadow_writable[index] = writable
        self.on_protect(address, length, writable)

    # -- access

    def is_ram(self, address: int, length: int) -> bool:
        """Whether all of the range is RAM that a write changes."""
        end = address + length
        if end <= CONVENTIONAL_END or (address >= SHADOW_END and end <= self.ram_bytes):
            return address >= 0
        return False

    def views(self, runs: Sequence[tuple[int, int]]) -> list[memoryview] | None:
        """Return RAM as it lies, a view a run; None unless `is_ram` holds for each."""
        top, ram = self.ram_bytes, self.ram
        views = []
        for address, length in runs:
            end = address + length
            if end > top or (address < SHADOW_END and not self.is_ram(address, length)):
                return None
            views.append(ram[address:end])
        return views

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes from physical `address`."""
        end = address + length
        if end <= CONVENTIONAL_END or (address >= SHADOW_FIRST and end <= self.ram_bytes):
            return self.mapping[address:end]
        return b"".join(self._read_piece(a, n) for a, n in self.pieces(address, length))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at physical `address`; translated code it overwrites is forgotten."""
        end = address + len(data)
        if end <= CONVENTIONAL_END or (address >= SHADOW_END and end <= self.ram_bytes):
            self.ram[address:end] = data
            self.on_write(address, len(data))
            return
        done = 0
        for piece, length in self.pieces(address, len(data)):
            self._write_piece(piece, bytes(data[done : done + length]))
            done += length

    def pieces(self, address: int, length: int) -> list[tuple[int, int]]:
        """Split a range at the borders of the map: the (address, length) of each piece."""
        window = self._window(address)
        if window is not None and 0 < length <= window.address + window.length - address:
            return [(address, length)]  # the firmware's way to the screen, a cell at a time
        borders = [0, CONVENTIONAL_END, SHADOW_FIRST, SHADOW_END, self.ram_bytes]
        borders += range(SHADOW_FIRST, SHADOW_END, SHADOW_SEGMENT)
        for start, rom in self._roms:
            borders += [start, start + len(rom)]
        for window in self.windows:
            borders += [window.address, window.address + window.length]
        borders = sorted(set(borders))
        pieces = []
        while length > 0:
            index = bisect_right(borders, address)
            step = min(length, borders[index] - address) if index < len(borders) else length
            pieces.append((address, step))
            address, length = address + step, length - step
        return pieces

    def is_window(self, address: int) -> bool:
        """Whether a device's window answers at `address`."""
        return self._window(address) is not None

    def window(self, address: int) -> Window:
        """Return the window at `address`; there has to be one."""
        found = self._window(address)
        assert found is not None
        return found

    def _window(self, address: int) -> Window | None:
        return next((w for w in self.windows if w.address <= address < w.address + w.length), None)

    def _shown(self, address: int) -> Aperture | None:
        return next(
            (a for a in self.apertures if a.shown and a.address <= address < a.address + a.length), None
        )

    def _read_piece(self, address: int, length: int) -> bytes:
        if (aperture := self._shown(address)) is not None:
            offset = address - aperture.address
            return aperture.buffer[offset : offset + length]
        window = self._window(address)
        if window is not None:
            offset = address - window.address
            read = window.device.read
            data = bytearray()
            for i, n in _words(offset, length):
                data += (read(offset + i, n) & _MASKS[n]).to_bytes(n, "little")
            return bytes(data)
        if address < self.ram_bytes and not CONVENTIONAL_END <= address < SHADOW_FIRST:
            return bytes(self.ram[address : address + length])
        for start, rom in self._roms:
            if start <= address < start + len(rom):
                return rom[address - start : address - start + length]
        return b"\xff" * length

    def _write_piece(self, address: int, data: bytes) -> None:
        if (aperture := self._shown(address)) is not None:
            offset = address - aperture.address
            aperture.buffer[offset : offset + len(data)] = data
            self.on_write(address, len(data))
            return
        window = self._window(address)
        if window is not None:
            offset = address - window.address
            for i, n in _words(offset, len(data)):
                window.device.write(offset + i, n, int.from_bytes(data[i : i + n], "little"))
            return
        if address >= self.ram_bytes or CONVENTIONAL_END <= address < SHADOW_FIRST:
            return
        if (
            SHADOW_FIRST <= address < SHADOW_END
            and not self._shadow_writable[(address - SHADOW_FIRST) // SHADOW_SEGMENT]
        ):
            return
        self.ram[address : address + len(data)] = data
        self.on_write(address, len(data))
