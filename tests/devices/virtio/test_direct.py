"""Reads that go straight into guest memory, and those that cannot: the guest sees no difference."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from devices.scsi.disk import ScsiDisk
from devices.scsi.sense import UNRECOVERED_READ, fixed_sense
from devices.scsi.target import ScsiTarget
from devices.virtio import registers as r
from disks.image import BlockImage, DirectImage
from disks.open import open_image
from disks.overlay import SnapshotImage
from tests.devices.virtio_rig import BLOCK, BUFFERS_AT, LUN0, REQUEST, Rig

SECTORS = 64
HEADER = LUN0 + bytes(11)
RESPONSE_AT = BUFFERS_AT + 0x1000
DATA_AT = BUFFERS_AT + 0x2000
CHECK_CONDITION = 2

MakeImage = Callable[[bytes], BlockImage]


def contents(sectors: int = SECTORS) -> bytes:
    return b"".join(struct.pack("<I", word) for word in range(sectors * BLOCK // 4))


@pytest.fixture(params=["direct", "by way of a copy"])
def make_image(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeImage]:
    with ExitStack() as opened:
        yield partial(_image, opened, tmp_path, request.param)


def _image(opened: ExitStack, folder: Path, way: str, data: bytes) -> BlockImage:
    path = folder / "disk.img"
    path.write_bytes(data)
    image: BlockImage = open_image(path, read_only=True)
    assert isinstance(image, DirectImage)
    if way != "direct":
        image = SnapshotImage(image)
    opened.callback(image.close)
    return image


def rig_with(image: BlockImage) -> Rig:
    rig = Rig().start(r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_INDIRECT_DESC)
    rig.targets[0] = ScsiTarget({0: ScsiDisk("disk", image)})  # type: ignore[assignment]
    rig.run(bytes(6))  # unit attention
    return rig


def read(rig: Rig, runs: list[tuple[int, int]], lba: int, blocks: int) -> bytes:
    """Read into runs of memory; return the response."""
    cdb = bytes((0x28, 0)) + lba.to_bytes(4, "big") + bytes((0, 0, blocks, 0))
    header = HEADER + cdb.ljust(32, b"\0")
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + len(header)] = header
    rig.memory.writes.clear()
    rig.queues[REQUEST].add([(BUFFERS_AT, len(header))], [(RESPONSE_AT, 108), *runs], indirect=True)
    rig.kick()
    assert not rig.broken
    return bytes(rig.memory.data[RESPONSE_AT : RESPONSE_AT + 108])


def found(rig: Rig, runs: list[tuple[int, int]]) -> bytes:
    return b"".join(bytes(rig.memory.data[at : at + length]) for at, length in runs)


def test_blocks_land_in_runs_of_any_length(make_image: MakeImage) -> None:
    rig = rig_with(make_image(contents()))
    lengths = [1, 511, 513, 4096, 7, 2000, 10 * BLOCK]
    lengths.append(20 * BLOCK - sum(lengths) % BLOCK - 19 * BLOCK)
    runs, at = [], DATA_AT
    for length in reversed(lengths):
        runs.append((at, length))
        at += length + 0x1000
    blocks = sum(lengths) // BLOCK
    response = read(rig, runs, 3, blocks)
    assert response[:12] == bytes(12)
    assert found(rig, runs) == contents()[3 * BLOCK : (3 + blocks) * BLOCK]
    assert {run for run in runs if run in rig.memory.writes} == set(runs)


def test_a_file_that_ends_too_soon_is_a_medium_error_at_its_block(
    make_image: MakeImage, tmp_path: Path
) -> None:
    rig = rig_with(make_image(contents()))
    os.truncate(tmp_path / "disk.img", 10 * BLOCK)
    runs = [(DATA_AT + 0x2000, 5 * BLOCK), (DATA_AT, 11 * BLOCK)]
    response = read(rig, runs, 4, 16)
    sense_len, residual, _, status, code = struct.unpack_from("<IIHBB", response)
    assert (residual, status, code) == (10 * BLOCK, CHECK_CONDITION, 0)
    assert response[12 : 12 + sense_len] == fixed_sense(UNRECOVERED_READ.at(10))
    assert found(rig, runs)[: 6 * BLOCK] == contents()[4 * BLOCK : 10 * BLOCK]
    assert all(any(run[0] <= at < run[0] + run[1] for at, _ in rig.memory.writes) for run in runs)


def test_the_last_sector_of_a_file_that_ends_inside_it_is_padded(make_image: MakeImage) -> None:
    rig = rig_with(make_image(contents()[:-200]))
    runs = [(DATA_AT, BLOCK), (DATA_AT + 0x1000, BLOCK)]
    rig.memory.data[DATA_AT : DATA_AT + 0x2000] = b"\xee" * 0x2000
    assert read(rig, runs, SECTORS - 2, 2)[:12] == bytes(12)
    assert found(rig, runs) == contents()[-2 * BLOCK : -200] + bytes(200)


def test_what_falls_outside_ram_is_dropped_and_the_rest_arrives(make_image: MakeImage) -> None:
    rig = rig_with(make_image(contents()))
    top = len(rig.memory.data)
    runs = [(DATA_AT, BLOCK), (top - 100, BLOCK), (1 << 62, BLOCK), (DATA_AT + 0x1000, BLOCK)]
    assert read(rig, runs, 0, 4)[:12] == bytes(12)
    assert rig.memory.data[DATA_AT : DATA_AT + BLOCK] == contents()[:BLOCK]
    assert rig.memory.data[top - 100 :] == contents()[BLOCK : BLOCK + 100]
    assert rig.memory.data[DATA_AT + 0x1000 : DATA_AT + 0x1200] == contents()[3 * BLOCK : 4 * BLOCK]
    assert len(rig.memory.data) == top
