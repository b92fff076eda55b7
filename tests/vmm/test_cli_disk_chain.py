"""`trapline disk` on chains: children made, families drawn, sectors traced, images checked and mended."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from disks.errors import DiskError, ParentError
from disks.open import open_image
from tests.disks.damage import in_header, put
from vmm.cli.disk import app
from vmm.cli.disk.whence import parse_range
from vmm.cli.errors import one_line
from vmm.errors import ConfigError, UsageError


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def run(*arguments: str | Path, status: int = 0) -> str:
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    return result.stdout


def facts(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json", status=status))
    return found


def write(path: Path, lba: int, sectors: int) -> None:
    image = open_image(path)
    image.write(lba, b"\x5a" * 512 * sectors)
    image.close()


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, a child, its child and a sibling, in the working directory."""
    monkeypatch.chdir(tmp_path)
    run("create", "base.vhd", "10M")
    write(tmp_path / "base.vhd", 0, 5000)
    run("create", "--parent", "base.vhd", "child.vhd")
    run("create", "--parent", "base.vhd", "other.vhd")
    write(tmp_path / "child.vhd", 10, 3)
    run("create", "--parent", "child.vhd", "top.vhd")
    write(tmp_path / "top.vhd", 12, 1)
    return tmp_path


CHAIN = """\
image                    type          blocks       owns   share       file      saves
base.vhd                 dynamic       2 of 5  3.999 MiB  40.0 %  4.003 MiB
├── child.vhd            differencing  1 of 5      1 KiB   0.0 %  2.004 MiB  1.996 MiB
│   └── top.vhd *        differencing  1 of 5      512 B   0.0 %  2.004 MiB  1.996 MiB
└── other.vhd            differencing  0 of 5                       3.5 KiB  3.997 MiB
zeros, held by no image                            6 MiB  60.0 %
"""


def test_a_family_is_drawn(family: Path) -> None:
    assert run("chain", "top.vhd") == CHAIN


def test_a_family_is_drawn_in_ascii_where_that_is_all_there_is(
    family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmm.cli.disk.chain import chain

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    chain(Path("top.vhd"))
    out.flush()
    drawn = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "|   `-- top.vhd *" in drawn


def test_a_family_in_json_has_the_chain_and_the_tree(family: Path) -> None:
    found = facts("chain", "top.vhd")
    assert [Path(level["path"]).name for level in found["levels"]] == ["top.vhd", "child.vhd", "base.vhd"]
    owned = [level["owned_bytes"] for level in found["levels"]]
    assert owned == [512, 1024, (4 << 20) - 1536]  # blocks of a dynamic disk are owned whole
    assert sum(owned) + found["zero_bytes"] == found["virtual_bytes"]
    assert [Path(child["path"]).name for child in found["tree"]["children"]] == ["child.vhd", "other.vhd"]


def test_relatives_elsewhere_are_found_by_search(family: Path, tmp_path: Path) -> None:
    (family / "pupils").mkdir()
    run("create", "--parent", "base.vhd", "pupils/ann.vhd")
    assert "ann.vhd" not in run("chain", "base.vhd")
    assert "pupils/ann.vhd" in run("chain", "--search", "pupils", "base.vhd")


def test_whence_names_file_entry_bit_and_data(family: Path) -> None:
    entry = "block 0, BAT entry at 0x600 = 00000006h"
    assert run("whence", "top.vhd", "11-12").splitlines() == [
        f"sector 11: {family}/child.vhd",
        f"  top.vhd: {entry}, bit 10h of the byte at 0xc01: the bit is clear",
        f"  {family}/child.vhd: {entry}, bit 10h of the byte at 0xc01 is set, data at 0x2400",
        "sector 12: top.vhd",
        f"  top.vhd: {entry}, bit 08h of the byte at 0xc01 is set, data at 0x2600",
    ]


def test_whence_in_json_is_a_list_of_runs(family: Path) -> None:
    (run_of_zeros,) = json.loads(run("whence", "--json", "top.vhd", "16384+4"))
    assert (run_of_zeros["lba"], run_of_zeros["sectors"], run_of_zeros["path"]) == (16384, 4, None)
    assert [passed["why"] for passed in run_of_zeros["passed"]] == ["absent"] * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", (7, 1)), ("7-7", (7, 1)), ("0-9", (0, 10)), ("0x10+0x8", (16, 8)), ("010", (10, 1))],
)
def test_ranges_of_sectors(text: str, expected: tuple[int, int]) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "5-4", "5+0", "1-2-3", "1.5"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_range(text)


def test_sectors_past_the_end_are_refused(family: Path) -> None:
    with pytest.raises(UsageError, match="ends with sector 20479"):
        run("whence", "top.vhd", "20479+2")


def test_info_of_a_child_tells_of_its_parent(family: Path) -> None:
    found = facts("info", "top.vhd")
    assert (found["type"], found["parent_name"], found["chain_depth"]) == ("differencing", "child.vhd", 3)
    assert found["parent_locators"] == [
        "W2ru: .\\child.vhd",
        f"W2ku: {str(family / 'child.vhd').replace('/', chr(92))}",
    ]
    assert found["parent_noted"] == found["parent_modified"]
    assert found["parent_id"] == facts("info", "child.vhd")["unique_id"]
    assert found["footer_copy"] == "same"
    assert found["warnings"] == []


def test_info_of_a_child_without_its_parent_warns(family: Path) -> None:
    (family / "child.vhd").unlink()
    found = facts("info", "top.vhd")
    assert found["blocks_used"] == 1
    assert found["parent_path"] is None
    assert "not found" in found["warnings"][0]
    with pytest.raises(ParentError):
        run("chain", "top.vhd")


def test_a_child_elsewhere_is_told_what_its_opening_needs(family: Path) -> None:
    (family / "mine").mkdir()
    result = invoke("create", "--parent", "top.vhd", "mine/child.vhd")
    assert result.stderr == f"trapline: opening mine/child.vhd will need --allow-root {family}\n"
    assert facts("info", "--allow-root", family, "mine/child.vhd")["chain_depth"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.vhd", "10M", "--parent", "base.vhd"), "SIZE cannot go with --parent"),
        (("x.vhd", "--parent", "base.vhd", "--type", "fixed"), "--type cannot go"),
        (("x.vhd", "--parent", "base.vhd", "--block-size", "2M"), "--block-size cannot go"),
        (("x.vhd", "--parent", "raw.img"), "no identity"),
        (("x.vhd", "--parent", "x.vhd"), "its own parent"),
        (("x.img", "--format", "raw", "--parent", "base.vhd"), "no parent"),
        (("x.vhd",), "SIZE is missing"),
        (("x.vhd", "1M", "--allow-root", "."), "there is none"),
        (("top.vhd", "--parent", "base.vhd"), "--force"),
    ],
)
def test_mistakes_about_parents_leave_no_file(family: Path, arguments: tuple[str, ...], message: str) -> None:
    (family / "raw.img").write_bytes(bytes(1024))
    before = sorted(family.iterdir())
    with pytest.raises((ConfigError, DiskError), match=message):
        run("create", *arguments)
    assert sorted(family.iterdir()) == before


def test_a_clean_chain_is_checked_with_status_0(family: Path) -> None:
    assert run("check", "top.vhd").splitlines() == [
        "top.vhd: clean",
        f"{family}/child.vhd: clean",
        f"{family}/base.vhd: clean",
    ]


def test_check_tells_warnings_with_status_3_and_errors_with_4(family: Path) -> None:
    with (family / "base.vhd").open("r+b") as file:
        file.write(b"garbage!")
    assert "copy-damaged" in run("check", "base.vhd", status=3)
    with (family / "base.vhd").open("r+b") as file:
        file.seek(512)
        file.write(b"garbage!")
    found = facts("check", "base.vhd", status=4)
    assert found["images"][0]["errors"] == 1
    assert found["images"][0]["findings"][1]["rule"] == "header-cookie"
    assert found["images"][0]["findings"][1]["offset"] == 512


def test_a_repair_is_shown_before_it_is_made(family: Path) -> None:
    path = family / "base.vhd"
    good = path.read_bytes()
    with path.open("r+b") as file:
        file.write(b"garbage!")
    damaged = path.read_bytes()
    assert "would repair: write the copy" in run("check", "--repair", "--dry-run", "base.vhd", status=3)
    assert path.read_bytes() == damaged
    assert run("check", "--repair", "base.vhd").splitlines() == [
        "repaired: write the copy of the footer again at 0x0",
        "base.vhd: clean",
    ]
    assert path.read_bytes() == good


def test_a_repair_keeps_the_time_that_children_note(family: Path) -> None:
    base = family / "base.vhd"
    damaged = bytearray(base.read_bytes())
    damaged[100] ^= 0xFF  # the copy of the footer
    base.write_bytes(damaged)
    os.utime(base, (1_700_000_000, 1_700_000_000))
    assert "repaired: write the copy" in run("check", "--repair", "base.vhd")
    assert base.stat().st_mtime == 1_700_000_000


def test_a_repair_that_needs_a_decision_is_refused(family: Path) -> None:
    path = family / "base.vhd"
    with path.open("r+b") as file:
        file.write(b"garbage!")
        file.seek(1536)
        file.write(bytes(4))
    assert "not repaired: bat-headers" in run("check", "--repair", "base.vhd", status=4)


def test_dry_run_alone_is_a_mistake(family: Path) -> None:
    with pytest.raises(UsageError, match="--repair"):
        run("check", "--dry-run", "base.vhd")


@pytest.mark.parametrize("verb", ["chain", "whence", "check"])
def test_help_has_examples(verb: str) -> None:
    assert "trapline disk" in run(verb, "--help")


@pytest.mark.parametrize("verb", ["info", "check", "chain", "reparent"])
def test_what_an_image_says_never_reaches_the_terminal_raw(
    family: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "..\\..\\\x1b]0;owned\x07 x\\p.vhd".encode("utf-16-le")
    in_header(64, "\x1b[2Jx".encode("utf-16-be").ljust(512, b"\0"))(family / "child.vhd")
    in_header(576, struct.pack(">4sIIIQ", b"W2ru", 512, len(text), 0, 2048).ljust(192, b"\0"))(
        family / "child.vhd"
    )
    put(2048, text.ljust(512, b"\0"))(family / "child.vhd")
    with one_line():
        result = invoke(verb, "child.vhd")
        capsys.readouterr()
        print(result.output)
    told = "".join(capsys.readouterr())
    assert "owned" in told or verb == "reparent"  # which finds the parent by its identity
    assert "\x1b" not in told
    assert "\x07" not in told
    if "--allow-root" in told:
        assert f"--allow-root '{family.parent.parent}/?]0;owned? x'" in told
