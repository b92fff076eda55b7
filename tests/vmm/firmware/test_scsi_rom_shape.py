"""The option ROM gives disks the geometry that our firmware gives them: two programs, one set of rules."""

from __future__ import annotations

import random
import struct

import pytest

from tests.vmm.firmware.rig import hard_disk
from tests.vmm.firmware.rom_bench import MOST_DISKS, Found, RomBench
from tests.vmm.firmware.test_geometry import Disk, chs, partitioned
from vmm.firmware.geometry import logical_geometry

SIGNATURE = b"\x55\xaa"
SIZES = (63, 1008, 2048, 100_000, 1_032_191, 1_032_193, 4_000_000, 8_257_536, 8_257_537, 16_500_000, 3 << 30)
SHAPES = ((16, 63), (255, 63), (64, 32), (240, 63), (15, 17), (128, 63), (1, 1))


def boot_record(heads: int, sectors: int, sector_bytes: int = 512, jump: int = 0xEB) -> bytes:
    record = bytearray(512)
    record[0], record[510:] = jump, SIGNATURE
    struct.pack_into("<H", record, 11, sector_bytes)
    struct.pack_into("<HH", record, 24, sectors, heads)
    return bytes(record)


def entry(chance: random.Random, total: int) -> bytes:
    """A row of a partition table: as a program would write it, or spoilt."""
    shape = chance.choice(SHAPES)
    first = chance.choice((63, 2048, 1, shape[1], chance.randrange(1, 1 << 24)))
    length = chance.choice(
        (total, max(total - first, 1), shape[0] * shape[1] * 10, chance.randrange(1, 1 << 30))
    )
    length = min(length, 0xFFFF_FFFF - first)
    start, end = chs(first, *shape), chs(first + length - 1, *shape)
    if chance.random() < 0.15:
        start, end = chance.choice(((bytes(3), bytes(3)), (start, bytes(3)), (bytes(3), end)))
    row = bytearray(struct.pack("<B3sB3sII", chance.choice((0, 0x80)), start, 6, end, first, length))
    if chance.random() < 0.2:
        row[chance.randrange(16)] = chance.choice((0, 1, 0xEE, 0xFE, 0xFF, chance.randrange(256)))
    return bytes(row)


def random_disk(chance: random.Random) -> Disk:
    """A disk with any beginning: partitions, a boot record, both, or noise."""
    total = chance.choice(SIZES)
    rows = b"".join(entry(chance, total) for _ in range(chance.choice((0, 1, 1, 2, 4))))
    sector = bytearray(446) + rows.ljust(64, b"\0") + SIGNATURE
    if chance.random() < 0.4:
        record = boot_record(chance.randrange(258), chance.randrange(66), chance.choice((512, 512, 1024)))
        sector[:446] = record[:446]
    if chance.random() < 0.05:
        sector[510] = 0
    inside = [boot_record(*chance.choice(SHAPES)) if chance.random() < 0.5 else bytes(512) for _ in range(64)]
    return Disk(total, bytes(sector) + b"".join(inside))


def shown(disk: Disk) -> tuple[int, int, int]:
    return tuple(logical_geometry(hard_disk(disk)))  # type: ignore[return-value]


def compare(disks: list[Disk]) -> None:
    bench = RomBench(list(disks))
    expected = [Found(number, *shown(disk), disk.size_bytes // 512) for number, disk in enumerate(disks)]
    for disk, ours, theirs in zip(disks, expected, bench.found(), strict=True):
        assert theirs == ours, disk.data[446:512].hex(" ")


def test_disks_as_programs_make_them() -> None:
    compare(
        [
            Disk(100 * 16 * 63, b""),
            partitioned((255, 63), 63, 16065 * 50 - 63, 4_000_000),
            partitioned((16, 63), 2048, 900_000, 1_000_000),
            partitioned((64, 32), 32, 2048 * 30 - 32, 65536),
            partitioned((16, 63), 63, 1000, 2000, kind=0xEE),
            Disk(77 * 64 * 32, boot_record(64, 32)),
            Disk(3 << 30, b""),
        ]
    )


def test_partitions_without_any_addresses_by_cylinder() -> None:
    row = struct.pack("<B3sB3sII", 0x80, bytes(3), 6, bytes(3), 2048, 100_000)
    compare([Disk(200_000, bytes(446) + row + bytes(48) + SIGNATURE)])


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(s, marks=pytest.mark.verify) for s in range(4, 60))]
)
def test_disks_of_any_kind(seed: int) -> None:
    chance = random.Random(seed)
    compare([random_disk(chance) for _ in range(MOST_DISKS)])
