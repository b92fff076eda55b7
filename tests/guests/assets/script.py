"""A list of BIOS calls and port accesses, as `programs/script.asm` carries it out on any PC."""

from __future__ import annotations

import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.oracles import require_tool
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

PROGRAMS: Final = Path(__file__).parents[1] / "programs"
DISK_BYTES: Final = 1 << 20
LIST_END: Final = 61 * 512  # what the boot sector loads
TIMEOUT_S: Final = 60
REGISTERS: Final = ("ax", "bx", "cx", "dx", "si", "di", "bp", "es")  # the first four of 32 bits
PRINTED: Final = ("es", "eax", "ebx", "ecx", "edx", "si", "di", "bp", "flags")


class Script:
    """Operations, each with what it is called in a report; only those that print have a line there."""

    def __init__(self) -> None:
        self.code = bytearray()
        self.labels: list[str] = []
        self.kept: list[tuple[str, ...] | None] = []

    def call(self, vector: int, *keep: str, **registers: int) -> None:
        """INT; only `keep` of the registers after it are compared (`carry`, `zero`: flags; `ah`: a byte)."""
        values = [registers.get(name, 0) for name in REGISTERS]
        self.code += struct.pack("<BB4I4H", 1, vector, *values)
        said = " ".join(f"{name}={value:04X}" for name, value in registers.items())
        self._line(f"INT {vector:02X}h {said}", keep)

    def out(self, port: int, *values: int) -> None:
        """OUT of bytes."""
        for value in values:
            self.code += struct.pack("<BHB", 2, port, value)

    def index(self, port: int, index: int, value: int) -> None:
        """Store an indexed register."""
        self.out(port, index)
        self.out(port + 1, value)

    def out_word(self, port: int, value: int) -> None:
        """OUT of a word."""
        self.code += struct.pack("<BHH", 7, port, value)

    def in_byte(self, port: int, *, compare: bool = True) -> None:
        """IN of a byte."""
        self.code += struct.pack("<BH", 3, port)
        self._line(f"IN {port:03X}h", None if compare else ())

    def in_word(self, port: int) -> None:
        """IN of a word."""
        self.code += struct.pack("<BH", 8, port)
        self._line(f"IN {port:03X}h, word")

    def in_index(self, port: int, index: int) -> None:
        """Read an indexed register."""
        self.out(port, index)
        self.code += struct.pack("<BH", 3, port + 1)
        self._line(f"{port:03X}h[{index:02X}h]")

    def store(self, segment: int, offset: int, data: bytes) -> None:
        """Store bytes, one at a time."""
        for at, byte in enumerate(data):
            self.code += struct.pack("<BHHH", 4, segment, offset + at, byte)

    def fill(self, segment: int, offset: int, length: int) -> None:
        """Store 0, 1, 2 and so on."""
        self.code += struct.pack("<BHHH", 6, segment, offset, length)

    def load(self, segment: int, offset: int, length: int) -> None:
        """Load bytes, one at a time."""
        self.code += struct.pack("<BHHH", 5, segment, offset, length)
        self._line(f"[{segment:04X}:{offset:04X}] {length} bytes")

    def sum(self, segment: int, offset: int, length: int) -> None:
        """Load many bytes and print a sum."""
        self.code += struct.pack("<BHHH", 9, segment, offset, length)
        self._line(f"[{segment:04X}:{offset:04X}] sum of {length} bytes")

    def _line(self, label: str, keep: tuple[str, ...] | None = None) -> None:
        self.labels.append(f"{len(self.labels)}: {label}")
        self.kept.append(keep)

    # -- running it

    def write_disk(self, folder: Path) -> Path:
        """Return a hard disk that boots into the script."""
        disk = folder / "script.img"
        command = ["-w+all", "-f", "bin", f"-I{PROGRAMS}/", "-o", disk, PROGRAMS / "script.asm"]
        subprocess.run([require_tool("nasm"), *command], check=True, timeout=60)
        image = disk.read_bytes() + bytes(self.code) + b"\0"
        assert len(image) < LIST_END
        disk.write_bytes(image.ljust(DISK_BYTES, b"\0"))
        return disk

    def report(self, output: str) -> dict[str, str]:
        """Return what each operation printed, by its label."""
        lines = output.splitlines()
        assert len(lines) >= len(self.labels), f"ended at {self.labels[len(lines)]}: {lines[-1:]}"
        found = {}
        # The BIOS of other machines may print to the port as well, before us
        for label, keep, line in zip(self.labels, self.kept, lines[-len(self.labels) :], strict=True):
            fields = line.split()
            if keep == ():
                continue
            if keep is not None:
                by_name = dict(zip(PRINTED, fields, strict=True))
                fields = [f"{name}={_part(by_name, name)}" for name in keep]
            found[label] = " ".join(fields)
        return found

    def on_trapline(self, folder: Path, **options: object) -> dict[str, str]:
        """Run it here."""
        config = MachineConfig(
            hd=(DriveConfig(path=str(self.write_disk(folder)), format="raw"),),
            boot=("hd",), memory_bytes=16 << 20, clock="virtual", **options,
        )  # type: ignore[arg-type] # fmt: skip
        with Machine(config) as machine:
            result = machine.run(timeout_s=TIMEOUT_S)
            output = machine.debug_output().decode("latin-1")
        assert result.reason == "exit", (result, output[-500:])
        return self.report(output)

    def on_qemu(self, folder: Path, *options: str | Path) -> dict[str, str]:
        """Run it under QEMU with its VGA."""
        disk, output = self.write_disk(folder), folder / "qemu.txt"
        machine = ("-accel", "tcg", "-M", "pc", "-m", "16", "-nodefaults", "-display", "none", "-vga", "std")
        end = ("-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-no-reboot")
        port = ("-chardev", f"file,id=out,path={output}", "-device", "isa-debugcon,iobase=0xe9,chardev=out")
        drive = ("-drive", f"file={disk},format=raw,if=ide,snapshot=on")
        qemu = require_tool("qemu-system-i386")
        command = [qemu, *machine, *end, *port, *drive, *options]
        with suppress(subprocess.TimeoutExpired):  # the report tells at which call
            subprocess.run(command, timeout=TIMEOUT_S, check=False)
        return self.report(output.read_text("latin-1"))


def _part(registers: dict[str, str], name: str) -> str:
    if name in registers:
        return registers[name]
    if name in ("carry", "zero"):
        return str(int(registers["flags"], 16) & {"carry": 0x01, "zero": 0x40}[name])
    whole = registers[f"e{name[0]}x"]
    return {"x": whole[-4:], "h": whole[-4:-2], "l": whole[-2:]}[name[1]]
