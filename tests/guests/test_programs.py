"""Programs of the kinds that PCs have run for decades, ours, each with its answers worked out beforehand.

They are in `programs/`, with the data-sheet sentence each rests on. The same answers are wanted under
our firmware and under SeaBIOS, on both engines.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.oracles import require_tool
from vmm.config import DriveConfig, MachineConfig
from vmm.cpu.accel import LIBRARY
from vmm.machine import Machine

pytestmark = pytest.mark.guest

SOURCES: Final = Path(__file__).with_name("programs")
TIMEOUT_S: Final = 60
KEY_WANTED: Final = b"type 00000000"
DISK_BYTES: Final = 1 << 20

ANSWERS: Final = {
    "hooks": {
        "ticks-less-int8": 0,
        "int8-less-int1c": 0,
        "in-service": 0x01,
        "type": 0,
        "key": 0x1E61,
        "codes": 0x9E1E,  # the make and the break code
        "empty": 1,
    },
    "polling": {
        "out2-before": 0,
        "out2-after": 0x20,
        "count-moves": 1,
        "ticks-a-second": 1,
        "uart-idle": 0x60,
    },
    "unreal": {
        "faults-in-unreal-mode": 0,
        "read-back": 0x12345678,
        "faults-after-the-bios": 0,
        "moved": 0x12345678,
    },
    "a20": {
        "int15-off": 1,
        "status-off": 0,
        "int15-on": 0,
        "status-on": 1,
        "port92-off": 1,
        "port92-on": 0,
        "i8042-off": 1,
        "code-wraps": 0xBEEF,
        "i8042-on": 0,
    },
    "clock": {
        "event-refused": 0,
        "second-event-refused": 1,
        "event-time": 1,
        "wait-time": 1,
        "alarm-refused": 0,
        "second-alarm-refused": 1,
        "alarms": 1,
        "clock-interrupts-left": 0,
    },
    "bios32": {
        "checksum": 0,
        "service-status": 0,
        "service-has-a-length": 1,
        "other-service-status": 0x80,
        "signature": int.from_bytes(b"PCI ", "little"),
        "class-carry": 0,
        "class-function": 0x0009,
        "identity": 0x7010_8086,
        "missing-carry": 1,
        "missing-status": 0x86,
    },
}


@pytest.fixture(params=["portable", "accelerated"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "accelerated" and not LIBRARY.exists():
        pytest.skip("NOT RUN: the accelerated engine is not built")
    return name


@pytest.fixture(params=["ours", "seabios"])
def firmware(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "ours":
        yield {}
    else:
        bios, vgabios = request.getfixturevalue("seabios"), request.getfixturevalue("vgabios")
        yield {"bios": str(bios), "vgabios": str(vgabios)}


def answers_of(name: str, folder: Path, engine: str, firmware: dict[str, str]) -> dict[str, int]:
    """Assemble a program, run it from a hard disk, and return what it found."""
    disk = folder / "disk.img"
    source = SOURCES / f"{name}.asm"
    subprocess.run(
        [require_tool("nasm"), "-w+all", "-f", "bin", f"-I{SOURCES}/", "-o", disk, source],
        check=True,
        timeout=60,
    )
    disk.write_bytes(disk.read_bytes().ljust(DISK_BYTES, b"\0"))
    config = MachineConfig(
        hd=(DriveConfig(path=str(disk), format="raw"),),
        memory_bytes=16 << 20,
        engine=engine,  # type: ignore[arg-type]
        clock="virtual",
        **firmware,  # type: ignore[arg-type]
    )
    with Machine(config) as machine:
        if KEY_WANTED.split()[0].decode() in ANSWERS[name]:
            machine.run(until=KEY_WANTED, timeout_s=TIMEOUT_S)
            machine.send_keys("a")
        result = machine.run(timeout_s=TIMEOUT_S)
        output = machine.debug_output().decode()
    assert result.reason == "exit", (result, output)
    lines = [line.split() for line in output.splitlines()]
    return {line[0]: int(line[1], 16) for line in lines if len(line) == 2 and line[0] in ANSWERS[name]}


@pytest.mark.parametrize("name", ANSWERS)
def test_program_finds_what_the_manuals_promise(
    name: str, tmp_path: Path, engine: str, firmware: dict[str, str]
) -> None:
    assert answers_of(name, tmp_path, engine, firmware) == ANSWERS[name]
