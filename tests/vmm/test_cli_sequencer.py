"""`trapline sequencer`: a guest that downloads a program, listed, stopped, and what is told of none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.aic7870.assembler import assemble as assemble_sequencer
from tests.vmm.cpu.engine_rig import assemble
from vmm.cli import run_command, status

PROGRAM = "again: inc SCRATCH\n mov A, SCRATCH\n jmp again\n"
ADAPTER = 0x8000_1800  # slot 3, function 0


def image(folder: Path) -> str:
    """A disk whose boot sector finds the chip by PCI, downloads the program and lets it go."""
    words = b"".join(word.to_bytes(4, "little") for word in assemble_sequencer(PROGRAM))
    code = f"""
        mov dx, 0xcf8; mov eax, {ADAPTER + 4}; out dx, eax; mov dx, 0xcfc; mov eax, 5; out dx, eax
        mov dx, 0xcf8; mov eax, {ADAPTER + 0x10}; out dx, eax; mov dx, 0xcfc; in eax, dx
        and ax, 0xfff0; mov bx, ax
        lea dx, [bx + 0x60]; mov al, 0x91; out dx, al
        lea dx, [bx + 0x62]; xor ax, ax; out dx, ax
        lea dx, [bx + 0x61]
        """
    code += "".join(f"mov al, {byte}; out dx, al\n" for byte in words)
    code += """
        lea dx, [bx + 0x60]; mov al, 0x90; out dx, al
        lea dx, [bx + 0x62]; xor ax, ax; out dx, ax
        lea dx, [bx + 0x87]; xor al, al; out dx, al
        cli; hlt
        """
    boot = assemble("bits 16\n" + code.replace(";", "\n"))
    disk = folder / "disk.img"
    disk.write_bytes(boot.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return str(disk)


def test_the_program_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["sequencer", image(tmp_path), "--scsi-adapter", "aic7870"]) == status.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "scsi0: a program of 3 words"
    assert lines[2].startswith("L000 000  ")
    assert lines[2].endswith("inc   SCRATCH")


def test_a_break_shows_what_led_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sequencer", image(tmp_path), "--scsi-adapter", "aic7870", "--break", "001", "--json"]
    assert run_command(arguments) == status.OK
    facts = json.loads(capsys.readouterr().out)
    assert facts["held"] == facts["state"]["pc"] == 1
    assert facts["state"]["stack"] == [0, 0, 0, 0]
    assert [step["instruction"] for step in facts["steps"]] == ["inc   SCRATCH"]


def test_a_command_that_does_not_come_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sequencer", image(tmp_path), "--scsi-adapter", "aic7870", "--trace-command", "any"]
    assert run_command([*arguments, "--timeout", "60"]) == status.TIMEOUT
    assert "no such command came: the guest halted for ever" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scsi-adapter", "virtio"], "is a virtio adapter"),
        ([], "--adapter 0: it is not there"),
        (["--scsi-adapter", "aic7870", "--break", "nowhere"], "neither an address"),
        (["--scsi-adapter", "aic7870", "--trace-command", "fetch"], "no such command"),
        (["--scsi-adapter", "aic7870", "--trace-command", "128"], "no such command"),
        (["--scsi-adapter", "aic7870", "--timeout", "0"], "expected seconds"),
    ],
)
def test_wrong_usage_is_told(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["sequencer", image(tmp_path), *options]) == status.USAGE
    assert message in capsys.readouterr().err
