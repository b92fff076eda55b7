"""`trapline disk`: images made and described, mistakes told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from disks.errors import DiskError
from disks.open import open_image
from vmm.cli.disk import app
from vmm.cli.disk.options import parse_size
from vmm.errors import ConfigError


def run(*arguments: str | Path) -> str:
    """Run the command and return its output; errors come out as they are."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def facts(path: Path) -> dict[str, object]:
    """Return what `info --json` says."""
    found: dict[str, object] = json.loads(run("info", "--json", path))
    return found


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("10M", 10 << 20), ("2g", 2 << 30), ("1.5K", 1536), ("1GiB", 1 << 30), ("4KB", 4096)],
)
def test_sizes_take_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "ten", "-1M", "0", "100", "1.3K", "1Q", "inf", "nan", "1e400", "B"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="size"):
        parse_size(text)


def test_vhd_is_dynamic_unless_told_otherwise(tmp_path: Path) -> None:
    run("create", tmp_path / "a.vhd", "64M")
    run("create", "--type", "fixed", tmp_path / "b.vhd", "1M")
    assert facts(tmp_path / "a.vhd")["type"] == "dynamic"
    assert facts(tmp_path / "b.vhd")["type"] == "fixed"


def test_suffix_decides_the_format(tmp_path: Path) -> None:
    run("create", tmp_path / "a.img", "1M")
    run("create", "--format", "vhd", tmp_path / "b.img", "1M")
    assert facts(tmp_path / "a.img")["format"] == "raw"
    assert facts(tmp_path / "b.img")["format"] == "vhd"


def test_fixed_image_takes_its_room_unless_sparse(tmp_path: Path) -> None:
    run("create", "--type", "fixed", tmp_path / "full.vhd", "4M")
    run("create", "--type", "fixed", "--sparse", tmp_path / "sparse.vhd", "4M")
    full, sparse = facts(tmp_path / "full.vhd"), facts(tmp_path / "sparse.vhd")
    assert full["file_bytes"] == sparse["file_bytes"] == (4 << 20) + 512
    assert isinstance(full["allocated_bytes"], int)
    assert isinstance(sparse["allocated_bytes"], int)
    assert sparse["allocated_bytes"] < full["allocated_bytes"]


KINDS = {
    "dynamic": ("a.vhd", "64M"),
    "fixed": ("--type", "fixed", "a.vhd", "2M"),
    "raw": ("a.img", "1M"),
    "child": ("--parent", "base.vhd", "a.vhd"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_json_says_what_was_made_and_a_dry_run_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run("create", "base.vhd", "3M")
    words = KINDS[kind]
    told = json.loads(run("create", "--json", "--dry-run", *words))
    assert [path.name for path in tmp_path.iterdir()] == ["base.vhd"]
    assert "nothing was written (--dry-run)" in run("create", "--dry-run", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["base.vhd"]
    made = json.loads(run("create", "--json", *words))
    assert (told.pop("dry_run"), made.pop("dry_run")) == (True, False)
    identity = made.pop("unique_id", None)
    assert told == made
    found = facts(Path(made["path"]))
    assert found.get("unique_id") == identity
    for key in ("format", "virtual_bytes", "file_bytes"):
        assert made[key] == found[key]


def test_a_dry_run_refuses_what_would_be_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    run("create", path, "1M")
    run("create", "--parent", path, tmp_path / "child.vhd")
    before = path.read_bytes()
    for words, why in (
        ([path, "1M"], "exists already"),
        (["--force", path, "1M"], r"is the parent of child\.vhd"),
        ([tmp_path / "no" / "b.vhd", "1M"], "no such directory"),
        ([tmp_path / "b.vhd", "3T"], "2040 GiB"),
    ):
        with pytest.raises(DiskError, match=why):
            run("create", "--dry-run", *words)
    assert path.read_bytes() == before


def test_info_counts_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    run("create", "--block-size", "512K", path, "3M")
    image = open_image(path)
    image.write(0, bytes(512))
    image.close()
    found = facts(path)
    assert (found["block_bytes"], found["blocks"], found["blocks_used"]) == (512 << 10, 6, 1)
    assert found["virtual_bytes"] == 3 << 20
    assert found["warnings"] == []


def test_info_for_people_has_units(tmp_path: Path) -> None:
    run("create", tmp_path / "a.vhd", "1.5G")
    output = run("info", tmp_path / "a.vhd")
    assert "1610612736 (1.5 GiB)" in output
    assert "type:             dynamic" in output


def test_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    path.write_bytes(b"precious")
    with pytest.raises(DiskError, match="--force"):
        run("create", path, "1M")
    assert path.read_bytes() == b"precious"
    run("create", "--force", path, "1M")
    assert facts(path)["format"] == "vhd"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.vmdk", "1M"), "no format goes with"),
        (("a.vhd", "3000G"), "2040 GiB"),
        (("--block-size", "1M", "a.vhd", "10M"), "block size"),
        (("--type", "fixed", "a.img", "1M"), "raw"),
    ],
)
def test_mistakes_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, DiskError), match=message):
        run("create", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["create", "info"])
def test_help_has_examples(verb: str) -> None:
    assert "trapline disk" in run(verb, "--help")
