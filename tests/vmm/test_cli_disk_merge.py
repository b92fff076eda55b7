"""`trapline disk merge`: what it prints, what it refuses, and how it stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from disks.errors import DiskError
from disks.hostfile import HostFile
from disks.newfile import Progress, new_file
from disks.open import open_image
from disks.vhd.create import write_child, write_dynamic
from disks.vhd.mergejob import MergeInto
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd
from vmm.cli.disk import app
from vmm.errors import UsageError

SIZE = 8 << 20


def run(*arguments: str | Path) -> Result:
    """Run the command; errors come out as they are."""
    return CliRunner().invoke(app, ["merge", *map(str, arguments)], catch_exceptions=False)


def facts(*arguments: str | Path) -> dict[str, object]:
    """Return what `--json` prints."""
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.output)
    return found


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """Three images, base first; each holds its own number in some sectors."""
    paths = [tmp_path / name for name in ("base.vhd", "child.vhd", "grandchild.vhd")]
    for number, path in enumerate(paths):
        with new_file(path) as file:
            if number == 0:
                write_dynamic(file, SIZE)
            else:
                parent = open_image(paths[number - 1], read_only=True)
                assert isinstance(parent, SparseVhd)
                write_child(file, path, parent)
                parent.close()
        image = open_image(path)
        image.write(number * 4, bytes([number + 1]) * 4096)
        image.write(5000 * number, bytes([number + 1]) * 512)
        image.close()
    return paths


def contents(path: Path, *roots: Path) -> bytes:
    image = open_image(path, read_only=True, parents=ParentRules(roots))
    try:
        return image.read(0, SIZE // 512)
    finally:
        image.close()


def test_a_merge_says_what_it_did(chain: list[Path]) -> None:
    expected = contents(chain[2])
    found = facts(chain[2])
    assert found == {
        "child": str(chain[2]),
        "into": str(chain[1]),
        "dry_run": False,
        "merged_bytes": 4608,
        "new_blocks": 1,
        "growth_bytes": (2 << 20) + 512,
        "spoilt": [],
        "children": [],
        "reparented": [],
        "deleted": [],
        "warnings": [],
    }
    assert contents(chain[1]) == contents(chain[2]) == expected


def test_for_people_there_are_units_and_advice(chain: list[Path]) -> None:
    output = run(chain[1]).output
    assert "merged bytes:     4608 (4.5 KiB)" in output
    assert f"children:         {chain[2]}" in output
    assert "--reparent-children" in output


@pytest.mark.parametrize("options", [(), ("--delete", "--reparent-children")])
def test_a_dry_run_says_what_would_be_done_and_changes_no_byte(
    chain: list[Path], options: tuple[str, ...]
) -> None:
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in chain]
    found = facts("--dry-run", *options, chain[1])
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in chain] == before
    assert (found["dry_run"], found["merged_bytes"], found["new_blocks"]) == (True, 4608, 1)
    assert found["reparented"] == ([str(chain[2])] if options else [])
    assert found["deleted"] == ([str(chain[1])] if options else [])


def test_a_dry_run_opens_nothing_for_writing(chain: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    open_file = HostFile.open

    def noted(path: Path, *, read_only: bool, follow: bool = True, lock: bool = True) -> HostFile:
        opened.append(read_only)
        return open_file(path, read_only=read_only, follow=follow, lock=lock)

    monkeypatch.setattr(HostFile, "open", noted)
    facts("--dry-run", "--reparent-children", chain[1])
    facts(
        "--dry-run", "--reparent-children", chain[1], "--from", chain[1], "--to", chain[0].with_name("n.vhd")
    )
    assert opened
    assert all(opened)


def test_a_dry_run_of_a_new_image_makes_no_file(chain: list[Path]) -> None:
    new = chain[0].with_name("new.vhd")
    before = sorted(new.parent.iterdir())
    assert facts("--dry-run", chain[2], "--from", chain[1], "--to", new)["merged_bytes"] == 4608 + 4608 - 2048
    assert sorted(new.parent.iterdir()) == before


def test_several_levels_merge_into_an_ancestor(chain: list[Path]) -> None:
    expected = contents(chain[2])
    found = facts(chain[2], "--into", chain[0], "--delete")
    assert found["deleted"] == [str(chain[2]), str(chain[1])]
    assert [path.exists() for path in chain] == [True, False, False]
    assert contents(chain[0]) == expected


def test_a_span_becomes_a_new_image(chain: list[Path]) -> None:
    new, expected = chain[0].with_name("new.vhd"), contents(chain[2])
    facts(chain[2], "--from", chain[1], "--to", new)
    assert contents(new) == expected
    with pytest.raises(DiskError, match="exists already"):
        run("--dry-run", chain[2], "--from", chain[0], "--to", new)
    facts(chain[2], "--from", chain[0], "--to", new, "--force")
    assert contents(new) == expected


def test_a_new_image_never_takes_the_place_of_one_it_is_made_of(chain: list[Path]) -> None:
    before = chain[1].read_bytes()
    with pytest.raises(DiskError, match="in use"):
        run(chain[2], "--from", chain[0], "--to", chain[1], "--force")
    assert chain[1].read_bytes() == before


def test_parents_elsewhere_need_to_be_allowed(chain: list[Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    expected = contents(chain[1])
    moved = chain[1].rename(home / "child.vhd")
    with pytest.raises(DiskError, match="--allow-root"):
        run(moved)
    chain[2].unlink()
    facts("--allow-root", tmp_path, moved)
    assert contents(chain[0]) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "a"),
        ("--to", "b"),
        ("--from", "a", "--to", "b", "--into", "c"),
        ("--from", "a", "--to", "b", "--delete"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--to"):
        run("child.vhd", *arguments)


def test_stopping_says_that_the_same_command_finishes(
    chain: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(chain[2])
    work = MergeInto.run

    def stopped(self: MergeInto, progress: Progress | None = None) -> None:
        def report(done: int) -> None:
            raise KeyboardInterrupt

        work(self, report)

    with monkeypatch.context() as patch:
        patch.setattr(MergeInto, "run", stopped)
        result = CliRunner().invoke(app, ["merge", str(chain[2])])
    assert result.exit_code == 130
    assert "the same command finishes" in result.output
    assert contents(chain[2]) == expected
    facts(chain[2])
    assert contents(chain[1]) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_real_signal_leaves_images_that_a_second_merge_finishes(
    tmp_path: Path, number: signal.Signals
) -> None:
    base, child = tmp_path / "base.vhd", tmp_path / "child.vhd"
    with new_file(base) as file:
        write_dynamic(file, 512 << 20)
    parent = open_image(base, read_only=True)
    assert isinstance(parent, SparseVhd)
    with new_file(child) as file:
        write_child(file, child, parent)
    parent.close()
    image = open_image(child)
    for at in range(0, 256 << 11, 4096):  # every other MiB of 256 MiB
        image.write(at, at.to_bytes(4, "big") * 128 * 2048)
    image.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "vmm.cli", "disk", "merge", str(child)], stderr=subprocess.PIPE, text=True
    )
    small, deadline = base.stat().st_size, time.monotonic() + 60
    while base.stat().st_size == small and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(number)
    stderr = process.communicate(timeout=60)[1]
    if process.returncode != 0:  # else it was done before the signal came
        assert process.returncode == (130 if number == signal.SIGINT else -number), stderr
        assert number == signal.SIGKILL or "the same command finishes" in stderr
    expected = [at.to_bytes(4, "big") * 128 for at in range(0, 256 << 11, 4096)]
    assert probes(child) == expected
    facts(child)
    assert probes(base) == expected


def probes(path: Path) -> list[bytes]:
    """Return the first sector of every other MiB."""
    image = open_image(path, read_only=True)
    try:
        return [image.read(at, 1) for at in range(0, 256 << 11, 4096)]
    finally:
        image.close()


def test_help_has_examples() -> None:
    output = run("--help").output
    assert "trapline disk merge child.vhd --into base.vhd" in output
