"""A bench for IDE devices: images in memory, guest memory, a channel and its bus master."""

from __future__ import annotations

from devices.backplane import IrqLine, TraceEvent
from devices.ide import commands as ata
from devices.ide import registers as r
from devices.ide.atapi import AtapiDrive
from devices.ide.busmaster import BusMasterIde
from devices.ide.channel import IdeChannel
from devices.ide.disk import AtaDisk
from devices.ide.identify import Geometry

SECTORS = 2048
LBA_MODE = 0xE0
CDB_BYTES = 12


def pattern(lba: int) -> bytes:
    """The 512 bytes of a sector: its number, over and over."""
    return lba.to_bytes(4, "little") * 128


class MemoryImage:
    """A `BlockImage` that knows which requests it had and can refuse sectors."""

    def __init__(self, sectors: int = SECTORS, read_only: bool = False, keeps_writes: bool = True) -> None:
        self.size_bytes = sectors * 512
        self.read_only = read_only
        self.keeps_writes = keeps_writes
        self.written: dict[int, bytes] = {}
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.flushes = 0
        self.bad: set[int] = set()

    def _check(self, lba: int, sectors: int) -> None:
        if sectors <= 0 or lba + sectors > self.size_bytes // 512:
            raise ValueError((lba, sectors))
        if self.bad & set(range(lba, lba + sectors)):
            raise OSError("bad sector")

    def sector(self, lba: int) -> bytes:
        return self.written.get(lba, pattern(lba))

    def read(self, lba: int, sectors: int) -> bytes:
        self.reads.append((lba, sectors))
        self._check(lba, sectors)
        return b"".join(self.sector(at) for at in range(lba, lba + sectors))

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        self.writes.append((lba, len(data) // 512))
        self._check(lba, len(data) // 512)
        for at in range(len(data) // 512 if self.keeps_writes else 0):
            self.written[lba + at] = data[512 * at : 512 * at + 512]

    def flush(self) -> None:
        self.flushes += 1
        if -1 in self.bad:
            raise OSError("flush failed")

    def close(self) -> None:
        pass


class Memory:
    """Guest memory of `size` bytes; beyond it reads as FFh."""

    def __init__(self, size: int = 0x10_0000) -> None:
        self.data = bytearray(size)
        self.writes: list[tuple[int, int]] = []

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.writes.append((address, len(data)))
        room = max(0, len(self.data) - address)
        self.data[address : address + min(len(data), room)] = data[:room]


class Events(list[TraceEvent]):
    """A tracer that keeps everything."""

    def emit(self, event: TraceEvent) -> None:
        self.append(event)


class Rig:
    """A primary channel (disk as device 0, nothing or a CD drive as device 1) and a bus master."""

    def __init__(
        self,
        image: MemoryImage | None = None,
        disc: MemoryImage | None = None,
        cd: bool = False,
        geometry: Geometry | None = None,
    ) -> None:
        self.edges: list[bool] = []
        self.irq = IrqLine(self.edges.append)
        self.events = Events()
        self.memory = Memory()
        self.image = image or MemoryImage()
        self.channel = IdeChannel("ide0", self.irq, self.events)
        self.disk = AtaDisk("hda", self.image, geometry=geometry)
        self.channel.attach(0, self.disk)
        self.drive: AtapiDrive | None = None
        if disc is not None or cd:
            self.drive = AtapiDrive("hdb", disc)
            self.channel.attach(1, self.drive)
        self.bus_master = BusMasterIde("bm", self.memory, (self.channel,))
        self.bus_master.set_master(True)
        self.ports = self.channel.command_bank
        self.control = self.channel.control_bank

    def out(self, *registers: tuple[int, int]) -> None:
        for offset, value in registers:
            self.ports.write(offset, 1, value)

    def inb(self, offset: int) -> int:
        return self.ports.read(offset, 1)

    @property
    def alternate(self) -> int:
        return self.control.read(0, 1)

    def lba28(self, opcode: int, lba: int, count: int, features: int = 0) -> None:
        self.out(
            (r.DEVICE, LBA_MODE | lba >> 24),
            (r.FEATURES, features),
            (r.COUNT, count & 0xFF),
            (r.LBA_LOW, lba & 0xFF),
            (r.LBA_MID, lba >> 8 & 0xFF),
            (r.LBA_HIGH, lba >> 16 & 0xFF),
            (r.COMMAND, opcode),
        )

    def lba48(self, opcode: int, lba: int, count: int) -> None:
        self.out((r.DEVICE, LBA_MODE), (r.COUNT, count >> 8 & 0xFF))
        for offset, shift in ((r.LBA_LOW, 24), (r.LBA_MID, 32), (r.LBA_HIGH, 40)):
            self.out((offset, lba >> shift & 0xFF))
        self.out((r.COUNT, count & 0xFF))
        for offset, shift in ((r.LBA_LOW, 0), (r.LBA_MID, 8), (r.LBA_HIGH, 16)):
            self.out((offset, lba >> shift & 0xFF))
        self.out((r.COMMAND, opcode))

    def chs(self, opcode: int, cylinder: int, head: int, sector: int, count: int = 1) -> None:
        self.out((r.DEVICE, 0xA0 | head), (r.COUNT, count), (r.LBA_LOW, sector))
        self.out((r.LBA_MID, cylinder & 0xFF), (r.LBA_HIGH, cylinder >> 8), (r.COMMAND, opcode))

    def words(self, count: int = 256) -> bytes:
        """Read words from the data port one by one."""
        return b"".join(self.ports.read(0, 2).to_bytes(2, "little") for _ in range(count))

    def put(self, data: bytes) -> None:
        """Write words to the data port one by one."""
        for at in range(0, len(data), 2):
            self.ports.write(0, 2, int.from_bytes(data[at : at + 2], "little"))

    def identify(self) -> list[int]:
        self.out((r.DEVICE, 0xA0), (r.COMMAND, ata.IDENTIFY_DEVICE))
        data = self.words()
        return [int.from_bytes(data[at : at + 2], "little") for at in range(0, 512, 2)]

    # bus master ------------------------------------------------------------------------------

    def prds(self, *regions: tuple[int, int], table: int = 0x1000, last: bool = True) -> None:
        for at, (address, length) in enumerate(regions):
            end = 0x8000_0000 if last and at == len(regions) - 1 else 0
            entry = address.to_bytes(4, "little") + (length & 0xFFFF | end).to_bytes(4, "little")
            self.memory.data[table + 8 * at : table + 8 * at + 8] = entry
        self.bus_master.write(4, 4, table)

    def start(self, to_memory: bool) -> None:
        self.bus_master.write(0, 1, 0x08 if to_memory else 0)
        self.bus_master.write(0, 1, 0x09 if to_memory else 0x01)

    @property
    def bmis(self) -> int:
        return self.bus_master.read(2, 1)

    # packets to device 1 ---------------------------------------------------------------------

    def packet(self, *cdb: int, features: int = 0, limit: int = 0xFFFE) -> None:
        self.out((r.DEVICE, 0xB0), (r.FEATURES, features))
        self.out((r.LBA_MID, limit & 0xFF), (r.LBA_HIGH, limit >> 8), (r.COMMAND, ata.PACKET))
        self.put(bytes(cdb).ljust(CDB_BYTES, b"\0"))

    def packet_data(self) -> bytes:
        """Read all data of a packet command by PIO, block after block."""
        data = b""
        while self.inb(r.STATUS) & r.SR_DRQ:
            count = self.inb(r.LBA_MID) | self.inb(r.LBA_HIGH) << 8
            data += self.words((count + 1) // 2)[:count]
        return data

    def clear_attention(self) -> None:
        """Take the unit attention of the reset."""
        self.packet(0)
        self.inb(r.STATUS)
