"""The firmware over a whole board, under random calls: any registers, any memory, any service."""

from __future__ import annotations

import time
from random import Random
from typing import Final

from devices.floppy.drive import FloppyDrive
from tests.fuzz.board import AccessError, FuzzedBoard
from tests.fuzz.service_atoms import RECIPES, Call
from tests.vmm.firmware.kernels import elf, header
from tests.vmm.firmware.rig import NAMES, STACK, FakeView, RamDisk, hard_disk, numbered_disk
from tests.vmm.firmware.test_boot import disc
from vmm.cpu import registers as r
from vmm.firmware.bios import Bios
from vmm.firmware.caller import RETURN, WAIT_FOR_KEY
from vmm.firmware.cmos import write_cmos
from vmm.firmware.host import BootDrive, FirmwareHost
from vmm.firmware.kernel import KernelRequest
from vmm.firmware.kernel_stub import KERNEL_LOAD, KERNEL_MODE, KERNEL_VIDEO
from vmm.firmware.loaders import kernel_for

# Vectors whose stub comes back when the service asks for it
WAITING: Final = frozenset({0x05, 0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x1A})
KERNEL_SERVICES: Final = (KERNEL_VIDEO, KERNEL_MODE, KERNEL_LOAD)
SERVICES: Final = (
    *RECIPES,
    *RECIPES,
    0x13,
    0x13,
    0x13,
    0x15,
    0x15,
    *range(0x20),
    *range(0x70, 0x78),
    0xF0,
    *KERNEL_SERVICES,
    0xFF,
)
WORDS: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0x81,
    0xE0,
    0xFF,
    0x100,
    0x55AA,
    0x7FFF,
    0x8000,
    0x9FC0,
    0xB800,
    0xF000,
    0xFFFE,
    0xFFFF,
)
KERNEL: Final = elf(header(4, video=(0, 800, 600, 32)))  # a kernel that asks for graphics
SEGMENTS: Final = {"ds": r.DS, "es": r.ES}
STEPS_NS: Final = (0, 1_000, 1_000_000, 1_000_000_000, 3_600_000_000_000)
DATA_AREAS: Final = ((0x400, 0x101), (0x9FC00, 0x400), (0, 0x400))
MOST_TURNS: Final = 400  # of a service that waits, an hour at the end of each
SLOW_S: Final = 2.0


class FuzzedServices:
    """A board, our firmware and drives of every kind; `run` calls it."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, Random(seed)
        self.board = FuzzedBoard(seed)
        self.memory, self.clock = self.board.memory, self.board.clock
        self.view = FakeView(self.memory)
        self.floppy = FloppyDrive(numbered_disk(2880))
        broken = numbered_disk(100)
        broken.broken = True
        drives = [
            hard_disk(numbered_disk(4000)),
            BootDrive(0x81, "hd", broken, place=1),
            BootDrive(0xE0, "cd", disc(media=self.rng.choice((0, 1, 2, 3, 4))), place=2),
            BootDrive(0xE1, "cd", RamDisk(bytearray(2048)), place=3),
            BootDrive(0, "floppy", RamDisk(bytearray()), unit=self.floppy),
            BootDrive(1, "floppy", numbered_disk(1440)),
        ]
        host = FirmwareHost(
            self.view,
            self.memory,
            self.board.bus,
            self.clock,
            self.memory.ram_bytes,
            drives,
            ("cd", "floppy", "hd"),
            display=self.board.board.vga,
            kernel=kernel_for(KernelRequest("kernel", KERNEL)) if seed % 4 == 3 else None,
        )
        self.bios = Bios(host)
        self.memory.ram[0xF0000:0x100000] = self.bios.rom
        self.done = 0
        self.longest_s = 0.0
        self.last = ""

    def run(self, calls: int) -> None:
        """Make so many calls; the first is power-on."""
        try:
            self._call(0xF0)
            while self.done < calls:
                self._disturb()
                began = time.process_time()
                self._call(self.rng.choice(SERVICES))
                self.longest_s = max(self.longest_s, time.process_time() - began)
        except Exception as error:
            raise AccessError(f"seed {self.seed}, call {self.done}, {self.last}: {error!r}") from error

    def _word(self) -> int:
        rng = self.rng
        return rng.choice(WORDS) if rng.random() < 0.5 else rng.getrandbits(16)

    def _disturb(self) -> None:
        """What other programs do meanwhile: memory, disks and modes change."""
        rng = self.rng
        if rng.random() < 0.3:
            first, length = rng.choice(DATA_AREAS)
            at = rng.randrange(length)
            self.memory.write(first + at, rng.randbytes(rng.randrange(1, 9)))
        if rng.random() < 0.05:
            self.floppy.image = (
                None if rng.random() < 0.3 else numbered_disk(rng.choice((720, 1440, 2880, 5760)))
            )
            self.floppy.changed = True
        if rng.random() < 0.02:
            write_cmos(self.board.bus, 0x14, rng.choice((0x47, 0x06, rng.randrange(256))))
            self._call(0xF0)
        if rng.random() < 0.02:
            self.view.cr[0] = rng.choice((0, 0, 1, 0x8000_0001))
            self.view.cr[3] = rng.getrandbits(22)
        if rng.random() < 0.1:
            self.board.board.mouse.move(rng.randrange(-9, 9), 1)
            self.board.board.serial[0].receive(b"a")
        self.board.time.value_ns += rng.choice(STEPS_NS)
        self.clock.run_due()

    def _call(self, vector: int) -> None:
        """Set every register, call, and come back as the stub does until the service has ended."""
        rng, view = self.rng, self.view
        for index in range(16):
            view.regs[index] = self._word() if rng.random() < 0.8 else rng.getrandbits(64)
        for segment in view.segs:
            segment.base = self._word() << 4 if rng.random() < 0.9 else rng.getrandbits(32)
            segment.flags = rng.choice((0, r.DESC_B))
        if vector in RECIPES and rng.random() < 0.8:
            self._prepare(rng.choice(RECIPES[vector])(rng))
        self.last = f"INT {vector:02X}h AX={view.regs[r.RAX] & 0xFFFF:04X} DX={view.regs[r.RDX] & 0xFFFF:04X}"
        if rng.random() < 0.95:
            view.segs[r.SS].base, view.segs[r.SS].flags, view.regs[r.RSP] = 0, 0, STACK
        self._until_it_returns(vector)

    def _prepare(self, call: Call) -> None:
        """Set registers and what they point to for a call that means something, now and then a bit wrong."""
        rng, view = self.rng, self.view
        for name, value in call.regs.items():
            view.regs[NAMES[name[-2:]]] = value ^ (1 << rng.randrange(16) if rng.random() < 0.05 else 0)
        for name, data in call.memory.items():
            segment, pointer = SEGMENTS[name[:2]], NAMES[name[3:]]
            if rng.random() < 0.9:
                view.segs[segment].base = rng.choice((0, 0x20000, 0x80000))
                view.regs[pointer] = rng.choice((0x600, 0x4000)) if name[3:] != "di" else 0
            at = view.segs[segment].base + (view.regs[pointer] & 0xFFFF) & 0xFFFF_FFFF
            self.memory.write(at, data if rng.random() < 0.9 else rng.randbytes(len(data)))

    def _until_it_returns(self, vector: int) -> None:
        verdict = RETURN if self.rng.random() < 0.95 else self.rng.randrange(256)
        sound = self.view.segs[r.SS].base == 0 and self.view.regs[r.RSP] == STACK and not self.view.cr[0]
        for turn in range(MOST_TURNS):
            self.memory.write(STACK, bytes((vector, verdict)) + b"\x78\x56\x34\x12\x02\x02")
            self.bios.write(0, 1, 0)
            self.done += 1
            verdict = self.memory.read(STACK + 1, 1)[0]
            if not sound or verdict in (RETURN, WAIT_FOR_KEY) or vector not in WAITING:
                return
            if turn % 20 == 19:
                self.board.time.value_ns += STEPS_NS[-1]
            self.board.time.value_ns += 1_000_000
            self.clock.run_due()
        raise AssertionError("it waits for ever")
