"""What traces say of a CDB."""

from __future__ import annotations

import msgspec
import pytest

from devices.scsi import commands as s
from devices.scsi.commands import decode, length_of
from devices.scsi.events import ScsiCommand, ScsiStatus, command_event


@pytest.mark.parametrize(
    ("cdb", "expected"),
    [
        ("000000000000", ("TEST UNIT READY", None, 0)),
        ("081234560900", ("READ 6", 0x123456, 9)),
        ("0ae000070000", ("WRITE 6", 7, 256)),
        ("0b0000070000", ("SEEK 6", 7, 0)),
        ("25000000000000000000", ("READ CAPACITY 10", None, 0)),
        ("28000102030400050600", ("READ 10", 0x1020304, 0x506)),
        ("2b000102030400050600", ("SEEK 10", 0x1020304, 0)),
        ("2a080102030400050600", ("WRITE 10", 0x1020304, 0x506)),
        ("35000000000000000000", ("SYNCHRONIZE CACHE 10", 0, 0)),
        ("a80001020304000506070000", ("READ 12", 0x1020304, 0x50607)),
        ("88000102030405060708000000090000", ("READ 16", 0x102030405060708, 9)),
        ("be0001020304000506f80000", ("READ CD", 0x1020304, 0x506)),
        ("9e10", ("READ CAPACITY 16", None, 0)),
        ("9e12", ("SERVICE ACTION IN 16 12h", None, 0)),
        ("ee", ("command EEh", None, 0)),
        ("", ("TEST UNIT READY", None, 0)),
        ("28", ("READ 10", 0, 0)),
    ],
)
def test_a_cdb_in_words(cdb: str, expected: tuple[str, int | None, int]) -> None:
    assert decode(bytes.fromhex(cdb)) == expected


def test_the_group_code_gives_the_length() -> None:
    """[SPC-2] §4.3.1."""
    assert [length_of(opcode) for opcode in (0x00, 0x28, 0x5A, 0x88, 0xA8)] == [6, 10, 10, 16, 12]
    assert [length_of(opcode) for opcode in (0x60, 0x7F, 0xC0, 0xFF)] == [
        6,
        6,
        6,
        6,
    ]  # reserved, the vendor's


def test_every_command_that_names_blocks_has_a_name() -> None:
    assert set(s.ADDRESSES) <= set(s.NAMES)


def test_events_survive_bytes() -> None:
    command = command_event("scsi0", 3, 0, bytes.fromhex("28000000000500000300"))
    assert command == ScsiCommand("scsi0", 3, 0, bytes.fromhex("28000000000500000300"), "READ 10", 5, 3)
    status = ScsiStatus("scsi0", 3, 0, 2, b"\x70", 512, 300, 1000)
    for event in (command, status):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=type(event)) == event
