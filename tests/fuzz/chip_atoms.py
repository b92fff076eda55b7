"""The random actions of a guest at its chips: interrupts, timers, disks by DMA, PCI, keyboard, firmware."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.fuzz.assembler import AX, BX, CX, DI, DX, ES, SI, Assembler
from tests.fuzz.atoms import Atom, anywhere
from tests.fuzz.chip_sequences import SEQUENCES
from tests.fuzz.tables import Place
from vmm.board import IO_APIC, LOCAL_APIC
from vmm.bus import PORTS as ALL_PORTS
from vmm.firmware.stubs import TRAP_PORT

PORTS: Final = (
    *range(0x10), *range(0x20, 0x22), *range(0x40, 0x44), 0x60, 0x61, 0x64, 0x70, 0x71, *range(0x80, 0x90),
    0x92, 0xA0, 0xA1, *range(0xC0, 0xE0), 0xE9, *range(0x378, 0x37B), *range(0x3F0, 0x3F6),
    *range(0x170, 0x178), *range(0x1F0, 0x1F8), *range(0x2F8, 0x300), 0x376, *range(0x3B0, 0x3E0), 0x3F6,
    *range(0x3F8, 0x400), 0x402, 0x4D0, 0x4D1, *range(0xCF8, 0xD00), *range(0xC000, 0xC010),
)  # fmt: skip
APIC_REGISTERS: Final = (
    0x20, 0x80, 0xB0, 0xD0, 0xE0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x360, 0x370, 0x380, 0x3E0,
)  # fmt: skip
BUS_MASTER: Final = 0xC000
IDE_FUNCTION: Final = 0x80000900
MOST_STEPS: Final = 30
ATA_COMMANDS: Final = (
    0x20,
    0x30,
    0xC8,
    0xCA,
    0xC4,
    0xC5,
    0xEC,
    0xA0,
    0xA1,
    0x25,
    0x35,
    0x24,
    0x29,
    0xEF,
    0x08,
    0xC6,
)


def pci_address(function: int, register: int) -> int:
    """What port CF8h takes."""
    return 0x80000000 | function << 8 | register & 0xFC


def port(code: Assembler, rng: Random) -> None:
    number = rng.choice(PORTS) if rng.random() < 0.8 else rng.getrandbits(16)
    if number == 0xF4:
        return
    if rng.random() < 0.4:
        code.read_port(number, rng.choice((1, 1, 2, 4)))
    else:
        code.out(number, rng.getrandbits(32), rng.choice((1, 1, 2, 4)))


def interrupts(code: Assembler, rng: Random) -> None:
    """Initialize the interrupt controllers to any base, unmask, and let a fast timer run."""
    for base, vector in ((0x20, rng.choice((0x20, 8, 0, 0x30))), (0xA0, rng.choice((0x28, 0x70)))):
        code.out(base, 0x11 | rng.choice((0, 8, 2)))
        code.out(base + 1, vector)
        code.out(base + 1, 4 if base == 0x20 else 2)
        code.out(base + 1, rng.choice((1, 3, 0x11)))
        code.out(base + 1, rng.choice((0, 0, 0xFF, rng.randrange(256))))
    code.out(0x43, rng.choice((0x34, 0x36, 0x30, 0x3A)))
    code.out(0x40, rng.randrange(256))
    code.out(0x40, rng.choice((0, 1, 4)))
    code.db(0xFB)


def disk_dma(code: Assembler, rng: Random) -> None:
    """A bus-master transfer to or from anywhere, by a table that may be nonsense."""
    code.out(0xCF8, IDE_FUNCTION | 4, 4)
    code.out(0xCFC, rng.choice((5, 5, 5, 0, 7)), 2)
    code.out(0xCF8, IDE_FUNCTION | 0x20, 4)
    code.out(0xCFC, BUS_MASTER | 1, 4)
    code.out(0xCF8, IDE_FUNCTION | 0x40, 4)
    code.out(0xCFC, 0x80008000, 4)
    code.store(Place.SCRATCH, anywhere(rng))
    code.store(Place.SCRATCH + 4, rng.choice((0x200, 0x1000, 0, 2, 0xFFFE)) | rng.choice((0x8000, 0)) << 16)
    write = rng.random() < 0.3
    code.out(BUS_MASTER + 4, rng.choice((Place.SCRATCH, Place.SCRATCH, anywhere(rng))), 4)
    code.out(BUS_MASTER + 2, 6)
    lba = rng.choice((0, 1, 100, 0xFFFFFF))
    for register, value in enumerate(
        (rng.choice((1, 8, 0)), lba, lba >> 8, lba >> 16, rng.choice((0xE0, 0xA0, 0xF0))), 2
    ):
        code.out(0x1F0 + register, value)
    code.out(0x1F7, 0xCA if write else 0xC8)
    code.out(BUS_MASTER, rng.choice((1, 9, 9, 9)))


def disk_pio(code: Assembler, rng: Random) -> None:
    base = rng.choice((0x1F0, 0x170))
    for register in range(1, 7):
        code.out(base + register, rng.choice((0, 1, rng.randrange(256))))
    code.out(base + 7, rng.choice(ATA_COMMANDS) if rng.random() < 0.9 else rng.randrange(256))
    if rng.random() < 0.6:
        code.mov(DI, anywhere(rng))
        code.mov(SI, anywhere(rng))
        code.mov(CX, rng.choice((6, 128, 256, 257, 0x10000)))
        code.mov(DX, base)
        prefixes = rng.choice(((0xF3,), (0xF3, 0x66), (0x66, 0xF3), (0xF3, 0x67), (0x64, 0xF3)))
        code.db(rng.choice((0xFC, 0xFC, 0xFC, 0xFD)), *prefixes, rng.choice((0x6D, 0x6F, 0x6C)))


def pci(code: Assembler, rng: Random) -> None:
    """Move BARs onto others, close and open shadow memory, change decoding and routing."""
    function = rng.choice((0x00, 0x08, 0x09, 0x10, rng.randrange(256)))
    register = rng.choice((4, 0x10, 0x20, 0x30, 0x40, 0x58, 0x59, 0x5C, 0x60, rng.randrange(256)))
    value = rng.choice(
        (0, 3, 7, 0xFFFFFFFF, 0xC001, 0x1F1, 0x21, 0xCF9, 0xE0000001, 0x33333333, rng.getrandbits(32))
    )
    code.out(0xCF8, pci_address(function, register), 4)
    code.out(0xCFC + (register & 3), value, rng.choice((1, 2, 4)))


def keyboard(code: Assembler, rng: Random) -> None:
    """Commands of the keyboard controller, A20 among them; seldom a reset."""
    command = rng.choice(
        (0xD1, 0xDD, 0xDF, 0x60, 0xAD, 0xAE, 0xD2, 0xD3, 0xD4, 0xAA, 0xC0, rng.randrange(0xF0))
    )
    code.out(0x64, command)
    code.out(0x60, rng.choice((0xDD, 0xDF, 0x45, 0xED, 0xF4, 0xFF, 0xF2, rng.randrange(256) | 1)))
    code.out(0x92, rng.choice((0, 2)))


def apic(code: Assembler, rng: Random) -> None:
    """Registers of the APICs, and the MSR that moves and disables the local one."""
    if rng.random() < 0.3:
        code.wrmsr(0x1B, rng.choice((0xFEE00900, 0xFEE00900, 0xFEE00000, 0xFEC00800, rng.getrandbits(32))))
    code.store(LOCAL_APIC + 0xF0, rng.choice((0x1FF, 0x130, 0xFF)))
    for _ in range(4):
        value = rng.choice((rng.getrandbits(8), rng.getrandbits(18), 0x40000 | 0x30))
        code.store(LOCAL_APIC + rng.choice(APIC_REGISTERS), value)
        code.store(IO_APIC, 0x10 + rng.randrange(48))
        code.store(IO_APIC + 0x10, rng.choice((rng.getrandbits(8), rng.getrandbits(17), 0)))
    code.db(0xFB)


def sequence(code: Assembler, rng: Random) -> None:
    """The beginning of a sequence for one chip; an atom has little room."""
    for address, value, size in rng.choice(SEQUENCES)(rng)[:MOST_STEPS]:
        if address < ALL_PORTS:
            code.read_port(address, size) if value is None else code.out(address, value, size)
        elif value is not None:
            code.store(address, value, size)


def reset(code: Assembler, rng: Random) -> None:
    if rng.random() < 0.2:
        code.out(*rng.choice(((0x64, 0xFE), (0xCF9, 6), (0x92, 1))))


def firmware(code: Assembler, rng: Random) -> None:
    """A BIOS service with any registers, by its vector or straight by the trap port."""
    for register in (BX, CX, DX, SI, DI):
        code.mov(register, rng.choice((0, 0x80, 0xE0, 1, rng.getrandbits(16), anywhere(rng))))
    if code.bits == 16:
        code.mov_segment(ES, rng.choice((0, 0x800, 0xA000, 0xF000, 0xFFFF)))
    code.mov(AX, rng.choice((rng.getrandbits(16), 0x4200, 0x0201, 0x0301, 0xE820, 0x0E41, 0x1300, 0x4B01)))
    if rng.random() < 0.2:
        code.db(0xE7, TRAP_PORT)
    else:
        code.db(0xCD, rng.choice((0x10, 0x11, 0x12, 0x13, 0x13, 0x14, 0x15, 0x15, 0x16, 0x17, 0x19, 0x1A)))


CHIPS: Final[tuple[tuple[int, Atom], ...]] = (
    (6, port), (3, interrupts), (4, disk_dma), (4, disk_pio), (3, pci), (2, keyboard), (1, reset),
    (2, firmware), (2, apic), (3, sequence),
)  # fmt: skip
