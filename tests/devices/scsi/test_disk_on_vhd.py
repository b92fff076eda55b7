"""A SCSI disk on files of the host: a chain of VHDs, and a file system that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from devices.scsi import commands as s
from devices.scsi.disk import ScsiDisk
from devices.scsi.task import GOOD
from disks.image import BlockImage
from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import write_child, write_dynamic
from disks.vhd.sparse import SparseVhd
from tests.devices.scsi.rig import move, refused, run
from tests.devices.scsi.test_disk_transfers import read_10, sense_information, write_10

SIZE_BYTES = 8 << 20
BLOCK_BYTES = 512 << 10


def disk_on(image: BlockImage) -> ScsiDisk:
    disk = ScsiDisk("sda", image)
    disk.start(bytes(6))
    return disk


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.vhd"
    with new_file(path) as file:
        write_dynamic(file, SIZE_BYTES, block_bytes=BLOCK_BYTES)
    image = open_image(path)
    run(disk_on(image), *write_10(100, 4000), out=b"base" * (4000 * 128))
    image.close()
    return path


def test_a_differencing_disk_is_read_and_written_through_its_chain(tmp_path: Path, base: Path) -> None:
    child = tmp_path / "child.vhd"
    parent = open_image(base, read_only=True)
    assert isinstance(parent, SparseVhd)
    with new_file(child) as file:
        write_child(file, child, parent)
    parent.close()
    before = base.read_bytes()
    image = open_image(child)
    disk = disk_on(image)
    assert int.from_bytes(run(disk, s.READ_CAPACITY, *bytes(9))[:4], "big") == SIZE_BYTES // 512 - 1
    run(disk, *write_10(1020, 10), out=b"leaf" * 1280)
    fua = bytearray(write_10(5000, 1))
    fua[1] = 8
    run(disk, *fua, out=b"kept" * 128)
    image.close()
    image = open_image(child)
    disk = disk_on(image)
    expected = bytes(512 * 100) + b"base" * (920 * 128) + b"leaf" * 1280 + b"base" * (3070 * 128)
    assert run(disk, *read_10(0, 4100), piece=10_000) == expected
    assert run(disk, *read_10(5000, 1)) == b"kept" * 128
    image.close()
    assert base.read_bytes() == before


def test_a_chain_open_for_reading_is_write_protected(base: Path) -> None:
    image = open_image(base, read_only=True)
    assert refused(disk_on(image), *write_10(0, 1), out=bytes(512)) == (7, 0x27, 0)
    image.close()


def test_a_full_file_system_is_a_write_error_at_its_block(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_image(base)
    disk = disk_on(image)
    real = os.pwrite
    room = base.stat().st_size

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if offset + len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        assert refused(disk, *write_10(4000, 2000), out=b"next" * (2000 * 128)) == (3, 0x0C, 0)
        assert sense_information(disk) == (0xF0, 3, 5120, 0x0C)  # the first block of a new piece of the VHD
    task = disk.start(write_10(4000, 2000))
    move(task, b"next" * (2000 * 128))
    assert task.status == GOOD
    assert run(disk, *read_10(4000, 2000)) == b"next" * (2000 * 128)
    image.close()
