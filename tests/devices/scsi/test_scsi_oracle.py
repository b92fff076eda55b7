"""sg3_utils, which knows the standards, reads what our units answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devices.scsi import commands as s
from devices.scsi.disk import ScsiDisk
from devices.scsi.inquiry import SYNC, WBUS16, cd_identity, disk_identity
from devices.scsi.mmc import CdRom
from tests.devices.ide_rig import MemoryImage
from tests.devices.scsi.rig import Unit, move, run
from tests.devices.scsi.test_disk_transfers import read_10
from tests.oracles import require_tool

pytestmark = pytest.mark.oracle

NAMED_OTHERWISE = {s.GET_EVENT_STATUS: "Get event status notification", s.READ_TOC: "Read TOC/PMA/ATIP"}
OF_DISKS_TO_IT = {
    s.READ_DISC_INFORMATION,
    s.READ_TRACK_INFORMATION,
    s.SET_CD_SPEED,
    s.MECHANISM_STATUS,
    s.READ_CD,
}
"""Codes that mean something else to a disk: a CDB alone does not say to what it went."""


def ask(tool: str, *arguments: str) -> str:
    command = [require_tool(tool), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read_by(tool: str, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return ask(tool, "--raw", f"--inhex={path}")


@pytest.fixture
def disk() -> ScsiDisk:
    return ScsiDisk("sda", MemoryImage(4000), disk_identity("TL42", SYNC | WBUS16))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (
            ScsiDisk("sda", MemoryImage(), disk_identity("TL42", SYNC | WBUS16)),
            ("device type: disk", "RMB=0", "[SPC-2]", "WBus16=1  Sync=1", "CmdQue=1", "HARDDISK"),
        ),
        (
            CdRom("sr0", identity=cd_identity(SYNC)),
            ("device type: cd/dvd", "RMB=1", "[SCSI-2]", "WBus16=0  Sync=1", "CmdQue=0", "CD-ROM"),
        ),
    ],
)
def test_inquiry_data(tmp_path: Path, unit: Unit, expected: tuple[str, ...]) -> None:
    text = read_by("sg_inq", tmp_path / "data", run(unit, s.INQUIRY, 0, 0, 0, 36, 0))
    assert [word for word in expected if word not in text] == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (0x00, "Block device characteristics (SBC) [bdc]"),
        (0x80, "Unit serial number: TL42"),
        (0x83, "designator type: T10 vendor identification,  code set: ASCII"),
        (0xB0, "Maximum transfer length: 65535 blocks"),
        (0xB1, "Medium rotation rate is not reported"),
    ],
)
def test_vital_product_data(tmp_path: Path, disk: ScsiDisk, page: int, expected: str) -> None:
    assert expected in read_by("sg_vpd", tmp_path / "data", run(disk, s.INQUIRY, 1, page, 0, 255, 0))


@pytest.mark.parametrize(
    ("cdb", "expected"),
    [
        (bytes(6), "Unit Attention|Power on, reset, or bus device reset occurred"),
        (b"\xee", "Illegal Request|Invalid command operation code"),
        (read_10(4000, 1), "Illegal Request|Logical block address out of range"),
        (read_10(50, 9), "Medium Error|Unrecovered read error|Info fld=0x37 [55]"),
        (bytes([s.MODE_SENSE_6, 0, 0xC8, 0, 255, 0]), "Illegal Request|Saving parameters not supported"),
        (bytes([s.SYNCHRONIZE_CACHE_10, *bytes(9)]), "Medium Error|Write error"),
    ],
)
def test_sense_data(tmp_path: Path, cdb: bytes, expected: str) -> None:
    image = MemoryImage(4000)
    disk = ScsiDisk("sda", image)
    image.bad = {55, -1}
    if any(cdb):
        disk.start(bytes(6))
    move(disk.start(cdb))
    path = tmp_path / "sense"
    path.write_bytes(disk.sense_data())
    text = ask("sg_decode_sense", f"--binary={path}")
    assert text.startswith("Fixed format, current")
    assert [line for line in expected.split("|") if line not in text] == []


def test_names_of_commands() -> None:
    for opcode in set(s.NAMES) - OF_DISKS_TO_IT:
        action = s.READ_CAPACITY_16 if opcode == s.SERVICE_ACTION_IN_16 else 0
        cdb = bytes([opcode, action]).ljust(s.length_of(opcode), b"\0")
        told = ask("sg_decode_sense", "--cdb", "--nospace", cdb.hex())
        expected = NAMED_OTHERWISE.get(opcode, s.decode(cdb).name)
        assert _plain(told) == _plain(expected), hex(opcode)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
