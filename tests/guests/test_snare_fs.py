"""The host's tool for Snare's file system: what it writes it reads, and what is wrong it finds."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guests.snare import build, snarefs
from guests.snare.snarefs import FileSystem, SnareFsError

BLOCKS = 64
NAMES = st.sampled_from(["a", "b", "c.txt", "x" * snarefs.MAX_NAME])
STEPS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=2000)), max_size=20)


def file_system() -> FileSystem:
    return FileSystem.new(BLOCKS, {"one": b"1" * 1000, "two": b"2" * 1000})


def link(fs: FileSystem, block: int, following: int) -> None:
    struct.pack_into("<H", fs.data, fs.map * 512 + 2 * block, following)


@given(STEPS)
def test_it_holds_what_was_written_last(steps: list[tuple[str, bytes | None]]) -> None:
    fs, model = FileSystem.new(BLOCKS), {}
    for name, content in steps:
        if content is not None:
            fs.write(name, content)
            model[name] = content
        elif name in model:
            fs.erase(name)
            del model[name]
    again = FileSystem(bytes(fs.data))
    assert {name: again.read(name) for name in again.names()} == model
    assert again.check() == []


def test_the_superblock_is_as_documented() -> None:
    magic, blocks, first_map, map_blocks, directory, directory_blocks, data = struct.unpack_from(
        "<8s6I", file_system().data
    )
    assert (magic, blocks) == (b"SNAREFS1", BLOCKS)
    assert (first_map, map_blocks, directory, directory_blocks, data) == (2, 1, 3, 4, 7)


def test_the_blocks_before_the_data_are_marked_as_used() -> None:
    assert struct.unpack_from("<8H", file_system().data, 1024) == (*[0xFFFF] * 7, 8)


def test_the_committed_file_system_has_nothing_wrong() -> None:
    fs = FileSystem(build.FILES.read_bytes())
    assert fs.check() == []
    assert set(fs.names()) == {"readme", "hello", "touch", "primes", "rogue", "ring3"}


def test_a_full_disk_is_refused() -> None:
    with pytest.raises(SnareFsError, match="big: the disk or its directory is full"):
        file_system().write("big", bytes(BLOCKS * 512))


@pytest.mark.parametrize("name", ["", "a b", "x" * 20, "é", "a\n"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(SnareFsError, match="a name is 1 to 19 printable characters"):
        file_system().write(name, b"")


def test_what_is_no_file_system_is_refused() -> None:
    with pytest.raises(SnareFsError, match="no file system of Snare"):
        FileSystem(bytes(4096))


def test_a_block_of_two_files_is_found() -> None:
    fs = file_system()
    link(fs, 7, 10)
    assert "block 10 belongs to one and to two" in fs.check()


def test_a_block_of_no_file_is_found() -> None:
    fs = file_system()
    link(fs, 20, snarefs.LAST)
    assert fs.check() == ["block 20 is in use, but by no file"]


def test_a_chain_without_end_is_found() -> None:
    fs = file_system()
    link(fs, 8, 7)
    assert "one: its chain has no end" in fs.check()


def test_a_chain_out_of_the_disk_is_found() -> None:
    fs = file_system()
    link(fs, 8, 5000)
    assert "one: its chain leads to block 5000" in fs.check()


def test_a_chain_too_short_is_found() -> None:
    fs = file_system()
    link(fs, 7, snarefs.LAST)
    assert "one: 1000 bytes in 1 blocks" in fs.check()


def tool(*arguments: str | Path, status: int = 0, given: bytes = b"") -> bytes:
    command = [sys.executable, build.HERE / "snarefs.py", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["vhd", "raw", "floppy"])
def test_the_command_writes_and_reads_files_on_every_kind_of_disk(kind: str, tmp_path: Path) -> None:
    disk = tmp_path / f"disk.{kind}"
    build.MEDIA[kind](disk, "")
    tool("write", disk, "letter", given=b"Dear Ada")
    assert tool("read", disk, "letter") == b"Dear Ada"
    assert f"{'letter':20} {8:6}\n" in tool("list", disk).decode()
    tool("erase", disk, "letter")
    assert b"letter: no such file" in tool("read", disk, "letter", status=1)
    assert tool("check", disk) == b"6 files, nothing wrong\n"


def test_the_command_makes_a_file_system_of_files(tmp_path: Path) -> None:
    (tmp_path / "poem").write_text("Ozymandias")
    tool("make", tmp_path / "x.fs", "64", tmp_path / "poem")
    assert tool("read", tmp_path / "x.fs", "poem") == b"Ozymandias"


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    assert b"read: a name is missing" in tool("read", tmp_path / "x", status=2)
    assert b"No such file" in tool("list", tmp_path / "x", status=1)
