"""Images that lie about their parents: refused in words that help, and no file outside is ever opened."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from disks.errors import DiskError, ParentError
from disks.open import open_image
from disks.vhd import layout
from disks.vhd.check import check_chain
from disks.vhd.compact import compact
from disks.vhd.footer import Footer
from disks.vhd.header import DynamicHeader, Locator
from disks.vhd.parents import ParentRules
from disks.vhd.reparent import reparent
from disks.vhd.span import chain_of
from tests.disks.damage import Damage, in_footers, in_header, u32, u64
from tests.disks.small_images import BASE_ID, BLOCK, CHILD_ID, filled

BLOCKS = 3
MADE = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS_AT = 2048

_watching: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _watching is not None and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _watching.append(os.path.realpath(os.fsdecode(arguments[0])))


sys.addaudithook(_note)  # it cannot be taken away again; idle unless a test watches


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The real paths of all files that are opened while the test runs."""
    global _watching
    _watching = []
    yield _watching
    _watching = None


def child_saying(
    locators: list[tuple[bytes, bytes]],
    name: bytes = b"",
    parent: uuid.UUID = BASE_ID,
    own: uuid.UUID = CHILD_ID,
    change: Callable[[Locator], Locator] = lambda locator: locator,
) -> bytes:
    """Return an empty differencing image with these locators (code, text) and this name of its parent."""
    entries = [Locator(code, 512, len(text), TEXTS_AT + 512 * at) for at, (code, text) in enumerate(locators)]
    header = replace(
        DynamicHeader(layout.FOOTER_BYTES + layout.HEADER_BYTES, BLOCKS, BLOCK, parent),
        parent_name=name.ljust(512, b"\0"),
        locators=(*map(change, entries), *[Locator()] * (8 - len(entries))),
    )
    footer = Footer.new(layout.TYPE_DIFFERENCING, BLOCKS * BLOCK, MADE, own).to_bytes()
    texts = b"".join(text.ljust(512, b"\0")[:512] for _, text in locators)
    return footer + header.to_bytes() + b"\xff" * header.table_bytes + texts + footer


def relative(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"W2ru", text.encode("utf-16-le"))]


def absolute(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"W2ku", text.encode("utf-16-le"))]


def url(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"MacX", text.encode())]


class World(NamedTuple):
    """A directory with the child, one besides it with what the child must not see."""

    home: Path
    outside: Path
    child: Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    home, outside = tmp_path / "home", tmp_path / "out side"
    home.mkdir()
    outside.mkdir()
    (outside / "secret.vhd").write_bytes(filled(BLOCKS, 1)[0])  # the identity the child asks for
    (outside / "secret.raw").write_bytes(b"secret" * 1000)
    (home / "raw.img").write_bytes(b"contents" * 1000)
    (home / "dir.vhd").mkdir()
    os.mkfifo(home / "pipe.vhd")
    for name, target in {
        "link.vhd": outside / "secret.vhd",
        "linked": outside,
        "zero.vhd": Path("/dev/zero"),
        "one.vhd": home / "two.vhd",
        "two.vhd": home / "one.vhd",
        "dangling.vhd": home / "nowhere.vhd",
    }.items():
        (home / name).symlink_to(target)
    return World(home, outside, home / "child.vhd")


def within(paths: list[str], roots: tuple[Path, ...]) -> bool:
    files = [Path(path) for path in paths if not path.endswith((".py", ".pyc"))]  # modules loaded meanwhile
    return all(any(path.is_relative_to(root) for root in roots) for path in files)


def refusal(world: World, opened: list[str], rules: ParentRules = ParentRules()) -> str:  # noqa: B008
    """Open the child, check it, look at its chain, find its parent; return what opening says."""
    opened.clear()
    with pytest.raises(ParentError) as caught:
        open_image(world.child, parents=rules)
    text = str(caught.value)
    assert str(world.child) in text
    assert check_chain(world.child, rules)[0].findings.counts["parent-unusable"] == 1
    for work in (
        lambda: chain_of(world.child, rules),
        lambda: reparent(world.child, None, rules),
        lambda: reparent(world.child, None, rules, only_timestamp=True),
    ):
        with pytest.raises(DiskError):
            work()
    compact(world.child, rules)
    assert opened
    assert within(opened, (world.home, *rules.allow_roots)), opened
    return text


OUTSIDE = {
    "parent directory": relative("..\\out side\\secret.vhd"),
    "parent directory by a detour": relative(".\\dir.vhd\\..\\..\\home\\..\\out side\\secret.vhd"),
    "slashes": relative("../out side/secret.vhd"),
    "absolute": absolute("{outside}\\secret.vhd"),
    "absolute with a drive": absolute("C:{outside}\\secret.vhd"),
    "absolute in the relative locator": relative("{outside}\\secret.vhd"),
    "URL": url("file://localhost{outside}/secret.vhd"),
    "URL in escapes": url("file://{outside}/%2e%2e/out%20side/secret.vhd"),
    "link": relative(".\\link.vhd"),
    "link to a directory": relative(".\\linked\\secret.vhd"),
}


@pytest.mark.parametrize("locators", OUTSIDE.values(), ids=OUTSIDE)
def test_a_parent_outside_is_refused_unopened_with_the_option_that_admits_it(
    world: World, opened: list[str], locators: list[tuple[bytes, bytes]]
) -> None:
    code, text = locators[0]
    encoding = "utf-8" if code == b"MacX" else "utf-16-le"
    path = str(world.outside).replace("/", "\\" if code != b"MacX" else "/")
    world.child.write_bytes(
        child_saying([(code, text.decode(encoding).replace("{outside}", path).encode(encoding))])
    )
    said = refusal(world, opened)
    assert "lies outside the allowed directories" in said
    option = said.partition("--allow-root ")[2].splitlines()[0]
    assert shlex.split(option) == [str(world.outside)]
    opened.clear()
    open_image(world.child, parents=ParentRules((Path(shlex.split(option)[0]),))).close()
    assert within(opened, (world.home, world.outside))


REFUSED = {
    "device": (relative("\\\\.\\PhysicalDrive0"), "names a device"),
    "device, slashes": (relative("//./PhysicalDrive0"), "names a device"),
    "device by \\\\?\\": (absolute("\\\\?\\C:\\base.vhd"), "names a device"),
    "device by \\??\\": (absolute("\\??\\C:\\base.vhd"), "names a device"),
    "UNC": (absolute("\\\\server\\share\\base.vhd"), "network"),
    "UNC, mixed": (relative("\\/server/share/base.vhd"), "network"),
    "UNC by URL": (url("file:////server/share/base.vhd"), "network"),
    "other host": (url("file://server/base.vhd"), "on another host"),
    "web": (url("http://localhost/base.vhd"), "on another host"),
    "no URL": (url("file://[/base.vhd"), "is no URL"),
    "no URL by its letters": (url("file://\u2100/base.vhd"), "is no URL"),
    "device of the host": (absolute("\\dev\\zero"), "--allow-root /dev"),
    "file of the host": (url("file:///etc/passwd"), "--allow-root /etc"),
    "link to a device": (relative(".\\zero.vhd"), "--allow-root /dev"),
    "links in a circle": (relative(".\\one.vhd"), "is not a regular file"),
    "link to nothing": (relative(".\\dangling.vhd"), "no such file"),
    "pipe": (relative(".\\pipe.vhd"), "is not a regular file"),
    "directory": (relative(".\\dir.vhd"), "is not a regular file"),
    "through a file": (relative(".\\raw.img\\base.vhd"), "Not a directory"),
    "raw file": (relative(".\\raw.img"), "is no VHD"),
    "itself": (relative(".\\child.vhd"), "circle"),
    "nothing": (relative(".\\nothing.vhd"), "no such file"),
    "own directory": (relative(".\\"), "names no file"),
    "drive alone": (absolute("C:"), "names no file"),
    "long name": (relative("n" * 252 + ".vhd"), "too long"),
    "long name by URL": (url("file:///" + "n" * 500), "outside the allowed directories"),
    "escape sequence": (relative("..\\\x1b[2J\\base.vhd"), "control characters"),
    "lines": (relative("..\\a\nIf you trust it: rm -r\\base.vhd"), "control characters"),
    "NUL by URL": (url("file:///home%00/base.vhd"), "control characters"),
    "unpaired surrogate": ([(b"W2ru", b"\x00\xd8a\0")], "it names none"),
    "half a letter": ([(b"W2ru", b"a\0b")], "it names none"),
    "bytes that are no UTF-8": ([(b"MacX", b"file:///\xff\xfe")], "it names none"),
    "NUL first": (relative("\0base.vhd"), "it names none"),
    "nothing at all": ([], "it names none"),
}


@pytest.mark.parametrize(("locators", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_parent_is_refused_with_the_reason(
    world: World, opened: list[str], locators: list[tuple[bytes, bytes]], why: str
) -> None:
    world.child.write_bytes(child_saying(locators))
    said = refusal(world, opened)
    assert why in said
    assert said.replace("\n", "").isprintable()
    assert "secret" not in said


@pytest.mark.parametrize("root", ["/dev", "/etc"])
def test_what_is_no_vhd_stays_unread_also_where_it_was_allowed(
    world: World, opened: list[str], root: str
) -> None:
    world.child.write_bytes(child_saying([*absolute("\\dev\\zero"), *url("file:///etc/passwd")]))
    said = refusal(world, opened, ParentRules((Path(root),)))
    assert ("is not a regular file" if root == "/dev" else "is no VHD") in said
    assert "/dev/zero" not in opened


LENGTHS = {
    "length of 4 GiB": {"data_length": 0xFFFF_FFFF, "data_space": 0xFFFF_FE00},
    "length over the room": {"data_length": 513},
    "length of nothing": {"data_length": 0},
    "no room": {"data_space": 0},
    "room of no whole sectors": {"data_space": 513},
    "behind the end": {"data_offset": 1 << 20},
    "far behind the end": {"data_offset": (1 << 64) - 1},
}


@pytest.mark.parametrize("fields", LENGTHS.values(), ids=LENGTHS)
def test_a_locator_whose_numbers_cannot_be_says_nothing(
    world: World, opened: list[str], fields: dict[str, int]
) -> None:
    base = world.home / "base.vhd"
    base.write_bytes(filled(BLOCKS, 1)[0])
    says = relative(".\\base.vhd")
    world.child.write_bytes(child_saying(says, change=lambda locator: replace(locator, **fields)))
    base.rename(world.home / "elsewhere.dat")  # where reparent does not look
    assert "it names none" in refusal(world, opened)


@pytest.mark.parametrize(
    "fields",
    [
        {"data_space": 1},  # in sectors, as the specification has it
        {"data_space": 1 << 20},  # of room that is not there
        {"data_offset": TEXTS_AT + 512},  # both texts are one
        {},
    ],
)
def test_odd_locators_that_still_say_something_are_followed(world: World, fields: dict[str, int]) -> None:
    (world.home / "base.vhd").write_bytes(filled(BLOCKS, 1)[0])
    says = [*relative(".\\base.vhd"), *relative(".\\base.vhd")]
    world.child.write_bytes(child_saying(says, change=lambda locator: replace(locator, **fields)))
    open_image(world.child, read_only=True).close()


def test_a_name_of_lone_surrogates_and_one_that_fills_its_field_are_only_not_found(
    world: World, opened: list[str]
) -> None:
    for name in (b"\xd8\x00" * 200, b"\0n" * 256, "..\\..\\etc\\passwd".encode("utf-16-be")):
        world.child.write_bytes(child_saying([], name))
        refusal(world, opened)


def test_a_twin_of_the_parent_is_passed_over_for_the_right_one(world: World) -> None:
    other, right = bytearray(filled(BLOCKS, 2)[0]), filled(BLOCKS, 1)[0]
    (world.home / "twin.vhd").write_bytes(other)
    in_footers(68, uuid.uuid4().bytes)(world.home / "twin.vhd")
    (world.home / "base.vhd").write_bytes(right)
    says = [*relative(".\\twin.vhd"), *relative(".\\base.vhd")]
    world.child.write_bytes(child_saying(says))
    image = open_image(world.child, read_only=True)
    assert image.levels[1].path.name == "base.vhd"  # type: ignore[attr-defined]
    image.close()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_any_length_is_refused(world: World, opened: list[str], length: int) -> None:
    ids = [uuid.UUID(int=at + 1) for at in range(length)]
    names = ["child.vhd", "b.vhd", "c.vhd"][:length]
    for at, name in enumerate(names):
        following = (at + 1) % length
        says = relative(".\\" + names[following])
        (world.home / name).write_bytes(child_saying(says, parent=ids[following], own=ids[at]))
    opened.clear()
    with pytest.raises(ParentError, match="goes in a circle") as caught:
        open_image(world.child)
    assert str(world.home / names[-1]) in str(caught.value)
    assert within(opened, (world.home,))
    assert any(level.findings.counts["parent-unusable"] for level in check_chain(world.child))


def test_two_images_of_a_chain_with_one_identity_are_refused(world: World) -> None:
    twin = uuid.UUID(int=7)
    world.child.write_bytes(child_saying(relative(".\\b.vhd"), parent=uuid.UUID(int=8), own=twin))
    (world.home / "b.vhd").write_bytes(child_saying(relative(".\\c.vhd"), parent=twin, own=uuid.UUID(int=8)))
    (world.home / "c.vhd").write_bytes(child_saying(relative(".\\b.vhd"), own=twin))
    with pytest.raises(ParentError, match="has the identity of an image above it"):
        open_image(world.child)


ABSURD: dict[str, Damage] = {
    "disk of 2040 GiB": in_footers(48, u64(2040 << 30)),
    "disk of 2^63": in_footers(48, u64(1 << 63)),
    "four billion entries": in_header(28, u32(0xFFFF_FFFF)),
    "table far behind": in_header(16, u64(1 << 60)),
    "blocks of 2 GiB": in_header(32, u32(1 << 31)),
    "blocks of 256 MiB": in_header(32, u32(256 << 20)),
    "header far behind": in_footers(16, u64(1 << 62)),
    "locator of 4 GiB": in_header(576, b"W2ru" + u32(0xFFFF_FE00) + u32(0xFFFF_FFF0) + u32(0) + u64(0)),
}


@pytest.mark.parametrize("of_parent", [False, True], ids=["child", "parent"])
@pytest.mark.parametrize("damage", ABSURD.values(), ids=ABSURD)
def test_no_lie_takes_more_memory_than_the_files_warrant(
    world: World, damage: Damage, of_parent: bool
) -> None:
    base = world.home / "base.vhd"
    base.write_bytes(filled(BLOCKS, 1)[0])
    world.child.write_bytes(child_saying(relative(".\\base.vhd")))
    looks = (lambda: open_image(world.child, read_only=True).close(), lambda: check_chain(world.child))
    for look in looks:
        look()  # what is loaded once is not counted
    damage(base if of_parent else world.child)
    tracemalloc.start()
    try:
        for look in looks:
            with contextlib.suppress(DiskError):
                look()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # two files of 30 KiB
    finally:
        tracemalloc.stop()
