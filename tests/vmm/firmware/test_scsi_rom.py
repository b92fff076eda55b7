"""The option ROM of the AIC-7870: its source gives the committed bytes, its headers are right."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from tests.oracles import require_tool
from vmm.firmware.scsi_rom import IMAGE, scsi_rom


@pytest.mark.oracle
def test_source_assembles_to_the_committed_bytes(tmp_path: Path) -> None:
    made = tmp_path / "rom.bin"
    command = [require_tool("nasm"), "-w+all", "-f", "bin", "-o", str(made), "scsi_rom.asm"]
    subprocess.run(command, cwd=IMAGE.parent, check=True, timeout=60)
    assert made.read_bytes() == IMAGE.read_bytes()


def test_headers_and_sums() -> None:
    rom = scsi_rom()
    assert rom[:2] == b"\x55\xaa"
    assert rom[2] * 512 == len(rom)
    assert sum(rom) & 0xFF == 0
    data, expansion = struct.unpack_from("<HH", rom, 0x18)
    assert rom[data : data + 8] == b"PCIR\x04\x90\x78\x70"
    assert rom[data + 13 : data + 16] == b"\x00\x00\x01"
    header = rom[expansion : expansion + 32]
    assert header[:4] == b"$PnP"
    assert sum(header) & 0xFF == 0
