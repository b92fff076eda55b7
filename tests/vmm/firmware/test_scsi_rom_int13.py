"""INT 13h of the option ROM and of our firmware: the same calls, the same answers, the same bytes."""

from __future__ import annotations

import random
import struct

import pytest

from tests.vmm.firmware.rig import RamDisk, Rig
from tests.vmm.firmware.rom_bench import RomBench
from vmm.firmware.host import BootDrive, ScsiPlace

SECTORS = 16 * 63 * 3 + 20
SLOT = 3
PACKET = 0x600
BUFFER = 0x2_0000
BUFFER_BYTES = 0x1_0000
REGISTERS = ("ax", "bx", "cx", "dx")
STATUS = 0x474
Call = dict[str, int]


class Pair:
    """Both on disks of their own with the same contents."""

    def __init__(self, read_only: bool = False) -> None:
        data = random.Random(1).randbytes(510) + bytes(2)
        data += b"".join(n.to_bytes(4, "little") * 128 for n in range(1, SECTORS))
        self.disks = [RamDisk(bytearray(data), read_only) for _ in range(2)]
        self.ours = Rig([BootDrive(0x80, "hd", self.disks[0], scsi=ScsiPlace(SLOT, 0, 0))])
        self.theirs = RomBench([self.disks[1]])
        self.theirs.connect()

    def poke(self, address: int, data: bytes) -> None:
        self.ours.memory.write(address, data)
        self.theirs.engine.mem_write(address, data)

    def call(self, **regs: int) -> None:
        """Call both and compare everything a caller could see."""
        self.poke(BUFFER, b"\xa5" * BUFFER_BYTES)
        self.ours.call(0x13, **regs)
        self.theirs.int13(**regs)
        assert self.theirs.carry == self.ours.carry, regs
        for name in REGISTERS:
            assert hex(self.theirs.reg(name)) == hex(self.ours.reg(name)), (name, regs)
        for address, length in ((PACKET, 0x80), (BUFFER, BUFFER_BYTES), (STATUS, 1)):
            theirs = bytes(self.theirs.engine.mem_read(address, length))
            assert theirs == bytes(self.ours.memory.read(address, length)), (hex(address), regs)
        assert self.disks[0].data == self.disks[1].data, regs


def packet(chance: random.Random) -> bytes:
    size = chance.choice((16, 16, 16, 24, 15, 0))
    count = chance.choice((0, 1, 2, 20, 127, 128, 0xFFFF))
    lba = chance.choice((0, 1, SECTORS - 1, SECTORS - 20, SECTORS, 0xFFFF_FFFF, 1 << 32, (1 << 64) - 1))
    where = chance.choice((0, 0x1000)) | BUFFER >> 4 << 16
    flat = BUFFER
    if size == 24 and chance.random() < 0.5:
        where = 0xFFFF_FFFF
    return struct.pack("<BBHIQQ", size, 0, count, where, lba, flat)


def by_chs(chance: random.Random, function: int) -> Call:
    cylinder, head = chance.choice((0, 1, 2, 3, 1023)), chance.choice((0, 1, 15, 16, 255))
    sector = chance.choice((0, 1, 2, 63))
    return {
        "eax": function << 8 | chance.choice((0, 1, 2, 17, 127, 128, 129, 255)),
        "ebx": chance.choice((0, 0x200)),
        "ecx": (cylinder & 0xFF) << 8 | cylinder >> 2 & 0xC0 | sector,
        "edx": head << 8 | 0x80,
        "es": BUFFER >> 4,
    }


def call(chance: random.Random, pair: Pair) -> Call:
    function = chance.choice(
        (0, 1, 2, 3, 4, 8, 9, 0xA, 0xD, 0x14, 0x15, 0x41, 0x42, 0x43, 0x44, 0x47, 0x48, 0x99)
    )
    if function in (2, 3, 4):
        return by_chs(chance, function)
    regs = {
        "eax": function << 8,
        "ebx": 0x55AA,
        "ecx": 0x1234,
        "edx": 0x5680,
        "esi": PACKET,
        "es": BUFFER >> 4,
    }
    if function == 0x41:
        regs["ebx"] = chance.choice((0x55AA, 0))
    elif function in (0x42, 0x43, 0x44, 0x47):
        regs["eax"] |= chance.choice((0, 1, 2, 3)) if function == 0x43 else 0
        pair.poke(PACKET, packet(chance))
    elif function == 0x48:
        pair.poke(
            PACKET, struct.pack("<H", chance.choice((0, 25, 26, 30, 65, 66, 73, 74, 0x80))) + b"\x5a" * 0x7E
        )
    return regs


@pytest.mark.parametrize("seed", range(3))
def test_any_calls(seed: int) -> None:
    chance, pair = random.Random(seed), Pair(read_only=seed == 2)
    for _ in range(60):
        pair.call(**call(chance, pair))
