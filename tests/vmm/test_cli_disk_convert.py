"""`trapline disk convert`: what it prints, and the mistakes it tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from disks.errors import DiskError
from disks.open import open_image
from tests.disks.conftest import make_child
from tests.oracles import require_tool
from tests.vmm.test_cli_disk import facts, run
from vmm.cli.disk import app
from vmm.errors import ConfigError, UsageError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"\x01" * 4096 + bytes((4 << 20) - 4096))
    return path


def test_suffix_and_options_decide_the_kind(raw: Path, tmp_path: Path) -> None:
    run("convert", raw, tmp_path / "a.vhd")
    run("convert", raw, tmp_path / "b.vhd", "--type", "fixed")
    run("convert", raw, tmp_path / "c.vhd", "--block-size", "512K")
    run("convert", tmp_path / "a.vhd", tmp_path / "d.bak", "--to", "raw")
    assert facts(tmp_path / "a.vhd")["type"] == "dynamic"
    assert facts(tmp_path / "b.vhd")["type"] == "fixed"
    assert facts(tmp_path / "c.vhd")["block_bytes"] == 512 << 10
    assert (tmp_path / "d.bak").read_bytes() == raw.read_bytes()


def test_report_tells_sizes_and_the_depth_of_the_chain(raw: Path, tmp_path: Path) -> None:
    run("convert", raw, tmp_path / "base.vhd")
    child = make_child(tmp_path / "child.vhd", tmp_path / "base.vhd")
    assert "a chain of 2" in run("convert", child, tmp_path / "flat.img")
    found = json.loads(run("convert", "--json", child, tmp_path / "flat.vhd"))
    assert found["levels"] == [str(child), str(tmp_path / "base.vhd")]
    assert (found["virtual_bytes"], found["written_bytes"]) == (4 << 20, 4096)
    assert 4096 <= found["held_bytes"] <= 2 << 20  # of a block, what the host stores
    assert found["unique_id"] == facts(tmp_path / "flat.vhd")["unique_id"]
    assert found["commands"] == []


def test_dry_run_says_what_would_be_done_and_writes_nothing(raw: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert "nothing was written" in run("convert", "--dry-run", raw, tmp_path / "a.vhd")
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(DiskError, match="--force"):
        run("convert", "--dry-run", raw, raw)


@pytest.mark.oracle
def test_dry_run_shows_the_command(raw: Path, tmp_path: Path) -> None:
    require_tool("qemu-img")
    found = json.loads(run("convert", "--dry-run", "--json", raw, tmp_path / "a.qcow2"))
    (command,) = found["commands"]
    assert command.startswith(f"qemu-img convert -f raw -O qcow2 {raw} ")


def test_existing_file_is_replaced_only_by_force(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    path.write_bytes(b"precious")
    with pytest.raises(DiskError, match="--force"):
        run("convert", raw, path)
    assert path.read_bytes() == b"precious"
    run("convert", "--force", raw, path)
    assert facts(path)["virtual_bytes"] == 4 << 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--type", "fixed", "a.img"), "--type"),
        (("--type", "fixed", "--block-size", "2M", "a.vhd"), "--block-size"),
        (("--sparse", "a.vhd"), "--sparse"),
        (("--block-size", "2M", "a.qcow2"), "--block-size"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    raw: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run("convert", *options[:-1], raw, tmp_path / options[-1])


def test_suffix_without_a_format_is_refused(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--to"):
        run("convert", raw, tmp_path / "a.foo")


def test_format_of_the_source_can_be_said(raw: Path, tmp_path: Path) -> None:
    run("convert", raw, tmp_path / "a.vhd", "--type", "fixed")
    run("convert", "--from-format", "raw", tmp_path / "a.vhd", tmp_path / "b.img")
    assert (tmp_path / "b.img").read_bytes() == (tmp_path / "a.vhd").read_bytes()


def test_parent_elsewhere_needs_leave(raw: Path, tmp_path: Path) -> None:
    base = tmp_path / "bases" / "base.vhd"
    base.parent.mkdir()
    (tmp_path / "work").mkdir()
    run("convert", raw, base)
    child = make_child(tmp_path / "work" / "child.vhd", base)
    with pytest.raises(DiskError, match="--allow-root"):
        run("convert", child, tmp_path / "flat.img")
    run("convert", "--allow-root", base.parent, child, tmp_path / "flat.img")
    assert (tmp_path / "flat.img").read_bytes() == raw.read_bytes()


def test_help_has_examples() -> None:
    assert "trapline disk convert" in CliRunner().invoke(app, ["convert", "--help"]).output


def test_source_is_locked_while_it_is_read(raw: Path, tmp_path: Path) -> None:
    image = open_image(raw)
    with pytest.raises(DiskError, match="opened for writing"):
        run("convert", raw, tmp_path / "a.vhd")
    image.close()
