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
DISK_BYTES: Final = 1 << 20
FLOPPY_BYTES: Final = 1440 << 10
# What the test does when a program asks for it by a result
HANDS: Final = {
    "hooks": (b"type 00000000", lambda machine: machine.send_keys("a")),
    "apic": (b"type 00000000", lambda machine: machine.send_keys("a")),
    "mouse": (b"move 00000000", lambda machine: machine.board.mouse.move(5, 3)),
}

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
    "drivers": {
        "one-shot": 1,
        "one-shot-status": 0xB0,
        "last-of-3": 1,
        "gate-low": 0x20,
        "channel-2-status": 0xB6,
        "gate-and-data": 0x03,
        "square-wave": 0b11,
        "refresh": 0b11,
        "count-within": 1,
        "speaker-off": 0,
        "eighth-period": 1,
        "register-c": 0xC0,
        "in-service": 0,
        "received": 5,
        "loopback": int.from_bytes(b"abcd", "little"),
        "thr-empty": 6,  # as it is allowed, and after each of five bytes
        "other-causes": 0,
        "identify-interrupts": 1,
        "identify-status": 0x08,
        "sectors": DISK_BYTES // 512,
        "write-first": 0,
        "write-second": 1,
        "write-end": 1,
        "write-status": 0,
        "read-first": 1,
        "read-second": 1,
        "read-after": 0,
        "words-that-differ": 0,
        "nien": 0,
        "nien-ended": 1,
        "reset-interrupts": 1,
        "polled-drives": 0xC0C1_C2C3,
        "recalibrated": 0x0020,
        "sought": 0x0120,
        "seek-interrupts": 2,
        "nothing-to-sense": 0x80,
        "write-status-1-3": 0x00_00_04,  # head 1
        "write-ended-at": 0x02_03_01_01,
        "dma-after-write": 0xFFFF_9200,
        "terminal-count": 0x04,
        "terminal-count-again": 0,
        "floppy-read-status": 0x00_00_04,
        "bytes-that-differ": 0,
        "beyond-64k": 0xEEEE_EEEE,
        "behind-the-buffer": 0x5AA5_C33C,
        "dma-after-read": 0xFFFF_0000,
        "transfer-interrupts": 2,
        "no-such-sector": 0x04_40,  # abnormal end; no data
        "serial-requests": 1 << 4,
        "serial-withdrawn": 0,
        "disk-requests": 1 << 14 | 1 << 2,
        "disk-withdrawn": 0,
        "late-disk": 0,
        "late-spurious": 0,
        "poll-of-nothing": 0,
        "spurious-7": 1,
        "spurious-15": 1,
        "left-in-service": 0,
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
    "apic": {
        "pointer-sum": 0,
        "table-sum": 0,
        "local-apic": 0xFEE0_0000,
        "processors": 1,
        "io-apics": 1,
        "io-apic": 0xFEC0_0000,
        "pins-1-4": 0x0400_0001,
        "pin-14": 14,
        "cpuid": 1,
        "base": 0xFEE0_0900,
        "version": 0x5_0014,
        "io-version": 0x17_0011,
        "id-less-tables": 0,
        "lint0": 0x700,
        "lint1": 0x400,
        "periods-a-5-ticks": 5,
        "ticks": 5,
        "in-service": 0,
        "serial-interrupts": 1,
        "serial-cause": 2,
        "disk-interrupts": 1,
        "disk-status": 0x58,
        "held": 0,
        "waiting": 1 << 0x12 | 1 << 0x01,
        "order": 0x7261,
        "left": 0,
        "errors": 1,
        "error-status": 0x80,
        "type": 0,
        "codes": 0x9E1E,
        "halts": 1,
        "held-ticks": 0,
        "released-ticks": 1,
        "spurious": 0,
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
    "mouse": {
        "initialized": 0,
        "reset": 0x00AA,
        "rate": 0,
        "resolution": 0,
        "type": 0,
        "handler": 0,
        "enabled": 0,
        "move": 0,
        "calls": 1,
        "packet": 0x08,
        "right": 5,
        "up": 3,
        "disabled": 0,
        "status": 0x00_03_64,  # stream mode, disabled; 8 counts a millimetre; 100 a second
    },
    "printer": {
        "port": 0x378,
        "selected": 0x10,
        "print-screen": 0,
    },
    "diskette": {
        "type-and-last": 0x4_4F12,
        "heads-and-drives": 0x0101,
        "written": 0,
        "read": 0,
        "data": 0xA55A,
        "formatted": 0,
        "fill": 0xF6F6_F6F6,
        "no-sector-19": 1,
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

# SeaBIOS has no INT 5, and passes on status bits of the printer that mean nothing
CASES: Final = [(name, "ours") for name in ANSWERS] + [(n, "seabios") for n in ANSWERS if n != "printer"]


@pytest.fixture(params=["portable", "accelerated"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "accelerated" and not LIBRARY.exists():
        pytest.skip("NOT RUN: the accelerated engine is not built")
    return name


@pytest.fixture
def firmware(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "ours":
        yield {}
    else:
        bios, vgabios = request.getfixturevalue("seabios"), request.getfixturevalue("vgabios")
        yield {"bios": str(bios), "vgabios": str(vgabios)}


def answers_of(
    name: str, folder: Path, engine: str, firmware: dict[str, str]
) -> tuple[dict[str, int], bytes]:
    """Assemble a program, run it from a hard disk, and return what it found and what it printed."""
    disk, floppy = folder / "disk.img", folder / "floppy.img"
    floppy.write_bytes(bytes(FLOPPY_BYTES))
    source = SOURCES / f"{name}.asm"
    subprocess.run(
        [require_tool("nasm"), "-w+all", "-f", "bin", f"-I{SOURCES}/", "-o", disk, source],
        check=True,
        timeout=60,
    )
    disk.write_bytes(disk.read_bytes().ljust(DISK_BYTES, b"\0"))
    config = MachineConfig(
        hd=(DriveConfig(path=str(disk), format="raw"),),
        floppy=(DriveConfig(path=str(floppy), format="raw"),),
        boot=("hd",),
        parallel=str(folder / "lpt1"),
        memory_bytes=16 << 20,
        engine=engine,  # type: ignore[arg-type]
        clock="virtual",
        apic=name == "apic",
        **firmware,  # type: ignore[arg-type]
    )
    with Machine(config) as machine:
        if name in HANDS:
            wanted, lend = HANDS[name]
            machine.run(until=wanted, timeout_s=TIMEOUT_S)
            lend(machine)
        result = machine.run(timeout_s=TIMEOUT_S)
        output = machine.debug_output().decode()
        printed = machine.parallel.since(0)
    assert result.reason == "exit", (result, output)
    lines = [line.split() for line in output.splitlines()]
    found = {line[0]: int(line[1], 16) for line in lines if len(line) == 2 and line[0] in ANSWERS[name]}
    return found, printed


@pytest.mark.long(
    "accelerated-polling-seabios",
    "portable-polling-ours",
    "portable-polling-seabios",
    "portable-drivers-seabios",
)
@pytest.mark.parametrize(("name", "firmware"), CASES, indirect=["firmware"])
def test_program_finds_what_the_manuals_promise(
    name: str, tmp_path: Path, engine: str, firmware: dict[str, str]
) -> None:
    found, printed = answers_of(name, tmp_path, engine, firmware)
    assert found == ANSWERS[name]
    assert printed.startswith(b"PRINTED BY INT 17H\r\n" if name == "printer" else b"")
    assert len(printed.splitlines()) == (27 if name == "printer" else 0)
