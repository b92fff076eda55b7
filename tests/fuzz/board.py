"""A whole board under random accesses: what a guest can do without a processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from devices.floppy.drive import FloppyDrive
from devices.ide.atapi import AtapiDrive
from devices.ide.disk import AtaDisk
from tests.devices.ide_rig import MemoryImage
from tests.fuzz.chip_atoms import APIC_REGISTERS, ATA_COMMANDS, BUS_MASTER, IDE_FUNCTION, PORTS, pci_address
from tests.fuzz.chip_sequences import SEQUENCES, Step
from vmm.board import IO_APIC, LOCAL_APIC, Board, Fittings, Outside
from vmm.bus import PORTS as ALL_PORTS
from vmm.bus import PortBus
from vmm.clock import MachineClock, ManualTime
from vmm.display.screenshot import draw
from vmm.memory import Memory

MEMORY_BYTES: Final = 4 << 20
CD_BYTES_OF_PACKET: Final = 12
PACKETS: Final = (0x00, 0x03, 0x12, 0x1B, 0x25, 0x28, 0xA8, 0x42, 0x43, 0x46, 0x4A, 0x51, 0x5A, 0xBE, 0x2B)
MMIO: Final = (0xA0000, 0xB8000, 0xBFFFC, 0xC0000, 0xE4000, 0xFFFFC, 0x100000, 0x3FFFFE, 0x400000, 0xE0000000,
               0xFEBFFFFE, 0xFEC00000, 0xFEE00000, 0xFEE000B0, 0xFFFE0000, 0xFFFFFFFC)  # fmt: skip
STATE_BYTES: Final = 1024  # no device's state is larger, whatever a guest does, but for these:
VGA_BYTES: Final = (16 << 20) + 4 * (64 << 10) + 4096  # frame buffer, planes, registers and palette
LARGE_STATES: Final = {"vga": VGA_BYTES} | dict.fromkeys(("ide0", "ide1", "keyboard", "com1"), 1 << 20)
WAITS_NS: Final = (0, 1, 838, 55_000, 1_000_000, 1_000_000_000, 90_000_000_000)


class AccessError(AssertionError):
    """An access raised, or took for ever."""


class FuzzedBoard:
    """A board with every kind of disk, a printer, a video ROM, and nonsense in memory; `run` shakes it.

    Boards of odd seeds have APICs.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.done = 0
        self.longest_s = 0.0
        self.log: list[str] = []
        self.memory = Memory(MEMORY_BYTES)
        self.memory.add_rom(0xFFFE0000, bytes(0x20000))
        self.memory.ram[:0x10000] = self.rng.randbytes(0x10000)
        self.bus = PortBus()
        self.time = ManualTime()
        self.clock = MachineClock(self.time)
        disk = MemoryImage(keeps_writes=False)
        disk.bad = {7, 1999}
        drives: dict[int, AtaDisk | AtapiDrive] = {
            0: AtaDisk("hd0", disk),
            1: AtaDisk("hd1", MemoryImage(sectors=64, read_only=True)),
            2: AtapiDrive("cd0", MemoryImage()),
            3: AtapiDrive("cd1"),
        }
        nobody = self._nobody
        outside = Outside(nobody, nobody, nobody, nobody, nobody, nobody)
        floppies = [FloppyDrive(MemoryImage(2880, keeps_writes=False)), FloppyDrive()]
        fittings = Fittings(0, {}, drives, floppies, bytes(0x8000), nobody, apic=bool(seed & 1))
        self.board = Board(self.memory, self.bus, self.clock, outside, fittings)
        self.recipes: tuple[Callable[[], None], ...] = (
            *[self._any_port] * 2, *[self._claimed_port] * 6, *[self._memory] * 3, self._interrupts,
            self._timer, *[self._disk] * 2, self._packet,
            *[self._floppy] * 3, self._seeks, self._printer, *[self._dma] * 2, *[self._pci] * 2,
            self._keyboard, self._video, self._block, self._acknowledge, self._wait, self._serial,
            self._clock_chip, *[self._sequence] * 12,
            *[self._apic] * (4 if self.board.apics else 0),
        )  # fmt: skip

    def _nobody(self, *_: object) -> None:
        """What the board tells the machine around it; nobody is there."""

    def run(self, accesses: int) -> None:
        """Do at least so many accesses."""
        try:
            while self.done < accesses:
                began = time.process_time()
                self.log.clear()
                self.rng.choice(self.recipes)()
                if self.rng.random() < 0.005:
                    self._look_around()
                self.longest_s = max(self.longest_s, time.process_time() - began)
        except Exception as error:
            raise AccessError(
                f"seed {self.seed}, access {self.done}, after {self.log[-8:]}: {error!r}"
            ) from error

    def sweep(self) -> None:
        """Every port, every size, both ways."""
        for size in (1, 2, 4):
            for port in range(ALL_PORTS):
                self.write(port, size, self.rng.getrandbits(32))
                self.read(port, size)

    def read(self, port: int, size: int) -> int:
        """IN."""
        self.done += 1
        self.log.append(f"in {port:x}/{size}")
        value = self.bus.read(port, size)
        assert isinstance(value, int)
        return value

    def write(self, port: int, size: int, value: int) -> None:
        """OUT."""
        self.done += 1
        self.log.append(f"out {port:x}/{size} {value:x}")
        self.bus.write(port, size, value & (1 << 8 * size) - 1)

    def _look_around(self) -> None:
        """What the monitor does beside the guest: save everything, show the screen, sometimes reset."""
        for device in self.board.devices:
            size = len(msgspec.msgpack.encode(device.save()))
            assert size <= LARGE_STATES.get(device.name, STATE_BYTES), f"{device.name} holds {size} bytes"
        self.board.vga.text_screen().text()
        draw(self.board.vga)
        if self.rng.random() < 0.1:
            self.board.reset()

    # -- one access

    def _size(self) -> int:
        return self.rng.choice((1, 1, 1, 2, 4))

    def _poke(self, port: int) -> None:
        if self.rng.random() < 0.5:
            self.read(port, self._size())
        else:
            self.write(port, self._size(), self.rng.getrandbits(32))

    def _any_port(self) -> None:
        self._poke(self.rng.randrange(ALL_PORTS))

    def _claimed_port(self) -> None:
        for _ in range(8):
            self._poke(self.rng.choice(PORTS))

    def _memory(self) -> None:
        rng = self.rng
        self.done += 1
        if rng.random() < 0.4:
            window = rng.choice(self.memory.windows)
            offset, size = rng.randrange(window.length), rng.choice((1, 2, 4, 8))
            self.log.append(f"window {window.address:x}+{offset:x}/{size}")
            window.device.write(offset, size, rng.getrandbits(8 * size))
            assert isinstance(window.device.read(offset, size), int)
            return
        address = rng.choice(MMIO) + rng.randrange(-8, 8) if rng.random() < 0.7 else rng.getrandbits(32)
        length = rng.choice((1, 2, 4, 8, 512, 5000))
        self.log.append(f"memory {address:x}/{length}")
        if rng.random() < 0.5:
            assert len(self.memory.read(address, length)) == length
        else:
            self.memory.write(address, rng.randbytes(length))

    # -- sequences that mean something

    def _sequence(self) -> None:
        for step in self.rng.choice(SEQUENCES)(self.rng):
            self.play(step)

    def play(self, step: Step) -> None:
        """Do one step of a sequence."""
        address, value, size = step
        if address < ALL_PORTS:
            self.read(address, size) if value is None else self.write(address, size, value)
            return
        self.done += 1
        self.log.append(f"memory {address:x}/{size} {value}")
        window = self.memory.window(address)
        if value is None:
            assert isinstance(window.device.read(address - window.address, size), int)
        else:
            window.device.write(address - window.address, size, value)

    def _interrupts(self) -> None:
        base = self.rng.choice((0x20, 0xA0))
        self.write(base, 1, 0x10 | self.rng.randrange(16))
        for _ in range(self.rng.randrange(5)):
            self.write(base + 1, 1, self.rng.randrange(256))
        for _ in range(4):
            self.write(
                base,
                1,
                self.rng.choice((0x20, 0x0A, 0x0B, 0x0C, 0x68, 0x48, 0x80, 0xA0, self.rng.randrange(256))),
            )
            self.read(base + self.rng.randrange(2), 1)

    def _acknowledge(self) -> None:
        self.log.append("inta")
        self.done += 1
        assert 0 <= self.board.acknowledge() <= 255

    def _apic(self) -> None:
        """Enable the local APIC, mostly; write registers and entries that mean something; end one."""
        assert self.board.apics is not None
        rng, (local, _) = self.rng, self.board.apics
        local.write_base(rng.choice((0xFEE00800, 0xFEE00800, 0xFEE00800, 0xFEE00000, rng.getrandbits(36))))
        writes = [(LOCAL_APIC + 0xF0, rng.choice((0x1FF, 0x1FF, 0xFF, rng.getrandbits(32))))]
        for _ in range(rng.randrange(6)):
            register = rng.choice((*APIC_REGISTERS, rng.randrange(0, 0x1000, 16)))
            value = rng.choice((rng.getrandbits(8), rng.getrandbits(17), rng.getrandbits(32), 0x40000 | 0x55))
            writes.append((LOCAL_APIC + register, value))
        for _ in range(rng.randrange(4)):
            writes.append((IO_APIC, 0x10 + rng.randrange(48) if rng.random() < 0.9 else rng.randrange(256)))
            writes.append((IO_APIC + 0x10, rng.choice((rng.getrandbits(8), rng.getrandbits(17), 0xFF << 24))))
        for address, value in writes:
            self.done += 1
            self.log.append(f"memory {address:x} = {value:x}")
            self.memory.write(address, value.to_bytes(4, "little"))
        for _ in range(rng.randrange(3)):
            self._acknowledge()
            self.memory.write(LOCAL_APIC + 0xB0, bytes(4))
        if rng.random() < 0.2:
            self.board.nmi()

    def _timer(self) -> None:
        self.write(0x43, 1, self.rng.randrange(256))
        for _ in range(4):
            self._poke(0x40 + self.rng.randrange(4))
        self.write(0x61, 1, self.rng.randrange(256))

    def _wait(self) -> None:
        self.time.value_ns += self.rng.choice(WAITS_NS)
        self.log.append(f"wait until {self.time.value_ns}")
        self.clock.run_due()

    def _floppy(self) -> None:
        """Program channel 2 more or less well, then give the controller a command of nine bytes."""
        rng = self.rng
        for port, value in ((0xD6, 0xC0), (0xD4, 0), (0x0C, 0), (0x0B, rng.choice((0x42, 0x46, 0x4A, 0x56)))):
            self.write(port, 1, value if rng.random() < 0.9 else rng.randrange(256))
        for port in (4, 4, 5, 5, 0x81):
            self.write(port, 1, rng.randrange(256))
        self.write(0x0A, 1, rng.choice((2, 2, 2, 6)))
        self.write(0x3F2, 1, rng.choice((0x1C, 0x1C, 0x1C, 0x2D, 0x14, rng.randrange(256))))
        self._wait()
        command = rng.choice(
            (0x46, 0x45, 0x4D, 0x66, 0x42, 0x4A, 0x0F, 0x07, 0x08, 0x03, 0x13, rng.randrange(256))
        )
        for value in (
            command,
            rng.choice((0, 4, rng.randrange(256))),
            *(rng.randrange(20) for _ in range(7)),
        ):
            self.write(0x3F5, 1, value)
        self._wait()
        for _ in range(rng.choice((7, 7, 20, 600))):
            self._poke(rng.choice((0x3F4, 0x3F5, 0x3F7))) if rng.random() < 0.1 else self.read(0x3F5, 1)
        self._poke(rng.randrange(16) if rng.random() < 0.5 else 0xC0 + rng.randrange(32))

    def _seeks(self) -> None:
        """SEEK again and again, without asking how it ended."""
        self.write(0x3F2, 1, 0x1C)
        self._wait()
        for cylinder in range(STATE_BYTES):
            for value in (0x0F, self.rng.randrange(4), cylinder & 0xFF):
                self.write(0x3F5, 1, value)
            self.time.value_ns += max(WAITS_NS)
            self.clock.run_due()
        self._look_around()

    def _printer(self) -> None:
        for _ in range(4):
            self._poke(0x378 + self.rng.randrange(4))
            self.write(0x37A, 1, self.rng.choice((0x0C, 0x0D, 0x1D, self.rng.randrange(256))))
        self._wait()

    def _disk(self) -> None:
        rng = self.rng
        base = rng.choice((0x1F0, 0x170))
        for register in range(1, 7):
            self.write(base + register, 1, rng.choice((0, 1, 0xE0, 0xF0, rng.randrange(256))))
        self.write(base + 7, 1, rng.choice(ATA_COMMANDS) if rng.random() < 0.9 else rng.randrange(256))
        for _ in range(rng.choice((0, 3, 128, 256))):
            self._poke(base) if rng.random() < 0.1 else self.read(base, 2)
        self._poke(rng.choice((base + 7, base + 0x206)))

    def _packet(self) -> None:
        rng = self.rng
        self.write(0x176, 1, rng.choice((0xA0, 0xB0)))
        self.write(0x171, 1, rng.choice((0, 1)))
        self.write(0x174, 1, rng.randrange(256))
        self.write(0x175, 1, rng.choice((0, 8, 0xFF)))
        self.write(0x177, 1, 0xA0)
        packet = bytes((rng.choice(PACKETS), *(rng.choice((0, 0, 1, rng.randrange(256))) for _ in range(11))))
        for at in range(0, CD_BYTES_OF_PACKET, 2):
            self.write(0x170, 2, int.from_bytes(packet[at : at + 2], "little"))
        for _ in range(rng.randrange(64)):
            self.read(0x170, 2)

    def _dma(self) -> None:
        rng = self.rng
        for register, value, size in ((4, 5, 2), (0x20, BUS_MASTER | 1, 4), (0x40, 0x80008000, 4)):
            self.write(0xCF8, 4, IDE_FUNCTION | register)
            self.write(0xCFC, size, value if rng.random() < 0.9 else rng.getrandbits(32))
        base = BUS_MASTER + rng.choice((0, 8))
        table = rng.choice((rng.randrange(MEMORY_BYTES), 0x3FFFFC, rng.getrandbits(32)))
        self.memory.write(
            table & ~3, rng.randbytes(8) if rng.random() < 0.5 else bytes((0, 0, 0, 0, 0, 0, 0, 0x80))
        )
        self.write(base + 4, 4, table)
        self._disk_command(0x1F0 if base == BUS_MASTER else 0x170)
        self.write(base, 1, rng.choice((1, 9)))
        self.read(base + 2, 1)
        if rng.random() < 0.5:
            self.write(base + 2, 1, 6)
            self.write(base, 1, 0)

    def _disk_command(self, base: int) -> None:
        rng = self.rng
        for register, value in enumerate((rng.choice((0, 1, 8, 255)), rng.randrange(256), 0, 0, 0xE0), 2):
            self.write(base + register, 1, value)
        self.write(base + 7, 1, rng.choice((0xC8, 0xCA, 0x25, 0x35, 0xA0)))

    def _pci(self) -> None:
        rng = self.rng
        function = rng.choice((0x00, 0x08, 0x09, 0x10, rng.randrange(256)))
        register = rng.choice((4, 0x10, 0x20, 0x30, 0x40, 0x58, 0x5C, 0x60, rng.randrange(256)))
        values = (0, 7, 0xFFFFFFFF, 0xC001, 0x1F1, 0x21, 0xCF9, 0xE0000001, 0xFEBF8001, rng.getrandbits(32))
        self.write(0xCF8, 4, pci_address(function, register))
        if rng.random() < 0.3:
            self.read(0xCFC + rng.randrange(4), self._size())
        else:
            self.write(0xCFC + (register & 3), self._size(), rng.choice(values))

    def _keyboard(self) -> None:
        self.write(
            0x64,
            1,
            self.rng.choice(
                (0x20, 0x60, 0xA8, 0xAA, 0xAD, 0xAE, 0xD1, 0xD2, 0xD3, 0xD4, self.rng.randrange(256))
            ),
        )
        self.write(0x60, 1, self.rng.choice((0xED, 0xF0, 0xF2, 0xF3, 0xF4, 0xFF, self.rng.randrange(256))))
        self.board.keyboard.type_text(self.rng.choice(("a", "\n", "Q")))
        self.board.mouse.move(
            self.rng.randrange(-400, 400), self.rng.randrange(-9, 9), self.rng.randrange(-9, 9)
        )
        self.board.mouse.set_buttons(self.rng.randrange(32))
        for port in (0x64, 0x60, 0x60):
            self.read(port, 1)

    def _video(self) -> None:
        for index, data in ((0x3C4, 0x3C5), (0x3CE, 0x3CF), (0x3D4, 0x3D5), (0x3C0, 0x3C0), (0x3C8, 0x3C9)):
            self.write(index, self.rng.choice((1, 2)), self.rng.getrandbits(16))
            self._poke(data)
        self.read(0x3DA, 1)

    def _serial(self) -> None:
        base = self.rng.choice((0x3F8, 0x2F8))
        for _ in range(6):
            self._poke(base + self.rng.randrange(8))
        self.board.serial[0].receive(self.rng.randbytes(self.rng.randrange(40)))

    def _clock_chip(self) -> None:
        for _ in range(3):
            self.write(0x70, 1, self.rng.choice((0x0A, 0x0B, 0x0C, 0x0D, self.rng.randrange(256))))
            self._poke(0x71)

    def _block(self) -> None:
        rng = self.rng
        size, count = rng.choice((1, 2, 4)), rng.choice((0, 1, 2, 255, 1024))
        self.done += 1
        self.log.append(f"block {size}*{count}")
        if self.bus.block_readers and rng.random() < 0.5:
            data = rng.choice(list(self.bus.block_readers.values()))(size, count)
            assert len(data) <= size * count
            assert len(data) % size == 0
        elif self.bus.block_writers:
            assert (
                0
                <= rng.choice(list(self.bus.block_writers.values()))(size, rng.randbytes(size * count))
                <= count
            )
