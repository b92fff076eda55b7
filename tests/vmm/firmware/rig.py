"""The firmware with a processor that is only registers: services are called as a ROM stub calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from devices.backplane import PortBank, PortRange
from devices.vga.adapter import Vga
from disks.errors import ReadOnlyError
from vmm.bus import PortBus
from vmm.clock import MachineClock, ManualTime
from vmm.cpu import registers as r
from vmm.cpu.state import SegmentCache
from vmm.firmware.bda import Bda
from vmm.firmware.bios import Bios
from vmm.firmware.host import BootDrive, DriveKind, FirmwareHost, Geometry
from vmm.firmware.kernel import Kernel
from vmm.memory import Memory

STACK = 0x7000
RETURN_CS, RETURN_IP = 0x1234, 0x5678
NAMES = {"ax": r.RAX, "bx": r.RBX, "cx": r.RCX, "dx": r.RDX, "si": r.RSI, "di": r.RDI, "bp": r.RBP}


@dataclass
class RamDisk:
    """A disk image in memory."""

    data: bytearray
    read_only: bool = False
    broken: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, lba: int, sectors: int) -> bytes:
        if self.broken:
            raise OSError("the host's disk is broken")
        if lba < 0 or (lba + sectors) * 512 > len(self.data):
            raise ValueError("outside the image")
        return bytes(self.data[lba * 512 : (lba + sectors) * 512])

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        if self.read_only:
            raise ReadOnlyError("ram")
        if lba < 0 or lba * 512 + len(data) > len(self.data):
            raise ValueError("outside the image")
        self.data[lba * 512 : lba * 512 + len(data)] = data

    def flush(self) -> None: ...

    def close(self) -> None: ...


def numbered_disk(sectors: int) -> RamDisk:
    """Each sector filled with its number, as a 16-bit word."""
    return RamDisk(bytearray(b"".join((n & 0xFFFF).to_bytes(2, "little") * 256 for n in range(sectors))))


@dataclass
class FakeView:
    """Registers of a processor in real mode."""

    memory: Memory
    regs: list[int] = field(default_factory=lambda: [0] * 16)
    cr: list[int] = field(default_factory=lambda: [0] * 5)
    segs: list[SegmentCache] = field(default_factory=lambda: [SegmentCache() for _ in range(6)])
    gdt: SegmentCache = field(default_factory=SegmentCache)
    idt: SegmentCache = field(default_factory=SegmentCache)
    ldt: SegmentCache = field(default_factory=SegmentCache)
    tr: SegmentCache = field(default_factory=SegmentCache)
    rip: int = 0
    rflags: int = 2
    efer: int = 0
    cpl: int = 0

    def load_segment(self, index: int, selector: int, base: int, limit: int, flags: int) -> None:
        segment = self.segs[index]
        segment.selector, segment.base, segment.limit, segment.flags = selector, base, limit, flags

    def write_cr(self, index: int, value: int) -> None:
        self.cr[index] = value

    def fetch(self) -> FakeView:
        return self

    def commit(self) -> None: ...


class Latches:
    """256 ports that keep what is written: enough of a chip for a service to talk to."""

    def __init__(self, bus: PortBus, first: int, length: int) -> None:
        self.values = [0] * length
        self.writes: list[tuple[int, int]] = []
        self.first = first
        bus.attach(PortBank(f"latches {first:x}", self._read, self._write), PortRange(first, length))

    def _read(self, offset: int, size: int) -> int:
        return self.values[offset]

    def _write(self, offset: int, size: int, value: int) -> None:
        self.values[offset] = value
        self.writes.append((self.first + offset, value))


class Pic(Latches):
    """An interrupt controller whose in-service register the test sets."""

    in_service = 0

    def _read(self, offset: int, size: int) -> int:
        return self.in_service if self.values[0] == 0x0B else 0


class Rtc:
    """Index and data port of a clock chip that stands still."""

    def __init__(self, bus: PortBus) -> None:
        self.registers = bytearray(128)
        self._index = 0
        bus.attach(PortBank("rtc", self._read, self._write), PortRange(0x70, 2))

    def _read(self, offset: int, size: int) -> int:
        return self.registers[self._index]

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._index = value & 0x7F
        else:
            self.registers[self._index] = value


def attach_vga(bus: PortBus, vga: Vga) -> None:
    """Plug a VGA in where it is on a PC."""
    banks = (
        (0x3B0, 12, vga.mono),
        (0x3C0, 16, vga.common),
        (0x3D0, 16, vga.colour),
        (0x1CE, 2, vga.dispi.bank),
    )
    for first, length, bank in banks:
        bus.attach(bank, PortRange(first, length))


class Rig:
    """The BIOS over 4 MiB of memory; `call` executes one INT."""

    def __init__(
        self,
        drives: Sequence[BootDrive] = (),
        boot_order: Sequence[DriveKind] = ("hd", "cd"),
        power_on: bool = True,
        with_vga: bool = False,
        kernel: Kernel | None = None,
    ) -> None:
        self.memory = Memory(4 << 20)
        self.bus = PortBus()
        self.time = ManualTime()
        self.view = FakeView(self.memory)
        self.rtc = Rtc(self.bus)
        self.vga = Vga(MachineClock(self.time), frame_buffer=bytearray(4 << 20)) if with_vga else None
        if self.vga is None:
            self.crtc = Latches(self.bus, 0x3D4, 2)
        else:
            attach_vga(self.bus, self.vga)
        self.control = Latches(self.bus, 0x92, 1)
        self.control.values[0] = 2
        self.keyboard = Latches(self.bus, 0x64, 1)
        self.pics = [Pic(self.bus, 0x20, 2), Pic(self.bus, 0xA0, 2)]
        self.reasons: list[str] = []
        self.bios = Bios(
            FirmwareHost(
                processor=self.view,
                memory=self.memory,
                bus=self.bus,
                clock=MachineClock(self.time),
                ram_bytes=self.memory.ram_bytes,
                drives=drives,
                boot_order=boot_order,
                on_no_boot=self.reasons.append,
                display=self.vga,
                kernel=kernel,
            )
        )
        self.memory.ram[0xF0000:0x100000] = self.bios.rom
        self.bda = Bda(self.memory)
        self.video = bytearray(0x8000)
        if self.vga is None:
            self.memory.add_window(0xB8000, 0x8000, _Plain(self.video))
        else:
            self.memory.add_window(0xA0000, 0x20000, self.vga)
        if power_on:
            self.call(0xF0)

    def call(self, vector: int, verdict: int = 0, **regs: int) -> None:
        """Execute INT `vector` with the named 16- or 32-bit registers, others kept."""
        for name, value in regs.items():
            if name in ("es", "ds"):
                self.view.segs[r.ES if name == "es" else r.DS].base = value << 4
            else:
                self.view.regs[NAMES[name[-2:]]] = value
        self.view.regs[r.RSP] = STACK
        frame = (vector | verdict << 8, RETURN_IP, RETURN_CS, 0x0202)
        self.memory.write(STACK, b"".join(word.to_bytes(2, "little") for word in frame))
        self.bios.write(0, 1, 0)

    def reg(self, name: str) -> int:
        """Return a register, or its high or low byte."""
        if name[1] in "hl":
            return self.view.regs[NAMES[name[0] + "x"]] >> (8 if name[1] == "h" else 0) & 0xFF
        return self.view.regs[NAMES[name[-2:]]] & (0xFFFF_FFFF if name[0] == "e" else 0xFFFF)

    def _word(self, offset: int) -> int:
        return int.from_bytes(self.memory.read(STACK + offset, 2), "little")

    def ends_of_interrupt(self) -> list[int]:
        """Return the controllers, by port, that were sent an EOI."""
        return [
            pic.first for pic in self.pics for port, value in pic.writes if (port, value) == (pic.first, 0x20)
        ]

    @property
    def es(self) -> int:
        return self.view.segs[r.ES].base >> 4

    @property
    def verdict(self) -> int:
        return self._word(0) >> 8

    @property
    def target(self) -> tuple[int, int]:
        """Where the stub's IRET goes: segment, offset."""
        return self._word(4), self._word(2)

    @property
    def carry(self) -> bool:
        return bool(self._word(6) & r.CF)

    @property
    def zero(self) -> bool:
        return bool(self._word(6) & r.ZF)

    def line(self, row: int) -> str:
        """Return the text of one screen row."""
        return self.video[row * 160 : row * 160 + 160 : 2].decode("cp437").rstrip()


class _Plain:
    """Video memory that just remembers."""

    name = "video"

    def __init__(self, data: bytearray) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._data[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self._data[offset : offset + size] = value.to_bytes(size, "little")


def hard_disk(image: RamDisk, geometry: Geometry | None = None, number: int = 0x80) -> BootDrive:
    return BootDrive(number, "hd", image, geometry)
