"""`trapline disk compact`, `resize`, `reparent`: what they say, and what they refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from disks.errors import DiskError, ParentError
from disks.open import open_image
from tests.disks.conftest import make_child
from vmm.cli.disk import app
from vmm.errors import UsageError

MIB = 1 << 20


def run(*arguments: str | Path) -> str:
    """Run the command and return its output; errors come out as they are."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def report(*arguments: str | Path) -> dict[str, object]:
    """Return what a command says with --json."""
    found: dict[str, object] = json.loads(run(*arguments, "--json"))
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A dynamic disk of 8 MiB, all blocks present, three of them zeros."""
    path = tmp_path / "disk.vhd"
    run("create", path, "8M")
    image = open_image(path)
    image.write(0, bytes(6 * MIB) + b"\x42" * 2 * MIB)
    image.close()
    return path


def test_dry_run_of_compact_says_what_it_would_save(disk: Path) -> None:
    before = disk.read_bytes()
    planned = report("compact", "--dry-run", disk)
    assert (planned["blocks_dropped"], planned["blocks_moved"]) == (3, 1)
    assert disk.read_bytes() == before
    done = report("compact", disk)
    assert {**done, "dry_run": True} == planned
    assert disk.stat().st_size == done["new_file_bytes"]
    assert done["saved_bytes"] == 3 * (2 * MIB + 512)


def test_compact_keeps_what_children_note_of_the_time(disk: Path) -> None:
    os.utime(disk, (1_700_000_000, 1_700_000_000))
    child = make_child(disk.with_name("child.vhd"), disk)
    run("compact", disk)
    assert json.loads(run("info", "--json", child))["warnings"] == []


def test_another_parent_is_taken_where_asked_for(disk: Path, tmp_path: Path) -> None:
    child = make_child(tmp_path / "child.vhd", disk)
    run("create", "--force", tmp_path / "other.vhd", "8M")
    (tmp_path / "other.vhd").replace(disk)
    assert "is image" in run("compact", "--dry-run", child)
    assert "though its identity differs" in run("compact", "--dry-run", child, "--ignore-parent-id")
    new = tmp_path / "new.vhd"
    with pytest.raises(ParentError, match="is image"):
        run("create", "--parent", child, new)
    run("create", "--parent", child, new, "--ignore-parent-id")
    assert new.exists()


def test_compact_of_a_fixed_disk_names_the_way_out(tmp_path: Path) -> None:
    run("create", "--type", "fixed", tmp_path / "a.vhd", "1M")
    with pytest.raises(DiskError, match="trapline disk convert"):
        run("compact", tmp_path / "a.vhd")


def test_compact_without_the_parent_says_what_it_cannot_do(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    disk.rename(disk.with_name("gone"))
    assert "chain does not open" in str(report("compact", child)["warnings"])


def test_resize_says_that_partitions_are_untouched(disk: Path) -> None:
    assert "partition table" in run("resize", disk, "1G")
    assert json.loads(run("info", "--json", disk))["virtual_bytes"] == 1 << 30


def test_dry_run_of_resize_changes_nothing_and_refuses_as_well(disk: Path) -> None:
    before = disk.read_bytes()
    assert report("resize", "--dry-run", disk, "300G")["blocks_moved"] == 1
    with pytest.raises(DiskError, match="sector 12288 holds data"):
        run("resize", "--dry-run", disk, "1M")
    assert disk.read_bytes() == before


def test_resize_of_a_fixed_disk_takes_its_room_unless_sparse(tmp_path: Path) -> None:
    for name, option in (("full.vhd", ()), ("sparse.vhd", ("--sparse",))):
        run("create", "--type", "fixed", tmp_path / name, "1M")
        run("resize", tmp_path / name, "4M", *option)
    assert (tmp_path / "full.vhd").stat().st_blocks * 512 >= 4 * MIB
    assert (tmp_path / "sparse.vhd").stat().st_blocks * 512 < 3 * MIB


def test_resize_of_a_parent_is_refused_unless_forced(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    with pytest.raises(DiskError, match=f"{child.name}.*--force"):
        run("resize", disk, "16M")
    assert child.name in run("resize", "--force", disk, "16M")
    with pytest.raises(DiskError, match="size of its parent"):
        run("resize", child, "16M")


def test_reparent_finds_a_parent_that_was_renamed(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    new = disk.with_name("renamed.vhd")
    disk.rename(new)
    with pytest.raises(DiskError):
        open_image(child)
    done = report("reparent", child)
    assert (done["changed"], done["old_parent_name"], done["new_parent_name"]) == (
        True,
        "disk.vhd",
        "renamed.vhd",
    )
    open_image(child).close()
    assert report("reparent", child)["changed"] is False


def test_reparent_to_another_directory_writes_names_that_lead_there(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    (disk.parent / "bases").mkdir()
    new = disk.rename(disk.parent / "bases" / "base.vhd")
    before = child.read_bytes()
    run("reparent", "--dry-run", child, new)
    assert child.read_bytes() == before
    run("reparent", child, new)
    open_image(child).close()


def test_reparent_says_when_the_parent_lies_where_it_is_not_allowed_by_itself(disk: Path) -> None:
    (disk.parent / "mine").mkdir()
    child = make_child(disk.parent / "mine" / "child.vhd", disk)
    assert f"--allow-root {disk.parent}" in run("reparent", child, disk)
    with pytest.raises(DiskError, match="allow-root"):
        run("reparent", child)
    assert report("reparent", child, "--allow-root", disk.parent)["changed"] is False


def test_reparent_keeps_the_time_its_own_children_note(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    os.utime(child, (1_700_000_000, 1_700_000_000))
    disk.rename(disk.with_name("renamed.vhd"))
    run("reparent", child)
    assert child.stat().st_mtime == 1_700_000_000
    run("create", disk, "8M")
    run("reparent", "--force", child, disk)
    assert child.stat().st_mtime != 1_700_000_000


def test_reparent_refuses_another_image_unless_forced(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    other = disk.with_name("other.vhd")
    run("create", other, "8M")
    with pytest.raises(DiskError, match=r"is image .*, not the parent .*--force"):
        run("reparent", child, other)
    assert "nonsense" in run("reparent", "--force", child, other)
    open_image(child).close()


def test_reparent_refuses_another_size_and_a_raw_parent(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    run("resize", "--force", disk, "16M")
    with pytest.raises(DiskError, match="is a disk of 16777216 bytes"):
        run("reparent", child, disk)
    (disk.parent / "a.img").write_bytes(bytes(8 * MIB))
    with pytest.raises(DiskError, match="raw image"):
        run("reparent", child, disk.parent / "a.img")


def test_reparent_refuses_circles_even_if_forced(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    grandchild = make_child(disk.with_name("grandchild.vhd"), child)
    for parent in (child, grandchild):
        with pytest.raises(DiskError, match="circle"):
            run("reparent", "--force", child, parent)


def test_reparent_refuses_an_image_without_a_parent(disk: Path) -> None:
    other = disk.with_name("other.vhd")
    run("create", other, "8M")
    with pytest.raises(DiskError, match="a dynamic VHD has no parent"):
        run("reparent", disk, other)


def test_fix_timestamp_changes_nothing_else(disk: Path) -> None:
    child = make_child(disk.with_name("child.vhd"), disk)
    os.utime(disk, (1_700_000_000, 1_700_000_000))
    before = child.read_bytes()
    assert json.loads(run("info", "--json", child))["warnings"] != []
    run("reparent", "--fix-timestamp", child)
    assert json.loads(run("info", "--json", child))["warnings"] == []
    after = child.read_bytes()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert set(changed) <= {*range(512 + 36, 512 + 40), *range(512 + 56, 512 + 60)}


def test_fix_timestamp_goes_without_a_parent_named(disk: Path) -> None:
    with pytest.raises(UsageError, match="without PARENT"):
        run("reparent", "--fix-timestamp", disk, disk)


@pytest.mark.parametrize(
    "arguments", [("compact", "a.img"), ("resize", "a.img", "2M"), ("reparent", "a.img", "disk.vhd")]
)
def test_raw_images_are_named(
    disk: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(disk.parent)
    Path("a.img").write_bytes(bytes(MIB))
    with pytest.raises(DiskError, match=r"a\.img: a raw image"):
        run(*arguments)


@pytest.mark.parametrize("verb", ["compact", "resize", "reparent"])
def test_help_has_examples(verb: str) -> None:
    assert f"trapline disk {verb}" in run(verb, "--help")
