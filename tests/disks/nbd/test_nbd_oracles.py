"""Clients nobody here wrote: QEMU's tools and libnbd's read and write our images through the server."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.open import open_image
from tests.disks.conftest import make_child
from tests.disks.nbd.served import served
from tests.disks.scribbles import contents_of, scribble, seven_zip
from tests.oracles import MissingError, require_file, run_tool

pytestmark = pytest.mark.oracle
MakeVhd = Callable[..., Path]
MakeImage = Callable[[int], tuple[Path, bytearray]]
SIZE = 11 * (1 << 20) + 512 * 3
KINDS = ("raw", "fixed", "dynamic", "chain")


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, make_vhd: MakeVhd, tmp_path: Path) -> tuple[Path, bytearray]:
    """Return an image of each kind, half full of noise, and what it holds."""
    if request.param == "raw":
        path = tmp_path / "disk.img"
        path.write_bytes(bytes(SIZE))
    else:
        path = make_vhd(SIZE, fixed=request.param == "fixed", block_bytes=512 << 10)
    model = scribble(path, seed=1, writes=20)
    for level in range(2 if request.param == "chain" else 0):
        path = make_child(tmp_path / f"child{level}.vhd", path)
        model = scribble(path, seed=2 + level, writes=20)
    return path, bytearray(model)


def random_commands(model: bytearray, seed: int, count: int = 60) -> list[str]:
    """Return commands of qemu-io that write at random, and do to `model` what they will do."""
    chance = random.Random(seed)
    commands = []
    for _ in range(count):
        length = chance.choice((512, 1024, 4096, 65536, 700 * 512, 2 << 20))
        offset = chance.randrange((len(model) - length) // 512 + 1) * 512
        fill = chance.randrange(1, 256)
        kind = chance.choice(
            ("write -P", "write -P", "write -f -P", "write -z", "write -z -u", "read", "flush")
        )
        if kind.endswith("-P"):
            commands.append(f"{kind} {fill} {offset} {length}")
            model[offset : offset + length] = bytes([fill]) * length
        elif kind.startswith("write -z"):
            commands.append(f"{kind} {offset} {length}")
            model[offset : offset + length] = bytes(length)
        else:
            commands.append("flush" if kind == "flush" else f"read {offset} {length}")
    return commands


def qemu_io(uri: str, commands: list[str]) -> str:
    arguments = [argument for command in commands for argument in ("-c", command)]
    return run_tool("qemu-io", "-f", "raw", *arguments, uri)


def nbdsh(uri: str | None, *steps: str) -> str:
    """Run libnbd's shell with the Python it belongs to, whatever `python3` is."""
    require_file("/usr/lib/python3/dist-packages/nbd.py", "python3-libnbd")
    options = ["-u", uri] if uri is not None else []
    return run_tool(
        "/usr/bin/python3", "-m", "nbd", *options, *(word for step in steps for word in ("-c", step))
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_writes_of_qemu_io_do_what_they_say(
    image: tuple[Path, bytearray], seed: int, tmp_path: Path
) -> None:
    path, model = image
    parents = {other: other.read_bytes() for other in tmp_path.glob("*.vhd") if other != path}
    with served(path) as server:
        said = qemu_io(server.uri, random_commands(model, seed))
        expected = tmp_path / "expected.raw"
        expected.write_bytes(model)
        run_tool("qemu-img", "compare", "-f", "raw", "-F", "raw", expected, server.uri)
    assert "failed" not in said
    assert server.reports == []
    assert contents_of(path) == model
    assert {other: other.read_bytes() for other in parents} == parents
    if path.suffix == ".vhd":
        assert seven_zip(path) == model


def test_reads_of_qemu_io_find_what_was_written(image: tuple[Path, bytearray]) -> None:
    path, _ = image
    with served(path) as server:
        said = qemu_io(
            server.uri, ["write -P 0x5a 700k 3M", "write -z 1M 1M", "read -P 0x5a 2M 1M", "read -P 0 1M 1M"]
        )
        assert "verification failed" not in said
        assert "verification failed" in run_tool(
            "qemu-io", "-f", "raw", "-c", "read -P 0x5b 2M 1M", server.uri, status=1
        )


def test_a_discard_keeps_to_its_range_and_leaves_zeros_or_what_was_there(
    image: tuple[Path, bytearray],
) -> None:
    path, model = image
    with served(path) as server:
        assert "discard 1048576/1048576" in qemu_io(server.uri, ["discard 2M 1M", "flush"])
    contents = contents_of(path)
    assert contents[: 2 << 20] == model[: 2 << 20]
    assert contents[3 << 20 :] == model[3 << 20 :]
    for at in range(2 << 20, 3 << 20, 512):
        assert contents[at : at + 512] in (model[at : at + 512], bytes(512))
    if path.suffix == ".vhd":
        assert seven_zip(path) == contents


@pytest.mark.parametrize("kind", ["raw", "fixed", "dynamic", "child"])
def test_a_discard_gives_room_back_but_a_fixed_vhd_keeps_it(
    make_vhd: MakeVhd, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "disk.img" if kind == "raw" else make_vhd(8 << 20, fixed=kind == "fixed")
    if kind == "raw":
        path.write_bytes(bytes(8 << 20))
    noise = tmp_path / "noise.raw"
    noise.write_bytes(random.Random(5).randbytes(8 << 20))
    if kind == "child":
        with served(path) as server:
            run_tool("nbdcopy", noise, server.uri)
        path = make_child(tmp_path / "child.vhd", path)
    with served(path) as server:
        run_tool("nbdcopy", "--flush", noise, server.uri)
        before = path.stat().st_blocks * 512
        qemu_io(server.uri, ["discard 1M 6M", "flush"])
        after = path.stat().st_blocks * 512
    if kind == "fixed":
        assert after == before
        assert contents_of(path) == noise.read_bytes()
        return
    if after == before:
        raise MissingError("a file system with holes")
    assert before - after > 5 << 20  # a few pages are held in part
    expected = bytearray(noise.read_bytes())
    expected[1 << 20 : 7 << 20] = bytes(6 << 20)
    assert contents_of(path) == expected


def test_nbdcopy_brings_an_image_out(image: tuple[Path, bytearray], tmp_path: Path) -> None:
    path, model = image
    out = tmp_path / "out.raw"
    with served(path, read_only=True) as server:
        run_tool("nbdcopy", server.uri, out)
    assert out.read_bytes() == model
    assert server.reports == []


@pytest.mark.parametrize("options", [(), ("--flush", "--allocated"), ("--synchronous",)])
def test_nbdcopy_brings_an_image_in(
    image: tuple[Path, bytearray], tmp_path: Path, options: tuple[str, ...]
) -> None:
    path, _ = image
    source = tmp_path / "source.raw"
    chance = random.Random(9)
    contents = chance.randbytes(3 << 20) + bytes(4 << 20) + chance.randbytes(SIZE - (7 << 20))
    source.write_bytes(contents)
    with served(path) as server:
        run_tool("nbdcopy", *options, source, server.uri)
    assert contents_of(path) == contents
    assert server.reports == []


def test_qemu_img_converts_into_an_image_and_leaves_its_holes(make_vhd: MakeVhd, tmp_path: Path) -> None:
    path = make_vhd(64 << 20)
    source = tmp_path / "source.raw"
    source.write_bytes(random.Random(4).randbytes(3 << 20) + bytes(61 << 20))
    with served(path) as server:
        run_tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, server.uri)
        run_tool("qemu-img", "compare", "-f", "raw", "-F", "raw", source, server.uri)
    assert path.stat().st_size < 5 << 20


def test_qemu_img_map_shows_the_holes(make_vhd: MakeVhd) -> None:
    path = make_vhd(64 << 20)
    image = open_image(path)
    image.write((4 << 20) // 512, b"\x11" * 4096)  # a block of 2 MiB
    image.close()
    with served(path, read_only=True) as server:
        shown = run_tool("qemu-img", "map", "-f", "raw", "--output=json", server.uri)
        mapped = run_tool("nbdinfo", "--map", server.uri)
    assert f'"start": {4 << 20}, "length": {2 << 20}' in shown
    assert [line.split() for line in mapped.splitlines()] == [
        ["0", str(4 << 20), "3", "hole,zero"],
        [str(4 << 20), str(2 << 20), "0", "data"],
        [str(6 << 20), str(58 << 20), "3", "hole,zero"],
    ]


def test_nbdinfo_understands_what_we_announce(make_vhd: MakeVhd) -> None:
    with served(make_vhd(SIZE)) as server:
        said = run_tool("nbdinfo", server.uri)
    for line in (
        "protocol: newstyle-fixed without TLS, using structured packets",
        f"export-size: {SIZE}",
        "description: disk.vhd",
        "can_flush: true",
        "can_fua: true",
        "can_trim: true",
        "can_zero: true",
        "is_read_only: false",
        "block_size_minimum: 512",
        "block_size_maximum: 33554432",
    ):
        assert line in said


def test_a_read_only_server_refuses_writes_of_qemu_io(make_vhd: MakeVhd) -> None:
    path = make_vhd(SIZE)
    before = path.read_bytes()
    with served(path, read_only=True) as server:
        said = run_tool("qemu-io", "-f", "raw", "-c", "write 0 512", server.uri, status=1)
    assert "Permission denied" in said
    assert path.read_bytes() == before


def test_nbdsh_reaches_single_bytes_where_it_asked_for_no_block_sizes(make_vhd: MakeVhd) -> None:
    path = make_vhd(SIZE)
    with served(path) as server:
        steps = (
            "h.set_request_block_size(False)",
            "h.set_strict_mode(0)",
            f"h.connect_uri('{server.uri}')",
            "h.pwrite(b'abc', 510, nbd.CMD_FLAG_FUA)",
            "assert h.pread(5, 509) == b'\\0abc\\0'",
            "h.zero(1, 511)",
            "assert h.pread(5, 509) == b'\\0a\\0c\\0'",
            "h.shutdown()",
        )
        nbdsh(None, *steps)
    assert contents_of(path)[509:514] == b"\0a\0c\0"


def test_nbdsh_is_told_of_errors_and_goes_on(make_vhd: MakeVhd) -> None:
    with served(make_vhd(1 << 20)) as server:
        script = """
h.set_strict_mode(0)
for step in (lambda: h.pread(512, 1 << 20), lambda: h.pwrite(bytes(512), 1 << 20), lambda: h.pread(512, 1),
             lambda: h.cache(512, 0)):
    try:
        step()
    except nbd.Error as error:
        print(error.errno)
assert h.pread(512, 0) == bytes(512)
"""
        said = nbdsh(server.uri, script)
    assert said.split() == ["EINVAL", "ENOSPC", "EINVAL", "EINVAL"]


def test_nbdsh_without_structured_replies_reads_and_writes_the_most_there_is(
    make_vhd: MakeVhd, tmp_path: Path
) -> None:
    path, noise = make_vhd(40 << 20), tmp_path / "noise"
    noise.write_bytes(random.Random(6).randbytes(32 << 20))
    with served(path) as server:
        nbdsh(
            None,
            "h.set_request_structured_replies(False)",
            f"h.connect_uri('{server.uri}')",
            f"noise = open('{noise}', 'rb').read()",
            "h.pwrite(noise, 4 << 20)",
            "assert h.pread(32 << 20, 4 << 20) == noise",
            "assert h.pread(32 << 20, 2 << 20) == bytes(2 << 20) + noise[:30 << 20]",
        )
    assert contents_of(path)[4 << 20 : 36 << 20] == noise.read_bytes()
