"""The guests are prepared rightly: the parts by themselves, the whole on QEMU as an independent PC."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.guests.assets import bootdisk, cpio, initramfs
from tests.guests.assets.initramfs import LinuxGuest
from tests.guests.assets.qemu import ide_disk, linux_arguments, qemu
from tests.oracles import require_tool, run_tool


def example_archive() -> bytes:
    archive = cpio.Archive()
    archive.directory("bin")
    archive.file("bin/tool", b"12345", mode=0o755)
    archive.link("bin/other", "tool")
    archive.character_device("console", 5, 1)
    return archive.getvalue()


def test_newc_header_is_magic_and_thirteen_fields_of_eight_hex_digits() -> None:
    header = example_archive()[:110]
    assert header[:6] == b"070701"
    assert [int(header[6 + 8 * k : 14 + 8 * k], 16) for k in range(13)] == [
        1, 0o040755, 0, 0, 2, 0, 0, 0, 0, 0, 0, 4, 0,
    ]  # fmt: skip


def test_newc_data_starts_on_four_bytes_and_trailer_ends_the_archive() -> None:
    archive = example_archive()
    assert archive.index(b"12345") % 4 == 0
    assert b"TRAILER!!!\0" in archive
    assert len(archive) % 512 == 0


@pytest.mark.oracle
def test_7zip_reads_the_archive_as_written(tmp_path: Path) -> None:
    require_tool("7zz")
    (tmp_path / "a.cpio").write_bytes(example_archive())
    run_tool("7zz", "x", f"-o{tmp_path}", tmp_path / "a.cpio")
    assert (tmp_path / "bin" / "tool").read_bytes() == b"12345"
    assert (tmp_path / "bin" / "other").readlink() == Path("tool")


def test_module_names_its_dependencies_in_modinfo() -> None:
    module = b"\x7fELF...license=GPL\0depends=jbd2,crc-16\0retpoline=Y\0"
    assert initramfs.dependencies(module) == ["jbd2", "crc_16"]
    assert initramfs.dependencies(b"license=GPL\0depends=\0") == []


def test_data_of_the_disk_job_is_64_mib_of_sectors_that_all_differ() -> None:
    data = initramfs.expected_data()
    assert len(data) == 64 << 20
    sectors = {hashlib.md5(data[at : at + 512]).digest() for at in range(0, len(data), 512)}
    assert len(sectors) == len(data) // 512


def test_chs_beyond_the_last_cylinder_is_the_last_address() -> None:
    assert bootdisk.chs(0) == bytes((0, 1, 0))
    assert bootdisk.chs(2048) == bytes((32, 33, 0))
    assert bootdisk.chs(1024 * 255 * 63) == b"\xfe\xff\xff"


def test_partition_entry_is_active_and_ends_with_the_boot_signature() -> None:
    sector = bootdisk.master_boot_record(b"\xfa\x90", kind=0x0E, first_lba=2048, sectors=4096)
    assert len(sector) == 512
    assert sector[446] == 0x80
    assert sector[450] == 0x0E
    assert sector[454:462] == (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    assert sector[510:] == b"\x55\xaa"


@pytest.mark.guest
@pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])
def test_modules_come_after_what_they_depend_on(fixture: str, request: pytest.FixtureRequest) -> None:
    guest: LinuxGuest = request.getfixturevalue(fixture)
    modules = initramfs.module_files(guest.kernel.parents[1], initramfs.WANTED)
    order = [name.removesuffix(".ko") for name in modules]
    assert {"ext4", "sd_mod", "ata_piix", "libata", "scsi_mod"} <= set(order)
    assert all(
        order.index(need) < order.index(name.removesuffix(".ko"))
        for name, content in modules.items()
        for need in initramfs.dependencies(content)
        if need in order
    )


@pytest.mark.guest
@pytest.mark.verify
@pytest.mark.oracle
@pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])
def test_qemu_passes_the_disk_job(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    guest: LinuxGuest = request.getfixturevalue(fixture)
    require_tool("qemu-system-x86_64")
    disk = bootdisk.empty_vhd(tmp_path / "disk.vhd", 128)
    arguments = (*linux_arguments(guest, "disk"), *ide_disk(disk))
    with qemu(*arguments, architecture=guest.architecture) as machine:
        machine.wait_for(initramfs.HALTED, timeout_s=200)
        machine.wait_for(initramfs.DISK_OK, timeout_s=0)


@pytest.mark.guest
@pytest.mark.verify
@pytest.mark.oracle
def test_qemu_boots_linux_from_its_disk_and_from_its_cd(linux_i386: LinuxGuest, tmp_path: Path) -> None:
    require_tool("qemu-system-i386")
    raw = bootdisk.linux_disk(tmp_path / "linux.raw", linux_i386, "boot")
    disk = bootdisk.dynamic_vhd(raw, tmp_path / "linux.vhd")
    with qemu(*ide_disk(disk)) as machine:
        machine.wait_for(initramfs.HALTED, timeout_s=100)
    disc = bootdisk.linux_cd(tmp_path / "linux.iso", linux_i386, "boot")
    with qemu("-cdrom", disc) as machine:
        machine.wait_for(initramfs.HALTED, timeout_s=100)


@pytest.mark.guest
def test_same_packages_give_the_same_disk(linux_i386: LinuxGuest, tmp_path: Path) -> None:
    require_tool("syslinux")
    require_tool("mcopy")
    first = bootdisk.linux_disk(tmp_path / "first.raw", linux_i386, "boot")
    second = bootdisk.linux_disk(tmp_path / "second.raw", linux_i386, "boot")
    digests = [hashlib.sha256(image.read_bytes()).hexdigest() for image in (first, second)]
    shutil.rmtree(tmp_path)
    assert digests[0] == digests[1]
