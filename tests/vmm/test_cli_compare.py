"""`trapline compare`: real guests, each technique in a process of its own."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from vmm.cli import run_command, status
from vmm.cli.compare_child import CompareJob
from vmm.cli.compare_child import run as run_child
from vmm.cli.compare_run import outcomes
from vmm.config import DriveConfig, MachineConfig
from vmm.errors import ConfigError

EXIT = b"\xb0\x00\xe6\xf4\xf4"  # mov al, 0; out 0xf4, al


def boot_sector(folder: Path, code: bytes) -> Path:
    """A disk whose first sector is `code`."""
    image = folder / "disk.img"
    image.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return image


def test_a_guest_is_run_bare_and_its_array_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "guest:snare", "--technique", "bare", "--json"]) == status.OK
    facts = json.loads(capsys.readouterr().out)

    assert facts.keys() == {"guest", "techniques"}
    [bare] = facts["techniques"]
    assert bare.keys() == {"technique", "array", "differences", "exits", "wall_s"}
    assert len(bare["array"]) == 193
    assert bare["array"][26] == {"index": 26, "name": "MOV from CS", "value": "8"}
    assert bare["differences"] == []
    assert bare["exits"]["io.in"]["count"] > 0


def test_a_guest_that_does_not_start_is_an_error_of_bare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["compare", f"{tmp_path}/nothing.img"]) == status.ERROR
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "guest:snare", "--technique", "magic"], "expected one of bare, trap, translation-patch"),
        (["compare", "guest:snare", "--timeout", "0"], "expected seconds above 0"),
        (["compare", "guest:minix"], "no guest 'minix'"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == status.USAGE
    assert message in capsys.readouterr().err


def test_a_machine_without_a_result_array_still_has_its_exits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = boot_sector(tmp_path, EXIT)

    assert run_command(["compare", str(image), "--technique", "trap"]) == status.OK
    text = capsys.readouterr().out
    assert "io.out" in text
    assert "equal to bare" not in text


def test_a_technique_that_cannot_start_is_shown_and_the_others_go_on(tmp_path: Path) -> None:
    image = boot_sector(tmp_path, EXIT)

    def machine_for(name: str, cleanup: ExitStack) -> MachineConfig:
        if name == "para":
            raise ConfigError("no port of this guest")
        return MachineConfig(hd=(DriveConfig(path=str(image)),))

    bare, para, trap = outcomes(["bare", "para", "trap"], machine_for, "", 30, str)

    assert bare.fault == trap.fault == ""
    assert para.fault == "no port of this guest"


def test_a_run_past_its_time_out_says_so(tmp_path: Path) -> None:
    image = boot_sector(tmp_path, b"\xeb\xfe")
    config = MachineConfig(hd=(DriveConfig(path=str(image)),))
    outcome = run_child(CompareJob(config, "", 0.5))

    assert outcome.fault == "time-out"
    assert outcome.wall_s >= 0.5
