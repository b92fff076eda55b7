"""A paravirtual monitor in plain Python: fake processor, memory, ports, and the real calls, events, ring."""

from __future__ import annotations

from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import FakeMemory, protected_view
from vmm.cpu import registers as r
from vmm.techniques.para import abi
from vmm.techniques.para.block_ring import BlockRing
from vmm.techniques.para.console import Console
from vmm.techniques.para.events import EventChannels, SharedPage
from vmm.techniques.para.hypercalls import Devices, Hypercalls

SHARED, RING, BUFFER, TABLE = 0x2_0000, 0x2_1000, 0x3_0000, 0x4_0000
UPCALL = 0x20
MASK = 0xFFFF_FFFF


class Ram(FakeMemory):
    """RAM that knows its size, and remembers the lowest address that was not its own."""

    def is_ram(self, address: int, length: int) -> bool:
        return address + length <= len(self.ram)


class FakePorts:
    """Ports that remember: what was written, and what the next reads give."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int]] = []
        self.reads: dict[int, list[int]] = {}
        self.level = [0, 0]  # of the ELCR

    def read(self, port: int, size: int) -> int:
        assert size == 1
        if port in (0x4D0, 0x4D1):
            return self.level[port - 0x4D0]
        waiting = self.reads.get(port)
        return waiting.pop(0) if waiting else 0

    def write(self, port: int, size: int, value: int) -> None:
        assert size == 1
        assert 0 <= value <= 0xFF
        self.log.append((port, value))

    def last(self, port: int) -> int:
        return next(value for at, value in reversed(self.log) if at == port)


class FakeDisk:
    """An image of `sectors` sectors in memory, which may fail."""

    def __init__(self, sectors: int = 64, *, read_only: bool = False) -> None:
        self.data = bytearray(range(256)) * (2 * sectors)
        self.read_only = read_only
        self.broken = False
        self.flushes = 0

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, lba: int, sectors: int) -> bytes:
        self._check()
        return bytes(self.data[lba * 512 : (lba + sectors) * 512])

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        self._check()
        self.data[lba * 512 : lba * 512 + len(data)] = data

    def flush(self) -> None:
        self._check()
        self.flushes += 1

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.broken:
            raise OSError("the host's disk is gone")


class Rig:
    """One guest, one monitor."""

    def __init__(self, disk: FakeDisk | None = None) -> None:
        self.ram = Ram()
        self.view = protected_view()
        self.ram.ram[:] = self.view.memory.ram
        self.view.memory = self.ram
        self.services = FakeServices()
        self.ports = FakePorts()
        self.now = 1000
        self.ended: list[tuple[int, int]] = []
        self.changed: list[tuple[int, int]] = []
        self.given = 0
        page = SharedPage(self.ram)
        self.events = EventChannels(page, self.ports, lambda: self.now)
        self.page = page
        ring = BlockRing(self.ram, disk)
        self.calls = Hypercalls(
            self.view, self.ram, self.services, self, Devices(page, self.events, Console(self.ports), ring)
        )

    def entry_changed(self, address: int, old: int) -> None:
        self.changed.append((address, old))

    def tables_given(self) -> None:
        self.given += 1

    def upcalls_start(self) -> None:
        self.events.set_up()

    def end(self, reason: int, code: int) -> None:
        self.ended.append((reason, code))

    def call(self, number: int, a: int = 0, b: int = 0, c: int = 0) -> int:
        """One hypercall; a negative result is an error."""
        regs = self.view.regs
        regs[r.RAX], regs[r.RBX], regs[r.RCX], regs[r.RDX] = number, a, b, c
        self.calls.serve()
        result = regs[r.RAX]
        return result - (1 << 32) if result >> 31 else result

    def with_upcalls(self) -> Rig:
        assert self.call(abi.SET_CALLBACKS, UPCALL, SHARED) == 0
        return self

    def pending(self) -> int:
        return self.ram.u32(SHARED + abi.EVENTS_PENDING)
