"""A PCI function of ours in Debian's QEMU: the far end of its `x-pci-proxy-dev`.

QEMU forwards every access of configuration space and BARs through a socket, and waits for the answer; the
guest's RAM is a memfd that both map. Interrupts go the other way, over QEMU's test port (`-qtest`), since
those of the proxy device itself need KVM. So a chip meets a whole foreign PC. Not modelled: configuration
of several functions, RAM that is not shared.

Sources:
    [MPQEMU] QEMU 7.2, docs/system/multi-process.rst and include/hw/remote/mpqemu-link.h: the messages.
    [QTEST] QEMU 7.2, softmmu/qtest.c: the commands of the test port.
"""

from __future__ import annotations

import mmap
import os
import selectors
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final, NamedTuple, Self

from devices.backplane import IrqLine, PortDevice
from devices.pci.config import INTERRUPT_LINE, ConfigSpace
from vmm.clock import NEVER_NS, HostTime, MachineClock

# [MPQEMU] MPQemuCmd
SYNC_SYSMEM: Final = 0
RET: Final = 1
PCI_CFGWRITE: Final = 2
PCI_CFGREAD: Final = 3
BAR_WRITE: Final = 4
BAR_READ: Final = 5
SET_IRQFD: Final = 6
DEVICE_RESET: Final = 7

HEADER: Final = struct.Struct("<i4xQ")  # [MPQEMU] cmd and size of MPQemuMsg
ANSWER: Final = struct.Struct("<i4xQQ")
CONFIG_ACCESS: Final = struct.Struct("<IIi")  # [MPQEMU] PciConfDataMsg
BAR_ACCESS: Final = struct.Struct("<QQI?3x")  # [MPQEMU] BarAccessMsg
REGIONS: Final = 8  # [MPQEMU] REMOTE_MAX_FDS
REGION_TABLE: Final = struct.Struct(f"<{REGIONS}Q{REGIONS}Q{REGIONS}q")  # [MPQEMU] SyncSysmemMsg

INTERRUPT: Final = "set_irq_in /machine/i440fx/ioapic unnamed-gpio-in {line} {level:d}\n"  # [QTEST]
LONGEST_WAIT_S: Final = 60.0
NS: Final = 1_000_000_000
END_S: Final = 30.0


class Region(NamedTuple):
    """A run of guest-physical RAM and where it is in a mapping."""

    first: int
    length: int
    offset: int
    mapping: mmap.mmap


class SharedMemory:
    """Guest RAM as QEMU has shown it last: a `GuestMemory`."""

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self._mappings: dict[int, mmap.mmap] = {}

    def take(self, body: bytes, files: Sequence[int]) -> None:
        """Become what a SYNC_SYSMEM message says; close its files."""
        fields = REGION_TABLE.unpack_from(body)
        regions = []
        for at, file in enumerate(files):
            inode = os.fstat(file).st_ino
            if inode not in self._mappings:
                self._mappings[inode] = mmap.mmap(file, 0)
            os.close(file)
            first, length, offset = fields[at], fields[REGIONS + at], fields[2 * REGIONS + at]
            regions.append(Region(first, length, offset, self._mappings[inode]))
        self._regions = regions

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes; what is not RAM reads as FFh."""
        place = self._place(address, length)
        if place is not None:
            mapping, at = place
            return mapping[at : at + length]
        return b"".join(self._read_byte(address + at) for at in range(length))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`; what falls outside RAM is dropped."""
        place = self._place(address, len(data))
        if place is not None:
            mapping, at = place
            mapping[at : at + len(data)] = bytes(data)
            return
        for at, byte in enumerate(bytes(data)):
            single = self._place(address + at, 1)
            if single is not None:
                single[0][single[1]] = byte

    def _read_byte(self, address: int) -> bytes:
        place = self._place(address, 1)
        return b"\xff" if place is None else place[0][place[1] : place[1] + 1]

    def _place(self, address: int, length: int) -> tuple[mmap.mmap, int] | None:
        for region in self._regions:
            if region.first <= address and address + length <= region.first + region.length:
                return region.mapping, region.offset + address - region.first
        return None


class Card(NamedTuple):
    """What the proxy stands for: a configuration space, registers behind all of its BARs, a reset."""

    config: ConfigSpace
    registers: PortDevice
    reset: Callable[[], None]


class PciProxy:
    """One card of ours for one run of QEMU; a thread serves it while the context is open."""

    def __init__(self, folder: Path) -> None:
        self.memory = SharedMemory()
        self.clock = MachineClock(HostTime())
        self.irq = IrqLine(self._interrupt)
        self._port_path = folder / "qtest"
        self._channel, self._remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._port_path))
        self._listener.listen(1)
        self._port: socket.socket | None = None
        self._card: Card | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._serve, name="pci-proxy", daemon=True)

    def insert(self, card: Card) -> None:
        """Put the card in, before QEMU starts."""
        self._card = card

    @property
    def files(self) -> tuple[int, ...]:
        """File descriptors that QEMU inherits."""
        return (self._remote.fileno(),)

    def arguments(self, memory_mib: int = 256) -> list[str]:
        """Return the options of QEMU that put the card into its PC."""
        memory = f"memory-backend-memfd,id=ram,size={memory_mib}M,share=on"
        return [
            *("-object", memory, "-machine", "memory-backend=ram"),
            *("-device", f"x-pci-proxy-dev,id=card,fd={self._remote.fileno()}"),
            *("-qtest", f"unix:{self._port_path}", "-qtest-log", "none"),
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for QEMU's end of the channel to be closed, then raise what the card raised."""
        self._remote.close()
        self._thread.join(END_S)
        self._listener.close()
        if self._port is not None:
            self._port.close()
        self._channel.close()
        if self._error is not None:
            raise self._error

    # -- the thread

    def _serve(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._channel, selectors.EVENT_READ, self._answer)
                selector.register(self._listener, selectors.EVENT_READ, lambda: self._accept(selector))
                while True:
                    for key, _ in selector.select(self._patience_s()):
                        key.data()
                    self.clock.run_due()
        except (EOFError, ConnectionError):
            pass  # QEMU has ended
        except BaseException as error:  # raised again in __exit__
            self._error = error
            self._channel.shutdown(socket.SHUT_RDWR)

    def _patience_s(self) -> float:
        deadline = self.clock.next_deadline_ns()
        if deadline == NEVER_NS:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0, deadline - self.clock.now_ns()) / NS)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        self._port, _ = self._listener.accept()
        selector.register(self._port, selectors.EVENT_READ, self._hear_port)

    def _hear_port(self) -> None:
        assert self._port is not None
        heard = self._port.recv(4096)
        if not heard:
            raise EOFError
        assert b"FAIL" not in heard, heard

    def _interrupt(self, level: bool) -> None:
        """Drive the interrupt, without waiting: QEMU may be waiting for us."""
        if self._port is not None and self._card is not None:
            line = self._card.config.read(INTERRUPT_LINE, 1)
            self._port.sendall(INTERRUPT.format(line=line, level=level).encode())

    def _answer(self) -> None:
        head, files, _, _ = socket.recv_fds(self._channel, HEADER.size, REGIONS)
        if not head:
            raise EOFError
        command, size = HEADER.unpack(head + self._receive(HEADER.size - len(head)))
        body = self._receive(size)
        if command == SYNC_SYSMEM:
            self.memory.take(body, files)
        elif command == SET_IRQFD:
            for file in files:
                os.close(file)
        else:
            self._channel.sendall(ANSWER.pack(RET, 8, self._perform(command, body)))

    def _perform(self, command: int, body: bytes) -> int:
        card = self._card
        assert card is not None
        if command in (PCI_CFGREAD, PCI_CFGWRITE):
            offset, value, size = CONFIG_ACCESS.unpack_from(body)
            if command == PCI_CFGREAD:
                return card.config.read(offset, size)
            card.config.write(offset, size, value)
        elif command in (BAR_READ, BAR_WRITE):
            address, value, size, is_memory = BAR_ACCESS.unpack_from(body)
            offset = self._offset(card, address, is_memory)
            if command == BAR_READ:
                return card.registers.read(offset, size)
            card.registers.write(offset, size, value & (1 << 8 * size) - 1)
        else:
            assert command == DEVICE_RESET, command
            card.reset()
        return 0

    @staticmethod
    def _offset(card: Card, address: int, is_memory: bool) -> int:
        for bar in card.config.bars:
            if bar.is_io != is_memory and bar.address is not None and 0 <= address - bar.address < bar.size:
                return address - bar.address
        raise AssertionError(f"QEMU reaches {address:#x}, which is in no BAR")

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._channel.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data
