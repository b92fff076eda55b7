"""Snare's shell, by serial port and by keyboard; what it writes is on the disk after power-off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from disks.image import BlockImage
from guests.snare import build, snarefs
from tests.guests.assets.qemu import ide_disk, qemu
from tests.guests.assets.snare import LIMIT_S, PROMPT, Shell, fields, medium
from tests.guests.assets.trapline import SERIAL_ONLY, trapline
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

HALTED = 6  # exit status of `trapline run` after HLT with interrupts off


class Recorder:
    """An image that keeps what is written to it, sector by sector."""

    def __init__(self, image: BlockImage, writes: list[tuple[int, bytes]]) -> None:
        self._image, self._writes = image, writes

    def __getattr__(self, name: str) -> object:
        return getattr(self._image, name)

    def write(self, lba: int, data: bytes) -> None:
        content = bytes(data)
        self._writes += [(lba + at // 512, content[at : at + 512]) for at in range(0, len(content), 512)]
        self._image.write(lba, data)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return medium("hd", tmp_path, "notest")


@pytest.fixture
def shell(disk: Path) -> Iterator[Shell]:
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as machine:
        shell = Shell(machine)
        shell.wait()
        yield shell


def test_help_lists_the_commands(shell: Shell) -> None:
    text = shell.type("help")
    names = re.findall(r"^(\w+) ", text, re.MULTILINE)
    assert {"help", "dir", "type", "write", "run", "mem", "ps", "disk", "test"} <= set(names)
    assert {"copy", "rename", "erase", "kill", "sync", "clear", "reboot", "halt"} <= set(names)


def test_dir_lists_files_with_their_sizes(shell: Shell) -> None:
    files = snarefs.FileSystem(build.FILES.read_bytes()).names()
    text = shell.type("dir")
    for name, size in files.items():
        assert f"{name:20} {size:6}\n" in text
    assert f"{len(files)} files, {sum(files.values())} bytes;" in text


def test_type_shows_a_file(shell: Shell) -> None:
    assert "in the spirit of CMS" in shell.type("type readme")


def test_a_file_that_is_not_there(shell: Shell) -> None:
    assert "nothing: no such file\n" in shell.type("type nothing")


def test_an_unknown_command(shell: Shell) -> None:
    assert "frobnicate: no such command or program" in shell.type("frobnicate")


def test_write_takes_one_line(shell: Shell) -> None:
    shell.type("write note remember the milk")
    assert "\nremember the milk\n" in shell.type("type note")


def test_write_takes_lines_up_to_a_dot(shell: Shell) -> None:
    shell.machine.send_serial(b"write poem\nfirst\nsecond\n.\n")
    shell.wait()
    assert "\nfirst\nsecond\nsnare> " in shell.type("type poem")


def test_backspace_and_control_u_edit_the_line(shell: Shell) -> None:
    shell.machine.send_serial(b"garbage\x15type reaxy\b\bdme\r")
    assert "in the spirit of CMS" in shell.wait()


def test_copy_rename_and_erase(shell: Shell) -> None:
    shell.type("copy readme other")
    shell.type("rename other third")
    assert "in the spirit of CMS" in shell.type("type third")
    shell.type("erase third")
    assert "third: no such file" in shell.type("type third")


def test_hello_has_its_argument(shell: Shell) -> None:
    assert "\nHello, Ada, from ring 3.\n" in shell.type("run hello Ada")


def test_the_name_of_a_program_runs_it(shell: Shell) -> None:
    assert "\nHello, world, from ring 3.\n" in shell.type("hello")


def test_touch_has_its_pages_on_demand(shell: Shell) -> None:
    assert "\n256 pages touched, 0 wrong\n" in shell.type("run touch")


def test_primes_counts_and_sorts(shell: Shell) -> None:
    assert "\n9592 primes below 100000, sorted\n" in shell.type("run primes")


@pytest.mark.parametrize(
    ("crime", "fault"),
    [
        ("", "#PF page fault, writing 00100000"),
        ("read", "#PF page fault, reading 00100000"),
        ("nowhere", "#PF page fault, writing 48000000"),
        ("code", "#PF page fault, writing 40000"),
        ("cli", "#GP general protection"),
        ("hlt", "#GP general protection"),
        ("out", "#GP general protection"),
    ],
)
def test_a_program_that_misbehaves_is_killed(shell: Shell, crime: str, fault: str) -> None:
    text = shell.type(f"run rogue {crime}")
    assert f"\nrogue killed: {fault}" in text
    assert "nobody stopped me" not in text
    assert "Hello, you" in shell.type("hello you")


def test_control_c_ends_an_endless_program(shell: Shell) -> None:
    shell.machine.send_serial(b"run rogue loop\n")
    shell.machine.run(timeout_s=0.3)
    shell.machine.send_serial(b"\x03")
    shell.wait()
    assert "Hello" in shell.type("hello")


def test_a_program_in_the_background_is_in_ps_until_it_is_killed(shell: Shell) -> None:
    assert "[1] rogue\n" in shell.type("run rogue loop &")
    assert "   1 rogue " in shell.type("ps")
    assert "Hello" in shell.type("hello")  # they share the processor
    assert "[1] killed\n" in shell.type("kill 1")
    assert "rogue" not in shell.type("ps")


def test_the_end_of_a_background_program_is_told_at_the_next_prompt(shell: Shell) -> None:
    shell.type("hello &")
    assert "[1] hello ended, 0\n" in shell.type("") + shell.type("mem")


def test_a_running_program_is_not_erased(shell: Shell) -> None:
    shell.type("run rogue loop &")
    assert "rogue: it is running\n" in shell.type("erase rogue")


def test_a_file_that_is_no_program(shell: Shell) -> None:
    assert "readme: not a program\n" in shell.type("run readme")


def test_disk_names_the_drive_and_its_model(shell: Shell) -> None:
    text = shell.type("disk")
    assert "* ide0  IDE " in text
    assert ", 0 missed, 0 timeouts\n" in text


def test_mem_tells_of_128_mib(shell: Shell) -> None:
    assert f"RAM above 1 MiB   {127 * 1024:6} KiB\n" in shell.type("mem")


def test_test_runs_the_self_test_again(shell: Shell) -> None:
    assert " passed\nsnare> " in shell.type("test")


def test_the_keyboard_types_what_the_screen_shows(shell: Shell) -> None:
    shell.machine.send_keys("write keys Shift & Symbols: {1+1=2}!\n")
    shell.wait()
    shell.machine.send_keys("type keys\n")
    assert "\nShift & Symbols: {1+1=2}!\n" in shell.wait()
    assert "Shift & Symbols: {1+1=2}!" in shell.machine.screen_text()


def test_reboot_starts_again(shell: Shell) -> None:
    shell.machine.send_keys("reboot\n")
    assert "Snare, a single-user system" in shell.wait("single-user system")
    assert "Hello" in shell.wait() + shell.type("hello")


def test_halt_leaves_by_the_exit_port_with_its_number(disk: Path) -> None:
    for number in (0, 3):
        with trapline("run", disk, *SERIAL_ONLY) as machine:
            machine.wait_for(PROMPT.encode(), LIMIT_S)
            machine.send(f"halt {number}\n".encode())
            assert machine.wait_for_end(LIMIT_S) == (64 + number if number else 0)


def test_what_is_written_survives_power_off(disk: Path) -> None:
    config = MachineConfig(hd=(DriveConfig(path=str(disk)),))
    with Machine(config) as machine:
        shell = Shell(machine)
        shell.wait()
        shell.type("write kept across the power-off")
        shell.type("erase hello")
    with Machine(config) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "across the power-off" in shell.type("type kept")
    files, _ = snarefs.load(disk)
    assert files.read("kept") == b"across the power-off\n"
    assert "hello" not in files.names()
    assert files.check() == []


def test_a_file_from_the_host_is_seen(disk: Path) -> None:
    files, start = snarefs.load(disk)
    files.write("letter", b"from outside\n" * 100)
    snarefs.store(disk, files, start)
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as machine:
        shell = Shell(machine)
        shell.wait()
        assert shell.type("type letter").count("from outside") == 100


@pytest.mark.oracle
def test_qemus_disk_and_ours_are_the_same_to_it(disk: Path) -> None:
    with qemu(*ide_disk(disk)) as machine:
        machine.wait_for(PROMPT.encode(), LIMIT_S)
        machine.send(b"write there on QEMU\nsync\n")
        machine.wait_for(b"sync", LIMIT_S)
        machine.wait_for(PROMPT.encode(), LIMIT_S, machine.wait_for(b"sync", LIMIT_S))
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as ours:
        shell = Shell(ours)
        shell.wait()
        assert "\non QEMU\n" in shell.type("type there")
    assert snarefs.load(disk)[0].check() == []


def test_a_cds_ram_disk_is_used_and_a_hard_disk_on_request(disk: Path, tmp_path: Path) -> None:
    config = MachineConfig(hd=(DriveConfig(path=str(disk)),), **fields("cd", tmp_path))
    with Machine(config) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "* ram   memory " in shell.type("disk")
        shell.type("write here in memory only")
        shell.type("disk ide0")
        assert "* ide0  IDE " in shell.type("disk")
        assert "here: no such file" in shell.type("type here")
        shell.type("write there on the disk")
    assert "there" in snarefs.load(disk)[0].names()
    assert "here" not in snarefs.load(disk)[0].names()


def test_a_disk_of_another_system_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.img"
    content = bytes(range(256)) * (4 << 12)
    foreign.write_bytes(content)
    config = MachineConfig(hd=(DriveConfig(path=str(foreign), format="raw"),), **fields("floppy", tmp_path))
    with Machine(config) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "passed\n" in machine.serial_output(0).decode().replace("\r", "")
        assert "ide0: no file system" in shell.type("disk ide0")
    assert foreign.read_bytes() == content


def test_a_full_disk_is_said_and_nothing_is_lost(disk: Path) -> None:
    files, start = snarefs.load(disk)
    free = sum(not files._next(block) for block in range(files.first, files.blocks))
    files.write("big", b"x" * (free - 2) * 512)
    snarefs.store(disk, files, start)
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "copy: the disk is full" in shell.type("copy hello copy")
        shell.type("write small fits")
        assert "\nfits\n" in shell.type("type small")
    assert snarefs.load(disk)[0].check() == []


def test_power_off_between_any_two_writes_harms_no_file(tmp_path: Path) -> None:
    disk = tmp_path / "snare.raw"
    build.make_raw(disk, "notest")
    content = bytearray(disk.read_bytes())
    writes: list[tuple[int, bytes]] = []
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as machine:
        shell = Shell(machine)
        shell.wait()
        machine.drives.by_place[0]._image = Recorder(machine.drives.images[0], writes)
        for line in (
            "copy touch a",
            "copy primes a",
            "rename a b",
            "write c short",
            "erase b",
            "copy hello d",
        ):
            shell.type(line)
    start = snarefs.find(bytes(content))
    for lba, data in writes:
        content[lba * 512 : lba * 512 + len(data)] = data
        files = snarefs.FileSystem(content[start * 512 :])
        assert [wrong for wrong in files.check() if not wrong.endswith("in use, but by no file")] == []
        assert files.read("readme") == snarefs.FileSystem(build.FILES.read_bytes()).read("readme")
        if "a" in files.names():
            assert files.read("a") in (files.read("touch"), files.read("primes"))
    assert content == disk.read_bytes()
    assert snarefs.FileSystem(content[start * 512 :]).check() == []
    assert len(writes) > 50
