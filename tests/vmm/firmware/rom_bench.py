"""The option ROM on a bare processor, with an AIC-7870 and disks: no BIOS, no board."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_INSN,
    UC_HOOK_INTR,
    UC_MODE_16,
    Uc,
    x86_const,
)

from devices.aic7870.chip import Aic7870
from devices.backplane import IrqLine
from devices.scsi.disk import ScsiDisk
from devices.scsi.target import ScsiTarget
from devices.scsi.task import FIRST_LUN
from disks.image import BlockImage
from tests.devices.timed_rig import TimedRig
from vmm.firmware.scsi_rom import scsi_rom

RAM_BYTES: Final = 1 << 20
ROM_SEGMENT: Final = 0xD000
STOP: Final = 0x0500  # the caller, where everything ends
STACK_SEGMENT: Final = 0x9000
PORTS: Final = 0xC000
FUNCTION: Final = 3 << 3  # bus, device and function of the adapter
STACK: Final = 0xFFF0
FLAGS: Final = 0x0202
INITIALISE: Final = 3
EXPANSION_POINTER: Final = 0x1A
BOOT_CONNECTION: Final = 0x16  # [PNPBIOS] §3.2
MARK: Final = b"DISKS\0"
COUNT: Final = 9  # from the mark
TABLE: Final = 16
ENTRY: Final = 16
MOST_DISKS: Final = 7
LIMIT_US: Final = 60_000_000
CARRY: Final = 1
PCI_READ_WORD: Final = 0xB109
BASE_ADDRESS: Final = 0x10


class Found(NamedTuple):
    """A row of the ROM's table."""

    id: int
    cylinders: int
    heads: int
    sectors: int
    total: int


class _Memory:
    """What the chip's DMA sees."""

    def __init__(self, engine: Uc) -> None:
        self._engine = engine

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._engine.mem_read(address, length))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self._engine.mem_write(address, bytes(data))


class RomBench:
    """A ROM in its shadow, initialised; `images` are disks with ids from 0 on."""

    def __init__(self, images: list[BlockImage]) -> None:
        self.engine = engine = Uc(UC_ARCH_X86, UC_MODE_16)
        engine.mem_map(0, RAM_BYTES)
        engine.mem_write(ROM_SEGMENT << 4, scsi_rom())
        engine.mem_write(STOP, b"\xf4")
        targets = {
            number: ScsiTarget({FIRST_LUN: ScsiDisk(f"d{number}", i)}) for number, i in enumerate(images)
        }
        rig = TimedRig()
        self.chip = Aic7870("scsi0", _Memory(engine), rig.clock, IrqLine(lambda _level: None), targets)
        self.chip.set_master(True)
        self.printed = ""
        engine.hook_add(UC_HOOK_INTR, self._interrupt)
        engine.hook_add(UC_HOOK_INSN, self._in, aux1=x86_const.UC_X86_INS_IN)
        engine.hook_add(UC_HOOK_INSN, self._out, aux1=x86_const.UC_X86_INS_OUT)
        self.call(INITIALISE, eax=FUNCTION)

    def connect(self) -> None:
        """Have the ROM give its disks numbers from 80h on."""
        rom = scsi_rom()
        header = int.from_bytes(rom[EXPANSION_POINTER : EXPANSION_POINTER + 2], "little")
        vector = header + BOOT_CONNECTION
        self.call(int.from_bytes(rom[vector : vector + 2], "little"))

    def int13(self, **regs: int) -> None:
        """Execute INT 13h with these registers, DS and ES among them."""
        offset, segment = struct.unpack("<HH", self.engine.mem_read(4 * 0x13, 4))
        assert segment == ROM_SEGMENT
        self.call(offset, **regs)

    def call(self, offset: int, **regs: int) -> None:
        """Call a function of the ROM that ends by a far return or an interrupt's."""
        engine = self.engine
        frame = struct.pack("<HHH", STOP, 0, FLAGS)
        engine.mem_write((STACK_SEGMENT << 4) + STACK, frame)
        entry = {"cs": ROM_SEGMENT, "ss": STACK_SEGMENT, "sp": STACK, "eflags": FLAGS, "ds": 0, "es": 0}
        for name, value in (entry | regs).items():
            engine.reg_write(getattr(x86_const, f"UC_X86_REG_{name.upper()}"), value)
        engine.emu_start((ROM_SEGMENT << 4) + offset, STOP, timeout=LIMIT_US)
        at = (self.reg("cs") << 4) + self.reg("ip")
        assert at == STOP, f"the ROM is at {at:x}; it printed {self.printed!r}"

    def reg(self, name: str) -> int:
        """Return a register."""
        return int(self.engine.reg_read(getattr(x86_const, f"UC_X86_REG_{name.upper()}")))

    @property
    def carry(self) -> bool:
        """Whether the last function reported an error."""
        frame = bytes(self.engine.mem_read((STACK_SEGMENT << 4) + STACK + 4, 2))
        return bool(frame[0] & CARRY)

    def found(self) -> list[Found]:
        """Return the ROM's table of disks."""
        rom = bytes(self.engine.mem_read(ROM_SEGMENT << 4, len(scsi_rom())))
        mark = rom.index(MARK)
        rows = []
        for number in range(rom[mark + COUNT]):
            row = rom[mark + TABLE + ENTRY * number :][:ENTRY]
            rows.append(
                Found(
                    row[0],
                    int.from_bytes(row[4:6], "little"),
                    row[1],
                    row[2],
                    int.from_bytes(row[8:12], "little"),
                )
            )
        return rows

    def _interrupt(self, engine: Uc, number: int, _data: object) -> None:
        ax = engine.reg_read(x86_const.UC_X86_REG_AX)
        if number == 0x10:
            self.printed += chr(ax & 0xFF)
        elif number == 0x1A:
            if ax == PCI_READ_WORD:
                is_base = engine.reg_read(x86_const.UC_X86_REG_DI) == BASE_ADDRESS
                engine.reg_write(x86_const.UC_X86_REG_CX, PORTS | 1 if is_base else 0)
            flags = engine.reg_read(x86_const.UC_X86_REG_EFLAGS)
            engine.reg_write(x86_const.UC_X86_REG_EFLAGS, flags & ~CARRY)
        else:
            raise AssertionError(f"INT {number:x}h")

    def _in(self, _engine: Uc, port: int, size: int, _data: object) -> int:
        return self.chip.read(port - PORTS, size) if port & 0xFF00 == PORTS else 0xFF

    def _out(self, _engine: Uc, port: int, size: int, value: int, _data: object) -> None:
        if port & 0xFF00 == PORTS:
            self.chip.write(port - PORTS, size, value)
