"""Other formats by way of qemu-img: the same contents, nothing left behind, nothing forbidden read."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from disks import foreign as foreign_module
from disks.convert import DynamicTarget, FixedTarget, RawTarget
from disks.errors import DiskError, ParentError
from disks.open import open_image
from disks.translate import Watcher, commands, open_source, translate
from disks.vhd.parents import ParentRules
from tests.disks.conftest import MakeVhd
from tests.disks.scribbles import contents_of, scribble
from tests.oracles import require_tool, run_tool

MIB = 1 << 20
FOREIGN = ("qcow2", "vmdk", "vdi", "vhdx")


def translated(source: Path, path: Path, target: object, **options: object) -> list[list[str]]:
    """Translate and return the commands that were run."""
    run: list[list[str]] = []
    with open_source(source, **options) as opened:  # type: ignore[arg-type]
        translate(opened, path, target, Watcher(run.append), replace=False)  # type: ignore[arg-type]
    return run


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A qcow2 image of 3 MiB."""
    raw = tmp_path / "start.raw"
    raw.write_bytes(random.Random(4).randbytes(MIB) + bytes(2 * MIB))
    run_tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "start.qcow2")
    return tmp_path / "start.qcow2"


@pytest.mark.oracle
@pytest.mark.parametrize("form", FOREIGN)
def test_vhd_goes_to_a_foreign_format_and_comes_back(make_vhd: MakeVhd, tmp_path: Path, form: str) -> None:
    require_tool("qemu-img")
    source = make_vhd(8 * MIB)
    expected = scribble(source, seed=5)
    there = tmp_path / f"there.{form}"
    assert [command[:2] for command in translated(source, there, form)] == [["qemu-img", "convert"]]
    for name, target in (("a.vhd", DynamicTarget()), ("b.vhd", FixedTarget()), ("c.img", RawTarget())):
        translated(there, tmp_path / name, target)
        assert contents_of(tmp_path / name) == expected
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"disk.vhd", there.name, "a.vhd", "b.vhd", "c.img"}


@pytest.mark.oracle
def test_foreign_formats_are_translated_among_each_other_in_one_step(foreign: Path, tmp_path: Path) -> None:
    ran = translated(foreign, tmp_path / "out.vdi", "vdi")
    assert len(ran) == 1
    run_tool("qemu-img", "compare", "-f", "qcow2", "-F", "vdi", foreign, tmp_path / "out.vdi")


@pytest.mark.oracle
def test_vmdk_notes_the_name_it_ends_up_with(foreign: Path, tmp_path: Path) -> None:
    translated(foreign, tmp_path / "out.vmdk", "vmdk")
    assert b'SPARSE "out.vmdk"' in (tmp_path / "out.vmdk").read_bytes()


@pytest.mark.oracle
def test_backing_file_elsewhere_is_refused_until_it_is_allowed(foreign: Path, tmp_path: Path) -> None:
    secrets, inbox = tmp_path / "secrets", tmp_path / "inbox"
    secrets.mkdir()
    inbox.mkdir()
    (secrets / "key").write_bytes(b"secret".ljust(512))
    bait = inbox / "bait.qcow2"
    run_tool("qemu-img", "create", "-f", "qcow2", "-b", secrets / "key", "-F", "raw", bait)
    with pytest.raises(ParentError, match=f"--allow-root {secrets}"):
        translated(bait, inbox / "out.img", RawTarget())
    assert sorted(path.name for path in inbox.iterdir()) == ["bait.qcow2"]
    translated(bait, inbox / "out.img", RawTarget(), rules=ParentRules((secrets,)))
    assert contents_of(inbox / "out.img").startswith(b"secret")


@pytest.mark.oracle
def test_backing_file_of_a_backing_file_is_looked_at_too(foreign: Path, tmp_path: Path) -> None:
    outside, inbox = tmp_path / "outside", tmp_path / "inbox"
    outside.mkdir()
    inbox.mkdir()
    (outside / "key").write_bytes(bytes(512))
    run_tool("qemu-img", "create", "-f", "qcow2", "-b", outside / "key", "-F", "raw", inbox / "middle.qcow2")
    run_tool("qemu-img", "create", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", inbox / "top.qcow2")
    with pytest.raises(ParentError, match="outside the allowed"):
        translated(inbox / "top.qcow2", inbox / "out.img", RawTarget())


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["nbd:localhost:1", "json:{}", "https://example.org/disk"])
def test_what_is_no_plain_file_is_refused_as_backing(foreign: Path, name: str) -> None:
    run_tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", name, "-F", "raw", foreign)
    with pytest.raises(DiskError), open_source(foreign):
        pass


def vmdk_on(path: Path, extent: Path | str) -> Path:
    """Write the descriptor of a VMDK of one flat extent."""
    lines = ("# Disk DescriptorFile", "version=1", "CID=12345678", "parentCID=ffffffff")
    path.write_text("\n".join([*lines, 'createType="monolithicFlat"', f'RW 2048 FLAT "{extent}" 0\n']))
    return path


def sparse_descriptor(path: Path, extent: Path) -> Path:
    """Write a sparse extent of no capacity, which is a descriptor in disguise."""
    text = vmdk_on(path, extent).read_bytes()
    path.write_bytes(struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 0, 128, 1, 20).ljust(512, b"\0") + text)
    return path


@pytest.fixture
def no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when qemu-img would be run."""

    def refuse(command: Sequence[str], *_: object) -> str:
        pytest.fail(f"{command} was run")

    monkeypatch.setattr(foreign_module, "_output", refuse)


@pytest.mark.usefixtures("no_tool")
@pytest.mark.parametrize("write", [vmdk_on, sparse_descriptor])
def test_an_extent_elsewhere_is_refused_before_qemu_img_is_run(
    tmp_path: Path, write: Callable[[Path, Path], Path]
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "secret").write_bytes(bytes(MIB))
    bait = write(inbox / "bait.vmdk", tmp_path / "secret")
    with pytest.raises(ParentError, match=f"--allow-root {tmp_path}"), open_source(bait):
        pass


@pytest.mark.usefixtures("no_tool")
def test_an_extent_that_is_a_descriptor_is_looked_into(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    sparse_descriptor(inbox / "inner.vmdk", tmp_path / "secret")
    outer = vmdk_on(inbox / "outer.vmdk", "inner.vmdk")
    with pytest.raises(ParentError, match="secret, outside"), open_source(outer):
        pass


@pytest.mark.usefixtures("no_tool")
def test_an_extent_that_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nbd:localhost:1", "a" * 600):
        bait = vmdk_on(tmp_path / "bait.vmdk", name)
        with pytest.raises(DiskError, match=r"plain file|more than 511"), open_source(bait):
            pass


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse"])
def test_a_vmdk_beside_its_extents_is_read(tmp_path: Path, kind: str) -> None:
    path, raw = tmp_path / "disk.vmdk", tmp_path / "disk.img"
    raw.write_bytes(b"\x5a" * MIB)
    run_tool("qemu-img", "convert", "-O", "vmdk", "-o", f"subformat={kind}", "-f", "raw", raw, path)
    with open_source(path) as source:
        assert source.size_bytes == MIB


@pytest.mark.oracle
def test_failure_of_qemu_img_is_told_and_leaves_nothing(foreign: Path, tmp_path: Path) -> None:
    with foreign.open("r+b") as file:
        file.seek(40)  # the offset of the cluster table
        file.write(b"\xff" * 8)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DiskError, match="qemu-img"):
        translated(foreign, tmp_path / "out.vhd", DynamicTarget())
    assert sorted(tmp_path.iterdir()) == before


def test_missing_qemu_img_is_named_with_its_package(
    make_vhd: MakeVhd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskError, match="qemu-utils"):
        translated(make_vhd(MIB), tmp_path / "out.qcow2", "qcow2")
    assert not (tmp_path / "out.qcow2").exists()


def test_our_own_formats_need_no_command(make_vhd: MakeVhd, tmp_path: Path) -> None:
    with open_source(make_vhd(MIB)) as source:
        assert commands(source, tmp_path / "out.img", RawTarget()) == []


def test_image_is_not_converted_to_itself_nor_to_its_parent(make_vhd: MakeVhd, tmp_path: Path) -> None:
    from tests.disks.conftest import make_child

    parent = make_vhd(MIB, name="parent.vhd")
    child = make_child(tmp_path / "child.vhd", parent)
    for path, what in ((child, "is the image"), (parent, "is a parent")):
        with open_source(child) as source, pytest.raises(DiskError, match=what):
            translate(source, path, DynamicTarget(), Watcher(print), replace=True)
    open_image(child).close()
